"""Colours by name, number or position in a colour map. Inside the library a colour is (r, g, b, a): 0..255, a 0..1."""

from math import isfinite, log10

CYCLE = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]

_LETTERS = {"k": (0, 0, 0), "w": (255, 255, 255), "r": (255, 0, 0), "g": (0, 128, 0), "b": (0, 0, 255),
            "c": (0, 191, 191),
            "m": (191, 0, 191), "y": (191, 191, 0)}

# The names of CSS Color Module Level 4.
_CSS = """\
aliceblue f0f8ff antiquewhite faebd7 aqua 00ffff aquamarine 7fffd4 azure f0ffff beige f5f5dc bisque ffe4c4 black
000000 blanchedalmond ffebcd blue 0000ff blueviolet 8a2be2 brown a52a2a burlywood deb887 cadetblue 5f9ea0 chartreuse
7fff00 chocolate d2691e coral ff7f50 cornflowerblue 6495ed cornsilk fff8dc crimson dc143c cyan 00ffff darkblue 00008b
darkcyan 008b8b darkgoldenrod b8860b darkgray a9a9a9 darkgreen 006400 darkkhaki bdb76b darkmagenta 8b008b
darkolivegreen 556b2f darkorange ff8c00 darkorchid 9932cc darkred 8b0000 darksalmon e9967a darkseagreen 8fbc8f
darkslateblue 483d8b darkslategray 2f4f4f darkturquoise 00ced1 darkviolet 9400d3 deeppink ff1493 deepskyblue 00bfff
dimgray 696969 dodgerblue 1e90ff firebrick b22222 floralwhite fffaf0 forestgreen 228b22 fuchsia ff00ff gainsboro
dcdcdc ghostwhite f8f8ff gold ffd700 goldenrod daa520 gray 808080 green 008000 greenyellow adff2f honeydew f0fff0
hotpink ff69b4 indianred cd5c5c indigo 4b0082 ivory fffff0 khaki f0e68c lavender e6e6fa lavenderblush fff0f5 lawngreen
7cfc00 lemonchiffon fffacd lightblue add8e6 lightcoral f08080 lightcyan e0ffff lightgoldenrodyellow fafad2 lightgray
d3d3d3 lightgreen 90ee90 lightpink ffb6c1 lightsalmon ffa07a lightseagreen 20b2aa lightskyblue 87cefa lightslategray
778899 lightsteelblue b0c4de lightyellow ffffe0 lime 00ff00 limegreen 32cd32 linen faf0e6 magenta ff00ff maroon 800000
mediumaquamarine 66cdaa mediumblue 0000cd mediumorchid ba55d3 mediumpurple 9370db mediumseagreen 3cb371
mediumslateblue 7b68ee mediumspringgreen 00fa9a mediumturquoise 48d1cc mediumvioletred c71585 midnightblue 191970
mintcream f5fffa mistyrose ffe4e1 moccasin ffe4b5 navajowhite ffdead navy 000080 oldlace fdf5e6 olive 808000 olivedrab
6b8e23 orange ffa500 orangered ff4500 orchid da70d6 palegoldenrod eee8aa palegreen 98fb98 paleturquoise afeeee
palevioletred db7093 papayawhip ffefd5 peachpuff ffdab9 peru cd853f pink ffc0cb plum dda0dd powderblue b0e0e6 purple
800080 rebeccapurple 663399 red ff0000 rosybrown bc8f8f royalblue 4169e1 saddlebrown 8b4513 salmon fa8072 sandybrown
f4a460 seagreen 2e8b57 seashell fff5ee sienna a0522d silver c0c0c0 skyblue 87ceeb slateblue 6a5acd slategray 708090
snow fffafa springgreen 00ff7f steelblue 4682b4 tan d2b48c teal 008080 thistle d8bfd8 tomato ff6347 turquoise 40e0d0
violet ee82ee wheat f5deb3 white ffffff whitesmoke f5f5f5 yellow ffff00 yellowgreen 9acd32
""".split()
NAMED = dict(zip(_CSS[::2], _CSS[1::2]))

# Colour maps as evenly spaced stops; lists of few colours (tab10 and the like) are not interpolated.
_MAPS = {
    "viridis": "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725",
    "plasma": "0d0887 41049d 6a00a8 8f0da4 b12a90 cc4778 e16462 f2844b fca636 fcce25 f0f921",
    "inferno": "000004 160b39 420a68 6a176e 932667 bc3754 dd513a f37819 fca50a f6d746 fcffa4",
    "magma": "000004 140e36 3b0f70 641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf",
    "cividis": "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
    "turbo": "30123b 4662d7 36aaf9 1ae4b6 72fe5e c7ef34 faba39 f66b19 cb2a04 7a0403",
    "gray": "000000 ffffff", "Greys": "ffffff f0f0f0 d9d9d9 bdbdbd 969696 737373 525252 252525 000000",
    "bone": "000000 545474 a9c8c8 ffffff", "hot": "0b0000 ff0000 ffff00 ffffff", "cool": "00ffff ff00ff",
    "copper": "000000 9e633f ffc77f",
    "spring": "ff00ff ffff00", "summer": "008066 ffff66", "autumn": "ff0000 ffff00", "winter": "0000ff 00ff80",
    "jet": "000080 0000ff 0080ff 00ffff 80ff80 ffff00 ff8000 ff0000 800000",
    "hsv": "ff0000 ffff00 00ff00 00ffff 0000ff ff00ff ff0000",
    "rainbow": "8000ff 4062fa 00b4eb 40ecd4 80ffb4 c0eb8d ffb462 ff6232 ff0000",
    "terrain": "333399 00998f 00cc66 ffff99 806059 ffffff",
    "twilight": "e2d9e2 9ebbc9 6785be 5e43a5 2f1436 8e2c50 b86a5c d2b9a4 e2d9e2",
    "coolwarm": "3b4cc0 6788ee 9abbff c9d7f0 dddddd edd1c2 f7a889 e26952 b40426", "bwr": "0000ff ffffff ff0000",
    "seismic": "00004d 0000ff ffffff ff0000 800000",
    "RdBu": "67001f b2182b d6604d f4a582 fddbc7 f7f7f7 d1e5f0 92c5de 4393c3 2166ac 053061",
    "RdYlGn": "a50026 d73027 f46d43 fdae61 fee08b ffffbf d9ef8b a6d96a 66bd63 1a9850 006837",
    "RdYlBu": "a50026 d73027 f46d43 fdae61 fee090 ffffbf e0f3f8 abd9e9 74add1 4575b4 313695",
    "Spectral": "9e0142 d53e4f f46d43 fdae61 fee08b ffffbf e6f598 abdda4 66c2a5 3288bd 5e4fa2",
    "PiYG": "8e0152 c51b7d de77ae f1b6da fde0ef f7f7f7 e6f5d0 b8e186 7fbc41 4d9221 276419",
    "PRGn": "40004b 762a83 9970ab c2a5cf e7d4e8 f7f7f7 d9f0d3 a6dba0 5aae61 1b7837 00441b",
    "Blues": "f7fbff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b",
    "Reds": "fff5f0 fee0d2 fcbba1 fc9272 fb6a4a ef3b2c cb181d a50f15 67000d",
    "Greens": "f7fcf5 e5f5e0 c7e9c0 a1d99b 74c476 41ab5d 238b45 006d2c 00441b",
    "Oranges": "fff5eb fee6ce fdd0a2 fdae6b fd8d3c f16913 d94801 a63603 7f2704",
    "Purples": "fcfbfd efedf5 dadaeb bcbddc 9e9ac8 807dba 6a51a3 54278f 3f007d",
    "YlOrRd": "ffffcc ffeda0 fed976 feb24c fd8d3c fc4e2a e31a1c bd0026 800026",
    "YlOrBr": "ffffe5 fff7bc fee391 fec44f fe9929 ec7014 cc4c02 993404 662506",
    "YlGnBu": "ffffd9 edf8b1 c7e9b4 7fcdbb 41b6c4 1d91c0 225ea8 253494 081d58",
    "YlGn": "ffffe5 f7fcb9 d9f0a3 addd8e 78c679 41ab5d 238443 006837 004529",
    "BuPu": "f7fcfd e0ecf4 bfd3e6 9ebcda 8c96c6 8c6bb1 88419d 810f7c 4d004b",
    "PuBu": "fff7fb ece7f2 d0d1e6 a6bddb 74a9cf 3690c0 0570b0 045a8d 023858",
    "GnBu": "f7fcf0 e0f3db ccebc5 a8ddb5 7bccc4 4eb3d3 2b8cbe 0868ac 084081",
}
_LISTS = {
    "tab10": " ".join(c[1:] for c in CYCLE),
    "tab20": "1f77b4 aec7e8 ff7f0e ffbb78 2ca02c 98df8a d62728 ff9896 9467bd c5b0d5 8c564b c49c94 e377c2 f7b6d2 7f7f7f "
             "c7c7c7 bcbd22 dbdb8d 17becf 9edae5",
    "Set1": "e41a1c 377eb8 4daf4a 984ea3 ff7f00 ffff33 a65628 f781bf 999999",
    "Set2": "66c2a5 fc8d62 8da0cb e78ac3 a6d854 ffd92f e5c494 b3b3b3",
    "Set3": "8dd3c7 ffffb3 bebada fb8072 80b1d3 fdb462 b3de69 fccde5 d9d9d9 bc80bd ccebc5 ffed6f",
    "Dark2": "1b9e77 d95f02 7570b3 e7298a 66a61e e6ab02 a6761d 666666",
    "Paired": "a6cee3 1f78b4 b2df8a 33a02c fb9a99 e31a1c fdbf6f ff7f00 cab2d6 6a3d9a ffff99 b15928",
    "Accent": "7fc97f beaed4 fdc086 ffff99 386cb0 f0027f bf5b17 666666",
    "Pastel1": "fbb4ae b3cde3 ccebc5 decbe4 fed9a6 ffffcc e5d8bd fddaec f2f2f2",
    "Pastel2": "b3e2cd fdcdac cbd5e8 f4cae4 e6f5c9 fff2ae f1e2cc cccccc",
}


def _hex(text):
    if len(text) in (3, 4):
        text = "".join(c + c for c in text)
    if len(text) not in (6, 8):
        raise ValueError(text)
    value = bytes.fromhex(text)
    return (*value[:3], value[3] / 255 if len(value) == 4 else 1.0)


def parse(color, alpha=None):
    """The (r, g, b, a) of a colour: a name, '#rrggbb', 'C0', 'tab:blue', '0.5' (grey) or a tuple; None for 'none'."""
    found = None
    if isinstance(color, str):
        name = color.lower().replace(" ", "").removeprefix("xkcd:")
        if name == "none":
            return None
        if name in _LETTERS:
            found = (*_LETTERS[name], 1.0)
        elif name.replace("grey", "gray") in NAMED:
            found = _hex(NAMED[name.replace("grey", "gray")])
        elif name.startswith("tab:") and name[4:].replace("grey", "gray") in _TAB:
            found = _hex(CYCLE[_TAB.index(name[4:].replace("grey", "gray"))][1:])
        elif name[:1] == "c" and name[1:].isdigit():
            found = _hex(CYCLE[int(name[1:]) % 10][1:])
        else:
            try:
                grey = float(name) if name[:1] != "#" else None
                if grey is None:
                    found = _hex(name[1:])
                elif 0 <= grey <= 1:
                    found = (round(255 * grey),) * 3 + (1.0,)
            except ValueError:
                pass
    elif color is not None:
        try:
            if len(color) == 2 and isinstance(color[0], (str, tuple, list)):
                return parse(color[0], color[1] if alpha is None else alpha)
            parts = [float(v) for v in color]
            if len(parts) in (3, 4) and all(0 <= v <= 1 for v in parts):
                found = (*(round(255 * v) for v in parts[:3]), parts[3] if len(parts) == 4 else 1.0)
        except (TypeError, ValueError):
            pass
    if found is None:
        raise ValueError(
            f"{color!r} is not a colour; give a name such as 'tab:blue' or 'crimson', '#1f77b4', 'C0', a grey "
            "'0.5', or a tuple of three or four numbers from 0 to 1")
    return found if alpha is None else (*found[:3], float(alpha))


_TAB = ["blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "olive", "cyan"]


def is_color(value):
    """Whether parse would take the value."""
    try:
        parse(value)
    except ValueError:
        return False
    return value is not None


def to_rgba(color, alpha=None):
    """A colour as four numbers from 0 to 1."""
    c = parse(color, alpha) or (0, 0, 0, 0.0)
    return (c[0] / 255, c[1] / 255, c[2] / 255, c[3])


def to_rgb(color):
    """A colour as three numbers from 0 to 1."""
    return to_rgba(color)[:3]


def to_hex(color):
    """A colour as '#rrggbb'."""
    return "#%02x%02x%02x" % (parse(color) or (0, 0, 0))[:3]


class Colormap:
    """A map from 0..1 to colours; calling it gives (r, g, b, a) from 0 to 1, or a list of them for a list."""

    def __init__(self, name, colors, smooth=True):
        self.name, self.stops, self.smooth = name, [parse(c) for c in colors], smooth
        self.N = 256 if smooth else len(self.stops)
        self.colors = [tuple(v / 255 for v in c[:3]) for c in self.stops]

    def at(self, value):
        """The colour at 0..1; values outside get the colour of the nearer end."""
        n = len(self.stops)
        if not self.smooth:
            return self.stops[min(max(int(value * n), 0), n - 1)]
        place = min(max(value, 0.0), 1.0) * (n - 1)
        i = min(int(place), n - 2)
        t = place - i
        a, b = self.stops[i], self.stops[i + 1]
        return (round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t),
                a[3] + (b[3] - a[3]) * t)

    def __call__(self, value, alpha=None):
        if hasattr(value, "__iter__"):
            return [self(v, alpha) for v in value]
        if isinstance(value, int) and not isinstance(value, bool):
            value = (value + 0.5) / self.N if not self.smooth else value / (self.N - 1)
        r, g, b, a = self.at(float(value))
        return (r / 255, g / 255, b / 255, a if alpha is None else float(alpha))

    def reversed(self):
        """The same map from the other end."""
        out = Colormap(self.name + "_r", [], self.smooth)
        out.stops, out.colors, out.N = self.stops[::-1], self.colors[::-1], self.N
        return out

    def resampled(self, n):
        """A map of n plain steps."""
        return ListedColormap([self.at(i / max(n - 1, 1)) and to_hex(self(i / max(n - 1, 1))) for i in range(n)],
                              self.name)

    @classmethod
    def from_list(cls, name, colors, N=256):
        """A smooth map through colours at even distances; N is taken and not needed."""
        return Colormap(name, [c[1] if isinstance(c, tuple) and len(c) == 2 else c for c in colors])


def ListedColormap(colors, name="listed", N=None):
    """A map of plain steps."""
    return Colormap(name, list(colors), smooth=False)


def get_cmap(name=None, lut=None):
    """A colour map by name ('viridis' by default, '_r' at the end reverses it), of lut plain steps if that is given."""
    if isinstance(name, Colormap):
        found = name
    else:
        base = (name or "viridis").removesuffix("_r")
        base = {"grey": "gray", "Grays": "Greys", "binary": "Greys"}.get(base, base)
        if base in _MAPS:
            found = Colormap(base, ["#" + c for c in _MAPS[base].split()])
        elif base in _LISTS:
            found = Colormap(base, ["#" + c for c in _LISTS[base].split()], smooth=False)
        else:
            raise ValueError(f"colour map {name!r} is not known; there are {', '.join(map_names())}, and each with _r")
        if name and name.endswith("_r"):
            found = found.reversed()
    return found.resampled(lut) if lut else found


def map_names():
    """The names of all colour maps."""
    return [*_MAPS, *_LISTS]


class Normalize:
    """Maps vmin..vmax to 0..1; what is None is taken from the data."""

    def __init__(self, vmin=None, vmax=None, clip=False):
        self.vmin = None if vmin is None else float(vmin)
        self.vmax = None if vmax is None else float(vmax)

    def fit(self, values):
        """Takes missing ends from the values."""
        good = [v for v in values if v is not None and isfinite(v) and self._valid(v)]
        if self.vmin is None:
            self.vmin = min(good, default=0.1)
        if self.vmax is None:
            self.vmax = max(good, default=1.0)

    autoscale_None = fit

    def _valid(self, value):
        return True

    def __call__(self, value):
        if hasattr(value, "__iter__"):
            return [self(v) for v in value]
        return (value - self.vmin) / (self.vmax - self.vmin) if self.vmax != self.vmin else 0.0


class LogNorm(Normalize):
    """Maps vmin..vmax to 0..1 by their logarithms."""

    def _valid(self, value):
        return value > 0

    def __call__(self, value):
        if hasattr(value, "__iter__"):
            return [self(v) for v in value]
        if value <= 0 or self.vmax == self.vmin:
            return 0.0
        return (log10(value) - log10(self.vmin)) / (log10(self.vmax) - log10(self.vmin))


class TwoSlopeNorm(Normalize):
    """Maps vmin..vcenter to 0..0.5 and vcenter..vmax to 0.5..1."""

    def __init__(self, vcenter, vmin=None, vmax=None):
        super().__init__(vmin, vmax)
        self.vcenter = float(vcenter)

    def __call__(self, value):
        if hasattr(value, "__iter__"):
            return [self(v) for v in value]
        low, high = self.vcenter - self.vmin, self.vmax - self.vcenter
        if value < self.vcenter:
            return 0.5 - 0.5 * (self.vcenter - value) / low if low else 0.5
        return 0.5 + 0.5 * (value - self.vcenter) / high if high else 0.5


class Mapped:
    """What maps values to colours for a colour bar: cmap, norm and the values."""

    def __init__(self, norm=None, cmap=None, values=()):
        self.norm, self.cmap = norm or Normalize(), get_cmap(cmap)
        if values:
            self.norm.fit(values)

    def set_array(self, values):
        """Takes missing ends of the norm from the values."""
        if values is not None:
            self.norm.fit([float(v) for v in values])

    def to_rgba(self, value, alpha=None):
        """The colour of a value as four numbers from 0 to 1."""
        return self.cmap(self.norm(value), alpha)

    def set_clim(self, vmin=None, vmax=None):
        """Sets the ends of the norm."""
        self.norm.vmin = self.norm.vmin if vmin is None else float(vmin)
        self.norm.vmax = self.norm.vmax if vmax is None else float(vmax)

    def get_cmap(self):
        """The colour map."""
        return self.cmap

    def color(self, value):
        """The (r, g, b, a) of a value, None for a missing one."""
        return self.cmap.at(self.norm(value)) if value is not None and isfinite(value) else None
