"""A pair of axes: limits, scales, ticks, texts, legend and the drawing of all in it; plots.py adds the plots."""

from difflib import get_close_matches
from math import isfinite

from . import color as colors
from . import ticks
from .artists import PLOTS, Annotation, Artist, Line, Patch, Rectangle, Scatter, Text, Transform, Unsupported, anchor
from .axis import Axis, Dimension
from .legend import Legend, entries, sample_points
from .plots import Plots


class Spine:
    """One side of the frame; position is ('outward', points), ('data', v), ('axes', fraction), 'zero' or 'center'."""

    def __init__(self):
        self.visible, self.color, self.linewidth, self.linestyle, self.position = True, "black", 0.8, "-", None

    def set(self, visible=None, color=None, linewidth=None, linestyle=None, position=None, alpha=None, edgecolor=None,
            lw=None):
        """Sets what is given."""
        position = {"zero": ("data", 0.0), "center": ("axes", 0.5)}.get(position, position)
        if position is not None and (len(position) != 2 or position[0] not in ("outward", "data", "axes")):
            raise ValueError(f"a spine's position is {position!r} and should be 'zero', 'center', ('data', value), "
                             "('axes', part) or ('outward', points)")
        color, linewidth = color or edgecolor, linewidth if lw is None else lw
        for name, value in (("visible", visible), ("color", color), ("linewidth", linewidth), ("linestyle", linestyle),
                            ("position", position)):
            if value is not None:
                setattr(self, name, value)

    def __getattr__(self, name):
        if name.startswith("set_"):
            return lambda value: self.set(**{name[4:]: value})
        if name.startswith("get_") and name[4:] in self.__dict__:
            return lambda: self.__dict__[name[4:]]
        raise AttributeError(
            f"a spine has no {name}; it has set_visible, set_color, set_linewidth, set_linestyle and set_position")


class _Spines(dict):
    """Spines by side; spines[['top', 'right']] and spines[:] are several at once."""

    def __getitem__(self, key):
        if isinstance(key, (list, tuple, slice)):
            return _Several([self[k] for k in (self if isinstance(key, slice) else key)])
        return super().__getitem__(key)

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


class _Several:
    def __init__(self, spines):
        self.spines = spines

    def __getattr__(self, name):
        return lambda *args, **kwargs: [getattr(s, name)(*args, **kwargs) for s in self.spines] and None


class Axes(Plots):
    """One plot in a figure."""

    def __init__(self, figure, slot=None, sharex=None, sharey=None):
        self.figure, self.slot, self.rect = figure, slot, None
        self.artists, self.labelled, self.containers = [], [], []
        self.dimensions = [sharex.dimensions[0] if sharex is not None else Dimension(0), sharey.dimensions[1]
                           if sharey is not None else Dimension(1)]
        for d in self.dimensions:
            d.axes.append(self)
        self.xaxis, self.yaxis = Axis(self, self.dimensions[0]), Axis(self, self.dimensions[1])
        self.spines = _Spines((side, Spine()) for side in ("left", "right", "bottom", "top"))
        self.titles = {}
        self.box = (0, 0, 100, 100)
        self.legend_, self.host, self.bars = None, None, []
        self.axis_on, self.visible, self.background = True, True, "white"
        self.aspect, self.adjustable = None, "box"
        self.cycle, self.cycle_at = colors.CYCLE, 0
        self.grid_below, self.order = True, 0
        self.transData, self.transAxes = Transform(self, "data", "data"), Transform(self, "axes", "axes")

    def __getattr__(self, name):
        if name.startswith("__") or name in ("figure", "artists"):
            raise AttributeError(name)
        have = [n for n in dir(type(self)) if n[0] != "_"]
        near = get_close_matches(name, have, 3)
        raise Unsupported(f"axes have no {name} in this subset of matplotlib"
                          + (f"; near it are {', '.join(near)}" if near else "")
                          + PLOTS)

    # What plots use.

    def numbers(self, index, values):
        """Values as floats along x (0) or y (1)."""
        return self.dimensions[index].numbers(values)

    def add(self, artist):
        """Puts an artist into the axes."""
        self.artists.append(artist)
        self.labelled.append(artist)
        self.figure.touch()
        return artist

    def next_color(self):
        """The next colour of the cycle."""
        self.cycle_at += 1
        return self.cycle[(self.cycle_at - 1) % len(self.cycle)]

    def set_prop_cycle(self, *args, color=None, **kwargs):
        """Colours for what is drawn from now on."""
        if len(args) == 2 and args[0] == "color":
            color = args[1]
        if color is None:
            raise Unsupported("set_prop_cycle() takes color=[…] in this subset")
        self.cycle, self.cycle_at = list(color), 0

    def to_pixels(self, index, values):
        """Pixels of values along x (0) or y (1)."""
        d = self.dimensions[index]
        a, b = d.forward(list(d.limits()))
        p, q = (self.box[0], self.box[2]) if index == 0 else (self.box[3], self.box[1])
        k = (q - p) / (b - a) if b != a else 0.0
        start = p - a * k
        return [start + v * k for v in d.forward(values)]

    def spine_place(self, side):
        """The pixel at which a side's spine, ticks and labels are."""
        x0, y0, x1, y1 = self.box
        at = {"left": x0, "right": x1, "bottom": y1, "top": y0}[side]
        position = self.spines[side].position
        if position is None:
            return at
        index = 0 if side in ("left", "right") else 1
        kind, value = position
        if kind == "outward":
            return at + value * self.figure.pt * (-1 if side in ("left", "top") else 1)
        if kind == "axes":
            return x0 + value * (x1 - x0) if index == 0 else y1 - value * (y1 - y0)
        place = self.to_pixels(index, [float(value)])[0]
        return min(max(place, x0), x1) if index == 0 else min(max(place, y0), y1)

    # Limits, scales and ticks.

    def get_xaxis(self):
        """The axis of x."""
        return self.xaxis

    def get_yaxis(self):
        """The axis of y."""
        return self.yaxis

    def get_xaxis_transform(self):
        """For a place given by data along x and from 0 to 1 along y."""
        return Transform(self, "data", "axes")

    def get_yaxis_transform(self):
        """For a place given from 0 to 1 along x and by data along y."""
        return Transform(self, "axes", "data")

    def locator_params(self, axis="both", nbins=None, **ignored):
        """At most nbins intervals between ticks."""
        for d in self._picked(axis):
            d.locator = ticks.MaxNLocator(nbins)
        self.figure.touch()

    def get_xlim(self):
        """(left, right) in sight."""
        return self.dimensions[0].limits()

    def get_ylim(self):
        """(lower, upper) in sight."""
        return self.dimensions[1].limits()

    def set_xlim(self, left=None, right=None, *, xmin=None, xmax=None, auto=None, emit=True):
        """Fixes the limits of x; a pair may be given as one."""
        return self._limit(0, xmin if left is None else left, xmax if right is None else right)

    def set_ylim(self, bottom=None, top=None, *, ymin=None, ymax=None, auto=None, emit=True):
        """Fixes the limits of y; a pair may be given as one."""
        return self._limit(1, ymin if bottom is None else bottom, ymax if top is None else top)

    set_xbound, set_ybound = set_xlim, set_ylim

    def _limit(self, index, lo, hi):
        if hi is None and isinstance(lo, (tuple, list)):
            lo, hi = lo
        d = self.dimensions[index]
        d.set(None if lo is None else d.number(lo), None if hi is None else d.number(hi))
        self.figure.touch()
        return d.limits()

    def set_xscale(self, value, **options):
        """linear, log or symlog."""
        self._scale(0, value, options)

    def set_yscale(self, value, **options):
        """linear, log or symlog."""
        self._scale(1, value, options)

    def _scale(self, index, value, options):
        if value not in ("linear", "log", "symlog"):
            raise Unsupported(f"scale {value!r} is not known in this subset; there are linear, log and symlog")
        d = self.dimensions[index]
        d.scale, d.base = value, float(options.get("base", 10))
        d.threshold = float(options.get("linthresh", 2.0))
        self.figure.touch()

    def get_xscale(self):
        """linear, log or symlog."""
        return self.dimensions[0].scale

    def get_yscale(self):
        """linear, log or symlog."""
        return self.dimensions[1].scale

    def invert_xaxis(self):
        """Turns x round."""
        self.xaxis.set_inverted(not self.dimensions[0].inverted)
        self.figure.touch()

    def invert_yaxis(self):
        """Turns y round."""
        self.yaxis.set_inverted(not self.dimensions[1].inverted)
        self.figure.touch()

    def margins(self, *margins, x=None, y=None, tight=True):
        """Room beside the data, as a part of its span."""
        x, y = margins if len(margins) == 2 else (margins[0], margins[0]) if margins else (x, y)
        for d, value in zip(self.dimensions, (x, y)):
            if value is not None:
                d.margin = float(value)
        self.figure.touch()

    def autoscale(self, enable=True, axis="both", tight=None):
        """Follows the data again; tight leaves no room beside it."""
        for d in self._picked(axis):
            if enable:
                d.lo = d.hi = None
            d.tight = bool(tight)
        self.figure.touch()

    def autoscale_view(self, **kwargs):
        """Accepted: limits follow the data anyway."""

    def relim(self, **kwargs):
        """Accepted: limits follow the data anyway."""

    def _picked(self, axis):
        return [d for d, name in zip(self.dimensions, "xy") if axis in ("both", name)]

    def set_xticks(self, ticks, labels=None, minor=False, **style):
        """Fixes the ticks of x, and perhaps their labels."""
        self.xaxis.set_ticks(ticks, labels, minor, **style)
        self.figure.touch()

    def set_yticks(self, ticks, labels=None, minor=False, **style):
        """Fixes the ticks of y, and perhaps their labels."""
        self.yaxis.set_ticks(ticks, labels, minor, **style)
        self.figure.touch()

    def set_xticklabels(self, labels, **style):
        """Fixes the labels of the ticks of x."""
        self.xaxis.set_ticklabels(labels, **style)

    def set_yticklabels(self, labels, **style):
        """Fixes the labels of the ticks of y."""
        self.yaxis.set_ticklabels(labels, **style)

    def get_xticks(self):
        """The places of the ticks of x."""
        return self.xaxis.get_majorticklocs()

    def get_yticks(self):
        """The places of the ticks of y."""
        return self.yaxis.get_majorticklocs()

    def get_xticklabels(self):
        """The tick labels of x as texts; changing one changes the look of all."""
        return self.xaxis.get_ticklabels()

    def get_yticklabels(self):
        """The tick labels of y as texts; changing one changes the look of all."""
        return self.yaxis.get_ticklabels()

    def tick_params(self, axis="both", **params):
        """How ticks and their labels look."""
        for a, name in ((self.xaxis, "x"), (self.yaxis, "y")):
            if axis in ("both", name):
                a.set_params(params)
        self.figure.touch()

    def ticklabel_format(self, axis="both", style="", scilimits=None, useOffset=None, useMathText=None):
        """style='plain' writes numbers out, 'sci' shares a power of ten outside of scilimits."""
        for a, name in ((self.xaxis, "x"), (self.yaxis, "y")):
            if axis in ("both", name):
                formatter = a.dimension.formatter
                if not isinstance(formatter, ticks.ScalarFormatter):
                    formatter = a.dimension.formatter = ticks.ScalarFormatter()
                if style == "plain":
                    formatter.set_scientific(False)
                elif scilimits is not None:
                    formatter.set_powerlimits((scilimits[0] - (scilimits == (0, 0)),
                                               scilimits[1] - (scilimits == (0, 0))))

    def minorticks_on(self):
        """Shows unlabelled ticks between the labelled ones."""
        self.xaxis.minor_on = self.yaxis.minor_on = True

    def minorticks_off(self):
        """Hides unlabelled ticks."""
        for d in self.dimensions:
            d.minor_locator = ticks.NullLocator()

    def grid(self, visible=None, which="major", axis="both", **style):
        """Lines at the ticks."""
        style = {{"c": "color", "ls": "linestyle", "lw": "linewidth"}.get(k, k): v for k, v in style.items()
                 if k != "zorder"}
        on = True if visible is None else bool(visible)
        for a, name in ((self.xaxis, "x"), (self.yaxis, "y")):
            if axis in ("both", name):
                if which in ("major", "both"):
                    a.lines = {**(a.lines or {}), **style} if on else None
                if which in ("minor", "both"):
                    a.minor_lines = {"linewidth": 0.5, "alpha": 0.6, **style} if on else None
        self.figure.touch()

    def set_axisbelow(self, on):
        """Whether the grid is below everything (it is, unless told False)."""
        self.grid_below = on is not False

    def set_aspect(self, aspect, adjustable=None, **kwargs):
        """'equal', 'auto' or pixels of a unit of y for one of x."""
        self.aspect = None if aspect == "auto" else 1.0 if aspect == "equal" else float(aspect)
        self.adjustable = adjustable or self.adjustable
        self.figure.touch()

    def set_box_aspect(self, aspect=None):
        """The height of the box for its width."""
        self.aspect, self.adjustable = aspect, "frame"

    def axis(self, *args, **limits):
        """'off', 'on', 'equal', 'scaled', 'square', 'tight', 'image', 'auto', or four limits; gives the limits."""
        option = args[0] if args else None
        if isinstance(option, (list, tuple)):
            self.set_xlim(*option[:2])
            self.set_ylim(*option[2:])
        elif option in ("off", "on", False, True):
            self.axis_on = option in ("on", True)
        elif option == "equal":
            self.set_aspect("equal", "datalim")
        elif option in ("scaled", "square", "image"):
            self.set_aspect("equal", "box")
        elif option == "tight":
            self.autoscale(tight=True)
        elif option == "auto":
            self.set_aspect("auto")
        elif option is not None:
            raise ValueError(
                f"axis() does not know {option!r}; it knows off, on, equal, scaled, square, image, tight, auto and "
                "four limits")
        if limits:
            self.set_xlim(limits.get("xmin"), limits.get("xmax"))
            self.set_ylim(limits.get("ymin"), limits.get("ymax"))
        self.figure.touch()
        return (*self.get_xlim(), *self.get_ylim())

    def set_axis_off(self):
        """Hides axes, frame and ticks."""
        self.axis("off")

    def set_axis_on(self):
        """Shows axes, frame and ticks."""
        self.axis("on")

    # Texts.

    def set_title(self, label, fontdict=None, loc="center", pad=None, y=None, **style):
        """The title above, at the left, center or right."""
        self.titles[loc] = Text(self, 0, 0, label, {**(fontdict or {}), **style}, "set_title()")
        self.figure.touch()
        return self.titles[loc]

    def get_title(self, loc="center"):
        """The title."""
        return self.titles[loc].text if loc in self.titles else ""

    def set_xlabel(self, xlabel, fontdict=None, labelpad=None, **style):
        """The label of x."""
        return self._label(self.xaxis, xlabel, labelpad, {**(fontdict or {}), **style})

    def set_ylabel(self, ylabel, fontdict=None, labelpad=None, **style):
        """The label of y."""
        return self._label(self.yaxis, ylabel, labelpad, {**(fontdict or {}), **style})

    def _label(self, axis, text, pad, style):
        axis.set_label_text(text, **style)
        axis.labelpad = 4.0 if pad is None else float(pad)
        self.figure.touch()
        return axis.label

    def get_xlabel(self):
        """The label of x."""
        return self.xaxis.label.text

    def get_ylabel(self):
        """The label of y."""
        return self.yaxis.label.text

    def text(self, x, y, s, fontdict=None, **style):
        """A text at a place; transform=ax.transAxes counts from 0 to 1."""
        artist = Text(self, 0, 0, s, {**(fontdict or {}), **style})
        kinds = artist.transform()
        artist.x = self.numbers(0, [x])[0] if kinds.x == "data" else float(x)
        artist.y = self.numbers(1, [y])[0] if kinds.y == "data" else float(y)
        return self.add(artist)

    def annotate(self, text, xy, xytext=None, **style):
        """A text that says something of the point xy, with an arrow if arrowprops is given."""
        return self.add(Annotation(self, text, xy, xytext, style))

    def set(self, **properties):
        """Sets several things: xlabel, ylabel, title, xlim, ylim, xscale, xticks, aspect and so on."""
        for name, value in properties.items():
            getattr(self, "set_" + name)(*value) if name in ("xlim", "ylim") else getattr(self, "set_" + name)(value)

    def legend(self, *args, handles=None, labels=None, **options):
        """The key of what has a label, or of the handles and labels that are given."""
        found, names = entries(self)
        if len(args) == 2:
            handles, labels = args
        elif len(args) == 1:
            labels = args[0]
        if handles is not None:
            found = list(handles)
            names = labels if labels is not None else [getattr(h, "label", None) or "" for h in found]
        elif labels is not None:
            found = [i for i in self.labelled if isinstance(i, (Line, Scatter)) or hasattr(i, "sample")
                     or (isinstance(i, Patch) and i not in self._parts())]
            names = [labels] if isinstance(labels, str) else list(labels)
            found = found[:len(names)]
        self.legend_ = Legend(self, found, [str(n) for n in names][:len(found)], options)
        self.figure.touch()
        return self.legend_

    def _parts(self):
        return {p for c in self.containers for p in c}

    def get_legend(self):
        """The legend, or None."""
        return self.legend_

    def get_legend_handles_labels(self):
        """(handles, labels) of what has a label."""
        handles, labels = entries(self)
        return handles, labels

    # Frame and company.

    def set_facecolor(self, color):
        """The background."""
        self.background = color
        self.figure.touch()

    def set_frame_on(self, on):
        """Shows or hides the frame."""
        self.spines[:].set_visible(bool(on))

    def set_visible(self, on):
        """Shows or hides the axes."""
        self.visible = bool(on)
        self.figure.touch()

    def set_zorder(self, level):
        """The order among the axes of a figure."""
        self.order = level

    def set_position(self, rect):
        """Left, bottom, width and height as parts of the figure."""
        self.rect, self.slot = [float(v) for v in rect], None
        self.figure.touch()

    def get_position(self):
        """(left, bottom, right, top) as parts of the figure, as far as they were laid out."""
        x0, y0, x1, y1 = self.box
        return (x0 / self.figure.width, 1 - y1 / self.figure.height, x1 / self.figure.width,
                1 - y0 / self.figure.height)

    def get_figure(self):
        """The figure."""
        return self.figure

    def label_outer(self):
        """Hides labels that are not at the outer sides of the grid."""
        if self.slot:
            grid, r0, r1, c0, c1 = self.slot
            if r1 < grid.nrows - 1:
                self.xaxis.labels_on, self.xaxis.label.text = False, ""
            if c0 > 0:
                self.yaxis.labels_on, self.yaxis.label.text = False, ""

    def twinx(self):
        """Axes at the same place with a y of their own on the right."""
        return self._twin(sharex=self)

    def twiny(self):
        """Axes at the same place with an x of their own above."""
        return self._twin(sharey=self)

    def _twin(self, sharex=None, sharey=None):
        twin = Axes(self.figure, None, sharex, sharey)
        twin.host, twin.background = self.host or self, None
        own, other, side = (twin.yaxis, twin.xaxis, "right") if sharex else (twin.xaxis, twin.yaxis, "top")
        own.move(side)
        other.visible = False
        for name in twin.spines:
            twin.spines[name].visible = name == side
        self.figure.axes.append(twin)
        self.figure.current = twin
        return twin

    def sharex(self, other):
        """Takes the x of other axes for its own."""
        self._join(0, other)

    def sharey(self, other):
        """Takes the y of other axes for its own."""
        self._join(1, other)

    def _join(self, index, other):
        self.dimensions[index].axes.remove(self)
        self.dimensions[index] = other.dimensions[index]
        self.dimensions[index].axes.append(self)
        (self.yaxis if index else self.xaxis).dimension = self.dimensions[index]

    def get_lines(self):
        """The lines."""
        return [a for a in self.artists if isinstance(a, Line)]

    @property
    def axes(self):
        return self

    @property
    def title(self):
        return self.titles.setdefault("center", Text(self, 0, 0, "", {}))

    @property
    def lines(self):
        return self.get_lines()

    @property
    def patches(self):
        return [a for a in self.artists if isinstance(a, Patch)]

    @property
    def texts(self):
        return [a for a in self.artists if isinstance(a, Text)]

    def add_patch(self, patch):
        """Adds a Rectangle, Circle, Ellipse, Polygon, Wedge, Arc or FancyArrowPatch."""
        return self.add_artist(patch)

    def add_line(self, line):
        """Adds a line."""
        return self.add_artist(line)

    def add_artist(self, artist):
        """Adds what was made apart from axes."""
        if isinstance(artist, Legend):
            self.legend_ = artist
            return artist
        if not isinstance(artist, Artist):
            raise TypeError(f"{artist!r} is nothing that axes can show")
        artist.axes = self
        if isinstance(artist, Rectangle):
            artist.x, artist.y = self.numbers(0, [artist.x])[0], self.numbers(1, [artist.y])[0]
        return self.add(artist)

    def cla(self):
        """Takes everything out."""
        figure, slot, rect, dims = self.figure, self.slot, self.rect, self.dimensions
        for d in dims:
            d.axes.remove(self)
        self.__init__(figure, slot)
        self.rect = rect
        figure.touch()

    clear = cla

    def remove(self):
        """Takes the axes out of the figure."""
        self.figure.delaxes(self)

    # Layout and drawing.

    def settle(self):
        """Fits limits to an aspect, and ticks to the box."""
        if self.aspect and self.adjustable == "datalim":
            self._fit_limits()
        self.xaxis.fit(self.box[2] - self.box[0])
        self.yaxis.fit(self.box[3] - self.box[1])

    def _fit_limits(self):
        for d in self.dimensions:
            d._cache = None
        x0, y0, x1, y1 = self.box
        (a, b), (c, e) = (sorted(d.limits()) for d in self.dimensions)
        per_x, per_y = (b - a) / (x1 - x0), (e - c) / (y1 - y0) * self.aspect
        if per_x < per_y:
            d, lo, hi, grow = self.dimensions[0], a, b, per_y / per_x
        else:
            d, lo, hi, grow = self.dimensions[1], c, e, per_x / per_y
        middle, half = (lo + hi) / 2, (hi - lo) / 2 * grow
        d._cache = (d._cache[0], (middle - half, middle + half))

    def shrink(self):
        """Makes the box smaller so that it keeps the aspect."""
        if not self.aspect or self.adjustable == "datalim":
            return
        x0, y0, x1, y1 = self.box
        if self.adjustable == "frame":
            ratio = self.aspect
        else:
            spans = [abs(b - a) for a, b in (d.forward(list(d.limits())) for d in self.dimensions)]
            ratio = self.aspect * spans[1] / (spans[0] or 1.0)
        w, h = x1 - x0, y1 - y0
        if h / w > ratio:
            cut = (h - w * ratio) / 2
            self.box = (x0, round(y0 + cut), x1, round(y1 - cut))
        else:
            cut = (w - h / ratio) / 2
            self.box = (round(x0 + cut), y0, round(x1 - cut), y1)

    def extent(self):
        """(left, top, right, bottom) of the box with all that stands round it."""
        boxes = [self.box] + [e for e in (self.xaxis.extent(), self.yaxis.extent()) if e]
        title = self._title_height()
        if title:
            top = min(b[1] for b in boxes)
            boxes.append((self.box[0], top - title, self.box[2], self.box[3]))
            for loc, text in self.titles.items():
                excess = text.layout(12.0).width - (self.box[2] - self.box[0])
                if excess > 0 and loc == "center":
                    boxes.append((self.box[0] - excess / 2, top, self.box[2] + excess / 2, top))
        if self.legend_ is not None and self.legend_.handles and (self.legend_.options.get("bbox_to_anchor")
                                                                  or isinstance(self.legend_.loc, tuple)):
            self.legend_.measure()
            boxes.append(self.legend_.box(self.box))
        boxes += self._text_boxes()
        return tuple(f(b[i] for b in boxes) for i, f in enumerate((min, min, max, max)))

    def _text_boxes(self):
        """Boxes of texts at or near the axes, which a picture should not cut off."""
        x0, y0, x1, y1 = self.box
        near_x, near_y = (x1 - x0) * 0.5, (y1 - y0) * 0.5
        out = []
        for t in self.artists:
            if isinstance(t, Text) and t.text and not isinstance(t, Annotation):
                (x, y), = t.transform().points([t.x], [t.y])
                if x0 - near_x <= x <= x1 + near_x and y0 - near_y <= y <= y1 + near_y:
                    p = t.props
                    out.append(anchor(t.layout(), x, y, p.get("horizontalalignment", "left"),
                                      p.get("verticalalignment", "baseline"),
                                      t.angle(), p.get("rotation_mode"))[2])
        return out

    def _title_height(self):
        layouts = [t.layout(12.0) for t in self.titles.values() if t.text]
        return max((la.ascent + la.descent for la in layouts), default=0) + (6 * self.figure.pt if layouts else 0)

    def occupied(self):
        """Pixels near which something is drawn, for a legend to keep off."""
        out = []
        for a in [a for ax in self.figure.axes if ax is self or ax.host is self for a in ax.artists]:
            if isinstance(a, Line):
                points = a.transform().points(a.xs, a.ys)
                out += sample_points(points if len(points) < 2000 else points[::len(points) // 1000], None)
            elif isinstance(a, Scatter):
                out += a.transform().points(a.xs, a.ys)[:3000]
            elif isinstance(a, Patch):
                for ring in a.rings:
                    points = a.transform().points([p[0] for p in ring], [p[1] for p in ring])
                    good = [p for p in points if isfinite(p[0]) and isfinite(p[1])]
                    out += sample_points(good + good[:1], None)
                    if isinstance(a, Rectangle) and len(good) == 4:
                        (xa, ya), (xb, yb) = good[0], good[2]
                        out += [(xa + (xb - xa) * i / 4, ya + (yb - ya) * j / 8) for i in range(5) for j in range(9)]
            elif isinstance(a, Text) and a.text:
                out += a.transform().points([a.x], [a.y]) if not isinstance(a, Annotation) else []
        return out

    def draw(self, backend):
        """Draws everything; the box has been laid out."""
        x0, y0, x1, y1 = self.box
        if self.axis_on and self.background not in (None, "none"):
            paint = colors.parse(self.background)
            if paint and paint[:3] != self.figure.paper[:3]:
                backend.fill([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]], paint)
        items = [(a.zorder, i, a.draw) for i, a in enumerate(self.artists) if a.props.get("visible", True) is not False]
        for axis in (self.xaxis, self.yaxis):
            items.append((0.5 if self.grid_below else 2.4, -1, axis.draw_grid))
            items.append((2.5, 1 << 30, axis.draw))
        items.append((2.5, 1 << 29, self._draw_spines))
        for _, _, draw in sorted(items, key=lambda item: item[:2]):
            draw(backend)
        self._draw_titles(backend)
        if self.legend_ is not None:
            self.legend_.draw(backend, self.box)

    def _draw_spines(self, backend):
        if not self.axis_on:
            return
        x0, y0, x1, y1 = self.box
        for side, spine in self.spines.items():
            if spine.visible:
                p = self.spine_place(side)
                line = [(p, y0 - 0.5), (p, y1 + 0.5)] if side in ("left", "right") else [(x0 - 0.5, p), (x1 + 0.5, p)]
                paint = colors.parse(spine.color)
                if paint:
                    backend.stroke([line], paint, float(spine.linewidth) * self.figure.pt)

    def _draw_titles(self, backend):
        x0, _, x1, _ = self.box
        top = min([self.box[1]] + [e[1] for e in (self.xaxis.extent(), self.yaxis.extent()) if e])
        for twin in self.figure.axes:
            if twin.host is self:
                top = min([top] + [e[1] for e in (twin.xaxis.extent(), twin.yaxis.extent()) if e])
        if top > self.box[1] - 8 * self.figure.pt:
            top = self.box[1]
        for loc, text in self.titles.items():
            x = {"left": x0, "center": (x0 + x1) / 2, "right": x1}[loc]
            text.props.pop("y", None)
            layout = text.layout(12.0)
            text.place(backend, x, top - 5 * self.figure.pt, layout, loc, "bottom") if text.text else None


