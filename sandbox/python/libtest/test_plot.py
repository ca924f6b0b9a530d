"""Tests of the plot library with whatever Python runs them: python3 -m unittest discover sandbox/python/libtest."""

import io
import math
import os
import struct
import sys
import unittest
import xml.etree.ElementTree as ElementTree
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import matplotlib.pyplot as plt  # noqa: E402


def decode(png):
    """(width, height, rows of RGB bytes) of a PNG as our encoder writes it."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", png[at + 8 + size:at + 12 + size])[0]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            data += body
        at += 12 + size
    raw = zlib.decompress(data)
    stride = 3 * width + 1
    assert all(raw[y * stride] == 0 for y in range(height))
    return width, height, [raw[y * stride + 1:(y + 1) * stride] for y in range(height)]


def count(png, color):
    """How many pixels have exactly a colour."""
    return sum(row[i:i + 3] == bytes(color) for row in decode(png)[2] for i in range(0, len(row), 3))


class PlotTest(unittest.TestCase):
    def setUp(self):
        plt.close("all")
        plt.rcdefaults()

    def png(self, **options):
        out = io.BytesIO()
        plt.savefig(out, **options)
        return out.getvalue()

    def svg(self):
        out = io.BytesIO()
        plt.savefig(out, format="svg")
        return out.getvalue().decode()


class Pictures(PlotTest):
    def test_line_chart_has_axes_and_colors(self):
        plt.plot([1, 2, 3], [1, 4, 9], label="squares")
        plt.plot([1, 2, 3], [1, 8, 27], label="cubes")
        plt.legend()
        png = self.png()
        width, height, _ = decode(png)
        self.assertEqual((width, height), (640, 480))
        self.assertGreater(count(png, (0x1F, 0x77, 0xB4)), 200)
        self.assertGreater(count(png, (0xFF, 0x7F, 0x0E)), 200)
        self.assertGreater(count(png, (0, 0, 0)), 1500)  # the frame alone has 2,000
        root = ElementTree.fromstring(self.svg())
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("squares", texts)
        self.assertIn("cubes", texts)

    def test_same_figure_gives_same_bytes(self):
        plt.scatter([1, 2, 3], [3, 1, 2], c=[1, 2, 3])
        plt.title("x²")
        self.assertEqual(self.png(), self.png())

    def test_fill_covers_the_exact_area(self):
        from plot.raster import Canvas
        canvas = Canvas(100, 100, (255, 255, 255))
        ring = [(10.25, 20.5), (80.75, 30.25), (60.5, 90.75), (5.5, 70.0)]
        canvas.fill([ring], (0, 0, 0, 1.0))
        dark = sum(255 - v for v in canvas.pixels[::3]) / 255
        area = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]))) / 2
        self.assertAlmostEqual(dark, area, delta=2.5)

    def test_gaps_break_lines(self):
        line, = plt.plot([0, 1, 2, 3, 4], [1, 2, None, 2, math.nan])
        self.assertEqual(len(line.get_xdata()), 5)
        self.png()


if __name__ == "__main__":
    unittest.main()
