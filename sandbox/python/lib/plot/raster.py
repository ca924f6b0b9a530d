"""A picture in memory: anti-aliased polygons, lines, markers, text and images on RGB bytes, written as PNG.

Coverage is exact: each edge adds its signed area to the cells it crosses, and summing a row from left to right gives
how much of each pixel is inside. Whatever is flat is one slice assignment, since a loop over pixels is what costs in
an interpreter. Coordinates are pixels with y downwards; colours are (r, g, b, a) with 0..255 and a in 0..1.
"""

import struct
import zlib

from . import font, markers, outline


class Canvas:
    """A backend that paints; svg.Writer has the same methods."""

    def __init__(self, width, height, background, dpi=100):
        self.width, self.height, self.dpi = width, height, dpi
        self.box = (0, 0, width, height)
        self.pixels = bytearray(bytes(background[:3]) * (width * height))

    def fill(self, polygons, color, clip=None):
        """Fills polygons that wind alike; an upright rectangle is snapped to whole pixels."""
        clip = self._clip(clip)
        if len(polygons) == 1 and len(polygons[0]) == 4:
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = polygons[0]
            if (x0 == x3 and x1 == x2 and y0 == y1 and y2 == y3) or (x0 == x1 and x2 == x3 and y0 == y3 and y1 == y2):
                return self._rectangle(min(x0, x2), min(y0, y2), max(x0, x2), max(y0, y2), color, clip)
        self._paint(_runs(_cells(polygons, clip), clip[2]), color)

    def stroke(self, lines, color, width, clip=None, dash=None, closed=False, cap="butt", join="round"):
        """Draws polylines; upright segments without joins are snapped to whole pixels."""
        clip = self._clip(clip)
        width = max(width, 0.35)
        margin = 2 * width + 2
        box = (clip[0] - margin, clip[1] - margin, clip[2] + margin, clip[3] + margin)
        polygons = []
        for line in lines:
            if len(line) == 2 and not closed and (line[0][0] == line[1][0] or line[0][1] == line[1][1]):
                for part in outline.clip_lines(line, box):
                    self._upright(part, color, width, clip, dash)
                continue
            if len(line) > 12 * self.width and not closed and all(a[0] <= b[0] for a, b in zip(line, line[1:])):
                self._paint(_runs(_cells([outline.envelope(line, width)], clip), clip[2]), color)
                continue
            if closed and (dash or any(not (box[0] <= x <= box[2] and box[1] <= y <= box[3]) for x, y in line)):
                line, now_closed = list(line) + [line[0]], False
            else:
                now_closed = closed
            parts = [line] if now_closed else outline.clip_lines(outline.thin(line, self.width), box)
            for part in parts:
                if not dash and len(part) > 1000 and outline.length(part) * width > 4 * self.width * self.height:
                    pieces = outline.fresh(part, 2 * width, 3)
                else:
                    pieces = outline.dashes(part, dash) if dash else [part]
                for piece in pieces:
                    polygons += outline.stroke(piece, width, now_closed, cap, join)
        if polygons:
            self._paint(_runs(_cells(polygons, clip), clip[2]), color)

    def markers(self, points, marker, size, look, clip=None):
        """Stamps one marker at many points; look is (face, edge, edge width) or a list of such, one a point."""
        clip = self._clip(clip)
        sizes = size if isinstance(size, list) else None
        looks = look if isinstance(look, list) else None
        stamps = {}
        for i, (x, y) in enumerate(points):
            if not (clip[0] - 200 < x < clip[2] + 200 and clip[1] - 200 < y < clip[3] + 200):
                continue
            s = sizes[i] if sizes else size
            face, edge, edge_width = looks[i] if looks else look
            ix, iy = int(x // 1), int(y // 1)
            # A quarter of a pixel is as finely as a marker's place can be told, and lets its mask be made once.
            key = (s, edge_width if edge else None, int((x - ix) * 4), int((y - iy) * 4))
            stamp = stamps.get(key)
            if stamp is None:
                stamp = stamps[key] = _marker(marker, key)
            for runs, color in zip(stamp, (face, edge)):
                if color and runs:
                    self._stamp(runs, ix, iy, color, clip)

    def image(self, xs, ys, rows, clip=None):
        """Paints a grid: rows[j] holds the RGB bytes of the cells between ys[j] and ys[j + 1] and the edges in xs."""
        cx0, cy0, cx1, cy1 = self._clip(clip)
        flip = xs[0] > xs[-1]
        xs = [min(max(round(x), cx0), cx1) for x in (xs[::-1] if flip else xs)]
        counts = [b - a for a, b in zip(xs, xs[1:])]
        left = (xs[0], sum(counts))
        for j, row in enumerate(rows):
            y0, y1 = sorted((round(ys[j]), round(ys[j + 1])))
            y0, y1 = max(y0, cy0), min(y1, cy1)
            if y1 <= y0 or not left[1]:
                continue
            order = range(len(counts) - 1, -1, -1) if flip else range(len(counts))
            line = b"".join([row[3 * i:3 * i + 3] * n for i, n in zip(order, counts)])
            for y in range(y0, y1):
                o = (y * self.width + left[0]) * 3
                self.pixels[o:o + len(line)] = line

    def text(self, x, y, layout, color, angle=0, align="left"):
        """Writes a font.Layout whose first baseline begins at x, y, turned anti-clockwise by angle degrees.

        align says which end of it should stay in place where another font is used, which here never is.
        """
        if angle in (0, 90):
            for name, dx, dy, size, style in layout.glyphs:
                runs = font.mask(name, size, style, angle)
                if angle:
                    dx, dy = dy, -dx
                self._stamp(runs, round(x + dx), round(y + dy), color, self.box)
            return
        turn = font.rotation(angle)
        for name, dx, dy, size, style in layout.glyphs:
            px, py = x + dx * turn[0] + dy * turn[1], y - dx * turn[1] + dy * turn[0]
            self._paint(_runs(_cells(font.polygons(name, size, style, px, py, turn), self.box), self.width), color)

    def png(self):
        """The picture as the bytes of a PNG file, always the same for the same picture."""
        stride = self.width * 3
        view = memoryview(self.pixels)
        packer = zlib.compressobj(6)
        data = []
        for y in range(0, self.height, 64):  # in pieces, lest a large picture be in memory twice
            rows = b"".join([part for i in range(y, min(y + 64, self.height))
                             for part in (b"\0", view[i * stride:(i + 1) * stride])])
            data.append(packer.compress(rows))
        data.append(packer.flush())
        meter = round(self.dpi / 0.0254)
        return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0))
                + _chunk(b"pHYs", struct.pack(">IIB", meter, meter, 1)) + _chunk(b"IDAT", b"".join(data))
                + _chunk(b"IEND", b""))

    def _clip(self, clip):
        if clip is None:
            return self.box
        x0, y0, x1, y1 = clip
        return (max(0, round(x0)), max(0, round(y0)), min(self.width, round(x1)), min(self.height, round(y1)))

    def _rectangle(self, x0, y0, x1, y1, color, clip):
        x0, x1 = (min(max(v, -1e6), 1e6) for v in (x0, x1))
        y0, y1 = (min(max(v, -1e6), 1e6) for v in (y0, y1))
        ix0, iy0, ix1, iy1 = round(x0), round(y0), round(x1), round(y1)
        if ix1 == ix0 and x1 - x0 > 0.05:
            ix1 += 1
        if iy1 == iy0 and y1 - y0 > 0.05:
            iy1 += 1
        ix0, iy0, ix1, iy1 = max(ix0, clip[0]), max(iy0, clip[1]), min(ix1, clip[2]), min(iy1, clip[3])
        if ix1 > ix0:
            self._paint([(y, ix0, ix1 - ix0, 1.0) for y in range(iy0, iy1)], color)

    def _upright(self, line, color, width, clip, dash):
        (x0, y0), (x1, y1) = line
        thick = max(1, round(width))
        color = (*color[:3], color[3] * min(width, 1.0))
        for (xa, ya), (xb, yb) in ([(p[0], p[-1]) for p in outline.dashes(line, dash)] if dash else [line]):
            if x0 == x1:
                left = round(x0 - thick / 2)
                self._rectangle(left, min(ya, yb), left + thick, max(ya, yb), color, clip)
            else:
                top = round(y0 - thick / 2)
                self._rectangle(min(xa, xb), top, max(xa, xb), top + thick, color, clip)

    def _stamp(self, runs, dx, dy, color, clip):
        """Blends runs moved by whole pixels and cut to the clip."""
        x0, y0, x1, y1 = clip
        inside = []
        for y, x, n, cover in runs:
            y, x = y + dy, x + dx
            if x < x0:
                n, x = n + x - x0, x0
            if x + n > x1:
                n = x1 - x
            if n > 0 and y0 <= y < y1:
                inside.append((y, x, n, cover))
        self._paint(inside, color)

    def _paint(self, runs, color):
        """Blends runs (y, x, length, coverage), which lie in the picture, in a colour."""
        r, g, b, alpha = color
        solid = bytes((r, g, b))
        pixels, width = self.pixels, self.width
        strength = alpha * 256
        tables = {}
        for y, x, n, cover in runs:
            a = int(cover * strength + 0.5)
            o = (y * width + x) * 3
            if a >= 255:
                pixels[o:o + 3 * n] = solid * n
            elif n == 1:
                v = pixels[o]
                pixels[o] = v + ((r - v) * a >> 8)
                v = pixels[o + 1]
                pixels[o + 1] = v + ((g - v) * a >> 8)
                v = pixels[o + 2]
                pixels[o + 2] = v + ((b - v) * a >> 8)
            elif n < 16:
                for i in range(o, o + 3 * n, 3):
                    v = pixels[i]
                    pixels[i] = v + ((r - v) * a >> 8)
                    v = pixels[i + 1]
                    pixels[i + 1] = v + ((g - v) * a >> 8)
                    v = pixels[i + 2]
                    pixels[i + 2] = v + ((b - v) * a >> 8)
            else:
                blend = tables.get(a)
                if blend is None:
                    blend = tables[a] = [bytes([v + ((c - v) * a >> 8) for v in range(256)]) for c in (r, g, b)]
                end = o + 3 * n
                for i in (0, 1, 2):
                    pixels[o + i:end:3] = pixels[o + i:end:3].translate(blend[i])


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def runs_of(polygons):
    """Runs (y, x, length, coverage) of polygons near the origin, which may be negative, for a mask to stamp."""
    shift = 1 << 10
    moved = [[(x + shift, y + shift) for x, y in p] for p in polygons]
    clip = (0, 0, 2 * shift, 2 * shift)
    return [(y - shift, x - shift, n, c) for y, x, n, c in _runs(_cells(moved, clip), clip[2])]


def _marker(marker, key):
    size, edge_width, qx, qy = key
    outlines, filled = markers.shape(marker, size)
    outlines = [[(x + qx / 4 + 0.125, y + qy / 4 + 0.125) for x, y in o] for o in outlines]
    face = runs_of(outlines) if filled else None
    edge = None
    if edge_width:
        edge = runs_of([p for o in outlines for p in outline.stroke(o, edge_width, filled, "butt", "miter")])
    return face, edge


def _cells(polygons, clip):
    """Signed area that edges add to pixels: rows[y][x], to be summed from the left."""
    cx0, cy0, cx1, cy1 = clip
    rows = {}
    for polygon in polygons:
        xb, yb = polygon[-1]
        for p in polygon:
            xa, ya = xb, yb
            xb, yb = p
            if ya == yb:
                continue
            if ya < yb:
                x, y, xe, ye, sign = xa, ya, xb, yb, 1.0
            else:
                x, y, xe, ye, sign = xb, yb, xa, ya, -1.0
            if ye <= cy0 or y >= cy1 or (x >= cx1 and xe >= cx1):
                continue
            slope = (xe - x) / (ye - y)
            if y < cy0:
                x += slope * (cy0 - y)
                y = cy0
            if ye > cy1:
                ye = cy1
            iy = int(y)
            while y < ye:
                bottom = iy + 1 if iy + 1 < ye else ye
                height = (bottom - y) * sign
                right = x + slope * (bottom - y)
                row = rows.get(iy)
                if row is None:
                    row = rows[iy] = {}
                y = bottom
                iy += 1
                x, lo, hi = right, x, right
                if lo > hi:
                    lo, hi = hi, lo
                if lo < cx0:
                    if hi > cx0 and hi - lo > 1:  # the part to the left of the clip counts in full at its border
                        part = height * (cx0 - lo) / (hi - lo)
                        row[cx0] = row.get(cx0, 0.0) + part
                        height -= part
                    lo = cx0
                    if hi < cx0:
                        hi = cx0
                if hi > cx1:
                    if lo >= cx1:
                        continue
                    height *= (cx1 - lo) / (hi - lo)
                    hi = cx1
                i = int(lo)
                if hi <= i + 1:
                    part = height * ((lo + hi) / 2 - i)
                    row[i] = row.get(i, 0.0) + height - part
                    row[i + 1] = row.get(i + 1, 0.0) + part
                    continue
                # A flat edge covers several pixels of the row: the covered area up to each pixel's right side is a
                # trapezoid under the edge, and what a pixel adds is the difference to the pixel before.
                per = height / (hi - lo)
                first = i + 1 - lo
                covered = per * first * first / 2
                row[i] = row.get(i, 0.0) + covered
                i += 1
                while i + 1 < hi:
                    now = per * (i + 0.5 - lo)
                    row[i] = row.get(i, 0.0) + now - covered
                    covered = now
                    i += 1
                rest = hi - i
                now = height - per * rest * rest / 2
                row[i] = row.get(i, 0.0) + now - covered
                row[i + 1] = row.get(i + 1, 0.0) + height - now
    return rows


def _runs(rows, right):
    out = []
    for y, row in rows.items():
        cover, start = 0.0, 0
        for x in sorted(row):
            if x > start:
                a = cover if cover >= 0 else -cover
                if a > 0.006:
                    out.append((y, start, x - start, a if a < 1.0 else 1.0))
            cover += row[x]
            start = x
        if right > start:
            a = cover if cover >= 0 else -cover
            if a > 0.006:
                out.append((y, start, right - start, a if a < 1.0 else 1.0))
    return out
