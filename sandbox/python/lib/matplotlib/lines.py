"""Lines for Axes.add_line and a legend's handles."""

from plot.artists import LegendLine as Line2D  # noqa: F401
