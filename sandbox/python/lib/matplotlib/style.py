"""Looks by name."""

from plot.pyplot import style

use, context, available = style.use, style.context, style.available
