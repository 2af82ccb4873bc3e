"""Calibration scores, each computed from bin sums or totals alone.

Every score is NaN where it has no voxel to speak of. The names follow the calibration literature: expected, average and
maximum calibration error (ECE: Guo et al. 2017, arXiv 1706.04599; ACE as the unweighted mean over non-empty bins: Neumann
et al. 2018; MCE: Naeini et al. 2015), class-wise ECE (Kull et al. 2019, arXiv 1910.12656; CECE in the NACL paper), bins of
equal mass and thresholded scores (Nixon et al. 2019, arXiv 1904.01685), and the decomposition of the Brier score (Murphy 1973). Those
without bins have files of their own: :mod:`~nnunet_nacl.calibration.smooth_ece` and :mod:`~nnunet_nacl.calibration.isotonic`.

The functions on bins take any leading axes, with the bins last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Array, Float64Array
from nnunet_nacl.calibration.isotonic import corp
from nnunet_nacl.calibration.smooth_ece import smooth_ece

Bins = tuple[Array, Array, Array]
"""Voxels per bin, the sum of their predicted probabilities, and the number of them for which the event occurred."""


@dataclass(frozen=True)
class Scores:
    """The scores of one voxel set: plain numbers and, per class, ``(K,)`` float64. All but ``n_voxels`` are NaN in a set without voxels.

    Bins are (lower, upper] with 0 in the first. Of equal probabilities the class of the lowest number is predicted. Sources: Guo et al.
    2017 (ECE), Neumann et al. 2018 (ACE), Naeini et al. 2015 (MCE), Nixon et al. 2019 (equal mass, thresholded), Kull et al. 2019
    (class-wise), Blasiok and Nakkiran 2023 (smooth ECE), Murphy 1973 and Dimitriadis et al. 2021 (decompositions).

    Attributes:
        n_voxels: number of voxels in the set.
        accuracy: share of voxels whose predicted class is the label.
        confidence: mean of the highest class probability.
        gap: confidence minus accuracy: positive where the network is overconfident.
        ece, ace, mce: top-label expected, average and maximum calibration error.
        equal_mass_ece: top-label ECE with bins of equally many voxels instead of equal width.
        smooth_ece: top-label smooth ECE, without bins.
        class_wise_ece, class_wise_ace, class_wise_mce: per class, one against the rest, ``(K,)``; NaN for a class that has
            no labelled voxel, in this voxel set or elsewhere.
        thresholded_class_wise_ece: the same over voxels where the class has a probability above 1e-3; NaN where none has.
        mean_class_wise_ece, mean_class_wise_ace, mean_class_wise_mce, mean_thresholded_class_wise_ece: means of the
            classes that are not NaN; NaN where all are.
        nll: mean negative log likelihood of the label, in nats; a probability below 1e-12 counts as 1e-12 (27.6 nats).
        brier: mean over voxels of the squared distance between probabilities and one-hot label, 0 to 2 (Brier 1950).
        brier_reliability, brier_resolution, brier_uncertainty: ``brier`` is reliability - resolution + uncertainty, up to the
            spread of the probabilities within their bins; summed over the classes.
        corp_brier, corp_nll: mean squared distance of the confidence to whether the prediction is right, 0 to 1, and mean negative
            log likelihood of that, in nats (1e-12 as above). Each is miscalibration - discrimination + uncertainty, by an isotonic fit.
    """

    n_voxels: int
    accuracy: float
    confidence: float
    gap: float
    ece: float
    ace: float
    mce: float
    equal_mass_ece: float
    smooth_ece: float
    class_wise_ece: Float64Array
    class_wise_ace: Float64Array
    class_wise_mce: Float64Array
    thresholded_class_wise_ece: Float64Array
    mean_class_wise_ece: float
    mean_class_wise_ace: float
    mean_class_wise_mce: float
    mean_thresholded_class_wise_ece: float
    nll: float
    brier: float
    brier_reliability: float
    brier_resolution: float
    brier_uncertainty: float
    corp_brier: float
    corp_brier_miscalibration: float
    corp_brier_discrimination: float
    corp_brier_uncertainty: float
    corp_nll: float
    corp_nll_miscalibration: float
    corp_nll_discrimination: float
    corp_nll_uncertainty: float


def scores_from(top: Bins, grid: Bins, classes: Bins, labelled: Array, nll: Array, brier: Array) -> dict[str, Array]:
    """Return the values of :class:`Scores` by attribute name; any leading axes, e.g. the replicates of a bootstrap.

    Args:
        top: of the predicted class, ``(..., B)`` each.
        grid: the same in the cells of the confidence grid, ``(..., F)`` each.
        classes: per class, ``(..., K, B + 1)`` each; the first bin holds the probabilities up to the threshold.
        labelled: ``(..., K)``, which classes have scores.
        nll, brier: ``(...)``, sums over the voxels.
    """
    n_voxels = top[0].sum(-1)
    used = grid[0].any(tuple(range(grid[0].ndim - 1)))  # most cells of the grid are empty
    grid = grid[0][..., used], grid[1][..., used], grid[2][..., used]
    whole = join_first_two(classes[0]), join_first_two(classes[1]), join_first_two(classes[2])
    thresholded = classes[0][..., 1:], classes[1][..., 1:], classes[2][..., 1:]
    accuracy, confidence = divided(top[2].sum(-1), n_voxels), divided(top[1].sum(-1), n_voxels)
    per_class = {
        "class_wise_ece": expected_calibration_error(*whole),
        "class_wise_ace": average_calibration_error(*whole),
        "class_wise_mce": maximum_calibration_error(*whole),
        "thresholded_class_wise_ece": expected_calibration_error(*thresholded),
    }
    per_class = {name: np.where(labelled, values, np.nan) for name, values in per_class.items()}
    reliability, resolution, uncertainty = brier_decomposition(whole, n_voxels)
    return {
        "n_voxels": n_voxels,
        "accuracy": accuracy,
        "confidence": confidence,
        "gap": confidence - accuracy,
        "ece": expected_calibration_error(*top),
        "ace": average_calibration_error(*top),
        "mce": maximum_calibration_error(*top),
        "equal_mass_ece": expected_calibration_error(*bins_of_equal_mass(grid, top[0].shape[-1])),
        "smooth_ece": smooth_ece(*grid),
        **per_class,
        **{f"mean_{name}": mean_of_defined(values) for name, values in per_class.items()},
        "nll": divided(nll, n_voxels),
        "brier": divided(brier, n_voxels),
        "brier_reliability": reliability,
        "brier_resolution": resolution,
        "brier_uncertainty": uncertainty,
        **corp(*grid),
    }


def bin_gaps(count: Array, predicted: Array, observed: Array) -> Float64Array:
    """Return mean predicted probability minus observed frequency per bin; NaN in an empty bin."""
    return divided(predicted - observed, count)


def expected_calibration_error(count: Array, predicted: Array, observed: Array) -> Float64Array:
    """Return the mean of the absolute bin gaps weighted by the voxels in the bin, over the last axis."""
    return divided(np.abs(predicted - observed).sum(-1), count.sum(-1))


def average_calibration_error(count: Array, predicted: Array, observed: Array) -> Float64Array:
    """Return the unweighted mean of the absolute gaps of the non-empty bins, over the last axis."""
    gaps = np.abs(bin_gaps(count, predicted, observed))
    return divided(np.nansum(gaps, -1), (count > 0).sum(-1))


def maximum_calibration_error(count: Array, predicted: Array, observed: Array) -> Float64Array:
    """Return the largest absolute gap of the non-empty bins, over the last axis."""
    gaps = np.abs(bin_gaps(count, predicted, observed))
    largest = np.fmax.reduce(gaps, -1, initial=-1.0)
    return np.where(largest < 0, np.nan, largest)


def bins_of_equal_mass(grid: Bins, n_bins: int) -> Bins:
    """Gather the cells of a confidence grid into bins of as equal a number of voxels as whole cells allow.

    A cell goes to the bin that the middle of its voxels falls into when all are sorted by confidence. Voxels of one
    confidence are thus never told apart, and statistics of parts still add up to those of the whole.
    """
    count = grid[0].reshape(math.prod(grid[0].shape[:-1]), grid[0].shape[-1])  # there may be no cell: no -1
    middle = np.cumsum(count, -1) - count / 2
    of_cell = np.minimum((middle * n_bins / np.maximum(count.sum(-1, keepdims=True), 1)).astype(np.int64), n_bins - 1)
    rows = len(count)
    place = (of_cell + n_bins * np.arange(rows)[:, None]).ravel()

    def gathered(part: Array) -> Array:  # whole numbers stay exact up to 2**53
        sums = np.bincount(place, weights=part.ravel(), minlength=rows * n_bins)
        return sums.reshape(*part.shape[:-1], n_bins)

    return gathered(grid[0]), gathered(grid[1]), gathered(grid[2])


def brier_decomposition(classes: Bins, n_voxels: Array) -> tuple[Array, Array, Array]:
    """Return reliability, resolution and uncertainty (Murphy 1973), each summed over the classes.

    Args:
        classes: bins of each class, ``(..., K, B)`` each.
        n_voxels: ``(...)``, voxels of each class's bins together.
    """
    count, predicted, observed = classes
    base_rate = divided(observed.sum(-1), np.broadcast_to(n_voxels[..., None], observed.shape[:-1]))
    squared_gaps = np.nansum(count * bin_gaps(count, predicted, observed) ** 2, (-1, -2))
    spread = np.nansum(count * (divided(observed, count) - base_rate[..., None]) ** 2, (-1, -2))
    uncertainty = (base_rate * (1 - base_rate)).sum(-1)
    return divided(squared_gaps, n_voxels), divided(spread, n_voxels), uncertainty


def dice(confusion: Array) -> Float64Array:
    """Return the Dice coefficient per class; NaN for a class that is neither labelled nor predicted, as in nnU-Net.

    Args:
        confusion: ``(K, K)`` voxel counts, label by prediction.
    """
    return divided(2 * np.diagonal(confusion), confusion.sum(0) + confusion.sum(1))


def divided(numerator: Array, denominator: Array) -> Float64Array:
    """Return the quotient; NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator > 0))
    return quotient


def join_first_two(bins: Array) -> Array:
    """Return ``(..., B)`` of ``(..., B + 1)``, where the first two are parts of one bin."""
    return np.concatenate([bins[..., :2].sum(-1, keepdims=True), bins[..., 2:]], -1)


def mean_of_defined(values: Array) -> Float64Array:
    """Return the mean over the last axis of the values that are not NaN; NaN where none is."""
    return divided(np.nansum(values, -1), (~np.isnan(values)).sum(-1))
