"""The functions of plot.pyplot."""

import sys

from plot import pyplot

sys.modules[__name__] = pyplot
