"""Which cases to look at: confidences of a case that need no label, and how well each finds the bad ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import where_units_differ
from nnunet_nacl.calibration.mask_confidence import ENTROPY, PROBABILITY
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.decisions.case_table import CaseTable
from nnunet_nacl.decisions.interval_over_patients import FEWEST
from nnunet_nacl.decisions.risk_coverage import oracle, risk_coverage
from nnunet_nacl.files.json_files import finite_or_none

SCORES: Mapping[str, str] = MappingProxyType(
    {
        "soft_Dice": "mean soft Dice confidence of the structures",
        "mean_probability": "mean probability over the predicted foreground",
        "mean_entropy": "mean entropy over the predicted foreground, lower is more confident",
        "volume": "predicted foreground, larger is more confident",
        "agreement": "mean Dice between the segmentations of several networks",
    }
)
"""The confidences of a case, in words."""

DEFAULT_SCORE = "soft_Dice"
RESAMPLES = 1000
WORST_SHARE = 0.1


def class_confidences(
    table: CaseTable, always: ArrayLike, agreement: NDArray[np.float64] | None = None
) -> dict[str, Float64Array]:
    """Return the confidences of each structure in each case, ``(N, C)``, by name; NaN where there is none.

    All are turned so that higher is more confident. An empty mask has a volume of 0 and no mean over its voxels. Its soft Dice confidence is 0, also
    where no probability is above 0, if each case of the fit had the structure (``always``, ``(C,)`` bool); of another structure it has none,
    since there it may be right.
    """
    empty = table.predicted == 0
    missing = empty & np.asarray(always, bool)
    found: dict[str, Float64Array] = {}
    if table.mask_sums is not None and table.soft_dice is not None and table.mask_means is not None:
        found = {
            "soft_Dice": np.where(missing, 0.0, np.where(empty, np.nan, table.soft_dice)),
            "mean_probability": table.mask_means[..., PROBABILITY],
            "mean_entropy": -table.mask_means[..., ENTROPY],
        }
    found["volume"] = table.predicted * _voxel(table)[:, None]
    return (
        found if agreement is None else found | {"agreement": np.where(missing & np.isnan(agreement), 0.0, agreement)}
    )


def case_confidences(
    table: CaseTable, always: ArrayLike, agreement: NDArray[np.float64] | None = None
) -> dict[str, Float64Array]:
    """Return the confidences of each case, ``(N,)``, by name; NaN for a case in which nothing is predicted that has none.

    Args:
        table: the cases.
        always: ``(C,)`` bool, structures that every case of the fit had. Without them a mask is missing, and counts with a soft Dice
            confidence of 0; of other structures an empty mask may say that they are absent, and is left out of the mean. Whether it is
            right shows in the risk alone.
        agreement: ``(N, C)`` mean Dice between networks, if there is one.
    """
    per_class = class_confidences(table, always, agreement)
    found: dict[str, Float64Array] = {}
    if "soft_Dice" in per_class and table.mask_sums is not None:
        found["soft_Dice"] = case_dice(per_class["soft_Dice"])
        means = _ratio(table.mask_sums.sum(1), table.predicted.sum(1)[:, None])
        found |= {"mean_probability": means[:, PROBABILITY], "mean_entropy": -means[:, ENTROPY]}
    found["volume"] = per_class["volume"].sum(1)
    if agreement is not None:
        counted = (table.predicted > 0) | np.asarray(always, bool)
        found["agreement"] = _mean(per_class["agreement"], counted & ~np.isnan(per_class["agreement"]))
    return found


def case_dice(dice: NDArray[np.float64]) -> Float64Array:
    """Return the mean Dice of a case over the structures that have one, ``(N,)`` of ``(N, C)``; NaN where none has."""
    return _mean(dice, ~np.isnan(dice))


def judge(
    confidence: NDArray[np.float64], dice: NDArray[np.float64], groups: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Any] | None:
    """Return how well a confidence finds the cases of low Dice.

    AURC, AUGRC and their excess over the oracle, of the risk 1 - Dice, each with its 95 % percentile interval of a bootstrap over cases (or
    groups of them), which draws the same cases for the same ``seed`` (none with fewer than five of them, or where it would have no width); the curve; and of the worst tenth of the cases the share among the
    tenth that the confidence puts last.

    Args:
        confidence: ``(N,)``; NaN where there is none, as of an empty mask: such a case is the least confident, so that all confidences
            are judged on the same cases.
        dice: ``(N,)``; a case where it is NaN is left out and counted.

    Returns:
        Plain values, or None where fewer than two cases have a Dice.
    """
    known = ~np.isnan(dice)
    if known.sum() < 2:
        return None
    sure, risk = _ranked(confidence)[known], 1 - dice[known]
    units = np.arange(risk.size) if groups is None else np.asarray(groups)[known]
    curve = risk_coverage(sure, risk)
    intervals = _bootstrap(sure, risk, units, seed)
    return {
        "n_cases": int(known.sum()),
        "n_left_out": int((~known).sum()),
        "n_without": int(np.isnan(confidence[known]).sum()),
        **_areas(sure, risk),
        **{f"{name}_interval": _told(*ends) for name, ends in intervals.items()},
        "mean_risk": float(risk.mean()),
        "found_of_worst_tenth": _found(sure, risk),
        "curve": {
            "coverage": curve.coverage.tolist(),
            "selective_risk": curve.selective_risk.tolist(),
            "generalized_risk": curve.generalized_risk.tolist(),
        },
    }


def _ranked(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return whole numbers in the order of a confidence, 0 where there is none."""
    return np.where(np.isnan(confidence), 0.0, 1.0 + np.unique(confidence, return_inverse=True)[1])


def n_to_check(n_cases: int, budget: float) -> int:
    """Return how many of the cases are within a budget: the share rounded up, so that a budget above 0 is at least one case."""
    return min(n_cases, int(np.ceil(n_cases * budget - 1e-9)))


def _areas(sure: NDArray[np.float64], risk: NDArray[np.float64]) -> dict[str, float]:
    curve, best = risk_coverage(sure, risk), oracle(risk)
    return {
        "AURC": curve.aurc,
        "AUGRC": curve.augrc,
        "excess_AURC": curve.aurc - best.aurc,
        "excess_AUGRC": curve.augrc - best.augrc,
    }


def _bootstrap(
    sure: NDArray[np.float64], risk: NDArray[np.float64], units: NDArray[Any], seed: int
) -> dict[str, tuple[float, float]]:
    _, unit = np.unique(units, return_inverse=True)
    members = [np.flatnonzero(unit == number) for number in range(int(unit.max()) + 1)]
    if len(members) < FEWEST:
        return dict.fromkeys(_areas(sure, risk), (np.nan, np.nan))
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        cases = np.concatenate([members[number] for number in random.integers(len(members), size=len(members))])
        drawn.append(_areas(sure[cases], risk[cases]))
    low, high = np.quantile([list(areas.values()) for areas in drawn], (0.025, 0.975), axis=0)
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(drawn[0])}


def _told(low: float, high: float) -> list[float | None]:
    return [finite_or_none(end) for end in where_units_differ(low, high)]


def _found(sure: NDArray[np.float64], risk: NDArray[np.float64]) -> float:
    """Return the share of the worst tenth of the cases among the tenth with the least confidence; of ties the first cases."""
    n_worst = n_to_check(risk.size, WORST_SHARE)
    worst, last = np.argsort(-risk, kind="stable")[:n_worst], np.argsort(sure, kind="stable")[:n_worst]
    return float(np.isin(worst, last).mean())


def _voxel(table: CaseTable) -> Float64Array:
    """Return what volumes are counted in: mm3, or in 2D voxels."""
    return np.where(np.isnan(table.voxel_mm3), 1.0, table.voxel_mm3)


def _mean(values: NDArray[np.float64], counted: NDArray[np.bool_]) -> Float64Array:
    return _ratio(np.where(counted, values, 0.0).sum(1), counted.sum(1))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64Array:
    return divided(numerator, np.broadcast_to(denominator, numerator.shape))
