"""Lines and areas of equal height over a grid, each cell cut into two triangles in which heights are flat planes."""


def _triangles(xs, ys, rows):
    """Triangles of (x, y, height), without those that have a corner missing."""
    for j in range(len(ys) - 1):
        for i in range(len(xs) - 1):
            a, b = (xs[i], ys[j], rows[j][i]), (xs[i + 1], ys[j], rows[j][i + 1])
            c, d = (xs[i + 1], ys[j + 1], rows[j + 1][i + 1]), (xs[i], ys[j + 1], rows[j + 1][i])
            for t in ((a, b, c), (a, c, d)):
                if all(p[2] == p[2] for p in t):
                    yield t


def _cross(p, q, level):
    # Ordered ends, so that neighbours find the very same point and their lines can be joined.
    if (q[0], q[1]) < (p[0], p[1]):
        p, q = q, p
    t = (level - p[2]) / (q[2] - p[2])
    return (p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t)


def level_lines(xs, ys, rows, level):
    """Polylines along which the height is level."""
    ends = {}
    for t in _triangles(xs, ys, rows):
        cut = [_cross(p, q, level) for p, q in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))
               if (p[2] < level) != (q[2] < level)]
        if len(cut) == 2 and cut[0] != cut[1]:
            for here, there in (cut, cut[::-1]):
                ends.setdefault(here, []).append(there)
    out = []
    # Open lines first, from their ends; what is left are rings.
    for start in sorted(ends, key=lambda p: len(ends[p]) % 2 == 0):
        while ends[start]:
            line = [start]
            while ends[line[-1]]:
                following = ends[line[-1]].pop()
                ends[following].remove(line[-1])
                line.append(following)
            out.append(line)
    return out


def areas_above(xs, ys, rows, low, high=None):
    """Polygons, wound alike, in which the height is at least low and, if given, at most high."""
    out = []
    top = float("inf") if high is None else high
    for j in range(len(ys) - 1):
        below, above = rows[j], rows[j + 1]
        start = None  # where a stretch of cells that are all inside begins
        for i in range(len(xs) - 1):
            cell = (below[i], below[i + 1], above[i + 1], above[i])
            least, most = min(cell), max(cell)
            if least >= low and most <= top and sum(cell) == sum(cell):
                start = i if start is None else start
                continue
            if start is not None:
                out.append([(xs[start], ys[j]), (xs[i], ys[j]), (xs[i], ys[j + 1]), (xs[start], ys[j + 1])])
                start = None
            if most < low or least > top:
                continue
            for t in _triangles(xs[i:i + 2], ys[j:j + 2], (below[i:i + 2], above[i:i + 2])):
                polygon = _cut(list(t), low, 1)
                if high is not None and polygon:
                    polygon = _cut(polygon, high, -1)
                if len(polygon) > 2:
                    out.append([(p[0], p[1]) for p in polygon])
        if start is not None:
            out.append([(xs[start], ys[j]), (xs[-1], ys[j]), (xs[-1], ys[j + 1]), (xs[start], ys[j + 1])])
    return out


def _cut(polygon, level, sign):
    heights = [p[2] * sign >= level * sign for p in polygon]
    if all(heights):
        return polygon
    out = []
    for i, p in enumerate(polygon):
        q, inside, following = polygon[(i + 1) % len(polygon)], heights[i], heights[(i + 1) % len(polygon)]
        if inside:
            out.append(p)
        if inside != following:
            out.append((*_cross(p, q, level), level))
    return out
