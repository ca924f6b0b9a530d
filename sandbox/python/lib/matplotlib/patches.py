"""Shapes for Axes.add_patch, and Patch for a legend's handles."""

from plot.artists import (Arc, Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, LegendPatch, Polygon, RectanglePatch,
                          Wedge)  # noqa: F401

Rectangle, Patch = RectanglePatch, LegendPatch
