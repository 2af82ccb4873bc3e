"""Reliability diagrams of the predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram, prepare_reliability
from nnunet_nacl.study.run import Run

COLOR_ACCURACY = "#3b78b0"
COLOR_OVERCONFIDENT = "#eba36c"
COLOR_UNDERCONFIDENT = "#a993e6"


def draw_bars(diagram: ReliabilityDiagram, axes: Axes) -> None:
    """Draw a bar of accuracy per bin that has voxels, with its gap to the confidence above it or as its upper part."""
    filled = diagram.share > 0
    left, width = diagram.edges[:-1][filled], np.diff(diagram.edges)[filled]
    accuracy, confidence = diagram.accuracy[filled], diagram.confidence[filled]
    common = np.minimum(accuracy, confidence)
    # the parts do not lie on each other and are opaque, so that they have the colours of the legend
    for part, bottom, color, meaning in (
        (common, 0, COLOR_ACCURACY, "accuracy"),
        (accuracy - common, common, COLOR_UNDERCONFIDENT, "accuracy above confidence: underconfident"),
        (confidence - common, common, COLOR_OVERCONFIDENT, "confidence above accuracy: overconfident"),
    ):
        axes.bar(
            left, part, width, bottom=bottom, align="edge", color=color, edgecolor="white", linewidth=0.4, label=meaning
        )


def plot_reliability(diagram: ReliabilityDiagram, axes: Axes, share_axes: Axes, title: str) -> None:
    """Draw accuracy bars with their gap to the confidence into ``axes`` and the share of voxels into ``share_axes``."""
    draw_bars(diagram, axes)
    axes.plot([0, 1], [0, 1], color="0.35", linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    # above the axes, where no bar is
    axes.set_title(f"{title}\n{pooled_ece(diagram)}".strip(), fontsize=9)
    share_axes.bar(diagram.edges[:-1], diagram.share, np.diff(diagram.edges), align="edge", color="0.6",
                   edgecolor="white", linewidth=0.5)  # fmt: skip
    share_axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of\nvoxels")


def pooled_ece(diagram: ReliabilityDiagram) -> str:
    """Return the ECE of a diagram in words, and how many voxels it is of."""
    if diagram.n_voxels == 0:
        return "no voxels"
    return f"ECE {diagram.ece:.3f} pooled, {diagram.n_voxels:,} voxels"


def write_reliability_of_sets(statistics: CalibrationStatistics, folder: Path) -> list[Path]:
    """Write reliability_<voxel set>.png for every voxel set and return the paths."""
    paths, figure = [], None
    for voxel_set in VOXEL_SETS:
        diagram = prepare_reliability(statistics, voxel_set)
        if figure is None:
            figure = draw_grid([[diagram]], [""])
        else:
            # all have one layout, and finding it takes as long as drawing
            figure.set_layout_engine("none")
            for artist in [artist for axes in figure.axes for artist in (*axes.patches, *axes.lines)]:
                artist.remove()
            upper, lower = figure.axes
            plot_reliability(diagram, upper, lower, _heading(diagram, ""))
        paths.append(_save(figure, folder / f"reliability_{voxel_set}.png"))
    return paths


def write_reliability_of_runs(runs: Sequence[Run], cases: Sequence[str], voxel_sets: Sequence[str], path: Path) -> None:
    """Draw the pooled diagrams of several runs beside each other, one row per voxel set.

    Args:
        runs: one column each.
        cases: the cases to pool, which every run has.
        voxel_sets: one row each.
        path: figure file; its ending names the format.

    Raises:
        InputError: the format is unknown or the file cannot be written.
    """
    pooled = [total(run.statistics[case] for case in cases) for run in runs]
    rows = [[prepare_reliability(statistics, voxel_set) for statistics in pooled] for voxel_set in voxel_sets]
    try:
        _save(draw_grid(rows, [run.name for run in runs]), path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({error}).") from error


def draw_grid(rows: Sequence[Sequence[ReliabilityDiagram]], titles: Sequence[str]) -> Figure:
    """Return the figure of diagrams beside and below each other, with one legend below them all."""
    n_rows, n_columns = len(rows), len(titles)
    figure = Figure(figsize=(3.4 * n_columns + 0.6, 4.4 * n_rows + 0.8), layout="constrained")
    grid = figure.subplots(2 * n_rows, n_columns, sharex=True, squeeze=False, height_ratios=(4, 1) * n_rows)
    for row, diagrams in enumerate(rows):
        for column, (title, diagram) in enumerate(zip(titles, diagrams, strict=True)):
            upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
            plot_reliability(diagram, upper, lower, _heading(diagram, title))
    handles, meanings = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, meanings, loc="outside lower center", fontsize=8, frameon=False, ncols=1)
    return figure


def _heading(diagram: ReliabilityDiagram, title: str) -> str:
    return f"{title}\nvoxel set: {diagram.voxel_set}".strip()


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path
