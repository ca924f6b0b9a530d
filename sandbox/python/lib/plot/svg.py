"""Writes a picture as SVG 1.1: the methods of raster.Canvas, answered with elements instead of pixels."""

from base64 import b64encode

from . import markers, raster

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def _number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _escape(text):
    return "".join(_ESCAPES.get(c, c) for c in text if c >= " ")


class Writer:
    """A backend that writes; coordinates and colours as in raster."""

    def __init__(self, width, height, background, dpi=100):
        self.width, self.height, self.dpi = width, height, dpi
        self.parts, self.clips = [], {}
        if background:
            self.parts.append(f'<rect width="100%" height="100%"{self._paint("fill", background)}/>')

    def fill(self, polygons, color, clip=None):
        path = "".join("M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in p) + "z" for p in polygons)
        self.parts.append(f'<path d="{path}"{self._paint("fill", color)}{self._clip(clip)}/>')

    def stroke(self, lines, color, width, clip=None, dash=None, closed=False, cap="butt", join="round"):
        path = "".join("M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in p) + ("z" if closed else "")
                       for p in lines)
        dashes = f' stroke-dasharray="{" ".join(_number(d) for d in dash)}"' if dash else ""
        caps = {"projecting": ' stroke-linecap="square"', "round": ' stroke-linecap="round"'}.get(cap, "")
        self.parts.append(f'<path d="{path}" fill="none"{self._paint("stroke", color)} stroke-width="{_number(width)}"'
                          f'{dashes}{caps} stroke-linejoin="{join}"{self._clip(clip)}/>')

    def markers(self, points, marker, size, look, clip=None):
        sizes = size if isinstance(size, list) else None
        looks = look if isinstance(look, list) else None
        shapes = {}
        self.parts.append(f"<g{self._clip(clip)}>")
        for i, (x, y) in enumerate(points):
            s, (face, edge, width) = sizes[i] if sizes else size, looks[i] if looks else look
            if s not in shapes:
                outlines, filled = markers.shape(marker, s)
                shapes[s] = filled, "".join("M" + "L".join(f"{_number(a)} {_number(b)}" for a, b in o) +
                                            ("z" if filled else "") for o in outlines)
            filled, path = shapes[s]
            paint = self._paint("fill", face if filled else None)
            if edge and width:
                paint += self._paint("stroke", edge) + f' stroke-width="{_number(width)}"'
            self.parts.append(f'<path transform="translate({_number(x)} {_number(y)})" d="{path}"{paint}/>')
        self.parts.append("</g>")

    def image(self, xs, ys, rows, clip=None):
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        canvas = raster.Canvas(max(1, round(right - left)), max(1, round(bottom - top)), (255, 255, 255), self.dpi)
        canvas.image([x - left for x in xs], [y - top for y in ys], rows)
        data = b64encode(canvas.png()).decode()
        self.parts.append(f'<image x="{_number(left)}" y="{_number(top)}" width="{_number(right - left)}" height="'
                          f'{_number(bottom - top)}" preserveAspectRatio="none"'
                          f' xlink:href="data:image/png;base64,{data}"'
                          f'{self._clip(clip)}/>')

    def text(self, x, y, layout, color, angle=0, align="left"):
        bold = ' font-weight="bold"' if "b" in layout.style else ""
        slant = ' font-style="italic"' if "i" in layout.style else ""
        turned = f' rotate({_number(-angle)})' if angle else ""
        self.parts.append(
            f'<g transform="translate({_number(x)} {_number(y)}){turned}"{self._paint("fill", color)}{bold}{slant}>')
        side, name = {"left": (0, ""), "center": (0.5, ' text-anchor="middle"'),
                      "right": (1, ' text-anchor="end"')}[align]
        for dx, dy, width, runs in layout.lines:
            if not any(run.strip() for run, _, _ in runs):
                continue
            # A plain line keeps to our width whatever font the viewer has; one with raised parts flows as that does.
            fit = ""
            if len(runs) == 1 and len(runs[0][0]) > 1:
                fit = f' textLength="{_number(width)}" lengthAdjust="spacingAndGlyphs"'
            spans, risen = [], 0.0
            for run, size, rise in runs:
                shift = f' dy="{_number(risen - rise)}"' if rise != risen else ""
                spans.append(f'<tspan font-size="{_number(size)}"{shift}>{_escape(run)}</tspan>' if len(runs) > 1
                             else _escape(run))
                risen = rise
            tx, ty = dx + side * width, dy - (runs[0][2] if len(runs) == 1 else 0)
            self.parts.append(f'<text x="{_number(tx)}" y="{_number(ty)}" font-size="{_number(runs[0][1])}"{name}{fit}'
                              f' xml:space="preserve">{"".join(spans)}</text>')
        self.parts.append("</g>")

    def svg(self):
        """The picture as the text of an SVG file."""
        clips = ""
        for (x0, y0, x1, y1), i in self.clips.items():
            clips += (f'<clipPath id="c{i}"><rect x="{_number(x0)}" y="{_number(y0)}" width="{_number(x1 - x0)}" '
                      f'height="{_number(y1 - y0)}"/></clipPath>')
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
                f'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"><defs>{clips}</defs>')
        return "\n".join([head, *self.parts, "</svg>\n"])

    def _paint(self, kind, color):
        if not color:
            return f' {kind}="none"'
        r, g, b, a = color if len(color) == 4 else (*color, 1.0)
        return f' {kind}="#{r:02x}{g:02x}{b:02x}"' + (f' {kind}-opacity="{_number(a)}"' if a < 1 else "")

    def _clip(self, clip):
        if clip is None:
            return ""
        return f' clip-path="url(#c{self.clips.setdefault(tuple(clip), len(self.clips))})"'
