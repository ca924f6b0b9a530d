"""The key of axes or of a figure: which look stands for what."""

from math import isfinite

from . import color as colors
from . import font
from .artists import Line, Patch, Scatter, Segments, Text, font_size, looks, rounded

PLACES = {"upper right": (1, 0), "upper left": (0, 0), "lower left": (0, 1), "lower right": (1, 1), "right": (1, .5),
          "center left": (0, .5),
          "center right": (1, .5), "lower center": (.5, 1), "upper center": (.5, 0), "center": (.5, .5)}
NUMBERS = ["best", "upper right", "upper left", "lower left", "lower right", "right", "center left", "center right",
           "lower center",
           "upper center", "center"]
OPTIONS = ("loc", "fontsize", "title", "ncol", "ncols", "frameon", "framealpha", "facecolor", "edgecolor",
           "bbox_to_anchor", "shadow", "fancybox",
           "title_fontsize", "borderaxespad", "labelspacing", "handlelength", "columnspacing", "borderpad",
           "markerscale", "numpoints",
           "scatterpoints", "prop", "handletextpad", "labelcolor", "mode", "bbox_transform", "reverse", "draggable",
           "markerfirst", "alignment",
           "title_fontproperties")


def entries(axes):
    """(handles, labels) of everything in axes that has a label."""
    handles, labels = [], []
    for item in axes.labelled:
        label = item.label
        if label and not label.startswith("_"):
            handles.append(item)
            labels.append(label)
    return handles, labels


class Legend:
    """Handles with labels in a box; owner is axes or a figure."""

    def __init__(self, owner, handles, labels, options):
        self.owner, self.handles, self.labels = owner, list(handles), [str(t) for t in labels]
        self.options = looks(options, OPTIONS, "legend()")
        loc = self.options.get("loc", "best")
        loc = NUMBERS[loc] if isinstance(loc, int) and 0 <= loc < len(NUMBERS) else loc
        if not isinstance(loc, tuple) and loc != "best" and loc not in PLACES and not loc.startswith("outside "):
            raise ValueError(f"legend() does not know loc={loc!r}; it knows {', '.join(NUMBERS)}, or (x, y)")
        self.loc = loc

    def set_title(self, title, prop=None, **kwargs):
        """The legend's title."""
        self.options["title"] = title

    def get_texts(self):
        """The labels as texts, to read."""
        axes = self.owner if hasattr(self.owner, "artists") else None
        return [Text(axes, 0, 0, t, {}) for t in self.labels]

    def get_frame(self):
        """What changes the box: set_facecolor, set_edgecolor, set_alpha and set_linewidth."""
        return _Frame(self.options)

    def set_visible(self, on):
        """Shows or hides the legend."""
        if not on:
            self.handles, self.labels = [], []

    def remove(self):
        """Takes the legend away."""
        self.set_visible(False)

    def measure(self):
        """Sets width and height in pixels."""
        figure = self.owner.figure
        o = self.options
        size = font_size(o.get("fontsize") or (o.get("prop") or {}).get("size"), 10.0 * figure.font) * figure.pt
        self.size = size
        self.layouts = [font.layout(t, size) for t in self.labels]
        columns = max(1, min(int(o.get("ncols", o.get("ncol", 1))), len(self.labels) or 1))
        rows = -(-len(self.labels) // columns)
        self.columns = [self.layouts[i * rows:(i + 1) * rows] for i in range(columns)]
        self.columns = [c for c in self.columns if c]
        handle = float(o.get("handlelength") or 2.0) * size
        gap = 0.8 * size
        self.handle, self.gap, self.pad = handle, gap, 0.4 * size
        self.widths = [max(la.width for la in c) + handle + gap for c in self.columns]
        spacing = 1.0 + float(o.get("labelspacing", 0.5))
        self.heights = []
        for i in range(rows):
            tallest = max(c[i].ascent + c[i].descent for c in self.columns if i < len(c))
            self.heights.append(max(round(size * spacing), tallest + 0.3 * size))
        self.width = sum(self.widths) + 1.6 * size * (len(self.widths) - 1) + 2 * self.pad
        self.height = sum(self.heights) + 2 * self.pad - 0.2 * size
        self.title = None
        if o.get("title"):
            self.title = font.layout(str(o["title"]), font_size(o.get("title_fontsize"), size / figure.pt) * figure.pt)
            self.width = max(self.width, self.title.width + 2 * self.pad)
            self.height += self.title.ascent + self.title.descent + 0.3 * size
        return self.width, self.height

    def box(self, area):
        """(x0, y0, x1, y1) inside or beside an area in pixels; measure first."""
        margin = float(self.options.get("borderaxespad", 0.5)) * self.size
        anchor = self.options.get("bbox_to_anchor")
        x0, y0, x1, y1 = area
        if isinstance(self.loc, tuple):
            x, y = x0 + self.loc[0] * (x1 - x0), y1 - self.loc[1] * (y1 - y0) - self.height
            return (x, y, x + self.width, y + self.height)
        if anchor is not None:
            if len(anchor) == 4:
                ax0, ay0, w, h = anchor
                x0, x1 = x0 + ax0 * (x1 - x0), x0 + (ax0 + w) * (x1 - x0)
                y0, y1 = y1 - (ay0 + h) * (y1 - y0), y1 - ay0 * (y1 - y0)
            else:
                px, py = x0 + anchor[0] * (x1 - x0), y1 - anchor[1] * (y1 - y0)
                x0, y0, x1, y1 = px, py, px, py
        loc = self.loc
        if loc == "best":
            loc = self._best((x0, y0, x1, y1), margin) if anchor is None else "upper left"
        return self._at(loc.removeprefix("outside "), (x0, y0, x1, y1), margin)

    def _at(self, loc, area, margin):
        x0, y0, x1, y1 = area
        fx, fy = PLACES.get(loc, (1, 0))
        x = x0 + margin + fx * (x1 - x0 - 2 * margin - self.width)
        y = y0 + margin + fy * (y1 - y0 - 2 * margin - self.height)
        return (round(x), round(y), round(x) + self.width, round(y) + self.height)

    def _best(self, area, margin):
        """The place with the least of the data behind it."""
        points = self.owner.occupied() if hasattr(self.owner, "occupied") else []
        best, least = "upper right", None
        for loc in NUMBERS[1:5] + NUMBERS[6:]:
            x0, y0, x1, y1 = self._at(loc, area, margin)
            count = sum(1 for x, y in points if x0 - 4 < x < x1 + 4 and y0 - 4 < y < y1 + 4)
            if least is None or count < least:
                best, least = loc, count
            if not least:
                break
        return best

    def draw(self, backend, area):
        """Draws the legend in or beside an area."""
        if not self.handles:
            return
        self.measure()
        x0, y0, x1, y1 = self.box(area)
        o, size, pt = self.options, self.size, self.owner.figure.pt
        if o.get("frameon", True):
            ring = rounded((x0, y0, x1, y1), 0.2 * size if o.get("fancybox", True) else 0)
            alpha = o.get("framealpha", 0.8)
            if o.get("shadow"):
                backend.fill([[(x + 2 * pt, y + 2 * pt) for x, y in ring]], (90, 90, 90, 0.5))
            backend.fill([ring], colors.parse(o.get("facecolor") or "white", 0.8 if alpha is None else alpha))
            backend.stroke([ring], colors.parse(o.get("edgecolor") or "#cccccc"),
                           o.get("linewidth", 1.0) * pt, closed=True)
        y = y0 + self.pad
        if self.title:
            backend.text(round((x0 + x1 - self.title.width) / 2), round(y + self.title.ascent), self.title,
                         (0, 0, 0, 1.0))
            y += self.title.ascent + self.title.descent + 0.3 * size
        x, i = x0 + self.pad, 0
        for column, width in zip(self.columns, self.widths):
            top = y
            for layout, height in zip(column, self.heights):
                middle = top + size * 0.5
                handle = self.handles[i]
                self._handle(backend, handle, x, middle, x + self.handle)
                color = o.get("labelcolor")
                paint = (0, 0, 0, 1.0)
                if isinstance(color, str) and color not in ("linecolor", "markerfacecolor"):
                    paint = colors.parse(color)
                backend.text(round(x + self.handle + self.gap), round(middle + size * 0.36), layout, paint)
                top += height
                i += 1
            x += width + 1.6 * size

    def _handle(self, backend, handle, x0, y, x1):
        if isinstance(handle, (list, tuple)):
            handle = handle[0] if handle else None
        handle = getattr(handle, "sample", handle)
        pt = self.owner.figure.pt
        if isinstance(handle, Line):
            owner, handle.axes = handle.axes, handle.axes or _Stand(self.owner.figure)
            points = [(x0, round(y)), (x1, round(y))]
            marker = handle.props.get("marker")
            every = handle.props.pop("markevery", None)
            if marker:
                only, handle.props["marker"] = marker, ""
                handle.sketch(backend, points, None)
                look = handle.props.get("linestyle")
                handle.props.update(marker=only, linestyle="")
                handle.sketch(backend, [((x0 + x1) / 2, y)], None)
                handle.props["linestyle"] = look
            else:
                handle.sketch(backend, points, None)
            if every is not None:
                handle.props["markevery"] = every
            handle.axes = owner
        elif isinstance(handle, Scatter):
            handle.sketch(backend, (x0 + x1) / 2, y)
        elif isinstance(handle, Patch):
            owner, handle.axes = handle.axes, handle.axes or _Stand(self.owner.figure)
            h = self.size * 0.35
            handle.sketch(backend, [[(x0, y - h), (x1, y - h), (x1, y + h), (x0, y + h)]], None)
            handle.axes = owner
        elif isinstance(handle, Segments):
            drawn, width, dash = handle.stroke_style(pt)
            color = handle.props.get("color")
            backend.stroke([[(x0, y), (x1, y)]], handle.paint(color[0] if isinstance(color, list) else color, "C0"),
                           width, None, dash)


class _Frame:
    """The box of a legend."""

    def __init__(self, options):
        self.options = options

    def set_facecolor(self, color):
        """The background."""
        colors.parse(color)
        self.options["facecolor"] = color

    def set_edgecolor(self, color):
        """The border."""
        colors.parse(color)
        self.options["edgecolor"] = color

    def set_alpha(self, alpha):
        """How opaque the background is, from 0 to 1."""
        self.options["framealpha"] = alpha

    def set_linewidth(self, width):
        """The width of the border in points."""
        self.options["linewidth"] = float(width)


class _Stand:
    """Stands for the axes of a handle that was made for the legend alone."""

    def __init__(self, figure):
        self.figure = figure


def sample_points(points, box):
    """Points along a line of pixels close enough together that a box cannot lie between them."""
    out = []
    for (xa, ya), (xb, yb) in zip(points, points[1:]):
        if isfinite(xa + ya + xb + yb):
            n = min(40, 1 + int((abs(xb - xa) + abs(yb - ya)) / 12))
            out += [(xa + (xb - xa) * i / n, ya + (yb - ya) * i / n) for i in range(n)]
    return out + list(points[-1:])
