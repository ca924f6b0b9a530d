"""Figure."""

from plot.figure import Figure  # noqa: F401
