"""Colours, colour maps and norms."""

from plot.color import (CYCLE, NAMED, Colormap, ListedColormap, LogNorm, Normalize, TwoSlopeNorm, is_color, to_hex,
                        to_rgb, to_rgba)  # noqa: F401

LinearSegmentedColormap, is_color_like = Colormap, is_color
TABLEAU_COLORS = {"tab:" + n: c for n, c in zip("blue orange green red purple brown pink gray olive cyan".split(),
                                                CYCLE)}
CSS4_COLORS = {n: "#" + c for n, c in NAMED.items()}
