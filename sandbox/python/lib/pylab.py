"""The functions of plot.pyplot, under the name by which mpmath.plot looks for them."""

from plot.pyplot import *  # noqa: F401, F403
