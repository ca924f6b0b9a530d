"""Forwards matplotlib's common calls to the package plot, a pure-Python subset; see plot for what there is.

Nothing of matplotlib's code is here. __version__ says so, and what is missing raises NotImplementedError with a
sentence that names what exists.
"""

from plot.pyplot import RcParams, colormaps, cm, rc, rc_context, rcdefaults, rcParams, style  # noqa: F401
from plot.artists import Unsupported

# Lower than any that libraries ask for: sympy's plots need numpy beside matplotlib, and are drawn as text where this is
# too old for them.
__version__ = "0.1+subset.by.plot.1.0"
__all__ = ["colormaps", "rcParams", "use"]


def use(backend, **ignored):
    """Accepted: pictures are PNG and SVG whatever the backend is called."""


def get_backend():
    """The name of the only backend."""
    return "agg"


def interactive(on):
    """Accepted: figures are shown at the end of a cell."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise Unsupported(
        f"matplotlib here is a subset and has no {name}; it has pyplot, figure, axes, cm, colors, dates, gridspec, "
        "lines, patches, "
                      "style, ticker, rcParams and use")
