"""What can stand in a figure: lines, patches, markers, grids of colours, texts; each draws itself on a backend.

An artist keeps its data as numbers, its looks in props under full names, and tells by data() what an axis should show.
"""

from math import cos, hypot, isfinite, radians, sin

from . import color as colors
from . import font, markers, outline

ALIASES = {"c": "color", "lw": "linewidth", "ls": "linestyle", "ec": "edgecolor", "fc": "facecolor", "ms": "markersize",
           "mfc": "markerfacecolor", "mec": "markeredgecolor", "mew": "markeredgewidth", "size": "fontsize",
           "ha": "horizontalalignment",
           "va": "verticalalignment", "weight": "fontweight", "style": "fontstyle", "family": "fontfamily",
           "fontname": "fontfamily",
           "edgecolors": "edgecolor", "facecolors": "facecolor", "linewidths": "linewidth", "linestyles": "linestyle",
           "colors": "color",
           "ds": "drawstyle", "ma": "multialignment", "aa": "antialiased", "backgroundcolor": "background"}
# Properties that change nothing here, or only how a screen would update, and are taken so that ordinary code runs.
IGNORED = {"antialiased", "picker", "rasterized", "snap", "gid", "url", "animated", "clip_box", "clip_path",
           "path_effects",
           "fontfamily", "fontvariant", "fontstretch", "wrap", "usetex", "parse_math", "solid_joinstyle",
           "dash_joinstyle",
           "dash_capstyle", "linespacing", "data", "multialignment", "in_layout", "agg_filter", "sketch_params",
           "joinstyle", "capstyle",
           "interpolation_stage", "filternorm", "filterrad", "resample", "scalex", "scaley", "autolim"}
COMMON = ("alpha", "label", "zorder", "visible", "transform", "clip_on")
STYLES = {"-": None, "solid": None, "--": (3.7, 1.6), "dashed": (3.7, 1.6), ":": (1, 1.65), "dotted": (1, 1.65),
          "-.": (6.4, 1.6, 1, 1.6), "dashdot": (6.4, 1.6, 1, 1.6)}
SIZES = {"xx-small": 0.579, "x-small": 0.694, "small": 0.833, "medium": 1.0, "large": 1.2, "x-large": 1.44,
         "xx-large": 1.728,
         "larger": 1.2, "smaller": 0.833}

PLOTS = ("; plots that exist are plot, scatter, bar, barh, hist, pie, step, stem, errorbar, fill_between, stackplot, "
         "boxplot, violinplot, imshow, pcolormesh, contour, contourf, hlines, vlines and annotate")


class Unsupported(NotImplementedError, AttributeError):
    """Something that other plotting libraries have and this one has not; the message says what there is."""


def looks(kwargs, allowed, where):
    """Keyword arguments under their full names; those that nobody here knows raise Unsupported."""
    out = {}
    for name, value in kwargs.items():
        full = ALIASES.get(name, name)
        if full in IGNORED or (value is None and full not in allowed and full not in COMMON):
            continue
        if full not in allowed and full not in COMMON:
            raise Unsupported(
                f"{where} does not take {name}={value!r} in this subset; it takes "
                f"{', '.join(sorted({*allowed, *COMMON}))}")
        if value is not None and full.endswith("color"):
            _check_color(value)
        if full == "linestyle":
            dash_of(value)
        if full == "marker":
            value = markers.check(value)
        if full == "clip_on":
            full, value = "clip", bool(value)
        out[full] = value
    return out


def _check_color(value):
    if isinstance(value, str) or not hasattr(value, "__iter__") or colors.is_color(value):
        colors.parse(value)


def font_size(value, base=10.0):
    """A font size in points, which may be given as 'large' and the like."""
    if value is None:
        return base
    if isinstance(value, str):
        if value not in SIZES:
            raise ValueError(f"font size {value!r} is not known; give points or one of {', '.join(SIZES)}")
        return 10.0 * SIZES[value]
    return float(value)


def dash_of(style):
    """(drawn, pattern in line widths) of a line style."""
    if style in (None, "", " ", "none", "None"):
        return style is None, None
    if isinstance(style, tuple) and len(style) == 2:
        return True, tuple(float(v) for v in style[1]) if style[1] else None
    if style not in STYLES:
        raise ValueError(f"line style {style!r} is not known; give '-', '--', ':', '-.', '' or (offset, (on, off, …))")
    return True, STYLES[style]


class Transform:
    """Says what an artist's coordinates mean, for x and y apart: data, axes (0..1), figure (0..1) or pixels."""

    def __init__(self, owner, x, y):
        self.owner, self.x, self.y = owner, x, y

    def points(self, xs, ys):
        """Pixels of coordinates; what cannot be shown becomes nan."""
        return list(zip(self._map(self.x, 0, xs), self._map(self.y, 1, ys)))

    def _map(self, kind, dimension, values):
        owner = self.owner
        if kind == "data":
            return owner.to_pixels(dimension, values)
        if kind == "axes":
            x0, y0, x1, y1 = owner.box
        else:
            figure = owner.figure
            x0, y0, x1, y1 = 0, 0, figure.width, figure.height
        if dimension == 0:
            return [x0 + v * (x1 - x0) for v in values]
        return [y1 - v * (y1 - y0) for v in values]


class Artist:
    """Base: props, visibility and order. set_<property> and get_<property> work for every property that it takes."""

    allowed = ()
    order = 1.0
    sticky_x = sticky_y = ()

    def __init__(self, axes, kwargs, where):
        self.axes = axes
        self.props = looks(kwargs, self.allowed, where)

    def __getattr__(self, name):
        if name.startswith("set_"):
            return lambda value, *rest: self.set(**{name[4:]: value})
        if name.startswith("get_") and "props" in self.__dict__:
            full = ALIASES.get(name[4:], name[4:])
            if full in self.allowed or full in COMMON:
                return lambda: self.props.get(full)
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"{type(self).__name__} has no {name} in this subset; it has set_ and get_ of "
                          f"{', '.join(sorted({*self.allowed, *COMMON}))}")

    def set(self, **kwargs):
        """Sets properties by name."""
        self.props.update(looks(kwargs, self.allowed, type(self).__name__))
        if self.axes is not None:
            self.axes.figure.touch()

    def remove(self):
        """Takes the artist out of its axes."""
        self.axes.artists.remove(self)
        self.axes.figure.touch()

    @property
    def zorder(self):
        return self.props.get("zorder", self.order)

    @property
    def label(self):
        text = self.props.get("label")
        return None if text is None else str(text)

    def data(self):
        """(xs, ys) that the axes should show."""
        return (), ()

    def transform(self):
        return self.props.get("transform") or self.axes.transData

    def clip(self):
        return self.axes.box if self.props.get("clip", True) else None

    def paint(self, value, default=None):
        """A colour property as (r, g, b, a) with the artist's alpha."""
        value = default if value is None else value
        parsed = colors.parse(value) if value is not None else None
        alpha = self.props.get("alpha")
        return parsed if parsed is None or alpha is None else (*parsed[:3], float(alpha))

    def stroke_style(self, points_to_pixels, width=1.5):
        """(line is drawn, width and dash pattern in pixels)."""
        width = self.props.get("linewidth", width)
        width = (1.5 if width is None else float(width)) * points_to_pixels
        drawn, dash = dash_of(self.props.get("linestyle"))
        return drawn and width > 0, width, [d * max(width, 0.7 * points_to_pixels) for d in dash] if dash else None


def finite_runs(points):
    """The stretches of points without gaps."""
    out, run = [], []
    for p in points:
        if isfinite(p[0]) and isfinite(p[1]):
            run.append(p)
        elif run:
            out.append(run)
            run = []
    if run:
        out.append(run)
    return out


class Line(Artist):
    """A line with or without markers through points."""

    allowed = ("color", "linewidth", "linestyle", "marker", "markersize", "markerfacecolor", "markeredgecolor",
               "markeredgewidth",
               "drawstyle", "solid_capstyle", "markevery", "fillstyle", "dashes")
    order = 2.0

    def __init__(self, axes, xs, ys, kwargs, where="plot()"):
        super().__init__(axes, kwargs, where)
        self.xs, self.ys = xs, ys

    def data(self):
        t = self.props.get("transform")
        if t is None:
            return self.xs, self.ys
        return (self.xs if t.x == "data" else (), self.ys if t.y == "data" else ())

    def set_data(self, xs, ys):
        """New points."""
        self.xs, self.ys = self.axes.numbers(0, xs), self.axes.numbers(1, ys)
        self.axes.figure.touch()

    def set_xdata(self, xs):
        """New x of the points."""
        self.set_data(xs, self.ys)

    def set_ydata(self, ys):
        """New y of the points."""
        self.set_data(self.xs, ys)

    def get_xdata(self):
        """The x of the points."""
        return list(self.xs)

    def get_ydata(self):
        """The y of the points."""
        return list(self.ys)

    def _stepped(self, points):
        style = self.props.get("drawstyle", "default")
        if not style.startswith("steps"):
            return points
        out = points[:1]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if style == "steps-post":
                out += [(x1, y0), (x1, y1)]
            elif style == "steps-mid":
                out += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)]
            else:
                out += [(x0, y1), (x1, y1)]
        return out

    def draw(self, backend):
        self.sketch(backend, self.transform().points(self.xs, self.ys), self.clip())

    def sketch(self, backend, points, clip):
        """Draws the line's look along pixels."""
        pt = self.axes.figure.pt
        line = self.paint(self.props.get("color"), "C0")
        drawn, width, dash = self.stroke_style(pt)
        if self.props.get("dashes"):
            dash = [d * width for d in self.props["dashes"]]
        runs = finite_runs(points)
        if drawn and line:
            cap = self.props.get("solid_capstyle") or ("butt" if dash else "projecting")
            backend.stroke([self._stepped(r) for r in runs if len(r) > 1], line, width, clip, dash, cap=cap)
        marker = self.props.get("marker")
        if marker:
            size = float(self.props.get("markersize") or 6) * pt
            face, edge = self.props.get("markerfacecolor"), self.props.get("markeredgecolor")
            face = None if self.props.get("fillstyle") == "none" else line if face is None else self.paint(face)
            edge = line if edge is None else self.paint(edge)
            edge_width = float(self.props.get("markeredgewidth") or (1.5 if marker in markers.LINES else 1.0)) * pt
            every = self.props.get("markevery") or 1
            start, step = every if isinstance(every, tuple) else (0, int(every))
            backend.markers([p for r in runs for p in r][start::step], marker, size, (face, edge, edge_width), clip)


class Segments(Artist):
    """Separate lines, all in one look or each in a colour of its own."""

    allowed = ("color", "linewidth", "linestyle")
    order = 2.0

    def __init__(self, axes, lines, kwargs, where):
        super().__init__(axes, kwargs, where)
        self.lines = lines

    def data(self):
        t = self.props.get("transform")
        return ([x for line in self.lines for x, _ in line] if t is None or t.x == "data" else (),
                [y for line in self.lines for _, y in line] if t is None or t.y == "data" else ())

    def draw(self, backend):
        drawn, width, dash = self.stroke_style(self.axes.figure.pt)
        if not drawn:
            return
        color = self.props.get("color")
        many = color if isinstance(color, list) else None
        lines = [self.transform().points([x for x, _ in line], [y for _, y in line]) for line in self.lines]
        for i, line in enumerate(lines) if many else [(0, None)]:
            part = [r for one in ([line] if many else lines) for r in finite_runs(one) if len(r) > 1]
            paint = self.paint(many[i % len(many)] if many else color, "C0")
            if paint and part:
                backend.stroke(part, paint, width, self.clip(), dash)


class Patch(Artist):
    """Filled outlines, given as rings of (x, y)."""

    allowed = ("color", "facecolor", "edgecolor", "linewidth", "linestyle", "fill")
    order = 1.0

    def __init__(self, axes, rings, kwargs, where):
        super().__init__(axes, kwargs, where)
        self.rings, self.closed = rings, True

    def data(self):
        t = self.props.get("transform")
        return ([x for ring in self.rings for x, _ in ring] if t is None or t.x == "data" else (),
                [y for ring in self.rings for _, y in ring] if t is None or t.y == "data" else ())

    def colors(self):
        """(face, edge) as (r, g, b, a) or None."""
        color = self.props.get("color")
        face = self.props.get("facecolor", color)
        edge = self.props.get("edgecolor", color)
        face = self.paint(face, "C0") if self.props.get("fill", True) else None
        return face, self.paint(edge, None if face else "black")

    def draw(self, backend):
        rings = []
        for ring in self.rings:
            points = self.transform().points([p[0] for p in ring], [p[1] for p in ring])
            if all(isfinite(x) and isfinite(y) for x, y in points) and len(points) > 1:
                rings.append(points)
        if rings:
            self.sketch(backend, rings, self.clip())

    def sketch(self, backend, rings, clip):
        """Draws the patch's look along pixels."""
        face, edge = self.colors()
        if face and self.closed:
            backend.fill(rings, face, clip)
        drawn, width, dash = self.stroke_style(self.axes.figure.pt, 1.0)
        if edge and drawn:
            backend.stroke(rings, edge, width, clip, dash, closed=self.closed, join="miter")


class Rectangle(Patch):
    """A rectangle with its lower left corner, width and height; also what bar() makes."""

    def __init__(self, axes, xy, width, height, kwargs, where="Rectangle"):
        super().__init__(axes, [], kwargs, where)
        self.x, self.y, self.width, self.height = xy[0], xy[1], width, height

    @property
    def rings(self):
        x, y, w, h = self.x, self.y, self.width, self.height
        return [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)]]

    @rings.setter
    def rings(self, value):
        pass

    def get_x(self):
        """The left side."""
        return self.x

    def get_y(self):
        """The lower side."""
        return self.y

    def get_width(self):
        """The width."""
        return self.width

    def get_height(self):
        """The height."""
        return self.height

    def get_xy(self):
        """The lower left corner."""
        return (self.x, self.y)

    def set_height(self, height):
        """A new height."""
        self.height = height
        self.axes.figure.touch()

    def set_width(self, width):
        """A new width."""
        self.width = width
        self.axes.figure.touch()


class Scatter(Artist, colors.Mapped):
    """Markers with sizes and colours of their own; areas in square points."""

    allowed = ("marker", "edgecolor", "facecolor", "linewidth", "color")
    order = 1.0

    def __init__(self, axes, xs, ys, areas, values, face, kwargs, norm, cmap):
        Artist.__init__(self, axes, kwargs, "scatter()")
        colors.Mapped.__init__(self, norm, cmap, values)
        self.xs, self.ys, self.areas, self.values, self.face = xs, ys, areas, values, face

    def data(self):
        return self.xs, self.ys

    def _looks(self):
        pt = self.axes.figure.pt
        width = self.props.get("linewidth")
        if self.values:
            faces = [self.color(v) for v in self.values]
        else:
            faces = [colors.parse(c) for c in self.face] if isinstance(self.face, list) else [colors.parse(self.face)]
        alpha = self.props.get("alpha")
        if isinstance(alpha, (list, tuple)):
            faces = [f and (*f[:3], float(a)) for f, a in zip(faces * (len(alpha) if len(faces) == 1 else 1), alpha)]
        elif alpha is not None:
            faces = [f and (*f[:3], float(alpha)) for f in faces]
        edge = self.props.get("edgecolor", "face")
        lines = self.props.get("marker") in markers.LINES
        if isinstance(edge, list) and not colors.is_color(edge):
            edges = [colors.parse(e) for e in edge]
        elif isinstance(edge, str) and edge == "face":
            edges = faces if lines else [None]
        else:
            edges = [self.paint(edge)]
        if hasattr(width, "__iter__"):
            width = next(iter(width), None)
        width = (1.5 if lines else 1.0) * pt if width is None else float(width) * pt
        if len(faces) == len(edges) == 1:
            return (faces[0], edges[0], width)
        n = len(self.xs)
        return [(faces[i % len(faces)], edges[i % len(edges)], width) for i in range(n)]

    def draw(self, backend):
        points = self.transform().points(self.xs, self.ys)
        scale = self.axes.figure.pt
        size = [a ** 0.5 * scale for a in self.areas]
        # A scatter's '.' is a small point in a plot and a round marker of the full area here.
        marker = self.props.get("marker") or "o"
        look = self._looks()
        keep = [i for i, (x, y) in enumerate(points) if isfinite(x) and isfinite(y)]
        if isinstance(look, list):
            look = [look[i] for i in keep]
        sizes = size[0] if len(size) == 1 else [size[i % len(size)] for i in keep]
        backend.markers([points[i] for i in keep], marker, sizes, look, self.clip())

    def sketch(self, backend, x, y):
        """Draws one marker for a legend."""
        look = self._looks()
        size = min(self.areas[0] ** 0.5, 9.0) * self.axes.figure.pt
        backend.markers([(x, y)], self.props.get("marker") or "o", size, look[len(look) // 2] if isinstance(look, list)
                        else look)


class Mesh(Artist, colors.Mapped):
    """A grid of coloured cells between edges; rows hold values, or (r, g, b[, a]) colours."""

    allowed = ("edgecolor", "linewidth")
    order = 0.0

    def __init__(self, axes, xs, ys, rows, kwargs, norm, cmap, where):
        Artist.__init__(self, axes, kwargs, where)
        self.colored = bool(rows and rows[0]) and isinstance(rows[0][0], tuple)
        colors.Mapped.__init__(self, norm, cmap, [] if self.colored else [v for row in rows for v in row])
        self.xs, self.ys, self.rows = xs, ys, rows
        self.sticky_x, self.sticky_y = (min(xs), max(xs)), (min(ys), max(ys))

    def data(self):
        return self.xs, self.ys

    def set_data(self, rows):
        """New values of the same shape."""
        self.rows = [[float(v) for v in row] for row in rows]
        self.axes.figure.touch()

    def get_array(self):
        """The values by rows."""
        return self.rows

    def draw(self, backend):
        xs, ys = self.axes.to_pixels(0, self.xs), self.axes.to_pixels(1, self.ys)
        alpha = self.props.get("alpha")
        cache, rows = {}, []
        for row in self.rows:
            out = bytearray()
            for v in row:
                cell = cache.get(v)
                if cell is None:
                    if self.colored:
                        r, g, b, a = *(round(255 * p) for p in v[:3]), v[3] if len(v) > 3 else 1.0
                    else:
                        r, g, b, a = self.color(v) or (255, 255, 255, 0.0)
                    a *= 1.0 if alpha is None else float(alpha)
                    cell = bytes(round(255 + (p - 255) * a) for p in (r, g, b))
                    if v == v:
                        cache[v] = cell
                out += cell
            rows.append(bytes(out))
        backend.image(xs, ys, rows, self.axes.box)
        if self.props.get("edgecolor") not in (None, "none", "face"):
            _, width, dash = self.stroke_style(self.axes.figure.pt, 0.5)
            paint = self.paint(self.props["edgecolor"])
            backend.stroke([[(x, ys[0]), (x, ys[-1])] for x in xs] + [[(xs[0], y), (xs[-1], y)] for y in ys], paint,
                           width, self.clip(), dash)


class Text(Artist):
    """A text at a place."""

    allowed = ("color", "fontsize", "fontweight", "fontstyle", "rotation", "rotation_mode", "horizontalalignment",
               "verticalalignment",
               "bbox", "background", "fontdict", "pad", "loc", "y", "x")
    order = 3.0

    def __init__(self, axes, x, y, text, kwargs, where="text()"):
        kwargs = {**(kwargs.pop("fontdict", None) or {}), **kwargs}
        super().__init__(axes, kwargs, where)
        self.x, self.y, self.text = x, y, str(text)

    def get_text(self):
        """The text."""
        return self.text

    def set_text(self, text):
        """A new text."""
        self.text = str(text)
        self.axes.figure.touch()

    def set_position(self, xy):
        """A new place."""
        self.x, self.y = self.axes.numbers(0, [xy[0]])[0], self.axes.numbers(1, [xy[1]])[0]

    def get_position(self):
        """The place."""
        return (self.x, self.y)

    def clip(self):
        return None

    def layout(self, size=10.0, weight="normal"):
        """The text set at its size."""
        weight = self.props.get("fontweight", weight)
        heavy = weight in ("bold", "heavy", "semibold", "demibold", "black",
                           "extra bold") or (isinstance(weight, (int, float)) and weight >= 600)
        slant = self.props.get("fontstyle") in ("italic", "oblique")
        style = ("b" if heavy else "") + ("i" if slant else "")
        ha = self.props.get("horizontalalignment", "left")
        size = font_size(self.props.get("fontsize"), size * self.axes.figure.font)
        return font.layout(self.text, size * self.axes.figure.pt, style, ha)

    def angle(self):
        """The rotation in degrees anti-clockwise."""
        value = self.props.get("rotation") or 0
        return {"vertical": 90, "horizontal": 0}.get(value, value)

    def draw(self, backend):
        (x, y), = self.transform().points([self.x], [self.y])
        if not self.text or not (isfinite(x) and isfinite(y)):
            return
        if self.transform().x == "data" and self.props.get("clip") is True:
            x0, y0, x1, y1 = self.axes.box
            if not (x0 <= x <= x1 and y0 <= y <= y1):
                return
        self.place(backend, x, y, self.layout())

    def place(self, backend, x, y, layout, ha="left", va="baseline"):
        """Draws a layout with its anchor at pixels x, y, and its box if it has one; returns where it is."""
        ha, va = self.props.get("horizontalalignment", ha), self.props.get("verticalalignment", va)
        if ha not in ("left", "center", "right"):
            raise ValueError(f"ha is {ha!r} and should be left, center or right")
        ox, oy, box = anchor(layout, x, y, ha, va, self.angle(), self.props.get("rotation_mode"))
        frame = self.props.get("bbox") or ({"facecolor": self.props["background"], "edgecolor": "none"}
                                           if "background" in self.props else None)
        if frame:
            self._frame(backend, box, dict(frame))
        backend.text(ox, oy, layout, self.paint(self.props.get("color"), "black") or (0, 0, 0, 0.0), self.angle(), ha)
        return box

    def _frame(self, backend, box, style):
        kind = style.pop("boxstyle", "square")
        pad = style.pop("pad", 0.3) if "pad" in style else 0.3
        if "pad=" in str(kind):
            pad = float(str(kind).split("pad=")[1].split(",")[0])
        pad *= font_size(self.props.get("fontsize")) * self.axes.figure.pt
        patch = Patch(self.axes, [], {"facecolor": "white", "edgecolor": "black", **style}, "bbox")
        ring = rounded((box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad), pad if str(kind).startswith("round")
                       else 0)
        patch.sketch(backend, [ring], None)


def rounded(box, radius):
    """A rectangle as a ring of pixels with round corners."""
    x0, y0, x1, y1 = box
    if radius < 0.5:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    return (outline.ellipse(x0 + r, y0 + r, r, r, 180, 270) + outline.ellipse(x1 - r, y0 + r, r, r, 270, 360)
            + outline.ellipse(x1 - r, y1 - r, r, r, 0, 90) + outline.ellipse(x0 + r, y1 - r, r, r, 90, 180))


def anchor(layout, x, y, ha, va, angle=0, mode=None):
    """(x, y of the first baseline's begin, box) for a layout whose turned box is aligned to a point."""
    if mode == "anchor" and angle:
        dx = {"left": 0, "center": layout.width / 2, "right": layout.width}[ha]
        dy = {"top": -layout.ascent, "center": (layout.descent - layout.ascent) / 2,
              "bottom": layout.descent}.get(va, 0)
        c, s = font.rotation(angle)
        ox, oy = x - dx * c - dy * s, y + dx * s - dy * c
        bx0, by0, bx1, by1 = layout.box(angle)
        return ox, oy, (bx0 + ox, by0 + oy, bx1 + ox, by1 + oy)
    bx0, by0, bx1, by1 = layout.box(angle)
    ox = x - {"left": bx0, "center": (bx0 + bx1) / 2, "right": bx1}.get(ha, bx0)
    if va in ("baseline", "center_baseline") and not angle:
        oy = y
    else:
        oy = y - {"top": by0, "center": (by0 + by1) / 2, "center_baseline": (by0 + by1) / 2}.get(va, by1)
    ox, oy = round(ox), round(oy)
    return ox, oy, (bx0 + ox, by0 + oy, bx1 + ox, by1 + oy)


class Annotation(Text):
    """A text with an arrow from it to a point."""

    allowed = (*Text.allowed, "arrowprops", "xycoords", "textcoords", "annotation_clip")
    order = 3.0

    def __init__(self, axes, text, xy, xytext, kwargs):
        super().__init__(axes, *(xytext if xytext is not None else xy), text, kwargs, "annotate()")
        self.xy, self.moved = xy, xytext is not None

    def data(self):
        return (), ()

    def _at(self, point, coordinates, other):
        kinds = {"data": self.axes.transData, "axes fraction": self.axes.transAxes,
                 "figure fraction": self.axes.figure.transFigure}
        if coordinates in ("offset points", "offset pixels"):
            k = self.axes.figure.pt if coordinates == "offset points" else 1.0
            return (other[0] + point[0] * k, other[1] - point[1] * k)
        if isinstance(coordinates, Transform):
            return coordinates.points([point[0]], [point[1]])[0]
        if coordinates not in kinds:
            raise Unsupported(
                f"annotate() does not know coordinates {coordinates!r} in this subset; it knows {', '.join(kinds)}, "
                "and for the text 'offset points'")
        return kinds[coordinates].points([self.axes.numbers(0, [point[0]])[0]],
                                         [self.axes.numbers(1, [point[1]])[0]])[0]

    def draw(self, backend):
        coordinates = self.props.get("xycoords", "data")
        px, py = self._at(self.xy, coordinates, None)
        tx, ty = self._at((self.x, self.y), self.props.get("textcoords") or coordinates,
                          (px, py)) if self.moved else (px, py)
        if not all(map(isfinite, (px, py, tx, ty))):
            return
        layout = self.layout()
        arrow = self.props.get("arrowprops")
        if arrow is not None:
            ha, va = self.props.get("horizontalalignment", "left"), self.props.get("verticalalignment", "baseline")
            _, _, box = anchor(layout, tx, ty, ha, va, self.angle(), self.props.get("rotation_mode"))
            self._arrow(backend, box, (px, py), dict(arrow))
        if self.text:
            self.place(backend, tx, ty, layout)

    def _arrow(self, backend, box, tip, style):
        pt = self.axes.figure.pt
        kind = style.get("arrowstyle", "simple" if "width" in style or "headwidth" in style
                         or "arrowstyle" not in style else "->")
        start = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if not self.text:
            start = self._at((self.x, self.y), self.props.get("textcoords") or self.props.get("xycoords", "data"), tip)
        color = colors.parse(style.get("color") or style.get("facecolor") or style.get("fc") or style.get("ec")
                             or style.get("edgecolor") or "black")
        if style.get("alpha") is not None:
            color = (*color[:3], float(style["alpha"]))
        width = float(style.get("lw") or style.get("linewidth") or (style.get("width") or 1.0)) * pt
        path = _curve(start, tip, str(style.get("connectionstyle", "")))
        pad = 3 * pt
        path = _leave(path, (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)) if self.text else path
        shrink = float(style.get("shrinkB", 2.0)) * pt
        if "shrink" in style:
            shrink = float(style["shrink"]) * hypot(start[0] - tip[0], start[1] - tip[1])
        path = _shorten(path, shrink)
        draw_arrow(backend, path, color, width, str(kind), dash_of(style.get("linestyle") or style.get("ls"))[1], pt)


def draw_arrow(backend, path, color, width, kind, dash, pt, clip=None):
    """An arrow along a path of pixels with the head that kind tells: '->', '-|>', '<->', 'simple', '-' and so on."""
    if len(path) < 2 or not color:
        return
    filled = "|>" in kind or kind.startswith(("simple", "fancy", "wedge")) or "<|" in kind
    size = (7 if not filled else 6 + width / pt * 1.5) * pt
    line, heads = list(path), []
    if kind.startswith(("simple", "fancy", "wedge")) or kind.rstrip("]").endswith(">"):
        heads.append((path[-2], path[-1]))
    if kind.startswith("<"):
        heads.append((path[1], path[0]))
    backend.stroke([_shorten(line, size * 0.6) if filled and heads else line], color, width, clip,
                   [d * width for d in dash] if dash else None)
    for (x0, y0), (x, y) in heads:
        length = hypot(x - x0, y - y0) or 1.0
        dx, dy = (x - x0) / length * size, (y - y0) / length * size
        sides = [(x - dx - dy * 0.45, y - dy + dx * 0.45), (x, y), (x - dx + dy * 0.45, y - dy - dx * 0.45)]
        if filled:
            backend.fill([sides], color, clip)
        else:
            backend.stroke([sides], color, width, clip, cap="round", join="miter")


def _curve(start, tip, style):
    if not style.startswith(("arc3", "angle3")) or "rad=" not in style:
        return [start, tip]
    rad = float(style.split("rad=")[1].split(",")[0])
    (x0, y0), (x1, y1) = start, tip
    cx, cy = (x0 + x1) / 2 - rad * (y1 - y0), (y0 + y1) / 2 + rad * (x1 - x0)
    return [((1 - t) ** 2 * x0 + 2 * t * (1 - t) * cx + t * t * x1, (1 - t) ** 2 * y0 + 2 * t * (1 - t) * cy
             + t * t * y1)
            for t in (i / 20 for i in range(21))]


def _leave(path, box):
    """The path from where it leaves a box."""
    inside = [box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in path]
    if not inside[0] or all(inside):
        return path if not all(inside) else []
    i = inside.index(False)
    (x0, y0), (x1, y1) = path[i - 1], path[i]
    edge = (outline.clip_lines([(x0, y0), (x1, y1)], box) or [[(x0, y0)]])[-1][-1]
    return [edge] + path[i:]


def _shorten(path, length):
    """The path without its last pixels."""
    path = list(path)
    while len(path) > 1:
        (x0, y0), (x1, y1) = path[-2], path[-1]
        step = hypot(x1 - x0, y1 - y0)
        if step > length:
            path[-1] = (x1 + (x0 - x1) * length / step, y1 + (y0 - y1) * length / step)
            break
        length -= step
        path.pop()
    return path


class Arrow(Artist):
    """An arrow from point to point."""

    allowed = ("color", "facecolor", "edgecolor", "linewidth", "linestyle", "arrowstyle")

    def __init__(self, axes, start, stop, kwargs, where):
        super().__init__(axes, kwargs, where)
        self.start, self.stop = start, stop

    def data(self):
        return [self.start[0], self.stop[0]], [self.start[1], self.stop[1]]

    def draw(self, backend):
        path = self.transform().points([self.start[0], self.stop[0]], [self.start[1], self.stop[1]])
        if all(isfinite(v) for p in path for v in p):
            _, width, dash = self.stroke_style(self.axes.figure.pt, 1.0)
            color = self.paint(self.props.get("color", self.props.get("facecolor", self.props.get("edgecolor"))), "C0")
            draw_arrow(backend, path, color, width, self.props.get("arrowstyle", "-|>"), None, self.axes.figure.pt,
                       self.clip())


def Circle(xy, radius=5.0, **kwargs):
    """A circle for add_patch."""
    return Ellipse(xy, 2 * radius, 2 * radius, **kwargs)


def Ellipse(xy, width, height, angle=0.0, **kwargs):
    """An ellipse for add_patch; angle in degrees."""
    c, s = cos(radians(angle)), sin(radians(angle))
    ring = [(width / 2 * cos(radians(a * 4)), height / 2 * sin(radians(a * 4))) for a in range(90)]
    return Patch(None, [[(xy[0] + x * c - y * s, xy[1] + x * s + y * c) for x, y in ring]], kwargs, "Ellipse")


def Wedge(center, r, theta1, theta2, width=None, **kwargs):
    """A sector between two angles in degrees for add_patch; width leaves a ring."""
    return Patch(None, [wedge(center, r, theta1, theta2, width)], kwargs, "Wedge")


def wedge(center, r, theta1, theta2, width=None):
    """A sector as a ring of points."""
    n = max(3, int(abs(theta2 - theta1) / 2))
    angles = [radians(theta1 + (theta2 - theta1) * i / n) for i in range(n + 1)]
    outer = [(center[0] + r * cos(a), center[1] + r * sin(a)) for a in angles]
    if width is None:
        return outer + [tuple(center)] if abs(theta2 - theta1) < 359.9 else outer
    inner = r - width
    return outer + [(center[0] + inner * cos(a), center[1] + inner * sin(a)) for a in reversed(angles)]


def Arc(xy, width, height, angle=0.0, theta1=0.0, theta2=360.0, **kwargs):
    """A part of an ellipse's line for add_patch."""
    patch = Ellipse(xy, width, height, angle, **{"fill": False, **kwargs})
    c, s = cos(radians(angle)), sin(radians(angle))
    steps = [radians(theta1 + (theta2 - theta1) * i / 60) for i in range(61)]
    patch.rings = [[(xy[0] + width / 2 * cos(a) * c - height / 2 * sin(a) * s, xy[1] + width / 2 * cos(a) * s
                     + height / 2 * sin(a) * c) for a in steps]]
    patch.closed = False
    return patch


def Polygon(xy, closed=True, **kwargs):
    """A polygon for add_patch."""
    patch = Patch(None, [[(float(x), float(y)) for x, y in xy]], kwargs, "Polygon")
    patch.closed = closed
    return patch


def RectanglePatch(xy, width, height, angle=0.0, **kwargs):
    """A rectangle for add_patch, turned about its lower left corner by angle degrees."""
    if angle:
        c, s = cos(radians(angle)), sin(radians(angle))
        corners = ((0, 0), (width, 0), (width, height), (0, height))
        return Polygon([(xy[0] + x * c - y * s, xy[1] + x * s + y * c) for x, y in corners], **kwargs)
    return Rectangle(None, xy, width, height, kwargs)


def FancyBboxPatch(xy, width, height, boxstyle="round", **kwargs):
    """A rectangle for add_patch; boxstyle is accepted and its corners stay square."""
    kwargs.pop("mutation_scale", None)
    return Rectangle(None, xy, width, height, kwargs)


def FancyArrowPatch(posA, posB, **kwargs):
    """An arrow for add_patch."""
    for name in ("mutation_scale", "connectionstyle", "shrinkA", "shrinkB"):
        kwargs.pop(name, None)
    return Arrow(None, posA, posB, kwargs, "FancyArrowPatch")


def LegendPatch(**kwargs):
    """A coloured box for a legend's handles."""
    return Patch(None, [], kwargs, "Patch")


def LegendLine(xdata=(), ydata=(), **kwargs):
    """A line for a legend's handles, or for add_line."""
    return Line(None, [float(x) for x in xdata], [float(y) for y in ydata], {"color": "C0", **kwargs}, "Line2D")
