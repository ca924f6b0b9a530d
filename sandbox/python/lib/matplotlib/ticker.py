"""Locators and formatters."""

from plot.ticks import (AutoLocator, AutoMinorLocator, EngFormatter, FixedFormatter, FixedLocator,
                        FormatStrFormatter,  # noqa: F401
                        FuncFormatter, LinearLocator, LogFormatter, LogLocator, MaxNLocator, MultipleLocator,
                        NullFormatter,
                        NullLocator, PercentFormatter, ScalarFormatter, StrMethodFormatter, SymmetricalLogLocator)

LogFormatterSciNotation = LogFormatterMathtext = LogFormatter
