"""Reliability of findings: of those of a confidence, how many are true."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import ROUNDING, pooled_interval
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.lesions.proportions import Share, share_over_patients
from nnunet_nacl.lesions.rules import Confidence
from nnunet_nacl.lesions.table import ClassTable
from nnunet_nacl.lesions.value import Value

N_BINS = 10

METHOD = (
    "difference of two means from the limits of each, t over patients and Wilson over patients (Zou and Donner 2008)"
)
"""Of the interval of the gap, in words for files and pages."""


class Bin(NamedTuple):
    """Findings of similar confidence.

    Attributes:
        low, high: edges; a confidence at an edge is in the bin below it.
        confidence: mean of the findings, NaN for none.
        true: share of true findings, with its interval over patients.
    """

    low: float
    high: float
    confidence: float
    true: Share


class Reliability(NamedTuple):
    """Reliability of the findings of a class.

    Attributes:
        bins: :data:`N_BINS` of equal width.
        gap: mean confidence minus share of true findings, with its interval over patients: above 0 is overconfident.
        ece: expected calibration error over the bins, NaN without findings; with few findings noise alone keeps it above 0.
    """

    bins: list[Bin]
    gap: Value
    ece: float


def reliability(table: ClassTable, which: Confidence) -> Reliability:
    """Return the reliability of the findings of a class by one confidence."""
    confidence = table.confidence(which)
    edges = np.linspace(0, 1, N_BINS + 1)
    # largest probabilities may exceed 1 by rounding
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, N_BINS - 1)
    bins = []
    for number in range(N_BINS):
        inside = place == number
        of = table.of_patients(table.finding_patient, inside)
        true = share_over_patients(table.of_patients(table.finding_patient, inside & table.is_true), of)
        mean = float(confidence[inside].mean()) if inside.any() else np.nan
        bins.append(Bin(float(edges[number]), float(edges[number + 1]), mean, true))
    filled = [each for each in bins if each.true.n]
    total = sum(each.true.n for each in filled)
    off = sum(each.true.n * abs(each.confidence - each.true.value) for each in filled)
    return Reliability(bins, _gap(table, confidence), off / total if total else np.nan)


def _gap(table: ClassTable, confidence: Float64Array) -> Value:
    """Return the gap with its interval: of the limits of both means (MOVER: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702)."""
    patients = table.finding_patient
    n, hits = table.of_patients(patients), table.of_patients(patients, table.is_true)
    sums = np.bincount(patients, confidence, minlength=table.n_patients)
    true = share_over_patients(hits, n)
    if not true.n:
        return Value(np.nan, np.nan, np.nan)
    mean = float(sums.sum() / n.sum())
    gap = mean - true.value
    low, high = (float(end) for end in pooled_interval({"sum": sums, "n": n}, _mean, within=(0, 1)))
    deviations = sums - mean * n, hits - true.value * n
    spread = np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum())
    correlation = float((deviations[0] * deviations[1]).sum() / spread) if spread > ROUNDING else 0.0
    below = _both(mean - low, true.high - true.value, correlation)
    above = _both(high - mean, true.value - true.low, correlation)
    return Value(gap, max(gap - below, -1.0), min(gap + above, 1.0))


def _both(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0))


def _mean(summed: dict[str, Float64Array]) -> Float64Array:
    return divided(summed["sum"], summed["n"])
