"""The diagrams as files for papers: SVG and PDF, one column wide, letters of a usual size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.report.figure_style import STYLE
from nnunet_nacl.report.prepare_diagrams import class_diagrams, top_diagram
from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram
from nnunet_nacl.report.prepare_scores import label_names, voxel_sets
from nnunet_nacl.report.reliability import draw_bars, pooled_ece
from nnunet_nacl.report.svg import BAND_TEXT
from nnunet_nacl.study.run import Run

COLUMN_INCHES = 3.3
"""Width of a column in the usual two-column journals, 84 mm."""
FORMATS = ("svg", "pdf")


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``<run>_<voxel set>[_<class>].svg`` and ``.pdf`` and return the paths.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for run in runs:
            cases, names = list(run.statistics), ["", *label_names(run).values()]
            for voxel_set in voxel_sets(run):
                diagrams = [top_diagram(run, cases, voxel_set), *class_diagrams(run, cases, voxel_set)]
                for place, (name, diagram) in enumerate(zip(names, diagrams, strict=True)):
                    stem = f"{run.name}_{voxel_set}" + (f"_class{place - 1}" if place else "")
                    paths += _write(diagram, _title(run, voxel_set, name), folder / re.sub(r"[^\w.+-]+", "_", stem))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}).") from error
    return paths


def draw(diagram: ReliabilityDiagram, title: str) -> Figure:
    """Return the figure of a diagram, one column wide."""
    figure = Figure(figsize=(COLUMN_INCHES, COLUMN_INCHES * 1.35), layout="constrained")
    axes, share_axes = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    draw_bars(diagram, axes)
    if diagram.band is not None:
        centers = (diagram.edges[:-1] + diagram.edges[1:]) / 2
        axes.vlines(
            centers, *diagram.band, color="black", linewidth=0.9, label=f"middle half of the cases ({BAND_TEXT})"
        )
    axes.plot([0, 1], [0, 1], color="0.25", linestyle="--", linewidth=0.8, label="perfectly calibrated")
    said, right = (
        ("confidence", "accuracy") if diagram.label is None else ("predicted probability", "share with the label")
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel=right, title=f"{title}\n{pooled_ece(diagram)}")
    share_axes.bar(diagram.edges[:-1], diagram.share, np.diff(diagram.edges), align="edge", color="0.6")
    share_axes.set(ylim=(0, 1), xlabel=said, ylabel="share")
    handles, meanings = axes.get_legend_handles_labels()
    figure.legend(handles, meanings, loc="outside lower center", fontsize=7, frameon=False)
    return figure


def _write(diagram: ReliabilityDiagram, title: str, stem: Path) -> list[Path]:
    paths = []
    with mpl.rc_context(STYLE):
        figure = draw(diagram, title)
        for ending in FORMATS:
            path = stem.with_name(f"{stem.name}.{ending}")
            # no date inside: the same numbers give the same file
            metadata: dict[str, Any] = {"Date": None} if ending == "svg" else {"CreationDate": None}
            with replacing(path) as temporary:
                figure.savefig(temporary, format=ending, metadata=metadata)
            paths.append(path)
    return paths


def _title(run: Run, voxel_set: str, name: str) -> str:
    # a name may hold what matplotlib takes for a formula
    return f"{run.name}\n{voxel_set}{f', {name}' if name else ''}".replace("$", r"\$")
