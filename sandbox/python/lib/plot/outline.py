"""Turns lines into the polygons that cover them, in pixels with y downwards.

It owns clipping, dashes, joins and caps; it knows nothing of pixels or colours. All polygons of one stroke wind the
same way, so that a rasteriser may add up their windings.
"""

from math import atan2, ceil, cos, dist, hypot, pi, sin, sqrt

STRAIGHT = 0.9  # cosine of the turn below which two segments need a join of their own


def stroke(points, width, closed=False, cap="butt", join="round"):
    """Polygons that cover a polyline of the given width.

    cap is butt, projecting or round, join is round, miter or bevel.
    """
    points = [p for i, p in enumerate(points) if i == 0 or p != points[i - 1]]
    if closed and len(points) > 1 and points[0] == points[-1]:
        points.pop()
    half = width / 2
    if len(points) < 2:
        return [circle(*points[0], half)] if points and cap == "round" else []
    if closed:
        points = points + [points[0]]
    directions = []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = hypot(x1 - x0, y1 - y0) or 1e-12
        directions.append(((x1 - x0) / length, (y1 - y0) / length))
    out = []
    dx, dy = directions[0]
    x, y = points[0]
    if cap == "projecting" and not closed:
        x, y = x - dx * half, y - dy * half
    left, right = [(x - dy * half, y + dx * half)], [(x + dy * half, y - dx * half)]
    for i in range(1, len(directions)):
        ex, ey = directions[i]
        x, y = points[i]
        dot = dx * ex + dy * ey
        if dot > STRAIGHT:
            k = half / (1 + dot)
            mx, my = -(dy + ey) * k, (dx + ex) * k
            left.append((x + mx, y + my))
            right.append((x - mx, y - my))
        else:
            left.append((x - dy * half, y + dx * half))
            right.append((x + dy * half, y - dx * half))
            out.append(left + right[::-1])
            out.append(_join(x, y, (dx, dy), (ex, ey), half, join))
            left, right = [(x - ey * half, y + ex * half)], [(x + ey * half, y - ex * half)]
        dx, dy = ex, ey
    x, y = points[-1]
    if cap == "projecting" and not closed:
        x, y = x + dx * half, y + dy * half
    left.append((x - dy * half, y + dx * half))
    right.append((x + dy * half, y - dx * half))
    out.append(left + right[::-1])
    if closed:
        out.append(_join(*points[0], directions[-1], directions[0], half, join))
    elif cap == "round":
        out.append(circle(*points[0], half))
        out.append(circle(*points[-1], half))
    return out


def _join(x, y, before, after, half, kind):
    (dx, dy), (ex, ey) = before, after
    cross, dot = dx * ey - dy * ex, dx * ex + dy * ey
    side = -half if cross > 0 else half
    a, b = (x - dy * side, y + dx * side), (x - ey * side, y + ex * side)
    middle = []
    if kind == "miter" and dot > -0.7:
        k = side / (1 + dot)
        middle = [(x - (dy + ey) * k, y + (dx + ex) * k)]
    elif kind == "round" and half > 0.8:
        start = atan2(a[1] - y, a[0] - x)
        turn = (atan2(b[1] - y, b[0] - x) - start + pi) % (2 * pi) - pi
        n = int(abs(turn) * sqrt(half) * 1.2)
        middle = [(x + half * cos(start + turn * i / (n + 1)), y + half * sin(start + turn * i / (n + 1)))
                  for i in range(1, n + 1)]
    polygon = [(x, y), a, *middle, b]
    return polygon[::-1] if cross > 0 else polygon


def circle(x, y, radius):
    """A circle as a polygon, fine enough for its size and wound like a stroke."""
    return ellipse(x, y, radius, radius, 0, -360)


def ellipse(x, y, rx, ry, start, stop):
    """Points on an ellipse between two angles in degrees."""
    n = max(8, ceil(abs(stop - start) / 360 * (8 + 3.5 * sqrt(max(abs(rx), abs(ry)))))) if rx or ry else 1
    step = (stop - start) * pi / 180 / n
    start = start * pi / 180
    return [(x + rx * cos(start + i * step), y + ry * sin(start + i * step))
            for i in range(n + (abs(stop - start) < 360))]


def dashes(points, pattern):
    """The pieces of a polyline that a pattern of on and off lengths leaves."""
    if sum(pattern) < 0.5:
        return [points]
    out, piece, index, left = [], [points[0]], 0, pattern[0]
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = hypot(x1 - x0, y1 - y0)
        at = 0.0
        while length - at > left:
            at += left
            p = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if index % 2 == 0:
                out.append(piece + [p])
            piece = [p]
            index += 1
            left = pattern[index % len(pattern)]
        left -= length - at
        piece.append((x1, y1))
    if index % 2 == 0 and len(piece) > 1:
        out.append(piece)
    return out


def clip_lines(points, box):
    """The parts of a polyline inside box (x0, y0, x1, y1)."""
    bx0, by0, bx1, by1 = box
    if all(bx0 <= x <= bx1 and by0 <= y <= by1 for x, y in points):
        return [points]
    out, piece = [], []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        dx, dy, t0, t1 = x1 - x0, y1 - y0, 0.0, 1.0
        for p, q in ((-dx, x0 - bx0), (dx, bx1 - x0), (-dy, y0 - by0), (dy, by1 - y0)):
            if p == 0:
                if q < 0:
                    t1 = -1.0
            elif p < 0:
                t0 = max(t0, q / p)
            else:
                t1 = min(t1, q / p)
        if t0 > t1:
            continue
        a, b = (x0 + t0 * dx, y0 + t0 * dy), (x0 + t1 * dx, y0 + t1 * dy)
        if piece and t0 == 0.0:
            piece.append(b)
        else:
            if len(piece) > 1:
                out.append(piece)
            piece = [a, b]
        if t1 < 1.0:
            out.append(piece)
            piece = []
    if len(piece) > 1:
        out.append(piece)
    return out


def envelope(points, width):
    """A polygon over a polyline so dense, from left to right, that in each pixel column it reaches from low to high."""
    columns = {}
    for x, y in points:
        c = int(x)
        low, high = columns.get(c, (y, y))
        columns[c] = (y if y < low else low, y if y > high else high)
    half = width / 2
    upper = [(c + 0.5, columns[c][0] - half) for c in columns]
    lower = [(c + 0.5, columns[c][1] + half) for c in columns]
    return [(upper[0][0] - 0.5, upper[0][1]), *upper, (upper[-1][0] + 0.5, upper[-1][1]),
            (lower[-1][0] + 0.5, lower[-1][1]), *lower[::-1], (lower[0][0] - 0.5, lower[0][1])][::-1]


def length(points):
    """The length of a polyline."""
    return sum(map(dist, points, points[1:]))


def fresh(points, size, times):
    """The parts of a polyline that still show something, where it covers a picture many times over.

    A segment is left out when each square of the given size along it was crossed so many times before.
    """
    crossed, out, piece = {}, [], []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        n = 1 + int(max(abs(x1 - x0), abs(y1 - y0)) / size)
        shows = False
        for i in range(n):
            square = (int((x0 + (x1 - x0) * i / n) / size), int((y0 + (y1 - y0) * i / n) / size))
            count = crossed.get(square, 0)
            if count < times:
                crossed[square] = count + 1
                shows = True
        if shows:
            piece = piece or [(x0, y0)]
            piece.append((x1, y1))
        elif piece:
            out.append(piece)
            piece = []
    return out + [piece] if piece else out


def thin(points, pixels):
    """A dense polyline reduced to what a picture shows: first, lowest, highest and last point of each pixel column."""
    if len(points) < 4 * pixels:
        return points
    out, column, group = [], None, []

    def flush():
        if len(group) < 4:
            out.extend(group)
        else:
            low = min(range(len(group)), key=lambda i: group[i][1])
            high = max(range(len(group)), key=lambda i: group[i][1])
            out.extend(group[i] for i in sorted({0, low, high, len(group) - 1}))

    for p in points:
        c = int(p[0])
        if c != column:
            flush()
            column, group = c, []
        group.append(p)
    flush()
    return out
