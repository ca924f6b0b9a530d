"""Sets text with the stroke font of glyphs: measures, breaks $math$ down to plain runs, and makes masks to stamp.

Masks are hinted: the levels and stems of a letter are moved to pixel centres, so that small text is crisp. A font
size is in pixels; the style of a glyph is "", "b", "i" or "bi".
"""

import re
from functools import lru_cache
from math import cos, radians, sin

from . import glyphs, outline

PEN = 1.65          # stroke width in grid units
GRID = 19.5         # grid units in one em
BEARING = 1.75      # from a glyph's left or right edge to its outermost stroke's middle
_TOKEN = re.compile(r"([/hvq]?)(-?[\d.]+),(-?[\d.]+)(?:,(-?[\d.]+),(-?[\d.]+))?")
MAX_MATH = 200      # marks in one piece of $math$; what has more is shown as it is written
_BOX = "0,0/0,14/8,14/8,0/0,0"  # a character that the font lacks

_COMMANDS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "vartheta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ",
    "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ",
    "Omega": "Ω", "cdot": "·", "times": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥",
    "neq": "≠", "ne": "≠", "approx": "≈", "equiv": "≡", "sim": "~", "propto": "∝", "infty": "∞", "sum": "∑",
    "prod": "∏",
    "int": "∫", "partial": "∂", "nabla": "∇", "in": "∈", "to": "→", "rightarrow": "→", "leftarrow": "←", "uparrow": "↑",
    "downarrow": "↓", "Rightarrow": "⇒", "degree": "°", "circ": "°", "ldots": "…", "dots": "…", "cdots": "…",
    "prime": "'",
    "quad": " ", "qquad": "  ", "langle": "<", "rangle": ">", "hbar": "h", "ell": "l", "mid": "|", "vert": "|",
    "ast": "*",
}
_OPERATORS = set("=<>≤≥≠≈≡×±→←⇒∝∈~")
_FONTS = {"mathrm", "mathbf", "mathit", "mathsf", "mathcal", "text", "textrm", "textbf", "rm", "bf", "it", "left",
          "right",
          "displaystyle", "operatorname", "boldsymbol", "limits", "big", "Big", "bar", "hat", "vec", "tilde",
          "overline"}


class Layout:
    """Text set at a size: glyphs is a list of (character, dx, dy, size, style) from the first baseline's left end.

    width, ascent above the first baseline and descent below it (all lines) are pixels; lines keeps the text itself
    for a backend that sets type on its own, as (dx, dy, width, [(text, size, rise)]).
    """

    def __init__(self, width, ascent, descent, glyphs_, lines, style):
        self.width, self.ascent, self.descent = width, ascent, descent
        self.glyphs, self.lines, self.style = glyphs_, lines, style

    def box(self, angle):
        """(x0, y0, x1, y1) of the text turned by angle about its origin."""
        c, s = rotation(angle)
        corners = [(x * c + y * s, -x * s + y * c) for x in (0, self.width) for y in (-self.ascent, self.descent)]
        return (min(x for x, _ in corners), min(y for _, y in corners),
                max(x for x, _ in corners), max(y for _, y in corners))


def rotation(angle):
    """(cosine, sine) of an angle in degrees, exact for multiples of 90."""
    exact = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}.get(angle % 360)
    return exact or (cos(radians(angle)), sin(radians(angle)))


@lru_cache(maxsize=512)
def layout(text, size, style="", align="left"):
    """Sets text, which may have several lines and $math$, at a size in pixels."""
    placed, lines = [], []
    rows = [_runs(line) for line in text.split("\n")]
    widths = [sum(advance(c, size * scale, style) for run, scale, _ in row for c in run) for row in rows]
    width, y = max(widths), 0.0
    for row, row_width in zip(rows, widths):
        x = 0.0 if align == "left" else width - row_width if align == "right" else round((width - row_width) / 2)
        lines.append((x, y, row_width, [(run, size * scale, rise * size) for run, scale, rise in row]))
        for run, scale, rise in row:
            for c in run:
                placed.append((c, x, y - rise * size, size * scale, style))
                x += advance(c, size * scale, style)
        y += round(size * 1.25)
    last = y - round(size * 1.25)
    return Layout(width, size * 0.76, last + size * 0.22, placed, lines, style)


def _runs(line):
    """A line as (characters, scale, rise) runs."""
    parts = re.split(r"(?<!\\)\$", line)
    if len(parts) % 2 == 0:
        parts = [line]
    out = []
    for i, part in enumerate(parts):
        if i % 2 and sum(map(part.count, "{^_\\")) < MAX_MATH:
            _math(part, 1.0, 0.0, out)
        else:
            _plain(part.replace(r"\$", "$"), 1.0, 0.0, out)
    merged = []
    for chars, scale, rise in out:
        if merged and merged[-1][1:] == (scale, rise):
            merged[-1] = (merged[-1][0] + chars, scale, rise)
        elif chars:
            merged.append((chars, scale, rise))
    return merged


def _plain(text, scale, rise, out):
    for c in text:
        if c in glyphs.SUPERSCRIPTS:
            out.append((glyphs.SUPERSCRIPTS[c], scale * 0.7, rise + 0.34 * scale))
        elif c in glyphs.SUBSCRIPTS:
            out.append((glyphs.SUBSCRIPTS[c], scale * 0.7, rise - 0.14 * scale))
        elif c in glyphs.FRACTIONS:
            out.append((glyphs.FRACTIONS[c], scale * 0.8, rise))
        elif c == "\t":
            out.append(("    ", scale, rise))
        elif c >= " ":
            out.append((c, scale, rise))


def _math(text, scale, rise, out):
    i = 0
    while i < len(text):
        c = text[i]
        if c in "^_":
            body, i = _argument(text, i + 1)
            if body in ("\\circ", "\\prime", "°", "'"):
                _math(body, scale, rise, out)
            else:
                _math(body, scale * 0.7, rise + (0.36 if c == "^" else -0.16) * scale, out)
        elif c == "{":
            body, i = _argument(text, i)
            _math(body, scale, rise, out)
        elif c == "\\":
            name = re.match(r"\\([A-Za-z]+|.)?", text[i:]).group(1) or ""
            i += 1 + len(name)
            if name in ("frac", "dfrac", "tfrac"):
                over, i = _argument(text, i)
                under, i = _argument(text, i)
                _group(over, scale, rise, out)
                out.append(("/", scale, rise))
                _group(under, scale, rise, out)
            elif name == "sqrt":
                body, i = _argument(text, i)
                out.append(("√", scale, rise))
                _group(body, scale, rise, out)
            elif name in _COMMANDS:
                _math_char(_COMMANDS[name], scale, rise, out)
            elif name in (",", ";", ":", " ", "!"):
                out.append(("" if name == "!" else "\u2009", scale, rise))
            elif name not in _FONTS:
                out.append((f"\u2009{name}\u2009" if name.isalpha() else name, scale, rise))
        elif c == " " or c == "}":
            i += 1
        else:
            _math_char("−" if c == "-" else c, scale, rise, out)
            i += 1


def _math_char(c, scale, rise, out):
    if c in _OPERATORS:
        out.append(("\u2009" + c + "\u2009", scale, rise))
    else:
        _plain(c, scale, rise, out)


def _group(body, scale, rise, out):
    simple = re.fullmatch(r"(\\[A-Za-z]+(\{\w+\})?|\w*)([_^](\\?\w+|\{[^{}]*\}))*", body)
    if not simple:
        out.append(("(", scale, rise))
    _math(body, scale, rise, out)
    if not simple:
        out.append((")", scale, rise))


def _argument(text, i):
    while i < len(text) and text[i] == " ":
        i += 1
    if i >= len(text):
        return "", i
    if text[i] == "\\":
        name = re.match(r"\\([A-Za-z]+|.)?", text[i:]).group(0)
        return name, i + len(name)
    if text[i] != "{":
        return text[i], i + 1
    depth, j = 0, i
    while j < len(text):
        depth += (text[j] == "{") - (text[j] == "}")
        j += 1
        if depth == 0:
            return text[i + 1:j - 1], j
    return text[i + 1:], j


@lru_cache(maxsize=2048)
def advance(c, size, style=""):
    """How far a character moves the pen, in whole pixels."""
    return round(_glyph(c)[1] * size / GRID * (1.06 if "b" in style else 1.0))


@lru_cache(maxsize=512)
def _glyph(c):
    """(strokes, advance): strokes are lists of points in grid units with their flags, see _trace."""
    c = glyphs.SAME.get(c, c)
    if c in glyphs.ADVANCES and c not in glyphs.STROKES:
        return [], glyphs.ADVANCES[c]
    data = glyphs.STROKES.get(c)
    if data is not None:
        strokes = _trace(data)
    else:
        strokes = _composed(c) or _trace(_BOX)
    right = max(p[0] for s in strokes for p in s)
    return strokes, glyphs.ADVANCES.get(c, right + 2 * BEARING)


def _composed(c):
    import unicodedata
    base, *marks = unicodedata.normalize("NFD", c)
    base = {"i": "ı", "j": "ı"}.get(base, base) if marks else base
    if not marks or base not in glyphs.STROKES or any(m not in glyphs.ACCENTS for m in marks):
        return None
    strokes = _trace(glyphs.STROKES[base])
    middle = max(p[0] for s in strokes for p in s) / 2
    up = 3.4 if base.isupper() or base in "bdfhklt" else 0.0
    for m in marks:
        rise = 0.0 if m in "\u0327\u0328" else up
        strokes = strokes + [[(x + middle, y + rise, 0) for x, y, _ in s] for s in _trace(glyphs.ACCENTS[m])]
    return strokes


def _trace(data):
    """Strokes as points (x, y, keys): keys has bit 1 where x should fall on a pixel's middle, bit 2 where y should."""
    out = []
    for stroke in data.split(" "):
        points = []
        for kind, a, b, c, d in _TOKEN.findall(stroke):
            x, y = float(a), float(b)
            if kind == "":
                points = [(x, y, 0)]
                out.append(points)
                continue
            px, py, keys = points[-1]
            if kind == "q":
                cx, cy, x, y = x, y, float(c), float(d)
                points += [((1 - t) ** 2 * px + 2 * t * (1 - t) * cx + t * t * x,
                            (1 - t) ** 2 * py + 2 * t * (1 - t) * cy + t * t * y, 0) for t in (.2, .4, .6, .8, 1)]
                continue
            if kind == "/":
                mark = (1 if x == px else 0) | (2 if y == py else 0)
                points[-1] = (px, py, keys | mark)
                points.append((x, y, mark))
                continue
            mark = 2 if kind == "h" else 1
            points[-1] = (px, py, keys | mark)
            for i in range(1, 8):
                s, c1 = sin(i * radians(90) / 8), cos(i * radians(90) / 8)
                points.append((px + (x - px) * s, py + (y - py) * (1 - c1), 0) if kind == "h" else
                              (px + (x - px) * (1 - c1), py + (y - py) * s, 0))
            points.append((x, y, 3 - mark))
    return out


def _snap(values, scale):
    """Maps grid coordinates to pixels with the given values on pixel middles, straight between them."""
    table = []
    for v in sorted(values):
        at = round(v * scale)
        if table and at <= table[-1][1]:
            if v * scale - table[-1][0] * scale < 0.8:
                continue
            at = table[-1][1] + 1
        table.append((v, at))
    if not table:
        return lambda v: v * scale

    def place(v):
        if v <= table[0][0]:
            return table[0][1] + (v - table[0][0]) * scale
        for (a, pa), (b, pb) in zip(table, table[1:]):
            if v <= b:
                return pa + (v - a) * (pb - pa) / (b - a)
        return table[-1][1] + (v - table[-1][0]) * scale
    return place


@lru_cache(maxsize=2048)
def mask(c, size, style, angle):
    """Runs of a hinted glyph for its pen at a pixel's corner, upright or turned by 90 degrees."""
    from . import raster
    scale = size / GRID
    strokes, _ = _glyph(c)
    place_x = _snap({x for s in strokes for x, _, k in s if k & 1}, scale)
    place_y = _snap({0.0} | {y for s in strokes for _, y, k in s if k & 2}, scale)
    left = int(BEARING * scale + 0.5) + 0.5 - (1 if scale < 0.5 else 0)
    lean = 0.2 if "i" in style else 0.0
    lines = [[(place_x(x) + left + lean * place_y(y), -0.5 - place_y(y)) for x, y, _ in s] for s in strokes]
    if angle:
        lines = [[(y, -x) for x, y in line] for line in lines]
    return raster.runs_of(_pen(lines, scale, style))


def polygons(c, size, style, x, y, turn):
    """A glyph's polygons for a pen at x, y, turned by (cosine, sine)."""
    scale = size / GRID
    co, si = turn
    lean = 0.2 if "i" in style else 0.0
    lines = []
    for s in _glyph(c)[0]:
        points = [((px + BEARING + lean * py) * scale, -py * scale) for px, py, _ in s]
        lines.append([(x + px * co + py * si, y - px * si + py * co) for px, py in points])
    return _pen(lines, scale, style)


def _pen(lines, scale, style):
    width = max(PEN * scale, 1.0) * (1.55 if "b" in style else 1.0)
    return [p for line in lines for p in outline.stroke(line, width, line[0] == line[-1] and len(line) > 3, "round")]
