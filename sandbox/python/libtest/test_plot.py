"""Tests of the plot library, with whatever Python runs them: python3 -m unittest discover sandbox/python/libtest.

The tests of sandbox/python run this file inside the sandbox too.
"""

import datetime
import decimal
import fractions
import hashlib
import importlib
import io
import math
import os
import random
import struct
import sys
import unittest
import xml.etree.ElementTree as ElementTree
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import matplotlib  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib import cm, colors, dates, patches, ticker  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.gridspec import GridSpec  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from plot.raster import Canvas  # noqa: E402

BLUE, ORANGE, GREEN, BLACK, WHITE = (0x1F, 0x77, 0xB4), (0xFF, 0x7F,
                                                         0x0E), (0x2C, 0xA0, 0x2C), (0, 0, 0), (255, 255, 255)


def decode(png):
    """(width, height, rows of RGB bytes) of a PNG as our encoder writes it."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        if zlib.crc32(kind + body) != struct.unpack(">I", png[at + 8 + size:at + 12 + size])[0]:
            raise ValueError(f"bad checksum of {kind}")
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            data += body
        at += 12 + size
    raw = zlib.decompress(data)
    stride = 3 * width + 1
    if any(raw[y * stride] for y in range(height)):
        raise ValueError("a filter that our encoder does not use")
    return width, height, [raw[y * stride + 1:(y + 1) * stride] for y in range(height)]


def count(png, color):
    """How many pixels have exactly a colour."""
    return sum(list(zip(row[::3], row[1::3], row[2::3])).count(color) for row in decode(png)[2])


class PlotTest(unittest.TestCase):
    def setUp(self):
        plt.close("all")
        plt.rcdefaults()

    def tearDown(self):
        plt.close("all")
        plt.rcdefaults()

    def png(self, **options):
        out = io.BytesIO()
        plt.savefig(out, **options)
        return out.getvalue()

    def texts(self):
        """All texts in the SVG of the current figure."""
        out = io.BytesIO()
        plt.savefig(out, format="svg")
        root = ElementTree.fromstring(out.getvalue())
        return [t.text for t in root.iter() if t.text and t.tag.endswith(("}text", "}tspan"))]


class Pictures(PlotTest):
    def test_line_chart_has_axes_and_colors(self):
        plt.plot([1, 2, 3], [1, 4, 9], label="squares")
        plt.plot([1, 2, 3], [1, 8, 27], label="cubes")
        plt.legend()
        png = self.png()
        width, height, _ = decode(png)
        self.assertEqual((width, height), (640, 480))
        self.assertGreater(count(png, BLUE), 200)
        self.assertGreater(count(png, ORANGE), 200)
        self.assertGreater(count(png, BLACK), 1500)  # the frame alone has 2,000
        texts = self.texts()
        self.assertIn("squares", texts)
        self.assertIn("cubes", texts)

    def test_same_figure_gives_same_bytes(self):
        plt.scatter([1, 2, 3], [3, 1, 2], c=[1, 2, 3])
        plt.title("x²")
        self.assertEqual(self.png(), self.png())

    def test_bar_is_as_high_as_its_value(self):
        plt.bar([0, 1], [1, 2], color=["C0", "C1"])
        png = self.png()
        self.assertAlmostEqual(2 * count(png, BLUE) / count(png, ORANGE), 1, delta=0.02)

    def test_heat_map_shows_its_values(self):
        plt.imshow([[0, 1], [1, 0]], cmap="gray")
        plt.axis("off")
        png = self.png()
        self.assertGreater(count(png, BLACK), 40000)

    def test_missing_values_leave_gaps(self):
        for gap in (None, math.nan, math.inf):
            with self.subTest(gap):
                plt.figure(dpi=40)
                plt.plot([0, 1, 2, 3, 4, 5], [1, 1, gap, 1, gap, gap], lw=6)
                plt.ylim(0, 2)
                with_gap = count(self.png(), BLUE)
                plt.figure(dpi=40)
                plt.plot([0, 5], [1, 1], lw=6)
                plt.ylim(0, 2)
                self.assertAlmostEqual(with_gap / count(self.png(), BLUE), 0.2, delta=0.03)

    def test_data_outside_of_the_limits_stays_in_the_axes(self):
        plt.plot([-1e9, 1e9], [-1e9, 1e9], "--", [0, 1], [1e300, -1e300])
        plt.fill_between([-1e8, 1e8], [1e8, 1e8], color="C2")
        plt.axis([0, 1, 0, 1])
        width, height, rows = decode(self.png())
        self.assertEqual({row[:24] for row in rows}, {bytes(WHITE) * 8})
        self.assertGreater(count(self.png(), GREEN), 100000)

    def test_dpi_scales_everything(self):
        plt.plot([1, 2])
        self.assertEqual(decode(self.png(dpi=50))[:2], (320, 240))
        self.assertEqual(decode(self.png())[:2], (640, 480))

    def test_golden(self):
        # Pixels, not files: how zlib packs them is its own affair. Print new ones by running with GOLDEN=show, and look
        # at the pictures before they go in here.
        for name, want in GOLDEN.items():
            with self.subTest(name):
                plt.close("all")
                CHARTS[name]()
                plt.gcf().set_size_inches(3.2, 2.4)
                rows = decode(self.png())[2]
                got = hashlib.sha256(b"".join(rows)).hexdigest()[:16]
                if os.environ.get("GOLDEN") == "show":
                    print(f'    "{name}": "{got}",')
                else:
                    self.assertEqual(got, want)


class Rasteriser(unittest.TestCase):
    def dark(self, canvas):
        return sum(255 - v for v in canvas.pixels[::3]) / 255

    def test_fill_covers_the_exact_area(self):
        for name, ring in {
            "slanted": [(10.25, 20.5), (80.75, 30.25), (60.5, 90.75), (5.5, 70.0)],
            "sliver of a row": [(3.1, 5.2), (97.3, 5.4), (50.0, 5.9)],
            "sliver of a column": [(5.2, 3.1), (5.9, 50.0), (5.4, 97.3)],
            "one pixel": [(8.1, 8.1), (8.9, 8.2), (8.5, 8.9)],
        }.items():
            with self.subTest(name):
                canvas = Canvas(100, 100, WHITE)
                canvas.fill([ring], (0, 0, 0, 1.0))
                area = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]))) / 2
                self.assertAlmostEqual(self.dark(canvas), area, delta=0.02 * area + 0.3)

    def test_clip_cuts_at_the_pixel(self):
        for clip in ((20, 30, 40, 50), (0, 0, 100, 100), (99, 99, 100, 100)):
            with self.subTest(clip):
                canvas = Canvas(100, 100, WHITE)
                canvas.fill([[(-500, -300), (700, -300), (700, 900), (-500, 899)]], (0, 0, 0, 1.0), clip)
                self.assertEqual(self.dark(canvas), (clip[2] - clip[0]) * (clip[3] - clip[1]))

    def test_half_transparent_paint_mixes(self):
        for n in (1, 50):  # single pixels and long runs go different ways
            canvas = Canvas(n, 1, (200, 100, 0))
            canvas.fill([[(0, 0), (n, 0), (n, 1), (0, 1)]], (0, 100, 200, 0.5))
            self.assertEqual(bytes(canvas.pixels), bytes((100, 100, 100)) * n)

    def test_stroke_has_its_width(self):
        for points in ([(10, 10), (90, 60)], [(10, 10), (50, 80), (90, 10)], [(10, 50), (90, 50.3)]):
            with self.subTest(points):
                canvas = Canvas(100, 100, WHITE)
                canvas.stroke([points], (0, 0, 0, 1.0), 3.0)
                length = sum(math.dist(a, b) for a, b in zip(points, points[1:]))
                self.assertAlmostEqual(self.dark(canvas), 3 * length, delta=0.05 * 3 * length)

    def test_dashes_leave_their_part(self):
        canvas = Canvas(200, 20, WHITE)
        canvas.stroke([[(0, 10), (200, 10)]], (0, 0, 0, 1.0), 2, dash=[15, 5])
        self.assertAlmostEqual(self.dark(canvas), 300, delta=4)


class Ticks(unittest.TestCase):
    def test_steps(self):
        for lo, hi, room, want in (
            (0, 10, 9, [0, 2, 4, 6, 8, 10]), (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
            (-1, 1, 9, [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]),
            (0.1, 0.35, 5, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]), (1e9, 5e9, 4, [1e9, 2e9, 3e9, 4e9, 5e9]), (3, 3, 5, [3]),
        ):
            with self.subTest((lo, hi)):
                self.assertEqual(ticker.AutoLocator().ticks(lo, hi, room), want)
        self.assertEqual(ticker.MaxNLocator(integer=True).ticks(0, 3, 9), [0, 1, 2, 3])
        self.assertEqual(ticker.LogLocator().ticks(1, 1000, 9), [1, 10, 100, 1000])
        self.assertEqual(ticker.MultipleLocator(0.25).ticks(0, 1, 9), [0, 0.25, 0.5, 0.75, 1])

    def test_numbers(self):
        for ticks, want, offset in (
            ([0, 0.5, 1], ["0.0", "0.5", "1.0"], ""), ([-2, 0, 2], ["−2", "0", "2"], ""),
            ([0, 2e6, 4e6], ["0", "2", "4"], "×10$^{6}$"),
            ([0, 1e-7], ["0", "1"], "×10$^{-7}$"), ([2020, 2021], ["2020", "2021"], ""),
            ([0.25, 0.75], ["0.25", "0.75"], ""),
        ):
            with self.subTest(ticks):
                formatter = ticker.ScalarFormatter()
                formatter.set_locs(ticks)
                self.assertEqual([formatter(t) for t in ticks], want)
                self.assertEqual(formatter.offset(), offset)

    def test_dates(self):
        day = datetime.date
        for lo, hi, want in (
            (day(2024, 1, 1), day(2024, 12, 31), ["2024-01", "2024-03", "2024-05", "2024-07", "2024-09", "2024-11"]),
            (day(2000, 1, 1), day(2010, 1, 1), ["2000", "2002", "2004", "2006", "2008", "2010"]),
            (day(2024, 2, 27), day(2024, 3, 2), ["2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02"]),
            (datetime.datetime(2024, 1, 1, 20), datetime.datetime(2024, 1, 2, 4),
             ["20:00", "22:00", "Jan 02", "02:00", "04:00"]),
        ):
            with self.subTest((lo, hi)):
                locator = dates.AutoDateLocator()
                found = locator.ticks(dates.date2num(lo), dates.date2num(hi), 6)
                self.assertEqual([dates.ConciseDateFormatter(locator)(t) for t in found], want)
        zone = datetime.timezone(datetime.timedelta(hours=2))
        self.assertEqual(dates.date2num(datetime.datetime(1970, 1, 2, 2, tzinfo=zone)), 1.0)
        self.assertEqual(dates.num2date(1.5).hour, 12)


class Layout(PlotTest):
    def boxes(self, figure):
        figure.layout()
        return [a.extent() for a in figure.axes]

    def test_nothing_is_cut_off(self):
        for name, chart in CHARTS.items():
            with self.subTest(name):
                plt.close("all")
                chart()
                figure = plt.gcf()
                for x0, y0, x1, y1 in self.boxes(figure):
                    self.assertGreaterEqual(round(min(x0, y0)), 0)
                    self.assertLessEqual(round(x1), figure.width)
                    self.assertLessEqual(round(y1), figure.height)

    def test_neighbours_do_not_overlap(self):
        figure, axes = plt.subplots(2, 3)
        for a in axes.flat:
            a.plot([0, 1e-3], [0, 123456])
            a.set(title="A title", xlabel="x label", ylabel="y label")
        found = self.boxes(figure)
        for i, a in enumerate(found):
            for b in found[i + 1:]:
                self.assertTrue(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b))

    def test_tick_labels_do_not_overlap(self):
        for n in (3, 12, 40, 200):
            with self.subTest(n):
                plt.close("all")
                plt.bar([f"category {i}" for i in range(n)], range(n))
                plt.gcf().layout()
                axis = plt.gca().xaxis
                spans = sorted(b[3][0:3:2] for b in axis.boxes())
                self.assertGreater(len(spans), 2)
                if axis.turned == 90 or axis.turned == 0:
                    self.assertTrue(all(a[1] <= b[0] + 1 for a, b in zip(spans, spans[1:])))

    def test_legend_keeps_off_the_data(self):
        plt.plot([0, 1], [0, 1], label="up")
        legend = plt.legend()
        plt.gcf().layout()
        legend.measure()
        x0, y0, x1, y1 = legend.box(plt.gca().box)
        self.assertLess(x1, 320)
        self.assertLess(y1, 240)


class Interface(PlotTest):
    def test_axes_arrays(self):
        _, axes = plt.subplots(2, 3)
        self.assertEqual(axes.shape, (2, 3))
        self.assertEqual(len(axes), 2)
        self.assertIs(axes[1, 2], axes[1][2])
        self.assertIs(axes[1, 2], list(axes.flat)[5])
        self.assertIs(axes.ravel()[3], axes[1, 0])
        self.assertIs(axes[:, 1][1], axes[1, 1])
        self.assertIs(axes[0:2, 0:2][1, 1], axes[1, 1])
        self.assertIs(axes.T[2, 1], axes[1, 2])
        self.assertEqual([a.get_title() for a in axes.flatten()], [""] * 6)
        with self.assertRaises(IndexError):
            axes[2, 0]
        self.assertEqual(plt.subplots(3, 1)[1].shape, (3,))
        self.assertEqual(plt.subplots(1, 1, squeeze=False)[1].shape, (1, 1))

    def test_what_calls_return(self):
        line, = plt.plot([1, 2, 3], label="l")
        self.assertEqual((line.get_color(), line.get_label(), line.get_ydata()), ("#1f77b4", "l", [1, 2, 3]))
        bars = plt.bar(["a", "b"], [3, 4])
        self.assertEqual([(b.get_x(), b.get_width(), b.get_height()) for b in bars], [(-0.4, 0.8, 3), (0.6, 0.8, 4)])
        counts, edges, bars = plt.hist([1, 2, 2, 4], bins=3)
        self.assertEqual((counts, edges, len(bars)), ([1, 2, 1], [1, 2, 3, 4], 3))
        density, edges, _ = plt.hist([1, 2, 2, 4, 9], bins=[0, 2, 10], density=True)
        self.assertAlmostEqual(sum(d * (b - a) for d, a, b in zip(density, edges, edges[1:])), 1)
        self.assertEqual([len(x) for x in plt.pie([1, 2, 3], labels=list("abc"), autopct="%d%%")], [3, 3, 3])
        box = plt.boxplot([[1, 2, 3, 4, 100], [1, 2, 3, 4, 5]])
        self.assertEqual([len(box[k]) for k in ("boxes", "medians", "whiskers", "caps", "fliers")], [2, 2, 4, 4, 2])
        self.assertEqual(box["fliers"][0].get_ydata(), [100])
        self.assertEqual(plt.xlim(2, 5), (2, 5))
        self.assertEqual(plt.gca().get_xlim(), (2, 5))
        self.assertEqual(colors.to_hex(cm.viridis(0.0)), "#440154")
        self.assertEqual(colors.to_hex("tab:blue"), "#1f77b4")

    def test_kinds_of_data(self):
        today = datetime.date(2024, 5, 1)
        for name, x, y in (
            ("ranges", range(3), range(3)), ("tuples", (1, 2, 3), (1, 2, 3)),
            ("generators", (i for i in range(3)), (i * i for i in range(3))),
            ("views of a dict", {1: 2, 3: 4}.keys(), {1: 2, 3: 4}.values()),
            ("fractions", [fractions.Fraction(1, 3)], [decimal.Decimal("1.5")]),
            ("dates", [today, today + datetime.timedelta(7)], [1, 2]),
            ("moments", [datetime.datetime(2024, 1, 1, 12), datetime.datetime(2024, 1, 2)], [1, 2]),
            ("categories", ["a", "b", "a"], [1, 2, 3]), ("nothing", [], []), ("gaps", [0, 1, 2], [1, None, 3]),
            ("bools", [True, False], [1, 0]),
        ):
            with self.subTest(name):
                plt.close("all")
                plt.plot(x, y, "o-")
                decode(self.png())

    def test_calls_that_people_write(self):
        for name, chart in CHARTS.items():
            with self.subTest(name):
                plt.close("all")
                plt.rcdefaults()
                plt.rcParams["figure.dpi"] = 40
                chart()
                width, height, rows = decode(self.png())
                self.assertGreater(len(set(b"".join(rows))), 2)  # something is drawn
                border = {rows[0], rows[-1]} | {row[:3] * width for row in rows} | {row[-3:] * width for row in rows}
                self.assertEqual(border, {bytes(WHITE) * width})  # and nothing is cut off
                self.texts()

    def test_what_is_missing_says_what_there_is(self):
        for name, call, words in (
            ("a function", lambda: plt.plot_surface, "plots that exist"),
            ("a method", lambda: plt.gca().plot_trisurf, "plots that exist"),
            ("3D", lambda: plt.figure().add_subplot(projection="3d"), "contour"),
            ("polar", lambda: plt.subplot(polar=True), "flat"),
            ("a file format", lambda: plt.savefig("/nowhere/x.pdf"), ".png or .svg"),
            ("a property", lambda: plt.bar([1], [1], hatch="/"), "it takes"),
            ("a scale", lambda: plt.xscale("logit"), "symlog"), ("a module's name", lambda: matplotlib.tri, "pyplot"),
            ("a figure's method", lambda: plt.gcf().subfigures(1, 2), "savefig"),
            ("an axis's method", lambda: plt.gca().xaxis.set_units, "set_ticks"),
        ):
            with self.subTest(name), self.assertRaises(NotImplementedError) as caught:
                call()
            self.assertIn(words, str(caught.exception))
        with self.assertRaisesRegex(ImportError, "animation"):
            importlib.import_module("matplotlib.animation")
        self.assertFalse(hasattr(plt, "plot_surface"))
        self.assertIn("subset", matplotlib.__version__)

    def test_mistakes_are_told(self):
        for name, call, error, words in (
            ("lengths", lambda: plt.plot([1, 2], [1]), ValueError, "x has 2 values and y has 1"),
            ("a colour", lambda: plt.plot([1], color="redd"), ValueError, "redd"),
            ("a marker", lambda: plt.plot([1], marker="q"), ValueError, "'q'"),
            ("a format", lambda: plt.plot([1], "r?"), ValueError, "format"),
            ("a value", lambda: plt.plot([1, object()]), TypeError, "object"),
            ("a line style", lambda: plt.plot([1], ls="=="), ValueError, "=="),
            ("a limit", lambda: plt.xlim(0, math.nan), ValueError, "finite"),
            ("too large", lambda: plt.figure(figsize=(200, 200)).savefig(io.BytesIO()), ValueError, "16,000,000"),
            ("size", lambda: plt.figure(figsize=(0, 1)), ValueError, "figsize"),
            ("rows", lambda: plt.imshow([1, 2]), TypeError, "rows"),
            ("ragged", lambda: plt.imshow([[1], [1, 2]]), ValueError, "same length"),
            ("a colour map", lambda: plt.imshow([[1]], cmap="virids"), ValueError, "viridis"),
            ("negative", lambda: plt.pie([1, -1]), ValueError, "0 or more"),
            ("ticks", lambda: plt.gca().set_xticks([1, 2], ["a"]), ValueError, "1 tick labels for 2 ticks"),
            ("a legend's place", lambda: plt.legend(loc="top"), ValueError, "upper right"),
            ("a grid", lambda: plt.subplot(2, 2, 5), ValueError, "1 to 4"),
            ("bins", lambda: plt.hist([1], bins=10**9), ValueError, "100000"),
            ("a setting", lambda: plt.rcParams["no.such"], KeyError, "no.such"),
            ("a step", lambda: (plt.gca().xaxis.set_major_locator(ticker.MultipleLocator(1e-9)), self.png()),
             ValueError, "thousand"),
        ):
            with self.subTest(name):
                plt.close("all")
                with self.assertRaises(error) as caught:
                    call()
                self.assertIn(words, str(caught.exception))

    def test_odd_values_are_drawn(self):
        day = datetime.date
        for name, call in (
            ("the largest numbers", lambda: plt.plot([1e308, -1e308])),
            ("the smallest", lambda: plt.plot([1e-320, 2e-320])),
            ("far from zero", lambda: plt.plot([1e17, 1e17 + 2])), ("one apart", lambda: plt.plot([1e15, 1e15 + 1])),
            ("all powers", lambda: plt.semilogy([1e-300, 1e300])), ("no logarithm", lambda: plt.semilogy([-1, 0])),
            ("all dates", lambda: plt.plot([day(1, 1, 1), day(9999, 12, 31)], [1, 2])),
            ("beyond dates", lambda: plt.plot([day(2024, 1, 1)], [1]) and plt.xlim(-1e9, 1e9)),
            ("one moment", lambda: plt.plot([datetime.datetime(2024, 1, 1)] * 2, [1, 2])),
            ("infinite bars", lambda: plt.bar([1, 2], [math.inf, math.nan])),
            ("huge letters", lambda: plt.text(0.5, 0.5, "x", fontsize=2000)),
            ("a huge marker", lambda: plt.scatter([1], [1], s=1e9)),
            ("a wide line", lambda: plt.plot([1, 2], lw=1e6)),
            ("short dashes", lambda: plt.plot([1, 2], "--", lw=1e-9)),
            ("no values", lambda: (plt.plot([]), plt.bar([], []), plt.scatter([], []), plt.hist([]), plt.boxplot([[]]),
                                   plt.stem([]), plt.fill([], []), plt.eventplot([]))),
            ("equal values", lambda: (plt.hist([5]), plt.hist2d([1], [1]), plt.violinplot([[1, 1]]))),
            ("a flat field", lambda: plt.contourf([[1, 1], [1, 1]]) and plt.colorbar()),
            ("nothing in a map", lambda: plt.imshow([[math.nan]]) and plt.colorbar()),
            ("a tiny figure", lambda: (plt.gcf().set_size_inches(0.1, 0.1), plt.title("title"), plt.plot([1]))),
            ("texts wider than the figure", lambda: (plt.plot([1], label="a" * 300), plt.legend(), plt.title("b" * 300),
                                                     plt.ylabel("c" * 300))),
            ("nested mathematics", lambda: (plt.text(0, 0, "$" + "x^{" * 2000 + "$"),
                                            plt.title("$" + "{" * 3000 + "$"))),
            ("no characters", lambda: plt.title("\x00\x07\ud800 ]]> <&>")),
            ("a scribble", lambda: plt.plot(rnd(3000), rnd(3000, 2))),
            ("flattened", lambda: plt.plot([1, 2]) and plt.gca().set_aspect(1e-9)),
        ):
            with self.subTest(name):
                plt.close("all")
                plt.figure(dpi=30)
                call()
                decode(self.png())
                if name != "no characters":  # half a character is none in UTF-8
                    self.texts()

    def test_figures_are_handed_over_once(self):
        from plot import pyplot
        # As where there is no runner; the tests in Go look at what it does with figures.
        before = pyplot.FOLDER, pyplot._runner
        pyplot.FOLDER, pyplot._runner = os.path.join(os.environ.get("TMPDIR", "/tmp"), "plot-test-figures"), None
        try:
            pyplot.after_cell()
            plt.plot([1])
            plt.figure()
            plt.plot([2])
            kept = plt.figure()  # nothing in it
            shown = pyplot.after_cell()
            self.assertEqual([s["mime"] for s in shown], ["image/png"] * 2)
            for s in shown:
                with open(s["path"], "rb") as file:
                    decode(file.read())
                os.remove(s["path"])
            self.assertEqual(pyplot.after_cell(), [])
            kept.gca().plot([3])  # drawn to later
            self.assertEqual(len(pyplot.after_cell()), 1)
            plt.plot([1])
            plt.close()
            self.assertEqual(pyplot.after_cell(), [])
            plt.plot([1])
            plt.title("$^$ {") and plt.gca().xaxis.set_major_formatter(lambda v, p: 1 / 0)
            with self.assertRaises(ZeroDivisionError):
                pyplot.after_cell()
            self.assertEqual(pyplot.after_cell(), [])
        finally:
            pyplot.FOLDER, pyplot._runner = before

    def test_text(self):
        from plot.font import layout
        for text, want in (
            ("plain", "plain"), ("cost: $5", "cost: $5"), (r"\$5 and $x^2$", "$5 and x2"),
            (r"$\alpha_i\leq\frac{a}{b}$", "αi\u2009≤\u2009a/b"),
            (r"$\frac{a+b}{c}$", "(a+b)/c"), (r"$\sqrt{x}$", "√x"), (r"$10^{-3}$", "10−3"), ("CO₂ m²", "CO2 m2"),
            (r"$\mathrm{kg\,m}$", "kg\u2009m"), ("two\nlines", "twolines"), (r"$\unknown$", "\u2009unknown\u2009"),
            ("$unfinished {x", "$unfinished {x"), (r"$\frac{$", "/"),
        ):
            with self.subTest(text):
                self.assertEqual("".join(g[0] for g in layout(text, 14).glyphs), want)
        self.assertGreater(layout("wide", 14).width, layout("i", 14).width)
        self.assertEqual(layout("", 14).width, 0)

    def test_every_letter_has_a_glyph(self):
        from plot.font import _BOX, _glyph, _trace
        box = _trace(_BOX)
        letters = [chr(c) for c in [*range(33, 127), *range(161, 256)] if chr(c) not in "ªº¤¨¯¸²³¹¼½¾\xad"]
        letters += list("αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ≤≥≠≈∞√∑∫∂→←±×÷−–—…•“”‘’€ŠšŽžŐőŁłČčŘř")
        self.assertEqual([c for c in letters if _glyph(c)[0] == box], [])


def rnd(n, seed=1):
    generator = random.Random(seed)
    return [generator.gauss(0, 1) for _ in range(n)]


def chart_lines():
    xs = [i / 4 for i in range(40)]
    plt.plot(xs, [x * (10 - x) for x in xs], label="arc")
    plt.plot(xs, [3 * x for x in xs], "r--", xs, [20] * 40, "k:o", ms=4, lw=1)
    plt.title("Lines")
    plt.xlabel("time (s)")
    plt.ylabel("height (m)")
    plt.legend(loc="upper right", fontsize="small", ncol=2, frameon=False)
    plt.grid(True, alpha=0.3)


def chart_bars():
    fig, ax = plt.subplots(figsize=(6, 4))
    a = ax.bar([0, 1, 2], [3, 5, -2], 0.4, label="a", color="steelblue", edgecolor="black", yerr=[0.5, 0.2, 0.3],
               capsize=4)
    b = ax.bar([0.4, 1.4, 2.4], [4, 2, 1], 0.4, label="b")
    for bar in a:
        ax.text(bar.get_x() + bar.get_width() / 2, bar.get_height(), f"{bar.get_height():.1f}", ha="center",
                va="bottom")
    ax.bar_label(b, fmt="%.1f", padding=2)
    ax.set_xticks([0.2, 1.2, 2.2])
    ax.set_xticklabels(["x", "y", "z"], rotation=45, ha="right")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend()
    fig.tight_layout()


def chart_barh():
    bars = plt.barh(["a long name", "b"], [1, 2], color=["C0", "C1"], left=1, height=0.5)
    plt.gca().bar_label(bars, labels=["one", "two"])
    plt.gca().invert_yaxis()


def chart_stacked():
    plt.bar(["u", "v"], [1, 2], label="first")
    plt.bar(["u", "v"], [2, 1], bottom=[1, 2], label="second")
    plt.legend(title="parts", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2)


def chart_hist():
    plt.hist(rnd(200), bins=12, density=True, alpha=0.6, color="g", edgecolor="white", label="sample")
    plt.hist([rnd(50, 2), rnd(50, 3)], bins="auto", histtype="step", label=["p", "q"])
    plt.axvline(0, color="k", ls="--", label=r"$\mu=0$")
    plt.legend()


def chart_pie():
    plt.pie([35, 25, 40], labels=["Rent", "Food", "Other"], autopct="%1.1f%%", startangle=90, explode=(0.1, 0, 0),
            shadow=True, wedgeprops={"width": 0.5})
    plt.axis("equal")
    plt.title("Expenses")


def chart_scatter():
    xs, ys = rnd(60, 4), rnd(60, 5)
    points = plt.scatter(xs, ys, c=[x + y for x, y in zip(xs, ys)], s=[20 + 10 * abs(x) for x in xs], cmap="plasma",
                         alpha=0.7, edgecolors="k")
    plt.colorbar(points, label="sum")
    plt.scatter([0], [0], marker="*", s=200, color="red", zorder=5, label="origin")
    plt.axhline(0, lw=0.5, color="gray")


def chart_areas():
    xs = list(range(10))
    plt.fill_between(xs, [x * x for x in xs], [x * x / 2 for x in xs], where=[x > 2 for x in xs], color="C1", alpha=0.3,
                     label="area")
    plt.stackplot(xs, xs, [9 - x for x in xs], labels=["s", "t"])
    plt.axvspan(2, 4, color="yellow", alpha=0.3)
    plt.axhspan(10, 20, facecolor="g", alpha=0.1)
    plt.legend(loc=2)


def chart_steps():
    fig, axes = plt.subplots(3, 1, sharex=True)
    axes[0].step([0, 1, 2], [1, 3, 2], where="mid")
    axes[1].stem([0, 1, 2], [1, -1, 2], linefmt="C1-", markerfmt="C1o", basefmt="k-")
    axes[2].errorbar([0, 1, 2], [1, 2, 3], yerr=[[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], xerr=0.1, fmt="o--", capsize=3,
                     ecolor="r", label="e")
    axes[2].legend()
    fig.suptitle("Steps")


def chart_boxes():
    fig, (a, b) = plt.subplots(1, 2, figsize=(8, 4), sharey=True)
    drawn = a.boxplot([rnd(30, 6), rnd(30, 7)], labels=["p", "q"], patch_artist=True, showmeans=True,
                      medianprops={"color": "k"})
    for box, color in zip(drawn["boxes"], ["pink", "lightblue"]):
        box.set_facecolor(color)
    b.violinplot([rnd(30, 6), rnd(30, 7)], showmedians=True)


def chart_heat():
    fig, ax = plt.subplots()
    image = ax.imshow([[1, 2, 3], [4, None, 6]], cmap="YlOrRd")
    fig.colorbar(image, ax=ax, shrink=0.8, orientation="horizontal").set_label("value")
    ax.set_xticks(range(3), labels=["a", "b", "c"])
    for i in range(2):
        for j in range(3):
            ax.text(j, i, i * 3 + j, ha="center", va="center", color="w")


def chart_mesh():
    fig, axes = plt.subplots(1, 3, figsize=(9, 3))
    m = axes[0].pcolormesh([0, 1, 3], [0, 1, 2], [[1, 2], [3, 4]], cmap="coolwarm", norm=colors.LogNorm())
    fig.colorbar(m, ax=axes[0])
    axes[1].hist2d(rnd(100), rnd(100, 8), bins=(8, 6))
    axes[2].imshow([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]], extent=[0, 10, 0, 5], origin="lower",
                   aspect="auto")
    axes[2].axis("off")


def chart_contours():
    fig, (a, b) = plt.subplots(1, 2)
    xs = [i / 5 - 2 for i in range(21)]
    z = [[x * x + y * y for x in xs] for y in xs]
    filled = a.contourf(xs, xs, z, levels=6, cmap="viridis")
    fig.colorbar(filled, ax=a)
    b.clabel(b.contour([xs] * 21, [[y] * 21 for y in xs], z, [1, 2, 4], colors="k"))
    b.set_aspect("equal")


def chart_logs():
    fig, axes = plt.subplots(2, 2)
    axes[0, 0].loglog([1, 10, 1000], [1, 100, 1e6])
    axes[0, 1].semilogy([0, 1, 2], [1e-9, 1e-3, 0])
    axes[1, 0].semilogx([1, 3, 9], [1, 2, 3])
    axes[1, 1].plot([-1000, 0, 1000])
    axes[1, 1].set_yscale("symlog", linthresh=10)
    for ax in axes.flat:
        ax.grid(True, which="both", ls="--", lw=0.5)


def chart_twins():
    fig, ax = plt.subplots()
    ax.bar(["Jan", "Feb"], [50, 70], alpha=0.6, label="rain")
    ax.set_ylabel("mm", color="tab:blue")
    ax.tick_params(axis="y", labelcolor="tab:blue")
    twin = ax.twinx()
    twin.plot(["Jan", "Feb"], [7, 9], "r-o", label="temperature")
    twin.set_ylabel("°C")
    third = ax.twinx()
    third.spines["right"].set_position(("outward", 50))
    third.plot([1, 2])
    handles, labels = ax.get_legend_handles_labels()
    more, names = twin.get_legend_handles_labels()
    ax.legend(handles + more, labels + names)
    ax.twiny().set_xlabel("above")
    plt.title("Twins")


def chart_dates():
    start = datetime.date(2023, 1, 1)
    days = [start + datetime.timedelta(days=i) for i in range(0, 365, 5)]
    fig, ax = plt.subplots(figsize=(8, 3))
    ax.plot(days, [i % 17 for i in range(73)])
    ax.xaxis.set_major_locator(dates.MonthLocator(interval=2))
    ax.xaxis.set_major_formatter(dates.DateFormatter("%b %Y"))
    ax.axvline(datetime.date(2023, 6, 1), color="r")
    ax.annotate("June", (datetime.date(2023, 6, 1), 10))
    ax.set_xlim(datetime.date(2022, 12, 1), datetime.date(2024, 1, 1))
    fig.autofmt_xdate()


def chart_ticks():
    ax = plt.gca()
    ax.plot([0, 0.5, 1], [0, 1e6, 4e6])
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.xaxis.set_major_locator(ticker.MultipleLocator(0.25))
    ax.xaxis.set_minor_locator(ticker.AutoMinorLocator())
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, p: f"${v / 1e6:.1f}M"))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(nbins=4, integer=True))
    plt.yticks(fontsize=8)
    plt.xticks(rotation=30)
    plt.minorticks_on()
    ax.tick_params(which="both", direction="in", top=True, right=True)
    for label in ax.get_xticklabels():
        label.set_fontsize(9)
    plt.setp(ax.get_yticklabels(), color="navy")
    ax.get_xaxis().set_tick_params(labelsize=7)
    ax.yaxis.label.set_color("r")
    ax.title.set_text("Ticks")


def chart_grid():
    fig = plt.figure(figsize=(8, 5), constrained_layout=True)
    grid = GridSpec(2, 3, figure=fig, height_ratios=[1, 2], wspace=0.4)
    fig.add_subplot(grid[0, :]).plot([1, 2])
    fig.add_subplot(grid[1, :2]).hist([1, 2, 2], bins=2, orientation="horizontal")
    fig.add_subplot(grid[1, 2]).set_title("small")
    inset = fig.add_axes([0.7, 0.7, 0.2, 0.2])
    inset.plot([2, 1])
    fig.text(0.5, 0.01, "note", ha="center")


def chart_subplot():
    for i in range(1, 5):
        plt.subplot(2, 2, i)
        plt.plot([i, 2])
        plt.title(f"plot {i}")
    plt.subplot(221).set_facecolor("#eeeeee")
    plt.subplots_adjust(hspace=0.5, wspace=0.3)
    plt.suptitle("Four", fontsize=16, fontweight="bold")


def chart_mosaic():
    fig, axes = plt.subplot_mosaic("AB;CC")
    axes["C"].plot([1, 2])
    axes["A"].axis("off")
    fig.legend(handles=[Line2D([0], [0], color="r", lw=2, label="r"), patches.Patch(color="b", label="b")],
               loc="lower center", ncol=2)


def chart_text():
    plt.plot([0, 1], [0, 1])
    plt.text(0.5, 0.5, "centre", transform=plt.gca().transAxes, ha="center", va="center", fontsize=20, rotation=30,
             alpha=0.5,
             bbox=dict(boxstyle="round", facecolor="wheat", alpha=0.5))
    plt.annotate("max", xy=(1, 1), xytext=(0.6, 0.9), arrowprops=dict(facecolor="black", shrink=0.05))
    plt.annotate("curved", xy=(0.2, 0.2), xytext=(0.3, 0.05),
                 arrowprops=dict(arrowstyle="->", connectionstyle="arc3,rad=.3", color="r"))
    plt.annotate("near", (0.8, 0.8), xytext=(5, -10), textcoords="offset points")
    plt.title("Ünïcode “q” $\\frac{x^2}{\\sqrt{y}}$\nsecond line", loc="left", fontsize=14)


def chart_patches():
    ax = plt.gca()
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="r"))
    ax.add_patch(patches.Rectangle((-1, -1), 1, 0.5, angle=20, alpha=0.5))
    ax.add_patch(patches.Polygon([(0, 0), (1, 0), (0.5, 1)], closed=True, fc="C2", ec="k"))
    ax.add_patch(patches.Wedge((0, 0), 0.8, 30, 120, fc="gold"))
    ax.add_patch(patches.Arc((0, 0), 1, 1, theta1=0, theta2=90, color="b"))
    ax.add_patch(patches.Ellipse((-1, 1), 1, 0.4, angle=30, ec="k", fc="none"))
    ax.add_patch(patches.FancyArrowPatch((0, 0), (1, 1), arrowstyle="->", mutation_scale=15))
    ax.arrow(0, 0, -1, 0.5, head_width=0.1)
    ax.quiver([0, 1], [0, 1], [1, 0], [0, 1])
    ax.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")


def chart_origin():
    xs = [i / 10 for i in range(-20, 21)]
    fig, ax = plt.subplots()
    ax.plot(xs, [x**3 - x for x in xs], label=r"$f(x)=x^3-x$")
    ax.spines["left"].set_position("zero")
    ax.spines["bottom"].set_position(("data", 0))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.hlines([1, 2], -1, 1, colors="k", linestyles="dashed")
    ax.text(1, 0.9, "part", transform=ax.get_xaxis_transform())
    ax.locator_params(axis="x", nbins=4)
    ax.vlines(1, 0, 2)
    ax.axline((0, 0), slope=1)
    ax.legend(loc="best").get_frame().set_facecolor("wheat")


def chart_styles():
    with plt.style.context("ggplot"):
        plt.plot([1, 2], marker="s", markerfacecolor="white", markeredgecolor="r", markeredgewidth=2,
                 linestyle=(0, (5, 2)))
    plt.plot([2, 1], color=plt.get_cmap("tab10")(3), drawstyle="steps-post", markevery=2)
    plt.rcParams.update({"font.size": 12, "axes.grid": True})


def chart_shared_colors():
    fig, axes = plt.subplots(1, 2)
    for ax in axes:
        image = ax.imshow([[1, 2], [3, 4]], vmin=0, vmax=5)
    fig.colorbar(image, ax=axes)
    bar = fig.colorbar(plt.cm.ScalarMappable(norm=plt.Normalize(0, 10), cmap=colors.ListedColormap(["r", "g"])),
                       ax=axes[0], ticks=[0, 5, 10])
    bar.ax.set_ylabel("z")


def chart_own_figure():
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2])
    figure.savefig(io.BytesIO(), format="svg", bbox_inches="tight", transparent=True)
    plt.eventplot([[1, 2], [3]])
    plt.fill([0, 1, 1], [0, 0, 1], "b", alpha=0.2)


CHARTS = {name[6:]: chart for name, chart in list(globals().items()) if name.startswith("chart_")}

# The first digits of the SHA-256 of the pixels at 320 x 240.
GOLDEN = {
    "lines": "3dd24c28ef5a1b94",
    "bars": "65c777e065afcf68",
    "hist": "1f3367811d36e85e",
    "pie": "10fa6ded833b51b0",
    "scatter": "3533b4b1fb80faf3",
    "areas": "4464f548bb938cd5",
    "boxes": "1e3b6a48b5ac1e6f",
    "heat": "e772eeb4daec06de",
    "contours": "b8687a478564b9f9",
    "logs": "bcd180deebe1c11a",
    "dates": "b9a10aab7bd18259",
    "text": "8f0a230c20cc25f2",
    "patches": "cdbe50dfb37064e3",
}


if __name__ == "__main__":
    unittest.main()
