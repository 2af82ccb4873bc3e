"""Calibration scores, each computed from bin sums or totals alone.

Every score is NaN where it has no voxel to speak of. The names follow the calibration literature: expected, average and
maximum calibration error (ECE: Guo et al. 2017, arXiv 1706.04599; ACE as the unweighted mean over non-empty bins: Neumann
et al. 2018; MCE: Naeini et al. 2015), class-wise ECE (Kull et al. 2019, arXiv 1910.12656; CECE in the NACL paper).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.bins import Float64Array, Int64Array


@dataclass(frozen=True)
class Scores:
    """The scores of one voxel set.

    Attributes:
        n_voxels: number of voxels in the set.
        accuracy: share of voxels whose predicted class is the label.
        confidence: mean of the highest class probability.
        ece, ace, mce: top-label expected, average and maximum calibration error.
        class_wise_ece: per class, shape ``(K,)``; NaN for a class that has no labelled voxel.
        mean_class_wise_ece: mean of the classes that are not NaN.
        nll: mean negative log likelihood of the label, in nats.
        brier: mean over voxels of the squared distance between probabilities and one-hot label, 0 to 2 (Brier 1950).
    """

    n_voxels: int
    accuracy: float
    confidence: float
    ece: float
    ace: float
    mce: float
    class_wise_ece: Float64Array
    mean_class_wise_ece: float
    nll: float
    brier: float

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy: positive where the network is overconfident."""
        return self.confidence - self.accuracy


def bin_gaps(count: Int64Array, predicted: Float64Array, observed: Int64Array) -> Float64Array:
    """Return mean predicted probability minus observed frequency per bin; NaN in an empty bin.

    Args:
        count: voxels per bin, int64, bins on the last axis.
        predicted: sum of the predicted probabilities per bin, float64.
        observed: number of voxels per bin in which the predicted event occurred, int64.
    """
    difference = predicted - observed
    gaps = np.full(difference.shape, np.nan)
    np.divide(difference, count, out=gaps, where=count > 0)
    return gaps


def expected_calibration_error(count: Int64Array, predicted: Float64Array, observed: Int64Array) -> Float64Array:
    """Return the mean of the absolute bin gaps weighted by the voxels in the bin, over the last axis."""
    total = count.sum(-1)
    weighted = np.abs(predicted - observed).sum(-1)
    error = np.full(np.shape(weighted), np.nan)
    np.divide(weighted, total, out=error, where=np.asarray(total > 0))
    return error


def average_calibration_error(count: Int64Array, predicted: Float64Array, observed: Int64Array) -> float:
    """Return the unweighted mean of the absolute gaps of the non-empty bins (one axis)."""
    filled = count > 0
    return float(np.abs(bin_gaps(count, predicted, observed)[filled]).mean()) if filled.any() else np.nan


def maximum_calibration_error(count: Int64Array, predicted: Float64Array, observed: Int64Array) -> float:
    """Return the largest absolute gap of the non-empty bins (one axis)."""
    filled = count > 0
    return float(np.abs(bin_gaps(count, predicted, observed)[filled]).max()) if filled.any() else np.nan


def dice(confusion: Int64Array) -> Float64Array:
    """Return the Dice coefficient per class; NaN for a class that is neither labelled nor predicted, as in nnU-Net.

    Args:
        confusion: ``(K, K)`` voxel counts, label by prediction.
    """
    overlap = np.diagonal(confusion)
    volumes = confusion.sum(0) + confusion.sum(1)
    coefficient = np.full(overlap.shape, np.nan)
    np.divide(2 * overlap, volumes, out=coefficient, where=volumes > 0)
    return coefficient


def mean_of_defined(values: Float64Array) -> float:
    """Return the mean of the values that are not NaN; NaN where none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else np.nan
