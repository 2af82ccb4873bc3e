"""Intervals over cases of pooled scores, those of all voxels of the cases together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.intervals import pooled_interval
from nnunet_nacl.calibration.scores import mean_of_defined, scores_from
from nnunet_nacl.evaluation.score_ranges import ranges_of

_TOP = ("top_count", "top_confidence", "top_correct")
_GRID = ("grid_count", "grid_confidence", "grid_correct")
_CLASSES = ("class_count", "class_probability", "class_positive")


def pooled_intervals(
    cases: Sequence[Sequence[CalibrationStatistics]],
    voxel_set: str,
    attributes: Mapping[str, str],
    groups: Sequence[str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval over cases of each score of a voxel set, pooled; NaN where there is none.

    Args:
        cases: the problems of each case, equally many.
        voxel_set: a key of :data:`VOXEL_SETS`.
        attributes: attribute of :class:`Scores` by name of the score.
        groups: the group of each case; None where each case is its own.
    """
    strata = list(VOXEL_SETS[voxel_set])

    def stacked(name: str) -> NDArray[Any]:
        return np.array([[getattr(problem, name)[strata].sum(0) for problem in case] for case in cases])

    arrays = {name: stacked(name) for name in (*_TOP, *_GRID, *_CLASSES, "nll", "brier")}
    used = arrays["grid_count"].any((0, 1))  # most cells of the grid are empty in every case
    arrays |= {name: arrays[name][..., used] for name in _GRID}
    arrays["labelled"] = np.array([[problem.labelled() for problem in case] for case in cases])

    def scores(sums: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        values = scores_from(
            top=(sums[_TOP[0]], sums[_TOP[1]], sums[_TOP[2]]),
            grid=(sums[_GRID[0]], sums[_GRID[1]], sums[_GRID[2]]),
            classes=(sums[_CLASSES[0]], sums[_CLASSES[1]], sums[_CLASSES[2]]),
            labelled=sums["labelled"] > 0,
            nll=sums["nll"],
            brier=sums["brier"],
        )
        # the mean over the problems, the last axis by now
        return np.stack([mean_of_defined(values[attribute]) for attribute in attributes.values()], -1)

    low, high = pooled_interval(arrays, scores, groups=groups, within=ranges_of(attributes))
    return {name: (float(low[number]), float(high[number])) for number, name in enumerate(attributes)}
