"""One figure with a reliability diagram per trainer, before and after recalibration, as a small SVG."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.report.figure_style import STYLE
from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram, prepare_reliability
from nnunet_nacl.report.svg import PALE_BELOW
from nnunet_nacl.results_page.task_results import TaskResults
from nnunet_nacl.study.run import Run

VOXEL_SET = "predicted"
COLUMNS = 3
PANEL_INCHES = 2.4
# letters stay letters: a fraction of the size of outlines, and they can be searched and read out
LIGHT = STYLE | {"svg.fonttype": "none", "font.family": "sans-serif", "figure.facecolor": "white"}
COLORS = {"as trained": "#c05621", "after scaling": "#2b6cb0"}


def prepare_panels(results: TaskResults) -> dict[str, dict[str, ReliabilityDiagram]]:
    """Return the diagrams of the predicted class, all cases pooled, by trainer and stage."""
    return {
        each.name: {
            stage: _pooled(run)
            for stage, run in zip(COLORS, (each.merged, each.tempered), strict=True)
            if run is not None
        }
        for each in results.trainers
    }


def write_reliability_figure(panels: dict[str, dict[str, ReliabilityDiagram]], path: Path) -> None:
    """Draw a panel per trainer; the same numbers give the same file."""
    with mpl.rc_context(LIGHT):
        figure = _draw(panels)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _pooled(run: Run) -> ReliabilityDiagram:
    return prepare_reliability(total(run.statistics.values()), VOXEL_SET)


def _draw(panels: dict[str, dict[str, ReliabilityDiagram]]) -> Figure:
    columns = min(COLUMNS, len(panels))
    bands = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * 1.35 * bands), layout="constrained")
    grid = figure.subplots(2 * bands, columns, sharex=True, squeeze=False, height_ratios=(4, 1) * bands)
    for number in range(bands * columns):
        upper, lower = (grid[2 * (number // columns) + row, number % columns] for row in (0, 1))
        if number >= len(panels):
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        trainer, stages = list(panels.items())[number]
        _draw_panel(trainer, stages, upper, lower)
        if number % columns == 0:
            upper.set_ylabel("accuracy")
            lower.set_ylabel("share")
    grid[0, 0].legend(loc="lower right", fontsize=6, frameon=False)
    return figure


def _draw_panel(trainer: str, stages: dict[str, ReliabilityDiagram], axes: Axes, share_axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=0.8)
    for stage, diagram in stages.items():
        _draw_stage(diagram, stage, axes, share_axes)
    eces = " → ".join(f"{diagram.ece:.4f}" for diagram in stages.values())
    axes.text(0.03, 0.97, f"ECE {eces}", transform=axes.transAxes, va="top", fontsize=7)
    # a name may hold what matplotlib takes for a formula
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(trainer.replace("$", r"\$"), fontsize=7)
    share_axes.set(ylim=(0, 1), yticks=(0, 1), xlabel="confidence")
    share_axes.tick_params(labelbottom=True)  # also where another panel comes below


def _draw_stage(diagram: ReliabilityDiagram, stage: str, axes: Axes, share_axes: Axes) -> None:
    color = COLORS[stage]
    filled = diagram.share > 0
    axes.plot(diagram.confidence[filled], diagram.accuracy[filled], color=color, linewidth=1.0, label=stage)
    for shown, face in ((diagram.share >= PALE_BELOW, color), (filled & (diagram.share < PALE_BELOW), "white")):
        axes.plot(diagram.confidence[shown], diagram.accuracy[shown], linestyle="none", marker="o", markersize=2.6,
                  color=color, markerfacecolor=face, markeredgewidth=0.7)  # fmt: skip
    share_axes.stairs(np.asarray(diagram.share), diagram.edges, color=color, linewidth=1.0)
