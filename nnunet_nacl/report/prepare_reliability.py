"""The numbers of reliability diagrams: of the predicted class, or of one class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.arrays import Array, Float64Array
from nnunet_nacl.calibration.scores import Bins, expected_calibration_error
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.report.prepare_isotonic import IsotonicCurve, prepare_isotonic

BAND_PERCENTILES = (25.0, 75.0)
BAND_MIN_VOXELS = 20
"""A case enters a bin's band with at least this many voxels there; a handful of voxels has no accuracy to speak of."""
BAND_MIN_CASES = 4


@dataclass(frozen=True)
class ReliabilityDiagram:
    """The numbers of a reliability diagram; per-bin arrays have shape ``(B,)`` and are NaN in empty bins.

    Attributes:
        voxel_set: key of :data:`~nnunet_nacl.calibration.VOXEL_SETS`.
        edges: ``(B + 1,)``.
        confidence, accuracy: mean probability, and share of voxels that have the class.
        share: share of the set's voxels in the bin; 0 in empty bins.
        ece: expected calibration error of the diagram; of the class where ``label`` is given.
        n_voxels: voxels in the set.
        label: the class compared with the rest, or None for the predicted class.
        band: ``(2, B)``, the percentiles :data:`BAND_PERCENTILES` over cases of the accuracy in the bin, NaN where fewer
            than :data:`BAND_MIN_CASES` cases have :data:`BAND_MIN_VOXELS` voxels there; None where no cases were given.
        isotonic: the curve without bins, of the predicted class over cases; else None.
    """

    voxel_set: str
    edges: Float64Array
    confidence: Float64Array
    accuracy: Float64Array
    share: Float64Array
    ece: float
    n_voxels: int
    label: int | None = None
    band: Float64Array | None = None
    isotonic: IsotonicCurve | None = None


def prepare_reliability(statistics: CalibrationStatistics, voxel_set: str) -> ReliabilityDiagram:
    """Return mean confidence, accuracy and share of voxels per bin of one voxel set."""
    return _diagram(statistics.top_label_bins(voxel_set), voxel_set, None, None)


def prepare_reliability_over_cases(
    cases: Sequence[CalibrationStatistics], voxel_set: str, label: int | None = None
) -> ReliabilityDiagram:
    """Return the pooled diagram of several cases, with the band of their own accuracies.

    Args:
        cases: at least one, of the same classes and bins.
        voxel_set: key of ``VOXEL_SETS``.
        label: a class to hold against the rest; None for the predicted class.
    """
    per_case = [_bins(case, voxel_set, label) for case in cases]
    diagram = _diagram(_bins(total(cases), voxel_set, label), voxel_set, label, prepare_band(per_case))
    if label is not None:
        return diagram
    return replace(diagram, isotonic=prepare_isotonic([case.grid_cells(voxel_set) for case in cases]))


def prepare_band(per_case: Sequence[Bins]) -> Float64Array:
    """Return the percentiles over cases of the accuracy per bin, ``(2, B)``; NaN where too few cases have a say."""
    accuracies = np.stack([np.where(bins[0] >= BAND_MIN_VOXELS, _ratio(bins[2], bins[0]), np.nan) for bins in per_case])
    band = np.full((2, accuracies.shape[1]), np.nan)
    for number, values in enumerate(accuracies.T):
        defined = values[~np.isnan(values)]
        if defined.size >= BAND_MIN_CASES:
            band[:, number] = np.percentile(defined, BAND_PERCENTILES)
    return band


def _bins(statistics: CalibrationStatistics, voxel_set: str, label: int | None) -> Bins:
    if label is None:
        return statistics.top_label_bins(voxel_set)
    count, probability, positive = statistics.class_bins(voxel_set)
    return count[label], probability[label], positive[label]


def _diagram(bins: Bins, voxel_set: str, label: int | None, band: Float64Array | None) -> ReliabilityDiagram:
    count, probability, positive = bins
    n_voxels = int(count.sum())
    return ReliabilityDiagram(
        voxel_set=voxel_set,
        edges=np.linspace(0, 1, count.size + 1),
        confidence=_ratio(probability, count),
        accuracy=_ratio(positive, count),
        share=count / n_voxels if n_voxels else np.zeros(count.shape),
        ece=float(expected_calibration_error(*bins)),
        n_voxels=n_voxels,
        label=label,
        band=band,
    )


def _ratio(sums: Array, count: Array) -> Float64Array:
    means = np.full(count.shape, np.nan)
    np.divide(sums, count, out=means, where=count > 0)
    return means
