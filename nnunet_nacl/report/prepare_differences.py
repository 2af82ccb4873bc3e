"""Paired differences between runs: the one place where the report asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.calibration.bins import Float64Array
from nnunet_nacl.report.prepare_scores import foreground_dice, voxel_sets
from nnunet_nacl.study.run import Run

SCORES = ("ECE", "class_wise_ECE", "gap", "NLL", "Brier")
CLASS_MEAN = "class mean"


@dataclass(frozen=True)
class Difference:
    """A score of a run minus that of the baseline, paired over the cases in which both are defined.

    Attributes:
        score, voxel_set: what is compared; the voxel set of Dice is :data:`CLASS_MEAN`.
        run: the run held against the baseline.
        base_mean, run_mean: over the paired cases.
        per_case: ``(N,)`` differences.
        interval: of the mean difference, where it was computed.
        p_value: adjusted for all tests made, where it was computed.
    """

    score: str
    voxel_set: str
    run: str
    base_mean: float
    run_mean: float
    per_case: Float64Array
    interval: tuple[float, float] | None = None
    p_value: float | None = None

    @property
    def mean(self) -> float:
        """Mean difference; NaN without a paired case."""
        return float(self.per_case.mean()) if self.per_case.size else float("nan")


def prepare_differences(runs: Sequence[Run], cases: Sequence[str]) -> list[Difference]:
    """Return the differences of every further run to the first, over the given cases."""
    base, *others = runs
    asked = [("Dice", CLASS_MEAN), *((score, name) for name in voxel_sets(base) for score in SCORES)]
    return [_difference(base, run, cases, score, name) for score, name in asked for run in others]


def _difference(base: Run, run: Run, cases: Sequence[str], score: str, voxel_set: str) -> Difference:
    pairs = np.array(
        [
            pair
            for pair in zip(_values(base, cases, score, voxel_set), _values(run, cases, score, voxel_set), strict=True)
            if None not in pair
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    means = pairs.mean(0) if len(pairs) else np.full(2, np.nan)
    return Difference(score, voxel_set, run.name, float(means[0]), float(means[1]), pairs[:, 1] - pairs[:, 0])


def _values(run: Run, cases: Sequence[str], score: str, voxel_set: str) -> list[float | None]:
    by_name: dict[str, dict[str, Any]] = {case["case"]: case for case in run.summary["metric_per_case"]}
    if voxel_set == CLASS_MEAN:
        return [foreground_dice(by_name[case]) for case in cases]
    return [by_name[case]["voxel_sets"][voxel_set][score] for case in cases]
