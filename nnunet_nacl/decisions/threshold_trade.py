"""Where no miss rate has to be kept: Dice, sensitivity and precision over the threshold, and the threshold with the best mean Dice.

The best threshold of some cases is partly the best by chance, so what it is worth is measured on others: on each result with the threshold
that the other results give, or, of a single result, on each patient with that of the others. Patients with cases in every result cannot
be measured so, and are left out; if that leaves none, the worth is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions.interval_over_patients import interval_over_patients
from nnunet_nacl.decisions.miss_rate import by_patient, mean_over_patients
from nnunet_nacl.decisions.threshold_cases import StructureCases, at
from nnunet_nacl.files.json_files import finite_or_none

SHOWN = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


def trade_of(cases: StructureCases, parts: Sequence[str], groups: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the table over thresholds and the best threshold as plain values; None where fewer than two patients have the structure.

    Args:
        cases: of a structure.
        parts: ``(N,)``, the result of each case.
        groups: ``(N,)``, its patient; None where each case is its own.
    """
    dice = cases.dice[:, 1:]  # at a threshold of 0 the mask is the image
    units = np.arange(len(dice)).astype(str) if groups is None else np.asarray(groups)
    held = ~np.isnan(dice[:, 0])
    if np.unique(units[held]).size < 2:
        return None
    best = _best(dice, units)
    folds = np.asarray(parts) if len(set(np.asarray(parts)[held])) > 1 else units
    of_others = np.full(len(dice), np.nan)
    for fold in sorted(set(folds[held])):
        own = (folds == fold) & held
        known = held & ~own & ~np.isin(units, units[own])
        if known.any():
            of_others[own] = dice[own, _best(dice[known], units[known])]
    argmax = np.where(np.isnan(of_others), np.nan, cases.argmax_dice)
    gain, _ = by_patient((of_others - argmax)[:, None], units)
    ends = interval_over_patients(gain[:, 0], within=(-1.0, 1.0))
    plain_units = None if groups is None else list(groups)
    return {
        "table": _table(cases, plain_units),
        "argmax": _masks(cases.argmax[:, 0], cases.argmax[:, 1], cases, plain_units) | {"threshold": None},
        "best_threshold": float(thresholds()[1:][best]),
        "cross_fitted_over": "results" if folds is not units else "patients",
        "cross_fitted_Dice": finite_or_none(mean_over_patients(of_others, plain_units)),
        "argmax_Dice": finite_or_none(mean_over_patients(argmax, plain_units)),
        "cross_fitted_units": len(gain),
        "difference": float(gain.mean()) if len(gain) else None,
        "difference_interval": [None, None] if ends is None else list(ends),
    }


def _best(dice: Float64Array, units: Any) -> int:
    means, _ = by_patient(dice, units)
    return int(np.argmax(means.mean(0)))


def _table(cases: StructureCases, groups: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return a row for each threshold that is shown: the nearest below that is a threshold of the counts."""
    places = np.searchsorted(thresholds(), np.array(SHOWN), side="right") - 1
    return [
        {"threshold": float(thresholds()[place])}
        | _masks(at(cases.found, place), at(cases.false, place), cases, groups)
        for place in dict.fromkeys(places.tolist())
    ]


def _masks(
    found: Float64Array, false: Float64Array, cases: StructureCases, groups: Sequence[str] | None
) -> dict[str, float | None]:
    """Return what masks are worth, as means over patients: of cases that have the structure, and the false volume of all cases."""
    labelled = np.where(cases.labelled > 0, cases.labelled, np.nan)
    values = {
        "Dice": 2 * found / (labelled + found + false),
        "sensitivity": found / labelled,
        "precision": np.where(cases.labelled > 0, divided(found, found + false), np.nan),
        "false_positive_ml": false * cases.voxel_ml,
    }
    return {name: finite_or_none(mean_over_patients(value, groups)) for name, value in values.items()}
