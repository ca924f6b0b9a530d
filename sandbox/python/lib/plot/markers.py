"""Marker shapes by their usual one-letter names, as outlines round the origin with y downwards."""

from math import cos, pi, sin

from . import outline


def _regular(n, turn=0.0, inner=1.0):
    points = []
    for i in range(n if inner == 1.0 else 2 * n):
        angle = 2 * pi * i / (n if inner == 1.0 else 2 * n) - pi / 2 + turn
        r = 0.5 * (inner if inner != 1.0 and i % 2 else 1.0)
        points.append((r * cos(angle), r * sin(angle)))
    return points


_T = [(0, -0.5), (0.5, 0.5), (-0.5, 0.5)]
_PLUS = [(-.17, -.5), (.17, -.5), (.17, -.17), (.5, -.17), (.5, .17), (.17, .17), (.17, .5), (-.17, .5), (-.17, .17),
         (-.5, .17), (-.5, -.17), (-.17, -.17)]
FILLED = {
    "s": [(-.5, -.5), (.5, -.5), (.5, .5), (-.5, .5)],
    "^": _T, "v": [(x, -y) for x, y in _T], "<": [(y, x) for x, y in _T], ">": [(-y, x) for x, y in _T],
    "D": [(0, -.707), (.707, 0), (0, .707), (-.707, 0)], "d": [(0, -.707), (.424, 0), (0, .707), (-.424, 0)],
    "p": _regular(5), "h": _regular(6), "H": _regular(6, pi / 6), "8": _regular(8, pi / 8), "*": _regular(5, 0.0, 0.4),
    "P": _PLUS, "X": [((x - y) * .707, (x + y) * .707) for x, y in _PLUS],
}
LINES = {
    "+": [[(-.5, 0), (.5, 0)], [(0, -.5), (0, .5)]], "x": [[(-.5, -.5), (.5, .5)], [(-.5, .5), (.5, -.5)]],
    "|": [[(0, -.5), (0, .5)]], "_": [[(-.5, 0), (.5, 0)]],
    "1": [[(0, 0), (0, .5)], [(0, 0), (.4, -.25)], [(0, 0), (-.4, -.25)]],
    "2": [[(0, 0), (0, -.5)], [(0, 0), (.4, .25)], [(0, 0), (-.4, .25)]],
    "3": [[(0, 0), (-.5, 0)], [(0, 0), (.25, .4)], [(0, 0), (.25, -.4)]],
    "4": [[(0, 0), (.5, 0)], [(0, 0), (-.25, .4)], [(0, 0), (-.25, -.4)]],
}
NAMES = "o . , " + " ".join([*FILLED, *LINES])


def check(marker):
    """The marker's name, '' for none; ValueError when there is no such marker."""
    if marker is None or marker in ("", " ", "None", "none"):
        return ""
    if not isinstance(marker, str) or (marker not in FILLED and marker not in LINES and marker not in ("o", ".", ",")):
        raise ValueError(f"marker {marker!r} is not known; there are {NAMES}")
    return marker


def shape(marker, size):
    """(outlines, filled): closed polygons to fill and edge, or open lines to stroke."""
    if marker in ("o", "."):
        return [outline.circle(0, 0, size * (0.25 if marker == "." else 0.5))], True
    if marker == ",":
        return [[(-.5, -.5), (.5, -.5), (.5, .5), (-.5, .5)]], True
    if marker in FILLED:
        return [[(x * size, y * size) for x, y in FILLED[marker]]], True
    return [[(x * size, y * size) for x, y in line] for line in LINES[marker]], False
