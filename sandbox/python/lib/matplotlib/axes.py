"""Axes."""

from plot.axes import Axes  # noqa: F401
