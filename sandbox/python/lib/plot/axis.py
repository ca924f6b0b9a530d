"""One direction of a pair of axes: Dimension holds what numbers mean and which are in sight, Axis how they look.

Axes that share x or y have one Dimension in common; each has an Axis of its own.
"""

from datetime import date, timedelta
from math import cos, inf, isfinite, log10, nan, radians, sin

from . import color as colors
from . import font, ticks
from .artists import Text, Unsupported, anchor, dash_of, font_size, looks


LARGEST = 1e300  # of a limit, and of one over a span: so far from where floats end that all sums stay finite


class Dimension:
    """The scale and limits along x (index 0) or y (index 1), for all axes that share them."""

    def __init__(self, index):
        self.index, self.axes = index, []
        self.lo = self.hi = None            # limits that were set; None follows the data
        self.scale, self.base, self.threshold = "linear", 10.0, 2.0
        self.inverted, self.dates, self.categories = False, False, {}
        self.margin = 0.05
        self.locator = self.formatter = self.minor_locator = None
        self.fixed = self.labels = None     # ticks and their texts that were set
        self.tight = self.whole = False     # no room beside the data; ticks at whole numbers only
        self._dates = ticks.DateLocator()
        self._cache = None

    def numbers(self, values):
        """Values as floats: dates as days, strings as categories, None as nan."""
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            values = [values]
        values = list(values)
        try:
            return [float(v) if type(v) is not str else self.number(v) for v in values]
        except TypeError:
            return [self.number(v) for v in values]

    def number(self, value):
        """One value as a float."""
        if isinstance(value, str):
            return float(self.categories.setdefault(value, len(self.categories)))
        if value is None:
            return nan
        if isinstance(value, date):
            self.dates = True
            return ticks.date2num(value)
        if isinstance(value, timedelta):
            return value.total_seconds() / 86400
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"{'xy'[self.index]} holds {value!r} of type {type(value).__name__}; it should be a number, a string, "
                "a date or None, and a sequence should have one level only") from None

    def forward(self, values):
        """Values on the scale, where equal steps are equal distances; what a logarithm lacks lies far below."""
        if self.scale == "linear":
            return values
        if self.scale == "log":
            return [log10(v) if v > 0 else (nan if v != v else -400.0) for v in values]
        t = self.threshold
        return [v / t if abs(v) <= t else (1 + log10(abs(v) / t)) * (1 if v > 0 else -1) for v in values]

    def backward(self, value):
        """A place on the scale as a value."""
        if self.scale == "linear":
            return value
        if self.scale == "log":
            return 10.0 ** min(max(value, -300), 300)
        t = self.threshold
        return value * t if abs(value) <= 1 else (10 ** min(abs(value) - 1, 300)) * t * (1 if value > 0 else -1)

    def limits(self):
        """(first, last) value in sight, the first at the left or lower end."""
        version = sum(ax.figure.version for ax in self.axes)
        if self._cache is None or self._cache[0] != version:
            self._cache = (version, self._limits())
        lo, hi = self._cache[1]
        return (hi, lo) if self.inverted else (lo, hi)

    def _limits(self):
        if self.lo is not None and self.hi is not None:
            return self.lo, self.hi
        low, high, sticky = inf, -inf, set()
        for axes in self.axes:
            for artist in axes.artists:
                values = artist.data()[self.index]
                good = list(filter(isfinite, values)) if values else []
                if self.scale == "log":
                    good = [v for v in good if v > 0]
                if good:
                    low, high = min(low, min(good)), max(high, max(good))
                sticky.update(artist.sticky_y if self.index else artist.sticky_x)
        if low > high:
            low, high = (0.1, 10.0) if self.scale == "log" else (0.0, 1.0)
            sticky = {low, high}
        low, high = max(low, -LARGEST), min(high, LARGEST)
        if high - low < 1 / LARGEST:
            if self.scale == "log":
                low, high = low / 10, high * 10
            else:
                pad = 1.0 if self.dates else 0.5 if self.categories else abs(low) * 0.05 if abs(low) > 1e-200 else 0.05
                low, high = low - pad, high + pad
        a, b = self.forward([low, high])
        pad = (b - a) * (0.0 if self.tight else self.margin)
        lo = low if low in sticky else self.backward(a - pad)
        hi = high if high in sticky else self.backward(b + pad)
        return (lo if self.lo is None else self.lo, hi if self.hi is None else self.hi)

    def set(self, lo, hi):
        """Fixes one or both ends; None leaves an end as it is."""
        for name, v in (("lower", lo), ("upper", hi)):
            if v is not None and (not abs(v) <= LARGEST or (self.scale == "log" and v <= 0)):
                raise ValueError(f"the {name} limit of {'xy'[self.index]} is {v:g} and should be a finite number"
                                 + (" above 0 on a log scale" if self.scale == "log" else ""))
        if lo is not None and hi is not None:
            if abs(hi - lo) < 1 / LARGEST:
                pad = abs(lo) * 0.01 if abs(lo) > 1e-200 else 0.05
                lo, hi = lo - pad, hi + pad
            self.inverted = False
            if lo > hi:
                self.inverted, lo, hi = True, hi, lo
        elif self.inverted:
            lo, hi = hi, lo
        self.lo = self.lo if lo is None else lo
        self.hi = self.hi if hi is None else hi
        self._cache = None

    def find(self):
        """The locator and formatter in use."""
        locator, formatter = self.locator, self.formatter
        if locator is None:
            if self.dates:
                locator = self._dates
            elif self.scale == "log":
                locator = ticks.LogLocator(self.base)
            elif self.scale == "symlog":
                locator = ticks.SymmetricalLogLocator(self.threshold)
            elif self.categories:
                locator = ticks.FixedLocator(range(len(self.categories)))
            else:
                locator = ticks.AutoLocator(whole=self.whole)
        if formatter is None:
            if self.dates:
                formatter = ticks.AutoDateFormatter(locator)
            elif self.scale != "linear":
                formatter = ticks.LogFormatter(self.base)
            elif self.categories:
                names = list(self.categories)
                formatter = ticks.FuncFormatter(lambda v, p: names[round(v)] if abs(v - round(v)) < 1e-6
                                                and 0 <= round(v) < len(names) else "")
            else:
                formatter = ticks.ScalarFormatter()
        return locator, formatter


PARAMS = ("labelsize", "rotation", "labelrotation", "colors", "color", "labelcolor", "length", "width", "direction",
          "pad", "bottom", "top",
          "left", "right", "labelbottom", "labeltop", "labelleft", "labelright", "which", "axis", "reset", "grid_alpha",
          "grid_color",
          "grid_linestyle", "grid_linewidth", "fontsize")


class Axis:
    """Ticks, tick labels, axis label and grid along one side of axes."""

    def __init__(self, axes, dimension):
        self.axes, self.dimension, self.index = axes, dimension, dimension.index
        self.side = ("bottom", "left")[self.index]
        self.visible = self.labels_on = True
        self.marks = {self.side}
        self.label = Text(axes, 0, 0, "", {})
        self.labelpad = 4.0
        self.label_at = None
        self.size, self.rotation, self.align, self.weight = 10.0 * axes.figure.font, None, {}, "normal"
        self.color = self.labelcolor = "black"
        self.length, self.width, self.direction, self.pad = 3.5, 0.8, "out", 3.5
        self.lines, self.minor_lines, self.minor_on = None, None, False
        self.ticks, self.minors, self.texts, self.offset = [], [], [], None  # as fit left them
        self.turned, self.inner = 0, (0, 0, 0, 0)

    def set_major_locator(self, locator):
        """Chooses where ticks are."""
        if not isinstance(locator, ticks.Locator):
            raise TypeError(f"locator is {locator!r} and should be one of ticker's or dates' locators")
        self.dimension.locator, self.dimension.fixed, self.dimension.labels = locator, None, None

    def set_minor_locator(self, locator):
        """Chooses where unlabelled ticks are."""
        self.dimension.minor_locator, self.minor_on = locator, True

    def set_major_formatter(self, formatter):
        """Chooses what ticks say: a formatter, a format string with {x}, or a function of (value, position)."""
        if isinstance(formatter, str):
            formatter = ticks.StrMethodFormatter(formatter)
        elif not type(formatter).__module__.startswith("plot.") and callable(formatter):
            formatter = ticks.FuncFormatter(formatter)
        self.dimension.formatter = formatter
        self.dimension.labels = None

    def set_minor_formatter(self, formatter):
        """Accepted: minor ticks have no labels here."""

    def set_visible(self, on):
        """Shows or hides ticks and labels."""
        self.visible = bool(on)

    def set_ticks(self, positions, labels=None, minor=False, **style):
        """Fixes the ticks and perhaps their labels."""
        if minor:
            self.dimension.minor_locator, self.minor_on = ticks.FixedLocator(self.dimension.numbers(positions)), True
            return
        self.dimension.fixed, self.dimension.labels = self.dimension.numbers(positions), None
        if labels is not None:
            self.set_ticklabels(labels, **style)
        else:
            self.style_labels(**style)

    def set_ticklabels(self, labels, **style):
        """Fixes the labels of the ticks in order."""
        labels = [t.get_text() if isinstance(t, Text) else str(t) for t in labels]
        if self.dimension.fixed is None:
            self.dimension.fixed = self.positions(8)
        if labels and len(labels) != len(self.dimension.fixed):
            raise ValueError(
                f"there are {len(labels)} tick labels for {len(self.dimension.fixed)} ticks; set ticks "
                "first, and as many labels")
        self.dimension.labels = labels
        if not labels:
            self.labels_on = False
        self.style_labels(**style)

    def style_labels(self, **style):
        """Changes how tick labels look: fontsize, rotation, color, ha, va, fontweight."""
        style = looks(style, Text.allowed, "tick labels")
        self.size = font_size(style.pop("fontsize", None), self.size)
        self.rotation = style.pop("rotation", self.rotation)
        self.rotation = {"vertical": 90, "horizontal": 0}.get(self.rotation, self.rotation)
        self.labelcolor = style.pop("color", self.labelcolor)
        self.weight = style.pop("fontweight", self.weight)
        if style.pop("visible", True) is False:
            self.labels_on = False
        self.align.update({k: v for k, v in style.items()
                           if k in ("horizontalalignment", "verticalalignment", "rotation_mode")})
        self.axes.figure.touch()

    def get_ticklabels(self):
        """The tick labels as texts; changing one changes the look of all."""
        positions, texts = self.tick_texts(8)
        out = []
        for p, t in zip(positions, texts):
            label = Text(self.axes, p if self.index == 0 else 0, p if self.index else 0, t, {})
            label.set = lambda **style: self.style_labels(**style)
            out.append(label)
        return out

    def get_majorticklocs(self):
        """The places of the ticks."""
        return self.positions(8)

    def set_params(self, params):
        """What tick_params gives."""
        minor = params.get("which") == "minor"
        for name, value in params.items():
            if name not in PARAMS:
                raise Unsupported(f"tick_params() does not take {name} in this subset; it takes {', '.join(PARAMS)}")
            if name in ("labelsize", "fontsize"):
                self.size = font_size(value)
            elif name in ("rotation", "labelrotation"):
                self.rotation = {"vertical": 90, "horizontal": 0}.get(value, value)
            elif name == "colors":
                self.color = self.labelcolor = value
            elif name in ("color", "labelcolor", "width", "direction", "pad"):
                setattr(self, name, value)
            elif name == "length" and not minor:
                self.length = value
            elif name.startswith("grid_") and self.lines is not None:
                self.lines[name[5:]] = value
            elif name in (("bottom", "top"), ("left", "right"))[self.index]:
                (self.marks.add if value else self.marks.discard)(name)
            elif name in (("labelbottom", "labeltop"), ("labelleft", "labelright"))[self.index]:
                if value:
                    self.side, self.labels_on = name[5:], True
                    self.marks.add(self.side) if name[5:] not in params else None
                elif self.side == name[5:]:
                    self.labels_on = False

    def set_tick_params(self, which="major", **params):
        """How ticks and their labels look."""
        self.set_params({"which": which, **params})
        self.axes.figure.touch()

    def move(self, side, marks=True):
        """Puts ticks and labels on a side."""
        if side in ("top", "bottom", "left", "right"):
            self.side = side
            if marks:
                self.marks = {side}
        elif side == "both":
            self.marks = set((("bottom", "top"), ("left", "right"))[self.index])
        elif side == "none":
            self.marks = set()

    set_ticks_position = move

    def tick_top(self):
        """Ticks and labels above."""
        self.move("top")

    def tick_bottom(self):
        """Ticks and labels below."""
        self.move("bottom")

    def tick_right(self):
        """Ticks and labels on the right."""
        self.move("right")

    def tick_left(self):
        """Ticks and labels on the left."""
        self.move("left")

    def set_label_position(self, side):
        """Puts the axis label on a side."""
        self.label_at = side

    def set_label_text(self, text, **style):
        """The axis label."""
        self.label = Text(self.axes, 0, 0, text, style, "axis label")

    def grid(self, visible=True, which="major", **style):
        """Lines at the ticks of this axis."""
        self.axes.grid(visible, which, "xy"[self.index], **style)

    def set_inverted(self, on):
        """Turns the direction round or back."""
        self.dimension.inverted = bool(on)
        self.dimension._cache = None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        have = [n for n in dir(type(self)) if n[0] != "_" and callable(getattr(type(self), n))]
        raise Unsupported(f"an axis has no {name} in this subset; it has {', '.join(have)}")

    def positions(self, room):
        """Where ticks are, within the limits."""
        lo, hi = sorted(self.dimension.limits())
        found = self.dimension.fixed
        if found is None:
            found = self.dimension.find()[0].ticks(lo, hi, room)
        return found

    def tick_texts(self, room):
        """(positions, texts) of the ticks in sight."""
        lo, hi = sorted(self.dimension.limits())
        slack = (hi - lo) * 1e-9
        found = self.positions(room)
        inside = [(i, v) for i, v in enumerate(found) if lo - slack <= v <= hi + slack]
        if self.dimension.labels is not None:
            labels = self.dimension.labels
            return [v for _, v in inside], [labels[i] if i < len(labels) else "" for i, _ in inside]
        formatter = self.dimension.find()[1]
        if hasattr(formatter, "set_locs"):
            formatter.set_locs([v for _, v in inside])
        self.offset = formatter.offset() if hasattr(formatter, "offset") else None
        return [v for _, v in inside], [str(formatter(v, p)) for p, (_, v) in enumerate(inside)]

    def fit(self, length):
        """Chooses ticks for an axis of so many pixels, as many as their labels have room for."""
        pt = self.axes.figure.pt
        size = self.size * pt
        style = "b" if self.weight == "bold" else ""
        room = max(1, min(9, int(length / (size * (2.6 if self.index == 0 else 2.0)))))
        turned = self.rotation
        while True:
            values, texts = self.tick_texts(room)
            places = self.axes.to_pixels(self.index, values)
            layouts = [font.layout(t, size, style) for t in texts]
            if self.index or turned or not self.labels_on or not self._crowded(places, layouts, size * 0.5):
                break
            if self.dimension.fixed is None and not self.dimension.categories and room > 1:
                room -= 1
            else:
                gap = min(abs(b - a) for a, b in zip(places, places[1:]))
                turned = 45 if gap > size * 1.6 else 90
        self.turned = turned or 0
        # Labels that would still lie on one another are left out, all but every nth.
        if len(places) > 1:
            gap = min(abs(b - a) for a, b in zip(places, places[1:])) or 1.0
            need = size * 1.1 if self.index else (size * 1.1 / max(abs(sin(radians(self.turned))), 0.25) if self.turned
                                                  else 0)
            every = max(1, -int(-need // gap))
            if every > 1:
                layouts = [la if i % every == 0 else None for i, la in enumerate(layouts)]
        self.ticks, self.texts = values, layouts
        lo, hi = sorted(self.dimension.limits())
        self.minors = self._minor(values, lo, hi)

    def _minor(self, major, lo, hi):
        locator = self.dimension.find()[0]
        extra = self.dimension.minor_locator
        if extra is None and (self.minor_on or self.minor_lines is not None):
            extra = ticks.AutoMinorLocator() if self.dimension.scale == "linear" and not self.dimension.dates else None
        if extra is not None:
            found = extra.divide(major, lo, hi) if hasattr(extra, "divide") else extra.ticks(lo, hi, 20)
        else:
            found = locator.minor(lo, hi) if self.dimension.fixed is None else []
        return [v for v in found if lo <= v <= hi and v not in major]

    def _crowded(self, places, layouts, gap):
        spans = sorted((p - la.width / 2, p + la.width / 2) for p, la in zip(places, layouts) if la.width)
        return any(b[0] - a[1] < gap for a, b in zip(spans, spans[1:]))

    def _alignment(self):
        """(ha, va, mode) of tick labels."""
        angle = self.turned
        if self.index:
            ha, va, mode = ("right" if self.side == "left" else "left"), "center", None
            if angle:
                mode = None
        else:
            below = self.side == "bottom"
            ha, va, mode = "center", ("top" if below else "bottom"), None
            if angle % 90:
                ha = "right" if (angle % 180 < 90) == below else "left"
                mode = "anchor"
                va = "center"
        return (self.align.get("horizontalalignment", ha), self.align.get("verticalalignment", va) if angle % 90 == 0
                or "verticalalignment" in self.align else va,
                self.align.get("rotation_mode", mode if "horizontalalignment" not in self.align
                               or ha == self.align["horizontalalignment"] else None))

    def tick_reach(self):
        """Pixels from the spine to where tick labels begin."""
        pt = self.axes.figure.pt
        out = {"out": 1.0, "inout": 0.5}.get(self.direction, 0.0) if self.side in self.marks else 0.0
        return (self.length * out + self.pad) * pt

    def boxes(self):
        """[(layout, x, y of its begin, box)] of tick labels, at their places."""
        x0, y0, x1, y1 = self.axes.box
        at = self.axes.spine_place(self.side)
        reach = self.tick_reach()
        ha, va, mode = self._alignment()
        out = []
        for p, layout in zip(self.axes.to_pixels(self.index, self.ticks), self.texts):
            if layout is None or not layout.width:
                continue
            if self.index:
                x, y = (at - reach, p) if self.side == "left" else (at + reach, p)
            else:
                x, y = (p, at + reach) if self.side == "bottom" else (p, at - reach)
                if mode == "anchor":
                    y += (layout.ascent * 0.5 * cos(radians(self.turned))) * (1 if self.side == "bottom" else -1)
            out.append((layout, *anchor(layout, x, y, ha, va, self.turned, mode)))
        return out

    def extent(self):
        """(left, top, right, bottom) of labels and axis label in pixels, None where there is nothing."""
        if not self.visible or not self.axes.axis_on:
            return None
        boxes = [b for *_, b in self.boxes()] if self.labels_on else []
        at = self.axes.spine_place(self.side)
        x0, y0, x1, y1 = self.axes.box
        reach = self.tick_reach() if self.marks else 0
        if self.index:
            boxes.append((at - (reach if self.side == "left" else 0), y0, at + (reach if self.side == "right" else 0),
                          y1))
        else:
            boxes.append((x0, at - (reach if self.side == "top" else 0), x1,
                          at + (reach if self.side == "bottom" else 0)))
        box = tuple(f(b[i] for b in boxes) for i, f in enumerate((min, min, max, max)))
        self.inner = box
        if self.offset and self.labels_on:
            h = self.size * self.axes.figure.pt * 1.2
            box = (box[0], box[1] - (h if self.index else 0), box[2],
                   box[3] + (0 if self.index or self.label.text else h))
        if self.label.text:
            layout = self.label.layout()
            thick = layout.ascent + layout.descent + self.labelpad * self.axes.figure.pt
            side = self.label_at or self.side
            l, t, r, b = box
            box = (l - thick * (side == "left"), t - thick * (side == "top"), r + thick * (side == "right"),
                   b + thick * (side == "bottom"))
        return box

    def draw_grid(self, backend):
        """Draws the grid's lines."""
        if not self.axes.axis_on:
            return
        x0, y0, x1, y1 = self.axes.box
        for style, values in ((self.minor_lines, self.minors), (self.lines, self.ticks)):
            if style is None:
                continue
            style = {"color": "#b0b0b0", "linewidth": 0.8, "linestyle": "-", "alpha": None, **style}
            width = float(style["linewidth"]) * self.axes.figure.pt
            dash = dash_of(style["linestyle"])[1]
            lines = [[(p, y0), (p, y1)] if self.index == 0 else [(x0, p), (x1, p)]
                     for p in self.axes.to_pixels(self.index, values)]
            backend.stroke(lines, colors.parse(style["color"], style["alpha"]), width, self.axes.box,
                           [d * width for d in dash] if dash else None)

    def draw(self, backend):
        """Draws ticks, their labels and the axis label."""
        if not self.visible or not self.axes.axis_on:
            return
        pt = self.axes.figure.pt
        inward, outward = {"out": (0, 1), "in": (1, 0), "inout": (.5, .5)}[self.direction]
        for side in sorted(self.marks):
            at, sign = self.axes.spine_place(side), (-1 if side in ("left", "top") else 1)
            lines = []
            for values, length in ((self.ticks, self.length * pt), (self.minors, self.length * pt * 0.57)):
                for p in self.axes.to_pixels(self.index, values):
                    a, b = at - sign * inward * length, at + sign * outward * length
                    lines.append([(a, p), (b, p)] if self.index else [(p, a), (p, b)])
            backend.stroke(lines, colors.parse(self.color), self.width * pt)
        if self.labels_on:
            paint = colors.parse(self.labelcolor)
            for layout, ox, oy, _ in self.boxes():
                backend.text(ox, oy, layout, paint, self.turned, self._alignment()[0])
        self._draw_label(backend)

    def _draw_label(self, backend):
        self.extent()
        l, t, r, b = self.inner
        x0, y0, x1, y1 = self.axes.box
        pt = self.axes.figure.pt
        pad = self.labelpad * pt
        size = self.size * pt
        if self.offset and self.labels_on:
            layout = font.layout(self.offset, size)
            x, y = ((x0 if self.side == "left" else x1 - layout.width),
                    y0 - size * 0.4) if self.index else (x1 - layout.width, b + size * 1.1)
            backend.text(round(x), round(y), layout, colors.parse(self.labelcolor))
        if not self.label.text:
            return
        side = self.label_at or self.side
        along = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0,
                 "top": 1.0}.get(self.label.props.get("loc"), 0.5)
        where = {0.0: "left", 0.5: "center", 1.0: "right"}[along]
        if self.index == 0:
            y = b + pad if side == "bottom" else t - pad
            self.label.place(backend, x0 + along * (x1 - x0), y, self.label.layout(), where, "top" if side == "bottom"
                             else "bottom")
        else:
            self.label.props.setdefault("rotation", 90)
            x, y = (l - pad if side == "left" else r + pad), y1 - along * (y1 - y0)
            ha = "right" if side == "left" else "left"
            va = {"left": "bottom", "center": "center", "right": "top"}[where]
            self.label.place(backend, x, y, self.label.layout(), ha, va)
