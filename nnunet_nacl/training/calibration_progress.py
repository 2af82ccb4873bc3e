"""The figure calibration_progress.png: foreground calibration over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_calibration_progress(ece: Sequence[float], gap: Sequence[float], path: Path) -> None:
    """Draw ECE and signed confidence gap, one value per epoch, NaN where not measured, and write the figure as PNG."""
    # matplotlib is imported here so that prediction does not load it through the trainers
    from matplotlib import style
    from matplotlib.figure import Figure

    # nnU-Net's progress.png changes matplotlib's defaults of the whole process
    with style.context("default"):
        figure = Figure(figsize=(9, 7), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        _plot(upper, ece, "foreground ECE")
        upper.set_ylim(bottom=0)
        upper.set_title("Calibration on the foreground of the validation patches")
        _plot(lower, gap, "confidence - accuracy")
        lower.axhline(0, color="0.35", linestyle="--", linewidth=1)
        for height, side, meaning in ((0.97, "top", "overconfident"), (0.03, "bottom", "underconfident")):
            lower.text(0.01, height, meaning, transform=lower.transAxes, va=side, color="0.35")
        lower.set_ylim(*_around_zero(gap))
        lower.set_xlabel("epoch")
        lower.set_xlim(-0.5, len(gap) - 0.5)  # every epoch, measured or not
        lower.xaxis.get_major_locator().set_params(integer=True)
        figure.savefig(path, dpi=100)


def _plot(axes: Axes, values: Sequence[float], name: str) -> None:
    # dots, since a line alone shows nothing of an epoch whose neighbours are NaN
    axes.plot(range(len(values)), values, color="#2b6cb0", marker=".", markersize=3, linewidth=0.8)
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)


def _around_zero(values: Sequence[float]) -> tuple[float, float]:
    """Return limits that hold all values and zero in the middle, so that both signs can be told apart at a glance."""
    widest = max((abs(value) for value in values if value == value), default=0.0) or 1.0
    return -1.1 * widest, 1.1 * widest
