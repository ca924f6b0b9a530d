"""Colour maps as attributes: cm.viridis."""

from plot.color import Mapped as ScalarMappable, get_cmap  # noqa: F401
from plot.pyplot import cm as _maps


def __getattr__(name):
    return getattr(_maps, name)
