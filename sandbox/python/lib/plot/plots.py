"""The kinds of plots, as methods of axes. Data may be any iterables of numbers, dates or strings."""

from bisect import bisect_right
from math import ceil, cos, exp, inf, isfinite, log2, nan, pi, radians, sin, sqrt
from statistics import mean, median

from . import color as colors
from . import markers
from .artists import Arrow, Line, Mesh, Patch, Rectangle, Scatter, Segments, Transform, Unsupported, looks, wedge



class Container(list):
    """Artists that one call made and that have one label; sample stands for them in a legend."""

    def __init__(self, items, label=None, sample=None, horizontal=False):
        super().__init__(items)
        self.label, self.horizontal = None if label is None else str(label), horizontal
        self.sample = sample or (items[0] if items else None)
        self.errorbar = None

    def __hash__(self):
        return id(self)

    @property
    def patches(self):
        return list(self)

    def get_label(self):
        """The label."""
        return self.label

    def set_label(self, label):
        """A new label."""
        self.label = str(label)


def _list(values):
    return list(values) if hasattr(values, "__iter__") and not isinstance(values, str) else None


def _nested(values):
    """Whether values are several data sets."""
    return bool(values) and hasattr(values[0], "__iter__") and not isinstance(values[0], str)


def _quantile(ordered, q):
    place = (len(ordered) - 1) * q
    i = int(place)
    return ordered[i] + (ordered[min(i + 1, len(ordered) - 1)] - ordered[i]) * (place - i)


def _pick(value, i):
    """What a keyword argument gives to the data set i."""
    return value[i % len(value)] if isinstance(value, (list, tuple)) and not colors.is_color(value) else value


def _same_length(where, /, **named):
    lengths = {name: len(v) for name, v in named.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: " + " and ".join(f"{n} has {c} values" for n, c in lengths.items())
                         + "; they should have the same length")


def parse_format(text):
    """A format such as 'ro--' as properties."""
    out, rest = {}, text
    for style in ("--", "-.", "-", ":"):
        if style in rest:
            out["linestyle"] = style
            rest = rest.replace(style, "", 1)
            break
    if rest and colors.is_color(rest) and rest not in ("1", "2", "3", "4"):
        out["color"] = rest
        rest = ""
    while rest:
        if rest[0] == "C" and rest[1:2].isdigit():
            out["color"], rest = rest[:2], rest[2:]
        elif rest[0] in "rgbcmykw" and "color" not in out:
            out["color"], rest = rest[0], rest[1:]
        elif "marker" not in out and rest[0] in markers.NAMES.split():
            out["marker"], rest = rest[0], rest[1:]
        else:
            raise ValueError(
                f"format {text!r} is not understood at {rest!r}; it is made of a colour letter (rgbcmykw), a marker "
                f"({markers.NAMES}) and a line style (-, --, -., :)")
    if "marker" in out:
        out.setdefault("linestyle", "")
    return out


class Plots:
    """What Axes inherits; self has numbers(), add(), next_color(), dimensions and figure."""

    def plot(self, *args, **kwargs):
        """plot([x], y, [format], …, label=, color=, linestyle=, linewidth=, marker=, alpha=, …): lines and markers."""
        args, out = list(args), []
        where = kwargs.pop("where", "plot()")
        if not args:
            return out
        while args:
            first = args.pop(0)
            second = args.pop(0) if args and not isinstance(args[0], str) else None
            form = parse_format(args.pop(0)) if args and isinstance(args[0], str) else {}
            ys = first if second is None else second
            ys = list(ys) if hasattr(ys, "__iter__") and not isinstance(ys, str) else [ys]
            columns = [list(c) for c in zip(*ys)] if _nested(ys) else [ys]
            for ys in columns:
                xs = range(len(ys)) if second is None else first
                xs = list(xs) if hasattr(xs, "__iter__") and not isinstance(xs, str) else [xs]
                xs, values = self.numbers(0, xs), self.numbers(1, ys)
                _same_length(where, x=xs, y=values)
                props = {**form, **kwargs}
                if isinstance(props.get("label"), (list, tuple)):
                    props["label"] = props["label"][len(out)] if len(out) < len(props["label"]) else None
                line = Line(self, xs, values, props, where)
                if line.props.get("color") is None:
                    line.props["color"] = self.next_color()
                out.append(self.add(line))
        return out

    def semilogx(self, *args, **kwargs):
        """plot() with a logarithmic x."""
        self.set_xscale("log", base=kwargs.pop("base", 10))
        return self.plot(*args, **kwargs)

    def semilogy(self, *args, **kwargs):
        """plot() with a logarithmic y."""
        self.set_yscale("log", base=kwargs.pop("base", 10))
        return self.plot(*args, **kwargs)

    def loglog(self, *args, **kwargs):
        """plot() with logarithmic x and y."""
        self.set_xscale("log")
        return self.semilogy(*args, **kwargs)

    def plot_date(self, x, y, fmt="o", **kwargs):
        """plot() of dates with markers."""
        return self.plot(x, y, fmt, **kwargs)

    def step(self, x, y, *args, where="pre", **kwargs):
        """A line of steps; where is pre, mid or post."""
        return self.plot(x, y, *args, drawstyle="steps-" + where, **kwargs)

    def stem(self, *args, linefmt=None, markerfmt=None, basefmt=None, bottom=0, label=None, orientation="vertical"):
        """Markers on stems from a base line."""
        xs, ys = (range(len(args[0])), args[0]) if len(args) == 1 else args[:2]
        xs, ys = self.numbers(0, xs), self.numbers(1, ys)
        _same_length("stem()", x=xs, y=ys)
        line = parse_format(linefmt) if linefmt else {}
        line.setdefault("color", "C0")
        line.pop("marker", None)
        head = {"marker": "o", "color": line["color"], **(parse_format(markerfmt) if markerfmt else {}),
                "linestyle": "", "label": label}
        base = {"color": "C3", **(parse_format(basefmt) if basefmt not in (None, " ", "") else {})}
        stems = self.add(Segments(self, [[(x, bottom), (x, y)] for x, y in zip(xs, ys)], line, "stem()"))
        heads = self.add(Line(self, xs, ys, head))
        floor = self.add(Line(self, [min(xs, default=0), max(xs, default=1)], [bottom, bottom],
                              base)) if basefmt not in (" ", "") else None
        out = Container([heads, stems, floor], None, heads)
        out.markerline, out.stemlines, out.baseline = heads, stems, floor
        return out

    def scatter(self, x, y, s=None, c=None, marker=None, cmap=None, norm=None, vmin=None, vmax=None, alpha=None,
                **kwargs):
        """Markers; s are areas in square points, c a colour, colours, or values for cmap."""
        xs, ys = self.numbers(0, x), self.numbers(1, y)
        _same_length("scatter()", x=xs, y=ys)
        areas = [36.0] if s is None else [float(v) for v in (_list(s) or [s])]
        if any(not v >= 0 for v in areas):
            raise ValueError("scatter(): s holds areas in square points and should be 0 or more")
        c = kwargs.pop("color", None) if c is None else c
        values, face = [], c
        if hasattr(c, "__iter__") and not isinstance(c, str):
            c = list(c)
            numeric = c and all(v is None or isinstance(v, (int, float))
                                or (hasattr(v, "__float__") and not isinstance(v, str)) for v in c)
            if numeric and not (len(c) in (3, 4) and len(c) != len(xs)):
                values, face = [nan if v is None else float(v) for v in c], None
                _same_length("scatter()", x=xs, c=values)
            else:
                face = c if not colors.is_color(c if not isinstance(c, list)
                                                else tuple(c)) or all(isinstance(v, str) for v in c) else tuple(c)
                face = [f for f in face] if isinstance(face, list) else face
        if face is None and not values:
            face = self.next_color() if "facecolor" not in kwargs and "facecolors" not in kwargs else None
        props = {"marker": marker or "o", "alpha": alpha, **kwargs}
        given = looks(props, Scatter.allowed, "scatter()")
        if face is None and not values:
            face = given.get("facecolor")
            if face in ("none", None):
                face = "none"
                props["edgecolor"] = given.get("edgecolor") or self.next_color()
        for f in face if isinstance(face, list) else [face] if face is not None else []:
            colors.parse(f)
        points = self.add(Scatter(self, xs, ys, areas, values, face, props, norm or colors.Normalize(vmin, vmax), cmap))
        if values:
            self.figure.last_mapped = points
        return points

    def bar(self, x, height, width=0.8, bottom=None, *, align="center", **kwargs):
        """Upright bars."""
        return self._bars(0, x, height, width, bottom, align, kwargs, "bar()")

    def barh(self, y, width, height=0.8, left=None, *, align="center", **kwargs):
        """Lying bars."""
        return self._bars(1, y, width, height, left, align, kwargs, "barh()")

    def _bars(self, index, places, lengths, thickness, start, align, kwargs, where):
        errors = {k: kwargs.pop(k) for k in ("xerr", "yerr") if k in kwargs}
        error_style = {"ecolor": kwargs.pop("ecolor", "black"), "capsize": kwargs.pop("capsize", 0),
                       **(kwargs.pop("error_kw", None) or {})}
        log, labels = kwargs.pop("log", False), kwargs.pop("tick_label", None)
        places = self.numbers(index, places)
        lengths = self.numbers(1 - index, lengths)
        n = max(len(places), len(lengths))
        spread = lambda v: (v * n if len(v) == 1 else v)  # noqa: E731
        places, lengths = spread(places), spread(lengths)
        starts = spread(self.numbers(1 - index, 0 if start is None else start))
        days = [v.total_seconds() / 86400 if hasattr(v, "total_seconds") else float(v)
                for v in (_list(thickness) or [thickness])]
        thick = spread(days)
        _same_length(where, positions=places, lengths=lengths, starts=starts, widths=thick)
        if align not in ("center", "edge"):
            raise ValueError(f"{where}: align is {align!r} and should be 'center' or 'edge'")
        label = kwargs.pop("label", None)
        each = {k: list(v) for k, v in ((k, kwargs[k]) for k in ("color", "facecolor", "edgecolor", "linewidth")
                                        if k in kwargs)
                if isinstance(v, (list, tuple)) and not colors.is_color(v)}
        if not {"color", "facecolor", "fc"} & kwargs.keys():
            kwargs["color"] = self.next_color()
        shared = {k: v for k, v in kwargs.items() if k not in each}
        bars = []
        names = label if isinstance(label, (list, tuple)) else None
        for i in range(n):
            props = {**shared, **{k: v[i % len(v)] for k, v in each.items()}}
            if props.get("color") is not None and "edgecolor" not in props and "ec" not in props:
                props["facecolor"] = props.pop("color")
                props["edgecolor"] = "none"
            elif props.get("color") is not None:
                props.setdefault("facecolor", props.pop("color"))
            if names:
                props["label"] = names[i]
            low = places[i] - thick[i] / 2 if align == "center" else places[i]
            corner, size = (low, starts[i]), (thick[i], lengths[i])
            if index:
                corner, size = corner[::-1], size[::-1]
            bar = Rectangle(self, corner, *size, props, where)
            if index == 0:
                bar.sticky_y = (starts[i],)
            else:
                bar.sticky_x = (starts[i],)
            bars.append(bar)
        for bar in bars:
            self.artists.append(bar)
            if names:
                self.labelled.append(bar)
        out = Container(bars, None if names else label, horizontal=index == 1)
        self.labelled.append(out)
        self.containers.append(out)
        if log:
            (self.set_xscale if index else self.set_yscale)("log")
        if labels is not None:
            (self.yaxis if index else self.xaxis).set_ticks(places, [labels] if isinstance(labels, str)
                                                            else list(labels))
        for name, value in errors.items():
            ends = [s + v for s, v in zip(starts, lengths)]
            xs, ys = (places, ends) if index == 0 else (ends, places)
            self.errorbar(xs, ys, **{name: value}, fmt="none", **error_style)
        self.figure.touch()
        return out

    def bar_label(self, container, labels=None, *, fmt="%g", label_type="edge", padding=0, **style):
        """Writes each bar's length at its end, or in its middle with label_type='center'."""
        out = []
        if label_type != "center":
            d = self.dimensions[0 if container.horizontal else 1]
            d.margin = max(d.margin, 0.14 if container.horizontal else 0.08)
        for i, bar in enumerate(container):
            value = bar.width if container.horizontal else bar.height
            if labels is not None:
                text = labels[i]
            else:
                text = fmt(value) if callable(fmt) else fmt.format(value) if "{" in fmt else fmt % value
            gap = (0.0 if label_type == "center" else 3.0 + padding) * (1 if value >= 0 else -1)
            part = 0.5 if label_type == "center" else 1.0
            if container.horizontal:
                at, offset = (bar.x + bar.width * part, bar.y + bar.height / 2), (gap, 0)
                align = {"ha": "center" if part < 1 else "left" if value >= 0 else "right", "va": "center"}
            else:
                at, offset = (bar.x + bar.width / 2, bar.y + bar.height * part), (0, gap)
                align = {"va": "center" if part < 1 else "bottom" if value >= 0 else "top", "ha": "center"}
            out.append(self.annotate(str(text), at, offset, textcoords="offset points", **{**align, **style}))
        return out

    def hist(self, x, bins=None, range=None, density=False, weights=None, cumulative=False, bottom=None, histtype="bar",
             align="mid",
             orientation="vertical", rwidth=None, log=False, color=None, label=None, stacked=False, **kwargs):
        """Counts of values in bins; x may be several data sets. Gives (counts, edges, bars)."""
        x = _list(x)
        sets = [list(s) for s in x] if _nested(x) else [x]
        index = 1 if orientation == "horizontal" else 0
        sets = [self.numbers(index, s) for s in sets]
        if weights is None:
            weights = [None] * len(sets)
        else:
            weights = list(weights)
            weights = [[float(w) for w in each] for each in (weights if _nested(weights) else [weights])]
        edges = self._edges(sets, bins if bins is not None else 10, range)
        counts = []
        for values, weight in zip(sets, weights):
            count = [0.0] * (len(edges) - 1)
            for i, v in enumerate(values):
                if edges[0] <= v <= edges[-1]:
                    count[min(bisect_right(edges, v) - 1, len(count) - 1)] += 1.0 if weight is None else weight[i]
            counts.append(count)
        if density:
            both = sum(map(sum, counts)) if stacked else None
            counts = [[c / ((both or sum(count) or 1.0) * (b - a)) for c, a, b in zip(count, edges, edges[1:])]
                      for count in counts]
        if cumulative:
            counts = [self._running(count, edges, density, cumulative) for count in counts]
        out, base = [], [float(bottom or 0)] * (len(edges) - 1)
        stacked = stacked or histtype == "barstacked"
        for i, count in enumerate(counts):
            paint = _pick(color, i) or self.next_color()
            props = {"color": paint, "label": _pick(label, i), **kwargs}
            if histtype.startswith("step"):
                tops = [b + c for b, c in zip(base, count)]
                ring = [(edges[0], base[0])] + [p for a, b, t in zip(edges, edges[1:], tops)
                                                for p in ((a, t), (b, t))] + [(edges[-1], base[-1])]
                if histtype == "stepfilled":
                    ring += [p for a, b, t in reversed(list(zip(edges, edges[1:], base))) for p in ((b, t), (a, t))]
                patch = Patch(self, [[(b, a) for a, b in ring] if index else ring],
                              {**props, "fill": histtype == "stepfilled"}, "hist()")
                patch.closed = histtype == "stepfilled"
                patch.sticky_x, patch.sticky_y = ((base[0],), ()) if index else ((), (base[0],))
                out.append(Container([self.add(patch)], None))
            else:
                share = 1.0 if stacked or len(counts) == 1 else 0.8 / len(counts)
                share *= rwidth or 1.0
                first = (1 - share) / 2 if stacked or len(counts) == 1 else 0.1 + i * 0.8 / len(counts)
                lows = [a + (b - a) * first for a, b in zip(edges, edges[1:])]
                widths = [(b - a) * share for a, b in zip(edges, edges[1:])]
                out.append(self._bars(index, lows, count, widths, base, "edge", props, "hist()"))
            if stacked:
                base = [b + c for b, c in zip(base, count)]
                counts[i] = base
        if log:
            (self.set_xscale if index else self.set_yscale)("log")
        return (counts[0], edges, out[0]) if len(sets) == 1 else (counts, edges, out)

    @staticmethod
    def _running(count, edges, density, direction):
        parts = [c * (b - a) for c, a, b in zip(count, edges, edges[1:])] if density else count
        out, total = [], 0.0
        for c in parts if direction is True or direction > 0 else reversed(parts):
            total += c
            out.append(total)
        return out if direction is True or direction > 0 else out[::-1]

    @staticmethod
    def _edges(sets, bins, between):
        if hasattr(bins, "__iter__") and not isinstance(bins, str):
            edges = [float(b) for b in bins]
            if len(edges) < 2 or any(b <= a for a, b in zip(edges, edges[1:])):
                raise ValueError("hist(): bins should be a number, or two or more increasing edges")
            return edges
        values = sorted(v for s in sets for v in s if isfinite(v))
        lo, hi = (values[0], values[-1]) if values else (0.0, 1.0)
        if between:
            lo, hi = float(between[0]), float(between[1])
        if lo == hi:
            lo, hi = lo - 0.5, hi + 0.5
        if isinstance(bins, str):
            n = len(values) or 1
            spread = 2 * (_quantile(values, 0.75) - _quantile(values, 0.25)) / n ** (1 / 3) if values else 0
            sturges = ceil(log2(n)) + 1
            rules = {"sqrt": ceil(sqrt(n)), "sturges": sturges, "rice": ceil(2 * n ** (1 / 3)),
                     "fd": ceil((hi - lo) / spread) if spread else sturges}
            rules["auto"] = max(sturges, rules["fd"])
            rules["doane"] = rules["scott"] = rules["auto"]
            if bins not in rules:
                raise ValueError(f"hist(): bins is {bins!r} and should be a number, edges or one of {', '.join(rules)}")
            bins = min(rules[bins], 1000)
        if not 1 <= int(bins) <= 100000:
            raise ValueError(f"hist(): bins is {bins} and should be from 1 to 100000")
        return [lo + (hi - lo) * i / int(bins) for i in range(int(bins) + 1)]

    def pie(self, x, explode=None, labels=None, colors=None, autopct=None, pctdistance=0.6, shadow=False,
            labeldistance=1.1,
            startangle=0, radius=1, counterclock=True, wedgeprops=None, textprops=None, center=(0, 0), frame=False,
            normalize=True, rotatelabels=False):
        """A pie; gives (wedges, texts) and with autopct (wedges, texts, percentages)."""
        x = [float(v) for v in x]
        if not x or any(not v >= 0 for v in x) or sum(x) <= 0:
            raise ValueError("pie(): x should hold numbers of 0 or more with a sum above 0")
        labels = [""] * len(x) if labels is None else [str(t) for t in labels]
        explode = [0.0] * len(x) if explode is None else [float(e) for e in explode]
        _same_length("pie()", x=x, labels=labels, explode=explode)
        total = sum(x) if normalize or sum(x) > 1 else 1.0
        angle, sign = float(startangle), 1 if counterclock else -1
        wedges, texts, percents = [], [], []
        props = dict(wedgeprops or {})
        ring = props.pop("width", None)
        for i, value in enumerate(x):
            turn = 360 * value / total * sign
            middle = radians(angle + turn / 2)
            cx, cy = center[0] + explode[i] * radius * cos(middle), center[1] + explode[i] * radius * sin(middle)
            color = list(colors)[i % len(list(colors))] if colors is not None else self.cycle[i % len(self.cycle)]
            look = {"facecolor": color, "edgecolor": "none" if ring is None and "linewidth" not in props else "white",
                    "label": labels[i] or None, **props}
            wedges.append(self.add(Patch(self, [wedge((cx, cy), radius, *sorted((angle, angle + turn)), ring)], look,
                                         "pie()")))
            if labeldistance is not None:
                lx, ly = cx + labeldistance * radius * cos(middle), cy + labeldistance * radius * sin(middle)
                texts.append(self.text(lx, ly, labels[i], **{"ha": "left" if cos(middle) >= 0 else "right",
                                                             "va": "center", **(textprops or {})}))
            if autopct is not None:
                share = 100 * value / total
                text = autopct(share) if callable(autopct) else autopct % share
                px, py = cx + pctdistance * radius * cos(middle), cy + pctdistance * radius * sin(middle)
                percents.append(self.text(px, py, text, **{"ha": "center", "va": "center", **(textprops or {})}))
            angle += turn
        self.set_aspect("equal")
        self.set_xlim(center[0] - 1.25 * radius, center[0] + 1.25 * radius)
        self.set_ylim(center[1] - 1.25 * radius, center[1] + 1.25 * radius)
        if not frame:
            self.axis_on = False
        return (wedges, texts) if autopct is None else (wedges, texts, percents)

    def fill_between(self, x, y1, y2=0, where=None, interpolate=False, step=None, **kwargs):
        """The area between two lines."""
        return self._between(0, x, y1, y2, where, step, kwargs)

    def fill_betweenx(self, y, x1, x2=0, where=None, step=None, interpolate=False, **kwargs):
        """The area between two upright lines."""
        return self._between(1, y, x1, x2, where, step, kwargs)

    def _between(self, index, along, a, b, where, step, kwargs):
        along = self.numbers(index, along)
        a, b = self.numbers(1 - index, a), self.numbers(1 - index, b)
        a, b = (v * len(along) if len(v) == 1 else v for v in (a, b))
        keep = [True] * len(along) if where is None else [bool(w) for w in where]
        _same_length("fill_between()", x=along, y1=a, y2=b, where=keep)
        if step is not None:
            if step not in ("pre", "post", "mid"):
                raise ValueError(f"fill_between(): step is {step!r} and should be pre, mid or post")
            line = Line(None, [], [], {"drawstyle": "steps-" + step})
            tops, lows = line._stepped(list(zip(along, a))), line._stepped(list(zip(along, b)))
            keep = [True] * len(tops)
            along, a, b = [p[0] for p in tops], [p[1] for p in tops], [p[1] for p in lows]
        rings, start = [], None
        good = [k and isfinite(p) and isfinite(q) and isfinite(r) for k, p, q, r in zip(keep, along, a, b)] + [False]
        for i, ok in enumerate(good):
            if ok and start is None:
                start = i
            elif not ok and start is not None:
                if i - start > 1:
                    rings.append(list(zip(along[start:i], a[start:i])) + list(zip(along[start:i], b[start:i]))[::-1])
                start = None
        if index:
            rings = [[(q, p) for p, q in ring] for ring in rings]
        if not {"color", "facecolor", "facecolors", "fc"} & kwargs.keys():
            kwargs["facecolor"] = self.next_color()
        if "color" in kwargs and not {"edgecolor", "ec", "edgecolors", "linewidth", "lw", "linewidths"} & kwargs.keys():
            kwargs["facecolor"] = kwargs.pop("color")
        return self.add(Patch(self, rings, kwargs, "fill_between()"))

    def fill(self, *args, **kwargs):
        """Filled polygons: fill(x, y, [colour], …)."""
        args, out = list(args), []
        while len(args) >= 2:
            xs, ys = self.numbers(0, args.pop(0)), self.numbers(1, args.pop(0))
            props = {"color": args.pop(0)} if args and isinstance(args[0], str) else {}
            props = {**props, **kwargs}
            if not {"color", "facecolor", "fc"} & props.keys():
                props["facecolor"] = self.next_color()
            out.append(self.add(Patch(self, [list(zip(xs, ys))], props, "fill()")))
        return out

    def stackplot(self, x, *args, labels=(), colors=None, baseline="zero", **kwargs):
        """Areas upon one another."""
        if baseline != "zero":
            raise Unsupported(f"stackplot() does not know baseline={baseline!r} in this subset; it knows 'zero'")
        sets = [self.numbers(1, s) for s in (args[0] if len(args) == 1 and _nested(_list(args[0])) else args)]
        xs, base, out = self.numbers(0, x), None, []
        for i, ys in enumerate(sets):
            base = base or [0.0] * len(ys)
            top = [a + b for a, b in zip(base, ys)]
            color = list(colors)[i % len(list(colors))] if colors else self.next_color()
            out.append(self._between(0, xs, base, top, None, None,
                                     {"facecolor": color, "label": labels[i] if i < len(labels) else None, **kwargs}))
            out[-1].sticky_y = (0.0,)
            base = top
        return out

    def errorbar(self, x, y, yerr=None, xerr=None, fmt="", ecolor=None, elinewidth=None, capsize=0, capthick=None,
                 errorevery=1, **kwargs):
        """Points with bars of uncertainty: a number, one for each, or two rows (down, up)."""
        xs, ys = self.numbers(0, x), self.numbers(1, y)
        _same_length("errorbar()", x=xs, y=ys)
        label = kwargs.pop("label", None)
        line = None
        if fmt != "none":
            line = self.plot(xs, ys, fmt, **kwargs)[0] if fmt else self.plot(xs, ys, **kwargs)[0]
        color = ecolor or (line.props["color"] if line else kwargs.get("color") or self.next_color())
        look = {"color": color, "linewidth": elinewidth or kwargs.get("linewidth") or kwargs.get("lw") or 1.5,
                "alpha": kwargs.get("alpha"),
                "zorder": kwargs.get("zorder", 2.0) - 0.1}
        segments, caps = [], []
        for index, error in ((0, xerr), (1, yerr)):
            if error is None:
                continue
            error = list(error) if hasattr(error, "__iter__") else [float(error)] * len(xs)
            down, up = (list(error[0]), list(error[1])) if _nested(error) else (error, error)
            _same_length("errorbar()", x=xs, errors=down)
            low, high = [], []
            for i in range(0, len(xs), int(errorevery)):
                px, py, d, u = xs[i], ys[i], float(down[i]), float(up[i])
                ends = [(px - d, py), (px + u, py)] if index == 0 else [(px, py - d), (px, py + u)]
                segments.append(ends)
                low.append(ends[0])
                high.append(ends[1])
            if capsize:
                ends = [p for p in low + high if isfinite(p[0] + p[1])]
                caps.append(self.add(Line(self, [p[0] for p in ends], [p[1] for p in ends], {
                    "linestyle": "", "marker": "_" if index else "|", "markersize": 2 * capsize, "color": color,
                    "alpha": kwargs.get("alpha"),
                    "markeredgewidth": capthick or elinewidth or 1.0})))
        bars = [self.add(Segments(self, segments, look, "errorbar()"))] if segments else []
        out = Container([line, tuple(caps), tuple(bars)], label, line or (bars[0] if bars else None))
        self.labelled.append(out)
        return out

    def boxplot(self, x, notch=None, sym=None, vert=True, whis=1.5, positions=None, widths=None, patch_artist=False,
                labels=None, tick_labels=None,
                showmeans=False, showfliers=True, medianprops=None, boxprops=None, whiskerprops=None, capprops=None,
                flierprops=None,
                meanprops=None, orientation=None, manage_ticks=True, meanline=False, showcaps=True, showbox=True,
                zorder=None):
        """Boxes of quartiles with whiskers; gives a dict of what was drawn."""
        x = _list(x)
        sets = [[float(v) for v in s if v is not None and v == v] for s in (x if _nested(x) else [x])]
        lying = orientation == "horizontal" or not vert
        positions = [float(p) for p in positions] if positions is not None else [i + 1.0 for i in range(len(sets))]
        widths = _list(widths) or [widths or min(0.5, 0.15 * max(len(sets), 2) if len(sets) < 4 else 0.5)] * len(sets)
        _same_length("boxplot()", data=sets, positions=positions, widths=widths)
        out = {name: [] for name in ("boxes", "medians", "whiskers", "caps", "fliers", "means")}
        turn = (lambda pts: [(b, a) for a, b in pts]) if lying else (lambda pts: pts)

        def line(name, points, props, default):
            pts = turn(points)
            out[name].append(self.add(Line(self, [p[0] for p in pts], [p[1] for p in pts],
                                           {"color": "black", "linewidth": 1.0, **default, **(props or {})})))

        for values, at, width in zip(sets, positions, widths):
            values.sort()
            if not values:
                continue
            q1, q2, q3 = (_quantile(values, q) for q in (0.25, 0.5, 0.75))
            if hasattr(whis, "__iter__"):
                low, high = (_quantile(values, p / 100) for p in whis)
            else:
                low, high = q1 - whis * (q3 - q1), q3 + whis * (q3 - q1)
            inside = [v for v in values if low <= v <= high] or values
            lo, hi = min(inside[0], q1), max(inside[-1], q3)
            a, b = at - width / 2, at + width / 2
            ring = [(a, q1), (b, q1), (b, q3), (a, q3)]
            if patch_artist:
                props = {"facecolor": "C0", "edgecolor": "black", "linewidth": 1.0, "zorder": 1.9, **(boxprops or {})}
                out["boxes"].append(self.add(Patch(self, [turn(ring)], props, "boxplot()")))
            else:
                line("boxes", ring + ring[:1], boxprops, {})
            for end, quartile in ((lo, q1), (hi, q3)):
                line("whiskers", [(at, quartile), (at, end)], whiskerprops, {})
                if showcaps:
                    line("caps", [(at - width / 4, end), (at + width / 4, end)], capprops, {})
            line("medians", [(a, q2), (b, q2)], medianprops, {"color": "C1", "solid_capstyle": "butt"})
            if showmeans:
                line("means", [(at, mean(values))], meanprops, {"marker": "^", "color": "C2", "linestyle": ""})
            outside = [v for v in values if not low <= v <= high]
            if showfliers and sym != "":
                line("fliers", [(at, v) for v in outside], flierprops,
                     {"marker": "o", "markerfacecolor": "none", "linestyle": "", "markersize": 6})
        if manage_ticks:
            names = tick_labels if tick_labels is not None else labels
            (self.yaxis if lying else self.xaxis).set_ticks(positions, [str(n) for n in names] if names is not None
                                                            else None)
            d = self.dimensions[1 if lying else 0]
            d.lo, d.hi = min(positions) - 0.5, max(positions) + 0.5
        return out

    def violinplot(self, dataset, positions=None, vert=True, widths=0.5, showmeans=False, showextrema=True,
                   showmedians=False, orientation=None, **kwargs):
        """Densities of data sets as violins, by Gaussian kernels with Scott's rule."""
        dataset = _list(dataset)
        sets = [sorted(float(v) for v in s) for s in (dataset if _nested(dataset) else [dataset])]
        lying = orientation == "horizontal" or not vert
        positions = [float(p) for p in positions] if positions is not None else [i + 1.0 for i in range(len(sets))]
        turn = (lambda pts: [(b, a) for a, b in pts]) if lying else (lambda pts: pts)
        color, bodies, lines = self.next_color(), [], []
        for values, at in zip(sets, positions):
            if not values:
                continue
            m = mean(values)
            h = (sqrt(sum((v - m) ** 2 for v in values) / max(len(values) - 1, 1)) or 1.0) * len(values) ** -0.2
            sample = values if len(values) <= 500 else values[::len(values) // 500]
            grid = [values[0] + (values[-1] - values[0]) * i / 60 for i in range(61)]
            density = [sum(exp(-((g - v) / h) ** 2 / 2) for v in sample) / sqrt(2 * pi) for g in grid]
            k = widths / 2 / (max(density) or 1.0)
            ring = [(at + k * d, g) for d, g in zip(density, grid)]
            ring += [(2 * at - x, g) for x, g in reversed(ring)]
            bodies.append(self.add(Patch(self, [turn(ring)], {"facecolor": color, "alpha": 0.3}, "violinplot()")))
            marks = ([values[0], values[-1]] if showextrema
                     else []) + ([m] if showmeans else []) + ([median(values)] if showmedians else [])
            lines += [turn([(at - widths / 4, v), (at + widths / 4, v)])
                      for v in marks] + ([turn([(at, values[0]), (at, values[-1])])] if showextrema else [])
        self.add(Segments(self, lines, {"color": color}, "violinplot()"))
        return {"bodies": bodies}

    def axhline(self, y=0, xmin=0, xmax=1, **kwargs):
        """A line across the axes."""
        return self._across(1, y, xmin, xmax, kwargs, "axhline()")

    def axvline(self, x=0, ymin=0, ymax=1, **kwargs):
        """A line from the bottom to the top."""
        return self._across(0, x, ymin, ymax, kwargs, "axvline()")

    def _across(self, index, at, lo, hi, kwargs, where):
        at = self.numbers(index, [at])[0]
        line = Line(self, [lo, hi] if index else [at, at], [at, at] if index else [lo, hi], {"color": "C0", **kwargs},
                    where)
        line.props["transform"] = Transform(self, "axes" if index else "data", "data" if index else "axes")
        return self.add(line)

    def axhspan(self, ymin, ymax, xmin=0, xmax=1, **kwargs):
        """A band across the axes."""
        return self._band(1, ymin, ymax, xmin, xmax, kwargs, "axhspan()")

    def axvspan(self, xmin, xmax, ymin=0, ymax=1, **kwargs):
        """A band from the bottom to the top."""
        return self._band(0, xmin, xmax, ymin, ymax, kwargs, "axvspan()")

    def _band(self, index, a, b, lo, hi, kwargs, where):
        a, b = self.numbers(index, [a, b])
        ring = [(lo, a), (hi, a), (hi, b), (lo, b)] if index else [(a, lo), (b, lo), (b, hi), (a, hi)]
        if not {"color", "facecolor", "fc"} & kwargs.keys():
            kwargs["facecolor"] = self.next_color()
        if "color" in kwargs and "alpha" in kwargs and not {"linewidth", "lw", "edgecolor", "ec"} & kwargs.keys():
            kwargs["facecolor"], kwargs["edgecolor"] = kwargs.pop("color"), "none"
        patch = Patch(self, [ring], kwargs, where)
        patch.props["transform"] = Transform(self, "axes" if index else "data", "data" if index else "axes")
        return self.add(patch)

    def axline(self, xy1, xy2=None, *, slope=None, **kwargs):
        """A line through a point with a slope, or through two points, as long as the data is wide."""
        if xy2 is not None:
            slope = (xy2[1] - xy1[1]) / (xy2[0] - xy1[0]) if xy2[0] != xy1[0] else inf
        if not isfinite(slope):
            return self.axvline(xy1[0], **kwargs)
        lo, hi = self.get_xlim()
        return self.plot([lo, hi], [xy1[1] + slope * (lo - xy1[0]), xy1[1] + slope * (hi - xy1[0])],
                         **{"color": "C0", **kwargs})[0]

    def hlines(self, y, xmin, xmax, colors=None, linestyles="solid", label="", **kwargs):
        """Lines across from xmin to xmax."""
        return self._lines(1, y, xmin, xmax, colors, linestyles, label, kwargs, "hlines()")

    def vlines(self, x, ymin, ymax, colors=None, linestyles="solid", label="", **kwargs):
        """Lines up from ymin to ymax."""
        return self._lines(0, x, ymin, ymax, colors, linestyles, label, kwargs, "vlines()")

    def _lines(self, index, at, lo, hi, paint, style, label, kwargs, where):
        at, lo, hi = self.numbers(index, at), self.numbers(1 - index, lo), self.numbers(1 - index, hi)
        lo, hi = (v * len(at) if len(v) == 1 else v for v in (lo, hi))
        _same_length(where, positions=at, starts=lo, ends=hi)
        lines = [[(a, v), (b, v)] if index else [(v, a), (v, b)] for v, a, b in zip(at, lo, hi)]
        paint = paint if paint is not None else kwargs.pop("color", "C0")
        return self.add(Segments(self, lines, {"color": paint, "linestyle": style, "label": label, **kwargs}, where))

    def eventplot(self, positions, lineoffsets=1, linelengths=1, **kwargs):
        """A short line for each event."""
        positions = _list(positions)
        for i, events in enumerate(positions if _nested(positions) else [positions]):
            middle = lineoffsets if not hasattr(lineoffsets, "__iter__") else list(lineoffsets)[i]
            middle = middle + i if not hasattr(lineoffsets, "__iter__") else middle
            self.vlines(events, middle - linelengths / 2, middle + linelengths / 2, **kwargs)

    def arrow(self, x, y, dx, dy, **kwargs):
        """An arrow from x, y to x + dx, y + dy."""
        for name in ("width", "head_width", "head_length", "length_includes_head", "shape", "overhang",
                     "head_starts_at_zero"):
            kwargs.pop(name, None)
        return self.add(Arrow(self, (x, y), (x + dx, y + dy), kwargs, "arrow()"))

    def quiver(self, *args, angles="uv", scale=None, scale_units=None, units=None, color="black", width=None, **kwargs):
        """Arrows of a field: quiver(x, y, u, v), as long as the values say if scale is 1, else as there is room."""
        if len(args) < 4:
            raise Unsupported("quiver() takes x, y, u and v in this subset")
        flat = [[float(w) for row in a for w in (row if hasattr(row, "__iter__") else [row])]
                for a in (a if hasattr(a, "__iter__") else [a] for a in args[:4])]
        xs, ys, us, vs = flat
        if len(xs) * len(ys) == len(us) and len(xs) != len(us):
            xs, ys = xs * len(ys), [y for y in ys for _ in xs]
        _same_length("quiver()", x=xs, y=ys, u=us, v=vs)
        longest = max((sqrt(u * u + v * v) for u, v in zip(us, vs)), default=1.0) or 1.0
        span = max(max(xs, default=1) - min(xs, default=0), max(ys, default=1) - min(ys, default=0)) or 1.0
        if scale or (angles == "xy" and len(xs) < 5):
            k = 1.0 / (scale or 1.0)
        else:
            k = 1.3 * span / max(sqrt(len(xs)), 1) / longest
        paint = list(color) if isinstance(color, (list, tuple)) and not colors.is_color(color) else [color]
        return [self.add(Arrow(self, (x, y), (x + u * k, y + v * k), {"color": paint[i % len(paint)], **kwargs},
                               "quiver()"))
                for i, (x, y, u, v) in enumerate(zip(xs, ys, us, vs)) if u or v]

    def imshow(self, X, cmap=None, norm=None, aspect=None, interpolation=None, alpha=None, vmin=None, vmax=None,
               origin="upper", extent=None, **kwargs):
        """A grid of values through a colour map, or of (r, g, b[, a]) colours from 0 to 1 or 0 to 255."""
        rows = self._grid(X, "imshow()")
        h, w = len(rows), len(rows[0])
        left, right, bottom, top = extent or (-0.5, w - 0.5,
                                              *((h - 0.5, -0.5) if origin == "upper" else (-0.5, h - 0.5)))
        if origin != "upper":
            bottom, top = top, bottom
        xs = [left + (right - left) * i / w for i in range(w + 1)]
        ys = [top + (bottom - top) * j / h for j in range(h + 1)]
        mesh = self.add(Mesh(self, xs, ys, rows, {"alpha": alpha, **kwargs}, norm or colors.Normalize(vmin, vmax), cmap,
                             "imshow()"))
        if extent is None:
            self.dimensions[1].inverted = origin == "upper"
            self.dimensions[0].whole = self.dimensions[1].whole = True
        self.set_aspect(aspect or "equal")
        self.figure.last_mapped = mesh
        return mesh

    def matshow(self, Z, **kwargs):
        """imshow() of a matrix with the ticks above."""
        self.xaxis.tick_top()
        return self.imshow(Z, **kwargs)

    @staticmethod
    def _grid(values, where):
        rows = []
        for row in values:
            if not hasattr(row, "__iter__"):
                raise TypeError(f"{where} takes rows of values, a list of lists, not {row!r}")
            rows.append([tuple(float(p) for p in v) if hasattr(v, "__iter__") else nan if v is None else float(v)
                         for v in row])
        if not rows or not rows[0] or len({len(r) for r in rows}) != 1:
            raise ValueError(
                f"{where} takes rows of the same length, at least one; they have {sorted({len(r) for r in rows})} "
                "values")
        if isinstance(rows[0][0], tuple) and any(p > 1 for r in rows for v in r for p in v[:3]):
            rows = [[(*(p / 255 for p in v[:3]), *(a / 255 for a in v[3:])) for v in r] for r in rows]
        return rows

    def pcolormesh(self, *args, cmap=None, norm=None, vmin=None, vmax=None, alpha=None, shading=None, edgecolors="none",
                   **kwargs):
        """pcolormesh([x, y], values): a grid of cells between edges, or round middles."""
        rows = self._grid(args[-1], "pcolormesh()")
        h, w = len(rows), len(rows[0])
        if len(args) == 3:
            xs, ys = self._line(args[0], 0, w), self._line(args[1], 1, h)
        else:
            xs, ys = list(map(float, range(w + 1))), list(map(float, range(h + 1)))
        mesh = Mesh(self, xs, ys, rows, {"alpha": alpha, "edgecolor": edgecolors, **kwargs},
                    norm or colors.Normalize(vmin, vmax), cmap, "pcolormesh()")
        self.figure.last_mapped = mesh
        return self.add(mesh)

    pcolor = pcolormesh

    def _line(self, values, index, n):
        """n + 1 edges from edges or middles, given in one row or as a grid of equal rows or columns."""
        values = _list(values)
        if _nested(values):
            values = list(values[0]) if index == 0 else [list(r)[0] for r in values]
        values = self.numbers(index, values)
        if len(values) == n:
            if n == 1:
                return [values[0] - 0.5, values[0] + 0.5]
            middle = [(a + b) / 2 for a, b in zip(values, values[1:])]
            return [2 * values[0] - middle[0], *middle, 2 * values[-1] - middle[-1]]
        if len(values) != n + 1:
            raise ValueError(
                f"pcolormesh(): {'xy'[index]} has {len(values)} values and should have {n} middles or {n + 1} edges")
        return values

    def hist2d(self, x, y, bins=10, cmap=None, range=None, density=False, **kwargs):
        """Counts in a grid of bins, as pcolormesh(); gives (counts, x edges, y edges, mesh)."""
        xs, ys = self.numbers(0, x), self.numbers(1, y)
        _same_length("hist2d()", x=xs, y=ys)
        bx, by = bins if isinstance(bins, (list, tuple)) and len(bins) == 2 else (bins, bins)
        ex, ey = self._edges([xs], bx, range and range[0]), self._edges([ys], by, range and range[1])
        counts = [[0.0] * (len(ey) - 1) for _ in ex[1:]]
        for a, b in zip(xs, ys):
            if ex[0] <= a <= ex[-1] and ey[0] <= b <= ey[-1]:
                counts[min(bisect_right(ex, a) - 1, len(ex) - 2)][min(bisect_right(ey, b) - 1, len(ey) - 2)] += 1
        mesh = self.pcolormesh(ex, ey, list(zip(*counts)), cmap=cmap, **kwargs)
        return counts, ex, ey, mesh

    def hexbin(self, *args, **kwargs):
        """Not in this subset."""
        raise Unsupported("hexbin() is not in this subset; hist2d(x, y, bins) shows the same with squares")

    def contour(self, *args, levels=None, cmap=None, colors=None, norm=None, vmin=None, vmax=None, linewidths=1.5,
                linestyles="solid", alpha=None, **kwargs):
        """Lines of equal value: contour([x, y], values, [levels])."""
        from .contours import level_lines
        return self._contours(level_lines, args, levels, cmap, colors, norm or _norm(vmin, vmax),
                              {"linewidth": linewidths, "linestyle": linestyles, "alpha": alpha, **kwargs}, False)

    def contourf(self, *args, levels=None, cmap=None, colors=None, norm=None, vmin=None, vmax=None, alpha=None,
                 extend="neither", **kwargs):
        """Areas between values: contourf([x, y], values, [levels])."""
        from .contours import areas_above
        return self._contours(areas_above, args, levels, cmap, colors, norm or _norm(vmin, vmax),
                              {"alpha": alpha, **kwargs}, True)

    def _contours(self, trace, args, levels, cmap, paint, norm, props, filled):
        from .ticks import AutoLocator
        args = list(args)
        if len(args) in (2, 4):
            levels = args.pop()
        rows = self._grid(args[-1], "contour()")
        if len(args) == 3:
            xs = self.numbers(0, args[0][0] if _nested(_list(args[0])) else args[0])
            ys = self.numbers(1, [list(r)[0] for r in args[1]] if _nested(_list(args[1])) else args[1])
        else:
            xs, ys = [float(i) for i in range(len(rows[0]))], [float(j) for j in range(len(rows))]
        _same_length("contour()", x=xs, columns=rows[0])
        _same_length("contour()", y=ys, rows=rows)
        good = [v for r in rows for v in r if isfinite(v)]
        lo, hi = min(good, default=0.0), max(good, default=1.0)
        if levels is None or isinstance(levels, int):
            found = AutoLocator().ticks(lo, hi, levels or 8)
            step = found[1] - found[0] if len(found) > 1 else 1.0
            if filled:
                found = ([found[0] - step] if found[0] > lo
                         else []) + found + ([found[-1] + step] if found[-1] < hi else [])
            levels = found
        levels = sorted(float(v) for v in levels)
        norm.fit([lo, hi] if not filled else levels)
        mapped = colors.Mapped(norm, cmap)
        paint = [paint] if isinstance(paint, str) else list(paint) if paint is not None else None
        out = []
        for i, level in enumerate(levels[:-1] if filled else levels):
            middle = (level + levels[i + 1]) / 2 if filled else level
            color = paint[i % len(paint)] if paint else mapped.to_rgba(middle)
            if filled:
                # Opaque areas lie upon each other, which leaves no seams; transparent ones must not.
                top = levels[i + 1] if props.get("alpha") is not None else None
                shapes = trace(xs, ys, rows, level, top)
                patch = Patch(self, shapes, {"facecolor": color, "edgecolor": "none", "zorder": 0.9, **props},
                              "contourf()")
                patch.sticky_x, patch.sticky_y = (xs[0], xs[-1]), (ys[0], ys[-1])
                out.append(patch)
            else:
                out.append(Segments(self, trace(xs, ys, rows, level), {"color": color, **props}, "contour()"))
        if filled and len(levels) > 1:  # values above the last level stay empty
            out.append(Patch(self, trace(xs, ys, rows, levels[-1], None),
                             {"facecolor": self.background or "white", "edgecolor": "none", "zorder": 0.9},
                             "contourf()"))
        for artist in out:
            self.artists.append(artist)
        frame = Line(self, [xs[0], xs[-1]], [ys[0], ys[-1]], {"linestyle": "", "color": "none"})
        frame.sticky_x, frame.sticky_y = (xs[0], xs[-1]), (ys[0], ys[-1])
        self.artists.append(frame)
        self.figure.touch()
        result = ContourSet(self, mapped, levels, out, paint, filled)
        self.figure.last_mapped = result
        return result

    def clabel(self, contours, levels=None, inline=True, fontsize=8, fmt="%g", colors=None, **kwargs):
        """Writes values at contour lines."""
        out = []
        for level, lines in zip(contours.levels, contours.collections):
            ends = [p for line in getattr(lines, "lines", []) for p in line[len(line) // 2:len(line) // 2 + 1]]
            if ends and (levels is None or level in levels):
                x, y = ends[len(ends) // 2]
                text = fmt[level] if isinstance(fmt, dict) else fmt(level) if callable(fmt) else fmt % level
                color = colors if isinstance(colors, str) else lines.props["color"]
                out.append(self.text(x, y, text, fontsize=fontsize, color=color, ha="center", va="center",
                                     bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.05} if inline else None))
        return out

    def table(self, *args, **kwargs):
        """Not in this subset."""
        raise Unsupported("table() is not in this subset; print the table as text, or place texts with ax.text()")


class ContourSet:
    """What contour() made: levels, collections, and colours for a colour bar."""

    def __init__(self, axes, mapped, levels, collections, paint, filled):
        self.axes, self.levels, self.collections, self.filled = axes, levels, collections, filled
        self.norm, self.cmap, self.palette = mapped.norm, mapped.cmap, paint


def _norm(vmin, vmax):
    return colors.Normalize(vmin, vmax)


