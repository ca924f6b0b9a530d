"""A figure: axes on a grid, laid out so that no label is cut off or covered, and written as PNG or SVG."""

import os

from . import color as colors
from . import raster, svg
from .artists import Mesh, Text, Transform, Unsupported
from .axes import Axes
from .legend import Legend, entries

MAX_PIXELS = 16_000_000  # 48 MB of memory while drawing


class AxesArray:
    """Axes in rows and columns; indexed, sliced and iterated like an array of one or two dimensions."""

    def __init__(self, items, columns=None):
        self.items, self.columns = list(items), columns

    @property
    def shape(self):
        if self.columns is None:
            return (len(self.items),)
        return (len(self.items) // self.columns, self.columns)

    @property
    def flat(self):
        return iter(self.items)

    @property
    def size(self):
        return len(self.items)

    @property
    def T(self):
        if self.columns is None:
            return self
        rows, n = self.shape
        return AxesArray([self.items[r * n + c] for c in range(n) for r in range(rows)], rows)

    def ravel(self):
        """All axes in one row."""
        return AxesArray(self.items)

    flatten = ravel

    def tolist(self):
        """Lists of axes."""
        return [row.tolist() if isinstance(row, AxesArray) else row for row in self]

    def _rows(self):
        n = self.columns
        return [self.items[i:i + n] for i in range(0, len(self.items), n)]

    def __getitem__(self, key):
        if self.columns is None:
            found = self.items[key]
            return AxesArray(found) if isinstance(key, slice) else found
        row, column = key if isinstance(key, tuple) else (key, slice(None))
        rows = self._rows()[row]
        if not isinstance(row, slice):
            found = rows[column]
            return AxesArray(found) if isinstance(column, slice) else found
        picked = [r[column] for r in rows]
        if not isinstance(column, slice):
            return AxesArray(picked)
        return AxesArray([a for r in picked for a in r], len(picked[0]) if picked else 1)

    def __len__(self):
        return self.shape[0]

    def __iter__(self):
        return iter(self.items if self.columns is None else [AxesArray(r) for r in self._rows()])

    def __repr__(self):
        return f"<{' x '.join(map(str, self.shape))} axes>"


class GridSpec:
    """Rows and columns for axes to take: grid[0, :] is the first row."""

    def __init__(self, nrows=1, ncols=1, figure=None, width_ratios=None, height_ratios=None, wspace=None, hspace=None,
                 **margins):
        self.nrows, self.ncols = int(nrows), int(ncols)
        if not (1 <= self.nrows <= 100 and 1 <= self.ncols <= 100):
            raise ValueError(f"a grid of {nrows} rows and {ncols} columns; each should be from 1 to 100")
        self.widths = [float(v) for v in width_ratios or [1] * self.ncols]
        self.heights = [float(v) for v in height_ratios or [1] * self.nrows]
        if len(self.widths) != self.ncols or len(self.heights) != self.nrows:
            raise ValueError("width_ratios and height_ratios should have one number for each column and row")
        self.wspace, self.hspace = wspace, hspace

    def __getitem__(self, key):
        if not isinstance(key, tuple):
            if isinstance(key, int) and self.nrows > 1 and self.ncols > 1:
                key = divmod(key, self.ncols)
            else:
                key = (key, slice(None)) if self.ncols == 1 else (slice(None), key)
        spans = []
        for k, n in zip(key, (self.nrows, self.ncols)):
            if isinstance(k, slice):
                start, stop, _ = k.indices(n)
            else:
                start = k + n if k < 0 else k
                stop = start + 1
            if not 0 <= start < stop <= n:
                raise IndexError(f"a grid of {self.nrows} rows and {self.ncols} columns has no place {key}")
            spans += [start, stop - 1]
        return (self, *spans)


class Figure:
    """A picture with axes; size in inches, dpi pixels an inch."""

    def __init__(self, figsize=None, dpi=None, facecolor=None, edgecolor=None, layout=None, tight_layout=None,
                 constrained_layout=None, num=None,
                 settings=None, **ignored):
        settings = settings or {}
        self.size = tuple(float(v) for v in figsize or settings.get("figure.figsize", (6.4, 4.8)))
        if len(self.size) != 2 or not all(0.1 <= v <= 500 for v in self.size):
            raise ValueError(f"figsize is {figsize!r} and should be (width, height) in inches, such as (6.4, 4.8)")
        self.dpi = float(settings.get("figure.dpi", 100) if dpi in (None, "figure") else dpi)
        self.facecolor = facecolor or settings.get("figure.facecolor", "white")
        self.axes, self.texts, self.grids, self.legends = [], [], {}, []
        self.current, self.number, self.version = None, num, 0
        self.title, self.labels, self.adjust, self.bars = None, {}, {}, []
        self.last_mapped, self.on_touch, self.settings = None, None, settings
        self.font = float(settings.get("font.size", 10)) / 10
        self.transFigure = Transform(self, "figure", "figure")
        self._measure(self.dpi)

    @property
    def figure(self):
        return self

    def _measure(self, dpi):
        self.pt = dpi / 72
        self.width, self.height = round(self.size[0] * dpi), round(self.size[1] * dpi)
        self.paper = colors.parse(self.facecolor) or (255, 255, 255, 0.0)
        self.version += 1

    def touch(self):
        """Notes that something changed."""
        self.version += 1
        if self.on_touch:
            self.on_touch(self)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        have = [n for n in dir(type(self)) if n[0] != "_"]
        raise Unsupported(f"a figure has no {name} in this subset of matplotlib; it has {', '.join(have)}")

    # Axes.

    def _grid(self, rows, columns):
        key = (int(rows), int(columns))
        if key not in self.grids:
            self.grids[key] = GridSpec(*key)
        return self.grids[key]

    def add_subplot(self, *args, projection=None, polar=False, sharex=None, sharey=None, **options):
        """Axes at a place of a grid: add_subplot(2, 2, 1), add_subplot(221) or add_subplot(grid[0, :])."""
        if projection not in (None, "rectilinear") or polar:
            raise Unsupported(
                f"projection {projection or 'polar'!r} is not in this subset; axes are flat and rectangular. For "
                "values over two "
                              "dimensions use imshow, pcolormesh, contour or contourf; for angles compute x and y")
        if len(args) == 1 and isinstance(args[0], int):
            args = tuple(int(d) for d in f"{args[0]:03d}")
        if len(args) == 1 and isinstance(args[0], tuple):
            slot = args[0]
        elif len(args) == 3:
            rows, columns, index = args
            grid = self._grid(rows, columns)
            first, last = index if isinstance(index, tuple) else (index, index)
            if not 1 <= first <= last <= rows * columns:
                raise ValueError(
                    f"subplot index is {index} and should be from 1 to {rows * columns} in a grid of {rows} rows and "
                    f"{columns} columns")
            (r0, c0), (r1, c1) = divmod(first - 1, columns), divmod(last - 1, columns)
            slot = (grid, r0, r1, c0, c1)
        elif not args:
            slot = (self._grid(1, 1), 0, 0, 0, 0)
        else:
            raise ValueError(
                f"subplot{args} is not understood; give rows, columns and index, such as (2, 2, 1), or a place of a "
                "GridSpec")
        axes = self._new(Axes(self, slot, sharex, sharey))
        axes.set(**options)
        return axes

    def _new(self, axes):
        self.axes.append(axes)
        self.current = axes
        axes.background = self.settings.get("axes.facecolor", "white")
        if self.settings.get("axes.grid"):
            axes.grid(True, **{k: self.settings["grid." + k] for k in ("color", "alpha", "linestyle", "linewidth")
                               if "grid." + k in self.settings})
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].visible = self.settings.get("axes.spines." + side, True)
        cycle = self.settings.get("axes.prop_cycle")
        if cycle:
            axes.cycle = list(cycle)
        return axes

    def add_axes(self, rect, **options):
        """Axes at left, bottom, width and height as parts of the figure."""
        if options.pop("projection", None) or options.pop("polar", None):
            return self.add_subplot(1, 1, 1, projection="polar")
        axes = Axes(self)
        axes.set_position(rect)
        return self._new(axes)

    def add_gridspec(self, nrows=1, ncols=1, **options):
        """A grid to take places of."""
        return GridSpec(nrows, ncols, self, **options)

    def subplots(self, nrows=1, ncols=1, *, sharex=False, sharey=False, squeeze=True, subplot_kw=None, gridspec_kw=None,
                 width_ratios=None, height_ratios=None):
        """A grid of axes: one of them, a row or column, or an array of rows."""
        options = {**(gridspec_kw or {})}
        if width_ratios is not None:
            options["width_ratios"] = width_ratios
        if height_ratios is not None:
            options["height_ratios"] = height_ratios
        grid = GridSpec(nrows, ncols, self, **options)
        sharex, sharey = ({True: "all", False: "none"}.get(s, s) for s in (sharex, sharey))
        rows = []
        for r in range(grid.nrows):
            rows.append([])
            for c in range(grid.ncols):
                partner = {"all": rows[0][0] if rows[0] else None, "col": rows[0][c] if r else None, "row": rows[r][0]
                           if c else None}
                axes = self.add_subplot((grid, r, r, c, c), sharex=partner.get(sharex), sharey=partner.get(sharey),
                                        **(subplot_kw or {}))
                rows[r].append(axes)
                if sharex in ("all", "col") and r < grid.nrows - 1:
                    axes.xaxis.labels_on = False
                if sharey in ("all", "row") and c > 0:
                    axes.yaxis.labels_on = False
        flat = [a for row in rows for a in row]
        self.current = flat[-1]
        if not squeeze:
            return AxesArray(flat, grid.ncols)
        if len(flat) == 1:
            return flat[0]
        return AxesArray(flat, grid.ncols) if grid.nrows > 1 and grid.ncols > 1 else AxesArray(flat)

    def subplot_mosaic(self, mosaic, **options):
        """Axes by name on a grid drawn with letters, 'AB;CC', or lists of names; '.' is empty."""
        if isinstance(mosaic, str):
            lines = [line.strip() for line in mosaic.replace(";", "\n").split("\n")]
            mosaic = [list(line) for line in lines if line]
        grid = GridSpec(len(mosaic), len(mosaic[0]), self, **(options.get("gridspec_kw") or {}))
        places = {}
        for r, row in enumerate(mosaic):
            for c, name in enumerate(row):
                if name != ".":
                    places.setdefault(name, []).append((r, c))
        return {name: self.add_subplot((grid, min(r for r, _ in at), max(r for r, _ in at), min(c for _, c in at),
                                        max(c for _, c in at)))
                for name, at in places.items()}

    def gca(self):
        """The current axes, made if there are none."""
        return self.current or self.add_subplot()

    def sca(self, axes):
        """Makes axes the current ones."""
        self.current = axes

    def get_axes(self):
        """All axes."""
        return self.axes

    def delaxes(self, axes):
        """Takes axes out."""
        self.axes.remove(axes)
        for d in axes.dimensions:
            d.axes.remove(axes)
        self.current = self.axes[-1] if self.axes else None
        self.touch()

    def clf(self):
        """Takes everything out."""
        self.axes, self.texts, self.grids, self.legends, self.bars = [], [], {}, [], []
        self.current = self.title = None
        self.touch()

    clear = clf

    # Texts, legend, colour bars.

    def suptitle(self, t, **style):
        """The title of the whole figure."""
        self.title = Text(self, 0, 0, t, {"fontsize": 12, **style}, "suptitle()")
        self.touch()
        return self.title

    def supxlabel(self, t, **style):
        """A label below all axes."""
        self.labels["x"] = Text(self, 0, 0, t, {"fontsize": 12, **style}, "supxlabel()")
        self.touch()

    def supylabel(self, t, **style):
        """A label at the left of all axes."""
        self.labels["y"] = Text(self, 0, 0, t, {"fontsize": 12, "rotation": 90, **style}, "supylabel()")
        self.touch()

    def text(self, x, y, s, fontdict=None, **style):
        """A text at parts of the figure's width and height."""
        text = Text(self, float(x), float(y), s, {"transform": self.transFigure, **(fontdict or {}), **style})
        self.texts.append(text)
        self.touch()
        return text

    def legend(self, handles=None, labels=None, **options):
        """A legend of all axes."""
        if labels is None and handles and all(isinstance(h, str) for h in handles):
            handles, labels = None, handles
        if handles is None:
            pairs = [p for ax in self.axes for p in zip(*entries(ax))]
            handles = [h for h, _ in pairs]
            if labels is not None and not pairs:
                handles = [item for ax in self.axes for item in ax.labelled]
            labels = labels or [t for _, t in pairs]
            handles = handles[:len(labels)]
        elif labels is None:
            labels = [h.label for h in handles]
        self.legends.append(Legend(self, handles, labels, {"loc": "upper right", **options}))
        self.touch()
        return self.legends[-1]

    def colorbar(self, mappable=None, cax=None, ax=None, label="", orientation=None, ticks=None, format=None,
                 shrink=1.0, pad=None, fraction=0.15,
                 aspect=20, extend=None, location=None, **ignored):
        """A bar that shows what the colours mean."""
        mappable = mappable or self.last_mapped
        if mappable is None or not hasattr(mappable, "cmap"):
            raise ValueError(
                "colorbar() needs what scatter(c=values), imshow(), pcolormesh(), contourf() or ScalarMappable() "
                "returned")
        if isinstance(ax, (AxesArray, list, tuple)):
            hosts = list(ax.flat if isinstance(ax, AxesArray) else ax)
        else:
            hosts = [ax or getattr(mappable, "axes", None) or self.gca()]
        current = self.current
        bar = Colorbar(self, mappable, hosts, cax, orientation
                       or ("horizontal" if location in ("bottom", "top") else "vertical"), shrink)
        self.current = current
        if label:
            bar.set_label(label)
        if ticks is not None:
            bar.set_ticks(ticks)
        if format is not None:
            from .ticks import FormatStrFormatter
            bar.axis.set_major_formatter(FormatStrFormatter(format) if isinstance(format, str) and "%" in format
                                         else format)
        return bar

    # Size and layout.

    def set_size_inches(self, w, h=None, forward=True):
        """A new size."""
        self.size = (float(w), float(h)) if h is not None else tuple(float(v) for v in w)
        self._measure(self.dpi)

    def get_size_inches(self):
        """The size."""
        return self.size

    def set_figwidth(self, w):
        """A new width in inches."""
        self.set_size_inches(w, self.size[1])

    def set_figheight(self, h):
        """A new height in inches."""
        self.set_size_inches(self.size[0], h)

    def set_dpi(self, dpi):
        """New pixels an inch."""
        self.dpi = float(dpi)
        self._measure(self.dpi)

    def get_dpi(self):
        """Pixels an inch."""
        return self.dpi

    def set_facecolor(self, color):
        """The background."""
        self.facecolor = color
        self._measure(self.dpi)
        self.touch()

    patch = property(lambda self: self)

    def tight_layout(self, **ignored):
        """Accepted: layout always makes room for labels."""

    def set_layout_engine(self, *args, **ignored):
        """Accepted: layout always makes room for labels."""

    set_tight_layout = set_constrained_layout = set_layout_engine

    def autofmt_xdate(self, rotation=30, ha="right", **ignored):
        """Turns the labels of x."""
        for axes in self.axes:
            axes.xaxis.style_labels(rotation=rotation, ha=ha)

    def align_labels(self, *args):
        """Accepted."""

    align_xlabels = align_ylabels = align_labels

    def subplots_adjust(self, **room):
        """Margins and gaps, at least so wide: left, right, bottom, top, wspace, hspace."""
        self.adjust.update({k: float(v) for k, v in room.items() if v is not None})
        self.touch()

    def layout(self):
        """Gives every axes its box, so that all labels have room."""
        pad = 4 * self.pt * 1.08 + 2
        frame = [pad, pad, self.width - pad, self.height - pad]
        if self.title and self.title.text:
            la = self.title.layout(12.0)
            frame[1] += la.ascent + la.descent + 5 * self.pt
        for name, text in self.labels.items():
            la = text.layout(12.0)
            frame[3 if name == "x" else 0] += (la.ascent + la.descent + 4 * self.pt) * (-1 if name == "x" else 1)
        for text in self.texts:
            if text.text and not text.angle() and text.props.get("transform") is self.transFigure:
                la, gap = text.layout(), 3 * self.pt
                if text.y < 0.06:
                    frame[3] = min(frame[3], self.height * (1 - text.y) - la.ascent - la.descent - gap)
                elif text.y > 0.94:
                    frame[1] = max(frame[1], self.height * (1 - text.y) + la.ascent + la.descent + gap)
        frame_before = list(frame)
        for legend in self.legends:
            if legend.options.get("bbox_to_anchor") or not isinstance(legend.loc, str) or not legend.handles:
                continue
            w, h = legend.measure()
            loc = legend.loc.removeprefix("outside ")
            if loc == "lower center":
                frame[3] = min(frame[3], frame_before[3] - h - legend.size)
            elif loc == "upper center":
                frame[1] = max(frame[1], frame_before[1] + h + legend.size)
            elif loc in ("center right", "right"):
                frame[2] = min(frame[2], frame_before[2] - w - legend.size)
        self.frame = frame_before
        for bar in self.bars:
            if len(bar.hosts) > 1:
                frame[2 if bar.vertical else 3] -= bar.room()
        own = [a for a in self.axes if a.slot and a.visible]
        others = [a for a in self.axes if a.host is not None or a.rect]
        reach, before = {}, None
        for _ in range(5):
            for grid in {id(a.slot[0]): a.slot[0] for a in own}.values():
                self._place(grid, [a for a in own if a.slot[0] is grid], frame, reach)
            for a in others:
                if a.rect:
                    x, y, w, h = a.rect
                    a.box = (round(x * self.width), round((1 - y - h) * self.height), round((x + w) * self.width),
                             round((1 - y) * self.height))
            for a in self.axes:
                if a.host is None and not a.bars:
                    a.shrink()
            for a in self.axes:
                if a.host is not None:
                    a.box = a.host.box
            for a in self.axes:
                a.settle()
            for bar in self.bars:
                bar.place()
            # Boxes decide which ticks fit, and tick labels decide the boxes: again until nothing moves.
            boxes = [a.box for a in self.axes]
            if boxes == before:
                break
            before = boxes
            for a in own:
                box = a.extent()
                for twin in self.axes:
                    if twin.host is a:
                        t = twin.extent()
                        box = (min(box[0], t[0]), min(box[1], t[1]), max(box[2], t[2]), max(box[3], t[3]))
                        if a._title_height() and t[1] < a.box[1] - 3:
                            box = (box[0], min(box[1], t[1] - a._title_height()), box[2], box[3])
                room = [max(0, p) for p in (a.box[0] - box[0], a.box[1] - box[1], box[2] - a.box[2], box[3] - a.box[3])]
                for bar in self.bars:
                    if bar.hosts == [a]:
                        room[2 if bar.vertical else 3] += bar.room()
                reach[a] = room

    def _place(self, grid, members, frame, reach):
        """Boxes for the axes of a grid: columns are as far apart as what stands beside their axes needs."""
        default = [40 * self.pt, 16 * self.pt, 8 * self.pt, 30 * self.pt]
        gap = 6 * self.pt
        spans = []
        for low, high, n, first, last, ratios, space in ((0, 2, grid.ncols, 3, 4, grid.widths, "wspace"),
                                                         (1, 3, grid.nrows, 1, 2, grid.heights, "hspace")):
            before = [max([reach.get(a, default)[low] for a in members if a.slot[first] == i], default=0)
                      for i in range(n)]
            after = [max([reach.get(a, default)[high] for a in members if a.slot[last] == i], default=0)
                     for i in range(n)]
            names = ("left", "right") if low == 0 else ("top", "bottom")
            total = self.width if low == 0 else self.height
            edge0, edge1 = frame[low] + before[0], frame[high] - after[-1]
            if names[0] in self.adjust:
                edge0 = max(edge0, (self.adjust["left"] if low == 0 else 1 - self.adjust["top"]) * total)
            if names[1] in self.adjust:
                edge1 = min(edge1, (self.adjust["right"] if low == 0 else 1 - self.adjust["bottom"]) * total)
            gaps = [after[i] + before[i + 1] + gap for i in range(n - 1)]
            asked = self.adjust.get(space, getattr(grid, space))
            if asked is not None:
                each = (edge1 - edge0) / (n + asked * (n - 1))
                gaps = [max(g - gap, asked * each) for g in gaps]
            free = max((edge1 - edge0 - sum(gaps)), 8.0 * n)
            at, out = edge0, []
            for i in range(n):
                w = free * ratios[i] / sum(ratios)
                out.append((at, at + w))
                at += w + (gaps[i] if i < n - 1 else 0)
            spans.append(out)
        for a in members:
            _, r0, r1, c0, c1 = a.slot
            a.box = (round(spans[0][c0][0]), round(spans[1][r0][0]), round(spans[0][c1][1]), round(spans[1][r1][1]))

    # Drawing.

    def draw(self, backend):
        """Lays out and draws everything on a backend."""
        self.layout()
        for axes in sorted(self.axes, key=lambda a: a.order):
            if axes.visible:
                axes.draw(backend)
        middle = (self.frame[0] + self.frame[2]) / 2
        if self.title and self.title.text:
            x = self.title.props.get("x", 0.5) * self.width
            self.title.place(backend, x, 5 * self.pt, self.title.layout(12.0), "center", "top")
        if "x" in self.labels:
            self.labels["x"].place(backend, middle, self.height - 4 * self.pt, self.labels["x"].layout(12.0), "center",
                                   "bottom")
        if "y" in self.labels:
            self.labels["y"].place(backend, 4 * self.pt, (self.frame[1] + self.frame[3]) / 2,
                                   self.labels["y"].layout(12.0), "left", "center")
        for text in self.texts:
            text.draw(backend)
        for legend in self.legends:
            free = legend.options.get("bbox_to_anchor") or not isinstance(legend.loc, str)
            legend.draw(backend, (0, 0, self.width, self.height) if free else self.frame)

    def render(self, kind="png", dpi=None, transparent=False, facecolor=None):
        """The figure as the bytes of a PNG or SVG file."""
        dpi = self.dpi if dpi in (None, "figure") else float(dpi)
        keep = self.facecolor
        if facecolor not in (None, "auto"):
            self.facecolor = facecolor
        self._measure(dpi)
        try:
            if self.width * self.height > MAX_PIXELS:
                raise ValueError(
                    f"the picture would be {self.width} x {self.height} pixels and may have {MAX_PIXELS:,} in all; "
                    "make figsize or dpi smaller")
            if kind == "svg":
                backend = svg.Writer(self.width, self.height, None if transparent else self.paper, dpi)
                self.draw(backend)
                return backend.svg().encode(errors="replace")
            backend = raster.Canvas(self.width, self.height, self.paper, dpi)
            self.draw(backend)
            return backend.png()
        finally:
            self.facecolor = keep
            self._measure(self.dpi)

    def savefig(self, fname, *, dpi=None, format=None, transparent=False, facecolor=None, bbox_inches=None, **ignored):
        """Writes the figure to a path or an open binary file, as PNG or SVG."""
        if hasattr(fname, "write"):
            kind = (format or "png").lower()
        else:
            fname = os.fspath(fname)
            ending = os.path.splitext(fname)[1][1:]
            kind = (format or ending or "png").lower()
            if not ending:
                fname += "." + kind
        if kind not in ("png", "svg"):
            raise Unsupported(
                f"savefig() does not write {kind} in this subset; it writes png and svg, so end the name with .png or "
                ".svg")
        data = self.render(kind, dpi, transparent, facecolor)
        if hasattr(fname, "write"):
            try:
                fname.write(data)
            except TypeError:
                if kind != "svg":
                    raise
                fname.write(data.decode())  # a text file, which SVG may go to
            return
        with open(fname, "wb") as file:
            file.write(data)

    def show(self, *args, **ignored):
        """Hands the figure to whoever watches; see pyplot.show."""
        from . import pyplot
        pyplot.show(figure=self)

    def _repr_png_(self):
        from . import pyplot
        png = self.render("png")
        pyplot.close(self)  # who shows it here does not want it again at the end of the cell
        return png

    def __repr__(self):
        return f"<Figure {self.size[0]:g} x {self.size[1]:g} inches with {len(self.axes)} axes>"


class Colorbar:
    """A colour bar; ax are its axes."""

    def __init__(self, figure, mappable, hosts, cax, orientation, shrink):
        self.figure, self.mappable, self.hosts, self.shrink = figure, mappable, hosts, float(shrink)
        self.vertical = orientation == "vertical"
        norm, self.given = mappable.norm, cax is not None
        if norm.vmin is None or norm.vmax is None:
            norm.fit([0.0, 1.0])
        self.ax = cax or figure._new(Axes(figure))
        self.ax.grid(False)
        self.ax.bars = [self]
        self.axis = self.ax.yaxis if self.vertical else self.ax.xaxis
        other = self.ax.xaxis if self.vertical else self.ax.yaxis
        other.visible = False
        if self.vertical:
            self.axis.move("right")
        lo, hi = norm.vmin, norm.vmax
        if lo == hi:
            lo, hi = lo - 0.5, hi + 0.5
        if getattr(mappable, "filled", False):
            lo, hi = mappable.levels[0], mappable.levels[-1]
        d = self.axis.dimension
        if isinstance(norm, colors.LogNorm):
            d.scale = "log"
        d.set(lo, hi)
        steps = mappable.levels if getattr(mappable, "filled", False) else None
        a, b = d.forward([lo, hi])
        edges = steps or [d.backward(a + (b - a) * i / 200) for i in range(201)]
        middles = [d.backward(sum(d.forward([p, q])) / 2) for p, q in zip(edges, edges[1:])]
        mapped = colors.Mapped(norm, mappable.cmap)
        paint = getattr(mappable, "palette", None)
        cells = [(colors.to_rgba(paint[i % len(paint)]) if paint else mapped.to_rgba(m)) for i, m in enumerate(middles)]
        look = {k: v for k, v in getattr(mappable, "props", {}).items() if k == "alpha"}
        if self.vertical:
            self.ax.add(Mesh(self.ax, [0.0, 1.0], edges, [[c] for c in cells], look, None, None, "colorbar()"))
        else:
            self.ax.add(Mesh(self.ax, edges, [0.0, 1.0], [cells], look, None, None, "colorbar()"))
        if steps and len(steps) < 14:
            self.axis.set_ticks(steps)
        self.ax.dimensions[0 if self.vertical else 1].set(0.0, 1.0)
        figure.bars.append(self)

    def set_label(self, label, **style):
        """What the values are."""
        self.axis.set_label_text(label, **{k: v for k, v in style.items() if k != "labelpad"})
        self.figure.touch()

    def set_ticks(self, ticks, labels=None, **ignored):
        """Fixes the ticks and perhaps their labels."""
        self.axis.set_ticks(ticks, labels)

    def set_ticklabels(self, labels, **style):
        """Fixes the labels of the ticks."""
        self.axis.set_ticklabels(labels, **style)

    def set_alpha(self, alpha):
        """Accepted."""

    @property
    def outline(self):
        return self.ax.spines[:]

    def room(self):
        """Pixels that the bar and its labels take beside its axes."""
        if self.given:
            return 0
        extent, box = self.axis.extent() or self.ax.box, self.ax.box
        labels = extent[2] - box[2] if self.vertical else extent[3] - box[3]
        return self._gap() + self._thick() + max(labels, 12 * self.figure.pt)

    def _gap(self):
        return 10 * self.figure.pt + (0 if self.vertical
                                      else max((e[3] - a.box[3] for a in self.hosts for e in [a.xaxis.extent()] if e),
                                               default=0))

    def _thick(self):
        return 11 * self.figure.pt

    def place(self):
        """Puts the bar beside its axes."""
        if not self.given:
            boxes = [a.box for a in self.hosts] + [t.box for t in self.figure.axes if t.host in self.hosts]
            x0, y0, x1, y1 = (f(b[i] for b in boxes) for i, f in enumerate((min, min, max, max)))
            if self.vertical:
                cut = (y1 - y0) * (1 - self.shrink) / 2
                x = x1 + self._gap()
                if len(self.hosts) > 1:
                    x = max([x] + [a.extent()[2] + 6 * self.figure.pt for a in self.hosts])
                self.ax.box = (round(x), round(y0 + cut), round(x + self._thick()), round(y1 - cut))
            else:
                cut = (x1 - x0) * (1 - self.shrink) / 2
                y = y1 + self._gap()
                self.ax.box = (round(x0 + cut), round(y), round(x1 - cut), round(y + self._thick()))
        self.ax.settle()
