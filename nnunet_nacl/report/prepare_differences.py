"""Runs side by side, and their paired differences with the values of each case: the numbers of the study, as pictures need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.report.prepare_scores import mean_foreground_dice, mean_over, voxel_sets
from nnunet_nacl.study.case_scores import CaseScores, paired_values
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.run import Run

SIDE_SCORES = ("gap", "ECE", "class_wise_ECE", "NLL", "Brier")
CLASS_MEAN = "class mean"


@dataclass(frozen=True)
class CaseDifferences:
    """A paired difference, and what it is in each case.

    Attributes:
        tested: the mean, its interval and its test.
        per_case: ``(N,)``, run minus base, of the cases in which both have a value; of absolute values where ``tested`` is.
    """

    tested: Difference
    per_case: Float64Array


def prepare_differences(comparison: Comparison) -> list[CaseDifferences]:
    """Return the differences of a comparison, those of one score and voxel set beside each other."""
    base = CaseScores(comparison.base)
    scores = {run.name: CaseScores(run) for run in comparison.runs}
    quantities = dict.fromkeys(held.quantity for held in comparison.differences)
    ordered = [held for quantity in quantities for held in comparison.differences if held.quantity == quantity]
    return [CaseDifferences(held, _per_case(base, scores[held.run], comparison.cases, held)) for held in ordered]


def _per_case(base: CaseScores, run: CaseScores, cases: Sequence[str], held: Difference) -> Float64Array:
    ours, theirs = paired_values(base, run, cases, held.quantity)
    differences = abs(theirs) - abs(ours) if held.absolute else theirs - ours
    return np.asarray(differences[~np.isnan(differences)])


def prepare_sides(runs: Sequence[Run], cases: Sequence[str]) -> dict[tuple[str, str], list[float | None]]:
    """Return the means over the given cases of each run by score and voxel set; Dice comes first."""
    sides = {("Dice", CLASS_MEAN): [mean_foreground_dice(run, cases) for run in runs]}
    for voxel_set in voxel_sets(runs[0]):
        for score in SIDE_SCORES:
            sides[score, voxel_set] = [mean_over(run, cases, voxel_set, score) for run in runs]
    return sides
