"""The numbers of the score tables, from calibration.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.evaluation.score_ranges import range_of
from nnunet_nacl.report.prepare_scores import Value, foreground
from nnunet_nacl.results_page.task_results import TaskResults
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.verdict import GREYED_OUT_BELOW


def over_classes(run: Run, score: str) -> Value:
    """Return the mean over cases of a score of classes (Dice, HD95), each case's mean over its foreground classes.

    The interval is that of calibration.json: 95 %, over cases.
    """
    values = list(of_cases(run.summary, foreground(run), score).values())
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return Value(None)
    low, high = (float(end) for end in mean_interval(np.array(values), within=range_of(score)))
    return Value(math.fsum(defined) / len(defined), (low, high) if low < high else None)


def of_cases(summary: dict[str, Any], labels: list[str], score: str) -> dict[str, float]:
    """Return a score of classes by case, mean over the given classes of those that have it; NaN where none has."""
    means = {}
    for case in summary["metric_per_case"]:
        held = [case["metrics"][label][score] for label in labels]
        defined = [value for value in held if value is not None]
        means[case["case"]] = math.fsum(defined) / len(defined) if defined else math.nan
    return means


def greyed_out(results: TaskResults) -> frozenset[str]:
    """Return the trainers that the protocol greys out: mean Dice too far below the baseline's."""
    if results.baseline is None:
        return frozenset()
    dice = {each.trainer: _dice_over_trainings(results, each.trainer) for each in results.trainers}
    base = dice[results.baseline.trainer]
    return frozenset(
        name
        for name, value in dice.items()
        if base is not None and value is not None and value - base < GREYED_OUT_BELOW
    )


def _dice_over_trainings(results: TaskResults, trainer: str) -> float | None:
    held = [over_classes(each.merged, "Dice").value for each in results.trainers if each.trainer == trainer]
    defined = [value for value in held if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
