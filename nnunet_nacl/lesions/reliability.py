"""Reliability of findings: of those of a confidence, how many are true."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import pooled_interval
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.lesions.froc import Value
from nnunet_nacl.lesions.proportions import Share, share_over_patients
from nnunet_nacl.lesions.rules import Confidence
from nnunet_nacl.lesions.table import ClassTable

N_BINS = 10


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
        gap: mean confidence minus share of true findings, with its interval (jackknife over patients): above 0 is overconfident.
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
    patients = table.finding_patient
    sums = {
        "off": np.bincount(patients, confidence - table.is_true, minlength=table.n_patients),
        "n": table.of_patients(patients),
    }

    def mean(summed: dict[str, Float64Array]) -> Float64Array:
        return divided(summed["off"], summed["n"])

    low, high = pooled_interval(sums, mean, within=(-1, 1))
    return Value(
        float(mean({name: stack.sum(keepdims=True) for name, stack in sums.items()})[0]), float(low), float(high)
    )
