"""The files about learning curves: all numbers, the verdicts, and a figure."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_nacl.benchmark.curves.convergence import MAX_RISE, MIN_ITERATIONS, Convergence, windows
from nnunet_nacl.benchmark.curves.learning_curves import Curve
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.report.figure_style import STYLE

STEM = "learning_curves"
SCHEMA_VERSION = 1
COLUMNS = {
    "train_loss": "train_loss", "val_loss": "val_loss", "pseudo_dice": "dice", "pseudo_dice_ema": "dice_ema",
    "pseudo_ece": "ece", "pseudo_gap": "gap",
}  # fmt: skip
"""Of the CSV file, and what they are called in :class:`Curve`; the pseudo Dice of each class follows."""
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Of the folds; told apart with any colour vision (Okabe and Ito)."""
PALER = 0.5
"""Opacity of the second training of a fold, and of further ones."""
PANELS_A_ROW = 3
PANEL_INCHES = (2.4, 2.3)


@dataclass(frozen=True)
class Judged:
    """A curve and what the rule says of it."""

    curve: Curve
    verdict: Convergence

    @property
    def in_words(self) -> str:
        """One line about the training."""
        curve = self.curve
        judged = f"not converged: {'; '.join(self.verdict.why_not)}" if self.verdict.why_not else "converged"
        return f"{curve.run} fold {curve.fold_name}: {curve.iterations} iterations, pseudo Dice {curve.dice[-1]:.3f}, {judged}"


def write_curves(curves: Sequence[Judged], folder: Path) -> list[Path]:
    """Write learning_curves.csv, .json and .svg into a folder that is there; return the paths.

    Raises:
        InputError: two of them have the same run and fold, as folds of two data sets may.
    """
    counts = Counter((one.curve.run, one.curve.fold_name) for one in curves)
    (run, fold), most = counts.most_common(1)[0]
    if most > 1:
        raise InputError(f"Expected folds of one data set, but got {most} of {run}/fold_{fold}.")
    return [_write_csv(curves, folder), _write_json(curves, folder), _write_figure(curves, folder)]


def _write_csv(curves: Sequence[Judged], folder: Path) -> Path:
    """Write a row per run, fold, training and epoch (counted from 0); what was not logged is empty."""
    n_classes = max(len(one.curve.classes) for one in curves)
    path = folder / f"{STEM}.csv"
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        per_class = [f"pseudo_dice_{place}" for place in range(1, n_classes + 1)]
        writer.writerow(["run", "fold", "training", "epoch", "iterations", *COLUMNS, *per_class])
        for one in curves:
            curve = one.curve
            for epoch in range(curve.epochs):
                iterations = (epoch + 1) * curve.iterations_per_epoch
                values = [*(getattr(curve, name)[epoch] for name in COLUMNS.values()), *curve.class_dice[epoch]]
                writer.writerow([curve.run, curve.fold, curve.training, epoch, iterations, *map(_cell, values)])
    return path


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _write_json(curves: Sequence[Judged], folder: Path) -> Path:
    runs: dict[str, dict[str, Any]] = {}
    for one in curves:
        runs.setdefault(one.curve.run, {})[one.curve.fold_name] = _entry(one)
    content = {
        "schema_version": SCHEMA_VERSION,
        "rule": {
            "min_iterations": MIN_ITERATIONS,
            "max_rise": MAX_RISE,
            "compared": "mean pseudo Dice of the last tenth of the epochs and of the tenth that starts at three quarters",
        },
        "runs": runs,
        "provenance": provenance({}),
    }
    path = folder / f"{STEM}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _entry(one: Judged) -> dict[str, Any]:
    curve, verdict = one.curve, one.verdict
    return {
        "training": curve.training,
        "converged": verdict.converged,
        "why_not": list(verdict.why_not),
        "iterations": verdict.iterations,
        "long_enough": verdict.long_enough,
        "flat": verdict.flat,
        "pseudo_dice_at_three_quarters": finite_or_none(verdict.before),
        "pseudo_dice_at_the_end": finite_or_none(verdict.last),
        "never_learned": list(verdict.never_learned),
        "lost": list(verdict.lost),
        "finished": curve.finished,
        "epochs": curve.epochs,
        "iterations_per_epoch": curve.iterations_per_epoch,
        "classes": list(curve.classes),
        "source": list(curve.source),
    }


def _write_figure(curves: Sequence[Judged], folder: Path) -> Path:
    path = folder / f"{STEM}.svg"
    with mpl.rc_context(STYLE):
        figure = draw(curves)
        with replacing(path) as temporary:
            # no date inside: the same numbers give the same file
            figure.savefig(temporary, format="svg", metadata={"Date": None})
    return path


def draw(curves: Sequence[Judged]) -> Figure:
    """Return a figure with a panel per run and a colour per fold.

    Solid is the mean over the classes, dotted the lowest class. The grey stripes are the tenths that are compared.
    """
    runs = list(dict.fromkeys(one.curve.run for one in curves))
    folds = sorted({one.curve.fold for one in curves})
    n_lines = len({one.curve.fold_name for one in curves})
    n_columns = min(len(runs), PANELS_A_ROW)
    n_rows = math.ceil(len(runs) / n_columns)
    size = (max(n_columns * PANEL_INCHES[0], 3.3), n_rows * (PANEL_INCHES[1] + 0.13 * n_lines))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    titles = _titles(runs)
    for place, run in enumerate(runs):
        axes = grid.flat[place]
        of_run = [one for one in curves if one.curve.run == run]
        _draw_run(of_run, {fold: COLORS[number % len(COLORS)] for number, fold in enumerate(folds)}, axes)
        axes.set_title(titles[run])
        axes.set_xlabel("epoch")
        if place % n_columns == 0:
            axes.set_ylabel("pseudo Dice")
    for axes in grid.flat[len(runs) :]:
        axes.set_axis_off()
    title = "Solid: mean of the classes, dotted: lowest class; grey: the epochs that are compared"
    paler = "; paler: trained again" if n_lines > len(folds) else ""
    figure.suptitle(title + paler, fontsize=7)
    return figure


def _titles(runs: Sequence[str]) -> dict[str, str]:
    """Return the trainers' names where they tell the runs apart; broken into lines, since names of variants are long."""
    trainers = {run: run.split("__")[0] for run in runs}
    whole = len(set(trainers.values())) < len(runs)
    return {run: (run.replace("__", "\n") if whole else trainers[run].replace("_", "\n", 1)) for run in runs}


def _draw_run(curves: Sequence[Judged], colors: dict[str, str], axes: Axes) -> None:
    for one in curves:
        curve, alpha = one.curve, 1.0 if one.curve.training == 1 else PALER
        color = mpl.colors.to_rgba(colors[curve.fold], alpha)
        epochs = np.arange(curve.epochs)
        axes.plot(
            epochs, curve.dice, color=color, linewidth=1.1, label=f"fold {curve.fold_name}: {_remark(one.verdict)}"
        )
        if len(curve.classes) > 1:
            there = ~np.isnan(curve.class_dice).all(axis=1)
            axes.plot(
                epochs[there], np.nanmin(curve.class_dice[there], axis=1), color=color, linewidth=0.9, linestyle=":"
            )
    longest = max(one.curve.epochs for one in curves)
    if len({one.curve.epochs for one in curves}) == 1:
        for part in windows(longest):
            axes.axvspan(part.start - 0.5, part.stop - 0.5, color="0.9", linewidth=0)
    axes.set(ylim=(-0.02, 1), xlim=(-0.5, longest - 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.24), fontsize=6, frameon=False, handlelength=1.2, borderpad=0
    )


def _remark(verdict: Convergence) -> str:
    if verdict.converged:
        return "converged"
    if verdict.never_learned:
        return "a class was never learned"
    return verdict.why_not[0]
