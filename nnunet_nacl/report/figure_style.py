"""How the figures for papers look: letters of a usual size, and the same file for the same numbers."""

from __future__ import annotations

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    # TrueType, which journals ask for; in an SVG letters become outlines, so that it looks alike everywhere
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # ids in the SVG, otherwise random
    "svg.hashsalt": "nnunet-nacl",
}
