"""GridSpec."""

from plot.figure import GridSpec  # noqa: F401
