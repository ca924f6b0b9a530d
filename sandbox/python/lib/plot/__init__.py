"""Charts without numpy: a plotting library in pure Python that writes PNG and SVG.

It knows the common part of matplotlib's interface under the same names, so `import matplotlib.pyplot as plt` works
where it is installed (the package matplotlib beside it forwards here), and has nothing of its code. Data may be
lists, tuples, ranges, generators, dates or strings; None and NaN leave gaps.

There are
  figures   figure, subplots, subplot, subplot2grid, subplot_mosaic, GridSpec, add_axes, suptitle, savefig (png and svg,
            to a path or an open file), show, close; figures drawn to in a cell are shown at its end
  plots     plot (with formats such as 'ro--'), scatter, bar, barh, bar_label, hist, hist2d, pie, step, stem, errorbar,
            boxplot, violinplot, fill_between, fill, stackplot, hlines, vlines, eventplot, axhline, axvline, axhspan,
            axvspan, axline, arrow, quiver, imshow, matshow, pcolormesh, contour, contourf, clabel, colorbar
  axes      titles, labels, legends (also outside), grids, limits, log and symlog scales, ticks with labels and
            rotation, twinx, twiny, shared and inverted axes, aspect, spines, text, annotate with arrows, patches
  looks     the ten default colours, CSS names, some fifty colour maps, line styles, markers, $math$ as plain text
            with Greek letters, superscripts and subscripts; a few styles; rcParams for size, dpi, fonts, colours, grid

There are not: 3D and polar axes, animations, widgets, images from files, tables, hatches, PDF and JPEG. Asking for them
raises NotImplementedError with a sentence that says what there is. Layout always keeps labels apart and inside, so that
tight_layout() has nothing to do. A picture is the same bytes whenever it is drawn.

    import plot
    plot.plot([1, 2, 3], [2, 4, 8], "o-", label="growth")
    plot.legend()
    plot.savefig("growth.png")

Modules: pyplot (current figure, hand-over) over figure (layout, files), axes and plots (what is drawn), axis and ticks,
legend, artists; two backends, raster (PNG) and svg; outline, glyphs, font, markers, color and contours below them.
"""

from . import pyplot
from .artists import Unsupported
from .figure import Figure, GridSpec

__version__ = "1.0"
__all__ = ["Figure", "GridSpec", "Unsupported", "pyplot"]


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(pyplot, name)
