"""FROC and average precision: sensitivity against false findings, as the threshold on a finding's confidence moves.

The threshold takes findings away, whole; it does not change their shape. So the curves end at the segmentation's own operating point, and
what it misses is missed at every threshold. That matching anew above each threshold would give the same is seen to in
:mod:`nnunet_nacl.lesions.matching`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.intervals import jackknife
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.lesions.proportions import interval_of_share
from nnunet_nacl.lesions.rules import Confidence
from nnunet_nacl.lesions.table import ClassTable
from nnunet_nacl.lesions.value import Value

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False findings per patient at which a FROC curve is read: those of LUNA16 and nnDetection."""


Statistic = Callable[[Float64Array, Float64Array, Float64Array, Float64Array], Float64Array]
"""Takes true and false findings, cumulated over thresholds ``(r, T)``, and lesions and patients ``(r,)``; gives ``(r,)``."""


class Froc(NamedTuple):
    """A FROC curve, from the highest threshold to the lowest, T points.

    Attributes:
        threshold: ``(T,)``, the distinct confidences, descending: findings of at least this confidence count.
        false_per_patient: ``(T,)``.
        sensitivity: ``(T,)``, lesions found of all lesions; NaN without lesions.
        precision: ``(T,)``, true of all findings.
    """

    threshold: Float64Array
    false_per_patient: Float64Array
    sensitivity: Float64Array
    precision: Float64Array


def froc(table: ClassTable, which: Confidence) -> Froc:
    """Return the curve of a class; no points without findings."""
    threshold, place = _thresholds(table, which)
    true = np.cumsum(np.bincount(place[table.is_true], minlength=threshold.size))
    false = np.cumsum(np.bincount(place[~table.is_true], minlength=threshold.size))
    lesions = np.full(threshold.size, len(table.is_found), np.float64)
    return Froc(threshold, false / max(table.n_patients, 1), divided(true, lesions), true / np.maximum(true + false, 1))


def sensitivity_at(curve: Froc, n_lesions: int, rates: tuple[float, ...] = RATES) -> Float64Array:
    """Return the sensitivity at each rate of false findings per patient: at the last point that does not exceed it, 0 before the first.

    Where the curve ends below a rate it is the segmentation's own sensitivity. NaN at every rate without lesions.
    """
    if not n_lesions:
        return np.full(len(rates), np.nan)
    reached = np.searchsorted(curve.false_per_patient, rates, side="right") - 1
    return np.asarray(np.where(reached >= 0, np.append(curve.sensitivity, 0.0)[reached], 0.0))


def average_precision(table: ClassTable, which: Confidence) -> Value:
    """Return the average precision over all lesions, with its interval (Wilson's, with the effective number of the jackknife over patients).

    It is the sum over thresholds of the precision times the gain in sensitivity. Lesions without a finding count in the sensitivity, so it ends
    below 1 where some are missed: scikit-learn's ``average_precision_score`` of the findings, times the share of lesions that are found. NaN
    without lesions, 0 without findings.
    """
    return _with_interval(table, which, _average_precision)


def froc_score(table: ClassTable, which: Confidence) -> Value:
    """Return the mean sensitivity at :data:`RATES`, with its interval (as of :func:`average_precision`)."""
    return _with_interval(table, which, _froc_score)


def _thresholds(table: ClassTable, which: Confidence) -> tuple[Float64Array, NDArray[np.intp]]:
    """Return the distinct confidences, descending, and the place of each finding among them."""
    ascending, place = np.unique(table.confidence(which), return_inverse=True)
    return ascending[::-1], ascending.size - 1 - place.reshape(-1)


def _with_interval(table: ClassTable, which: Confidence, statistic: Statistic) -> Value:
    if not len(table.is_found):
        return Value(np.nan, np.nan, np.nan)
    threshold, place = _thresholds(table, which)
    counts: dict[str, Int64Array] = {}
    for name, chosen in (("true", table.is_true), ("false", ~table.is_true)):
        counts[name] = np.zeros((table.n_patients, threshold.size), np.int64)
        np.add.at(counts[name], (table.finding_patient[chosen], place[chosen]), 1)
    counts["lesions"] = table.of_patients(table.lesion_patient)
    counts["patients"] = np.ones(table.n_patients, np.int64)

    def of_sums(sums: dict[str, Float64Array]) -> Float64Array:
        true, false = (np.cumsum(sums[name], -1) for name in ("true", "false"))
        return statistic(true, false, sums["lesions"], sums["patients"])

    value, error, contributing = (float(each) for each in jackknife(counts, of_sums))
    n_patients = max(int(contributing), int((counts["lesions"] > 0).sum()))
    return Value(value, *interval_of_share(value, error**2, len(table.is_found), n_patients))


def _average_precision(true: Float64Array, false: Float64Array, lesions: Float64Array, _: Float64Array) -> Float64Array:
    precision = true / np.maximum(true + false, 1)
    gain = np.diff(true, axis=-1, prepend=0)
    return divided((precision * gain).sum(-1), lesions)


def _froc_score(true: Float64Array, false: Float64Array, lesions: Float64Array, patients: Float64Array) -> Float64Array:
    at = np.zeros((len(lesions), len(RATES)))
    for row in range(len(lesions)):
        curve = Froc(
            true[row],
            false[row] / max(patients[row], 1),
            divided(true[row], np.full(true.shape[-1], lesions[row])),
            true[row],
        )
        at[row] = sensitivity_at(curve, int(lesions[row]))
    return np.asarray(at.mean(-1))
