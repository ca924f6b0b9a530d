"""The plotting functions that act on a current figure, and what hands finished figures to the one who runs the code.

A figure that was drawn to is written out at show() or, when the runner calls after_cell(), at the end of a cell; then
it is no longer current. Where there is no runner, files go to FOLDER as figure-1.png and so on.
"""

import os
from difflib import get_close_matches

from . import color as _colors
from .artists import PLOTS, Artist, LegendLine as Line2D, Text, Unsupported  # noqa: F401
from .artists import Arrow, Circle, Ellipse, Polygon, RectanglePatch as Rectangle, Wedge  # noqa: F401
from .axes import Axes
from .color import Normalize, get_cmap  # noqa: F401
from .figure import AxesArray, Figure, GridSpec  # noqa: F401

try:
    import _chorale as _runner  # of the sandbox; elsewhere the library works without
except ImportError:
    _runner = None

FOLDER = "/tmp/.figures"
_DEFAULTS = {"figure.figsize": (6.4, 4.8), "figure.dpi": 100.0, "figure.facecolor": "white", "axes.facecolor": "white",
             "axes.grid": False,
             "axes.spines.top": True, "axes.spines.right": True, "axes.spines.left": True, "axes.spines.bottom": True,
             "savefig.dpi": "figure"}
_KNOWN = ("font.size", "grid.color", "grid.alpha", "grid.linestyle", "grid.linewidth", "axes.prop_cycle", *_DEFAULTS)
_STYLES = {
    "default": {}, "classic": {}, "fast": {}, "_mpl-gallery": {"axes.grid": True},
    "ggplot": {"axes.grid": True, "axes.facecolor": "#e5e5e5", "grid.color": "white"},
    "bmh": {"axes.grid": True, "axes.facecolor": "#eeeeee"},
    "fivethirtyeight": {"axes.grid": True, "axes.facecolor": "#f0f0f0", "figure.facecolor": "#f0f0f0"},
    "seaborn-v0_8": {"axes.grid": True, "axes.facecolor": "#eaeaf2", "grid.color": "white"},
    "seaborn-v0_8-whitegrid": {"axes.grid": True, "grid.color": "#cccccc"}, "seaborn-v0_8-white": {},
    "seaborn-v0_8-ticks": {},
    "seaborn-v0_8-darkgrid": {"axes.grid": True, "axes.facecolor": "#eaeaf2", "grid.color": "white"},
    "tableau-colorblind10": {"axes.prop_cycle": ["#006ba4", "#ff800e", "#ababab", "#595959", "#5f9ed1", "#c85200",
                                                 "#898989", "#a2c8ec", "#ffbc79", "#cfcfcf"]},
}


class RcParams(dict):
    """Settings by name. Those of figure size, dpi, font size, colours, grid and spines act; others change nothing."""

    def __missing__(self, key):
        raise KeyError(f"setting {key!r} is not known in this subset; those that act are {', '.join(_KNOWN)}")


rcParams = RcParams(_DEFAULTS)


class _State:
    """Open figures by number, the current one, and those that wait to be written."""

    def __init__(self):
        self.figures, self.current, self.waiting, self.written, self.done = {}, None, [], 0, []


_state = _State()


def _wait(figure):
    if figure not in _state.waiting:
        _state.waiting.append(figure)
        if _runner is not None:
            _runner.register_after_cell(after_cell)


def figure(num=None, figsize=None, dpi=None, clear=False, **options):
    """A new figure, or the open one of that number or name."""
    if isinstance(num, Figure):
        num = num.number
    if num is not None and num in _state.figures:
        _state.current = _state.figures[num]
        if clear:
            _state.current.clf()
        return _state.current
    if num is None:
        num = max([n for n in _state.figures if isinstance(n, int)], default=0) + 1
    out = Figure(figsize, dpi, num=num, settings=dict(rcParams), **options)
    out.on_touch = _wait
    _state.figures[num] = _state.current = out
    return out


def gcf():
    """The current figure, made if there is none."""
    return _state.current or figure()


def gca(**options):
    """The current axes, made if there are none."""
    return gcf().gca()


def sca(ax):
    """Makes axes the current ones."""
    _state.current = ax.figure
    ax.figure.sca(ax)


def fignum_exists(num):
    """Whether a figure of that number or name is open."""
    return num in _state.figures


def get_fignums():
    """The numbers of the open figures."""
    return [n for n in _state.figures if isinstance(n, int)]


def close(fig=None):
    """Closes the current figure, one given by number or itself, or 'all'; it is not shown any more."""
    for number, f in list(_state.figures.items()):
        if fig == "all" or f is fig or (fig is None and f is _state.current) or (fig is not None and number == fig):
            del _state.figures[number]
            if f in _state.waiting:
                _state.waiting.remove(f)
            if _state.current is f:
                _state.current = list(_state.figures.values())[-1] if _state.figures else None


def show(*args, figure=None, **ignored):
    """Writes the figures that were drawn to, and closes them."""
    for f in [figure] if figure is not None else list(_state.waiting):
        close(f)  # first, lest a figure that cannot be drawn comes again with every cell
        if f in _state.waiting:
            _state.waiting.remove(f)
        if f.axes or f.texts:
            _state.done.append(_write(f.render("png")))
    if figure is None:
        close("all")


def _write(png):
    if _runner is not None:
        _runner.register_after_cell(after_cell)
        return _runner.save_image(png, "image/png")
    os.makedirs(FOLDER, exist_ok=True)
    _state.written += 1
    name = f"figure-{_state.written}.png"
    with open(f"{FOLDER}/{name}", "wb") as file:
        file.write(png)
    return {"name": name, "mime": "image/png", "path": f"{FOLDER}/{name}"}


def after_cell():
    """Writes what waits and returns [{"name", "mime", "path"}] of all figures written since the last call."""
    show()
    done, _state.done = _state.done, []
    return done


def subplots(nrows=1, ncols=1, *, sharex=False, sharey=False, squeeze=True, subplot_kw=None, gridspec_kw=None,
             width_ratios=None, height_ratios=None, **fig_kw):
    """(figure, axes): a new figure with a grid of axes."""
    f = figure(**fig_kw)
    return f, f.subplots(nrows, ncols, sharex=sharex, sharey=sharey, squeeze=squeeze, subplot_kw=subplot_kw,
                         gridspec_kw=gridspec_kw,
                         width_ratios=width_ratios, height_ratios=height_ratios)


def subplot_mosaic(mosaic, **options):
    """(figure, axes by name) on a grid drawn with letters."""
    own = {k: options.pop(k) for k in ("gridspec_kw", "sharex", "sharey", "empty_sentinel") if k in options}
    f = figure(**options)
    return f, f.subplot_mosaic(mosaic, **own)


def subplot(*args, **options):
    """Axes at a place of a grid in the current figure; the same place gives the same axes."""
    f = gcf()
    axes = f.add_subplot(*(args or (1, 1, 1)), **options)
    for old in f.axes[:-1]:
        if old.slot == axes.slot and not options:
            f.delaxes(axes)
            f.current = old
            return old
    return axes


def subplot2grid(shape, loc, rowspan=1, colspan=1, fig=None, **options):
    """Axes that take several places of a grid."""
    f = fig or gcf()
    grid = f._grid(*shape)
    return f.add_subplot((grid, loc[0], loc[0] + rowspan - 1, loc[1], loc[1] + colspan - 1), **options)


def axes(arg=None, **options):
    """New axes in the current figure, at [left, bottom, width, height] if given."""
    return gcf().add_axes(arg, **options) if arg is not None else gcf().add_subplot(**options)


def colorbar(mappable=None, cax=None, ax=None, **options):
    """A colour bar in the current figure."""
    f = mappable.axes.figure if getattr(mappable, "axes", None) is not None else gcf()
    return f.colorbar(mappable, cax, ax, **options)


def xticks(ticks=None, labels=None, **style):
    """Fixes ticks and labels of x; without ticks gives (ticks, labels)."""
    return _ticks(gca().xaxis, ticks, labels, style)


def yticks(ticks=None, labels=None, **style):
    """Fixes ticks and labels of y; without ticks gives (ticks, labels)."""
    return _ticks(gca().yaxis, ticks, labels, style)


def _ticks(axis, ticks, labels, style):
    if ticks is not None:
        axis.set_ticks(ticks, labels, **style)
    elif labels is not None:
        axis.set_ticklabels(labels, **style)
    elif style:
        axis.style_labels(**style)
    return axis.get_majorticklocs(), axis.get_ticklabels()


def xlim(*args, **limits):
    """Fixes the limits of x, or gives them."""
    return gca().set_xlim(*args, **limits) if args or limits else gca().get_xlim()


def ylim(*args, **limits):
    """Fixes the limits of y, or gives them."""
    return gca().set_ylim(*args, **limits) if args or limits else gca().get_ylim()


def setp(objects, **properties):
    """Sets properties of one or several artists."""
    for o in objects if isinstance(objects, (list, tuple)) else [objects]:
        o.set(**properties)


def clim(vmin=None, vmax=None):
    """The ends of the colours of what was drawn last."""
    gcf().last_mapped.set_clim(vmin, vmax)


def set_cmap(cmap):
    """The colour map of what was drawn last."""
    if gcf().last_mapped is not None:
        gcf().last_mapped.cmap = get_cmap(cmap)


def rc(group, **settings):
    """Changes settings of a group: rc('figure', figsize=(8, 4))."""
    rcParams.update({f"{group}.{k}": v for k, v in settings.items()})


def rcdefaults():
    """Puts the settings back."""
    rcParams.clear()
    rcParams.update(_DEFAULTS)


class rc_context:
    """Settings for a with block."""

    def __init__(self, rc=None, fname=None):
        self.rc = dict(rc or {})

    def __enter__(self):
        self.before = dict(rcParams)
        rcParams.update(self.rc)

    def __exit__(self, *error):
        rcParams.clear()
        rcParams.update(self.before)


class _Style:
    """Looks by name."""

    available = list(_STYLES)

    def use(self, style):
        """Changes the settings to a look, a dict of settings, or several of both."""
        for s in style if isinstance(style, (list, tuple)) else [style]:
            if isinstance(s, dict):
                rcParams.update(s)
                continue
            name = s if s in _STYLES else s.replace("seaborn", "seaborn-v0_8",
                                                    1) if s.startswith("seaborn") and "v0_8" not in s else s
            if name.startswith("seaborn-v0_8") and name not in _STYLES:
                name = "seaborn-v0_8"
            if name == "dark_background":
                raise Unsupported(f"style 'dark_background' is not in this subset; there are {', '.join(_STYLES)}")
            if name not in _STYLES:
                raise ValueError(f"style {s!r} is not known; there are {', '.join(_STYLES)}")
            if name == "default":
                rcdefaults()
            rcParams.update(_STYLES[name])

    def context(self, style, after_reset=False):
        """A look for a with block."""
        context = rc_context()
        before = dict(rcParams)
        self.use(style)
        context.rc = dict(rcParams)
        rcParams.clear()
        rcParams.update(before)
        return context


style = _Style()


class _Maps:
    """Colour maps as attributes and by index: cm.viridis, colormaps['viridis']."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return get_cmap(name)
        except ValueError as error:
            raise AttributeError(str(error)) from None

    def __getitem__(self, name):
        return get_cmap(name)

    def __iter__(self):
        return iter(_colors.map_names())

    def __contains__(self, name):
        return name.removesuffix("_r") in _colors.map_names()

    get_cmap = staticmethod(get_cmap)
    ScalarMappable = _colors.Mapped


cm = colormaps = _Maps()


def colormaps_names():
    """The names of all colour maps."""
    return _colors.map_names()


def _nothing(*args, **kwargs):
    """Accepted; there is no screen."""


ion = ioff = pause = draw = switch_backend = set_loglevel = connect = _nothing


def isinteractive():
    """False: figures are shown at the end of a cell."""
    return False


def _on_figure(name):
    def call(*args, **kwargs):
        return getattr(gcf(), name)(*args, **kwargs)
    call.__name__, call.__doc__ = name, getattr(Figure, name).__doc__
    return call


def _on_axes(name, method):
    def call(*args, **kwargs):
        return getattr(gca(), method)(*args, **kwargs)
    call.__name__, call.__doc__ = name, getattr(Axes, method).__doc__
    return call


for _n in ("savefig", "suptitle", "supxlabel", "supylabel", "tight_layout", "subplots_adjust", "figtext", "figlegend",
           "clf", "delaxes"):
    globals()[_n] = _on_figure({"figtext": "text", "figlegend": "legend"}.get(_n, _n))
for _n in (
        "plot semilogx semilogy loglog plot_date step stem scatter bar barh bar_label hist pie fill_between "
        "fill_betweenx fill stackplot errorbar boxplot violinplot axhline axvline axhspan axvspan axline hlines "
        "vlines eventplot arrow quiver imshow matshow pcolormesh pcolor hist2d hexbin contour contourf clabel table "
        "text annotate legend grid axis margins autoscale twinx twiny tick_params ticklabel_format minorticks_on "
        "minorticks_off cla locator_params").split():
    globals()[_n] = _on_axes(_n, _n)
for _n, _m in (("title", "set_title"), ("xlabel", "set_xlabel"), ("ylabel", "set_ylabel"), ("xscale", "set_xscale"),
               ("yscale", "set_yscale"), ("box", "set_frame_on")):
    globals()[_n] = _on_axes(_n, _m)
del _n, _m


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    have = [n for n in globals() if n[0] != "_"]
    near = get_close_matches(name, have, 3)
    raise Unsupported(f"pyplot has no {name} in this subset of matplotlib"
                      + (f"; near it are {', '.join(near)}" if near else "")
                      + PLOTS)
