"""Calibration statistics that add up: one pass over the voxels, then every score of every voxel set.

Each voxel falls into one stratum by its label and its prediction, and a voxel set is a union of strata. So the voxels are
binned once, whatever the number of sets, and statistics of two cases, folds or machines are added without loss: counts
are int64 and sums are float64 (a float32 counter stops at 2**24 voxels, and one CT volume has more).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import scores
from nnunet_nacl.calibration.bins import (
    Float64Array,
    FloatArray,
    Int64Array,
    bin_index,
    count_per_cell,
    sum_per_cell,
)

# The strata: whether the label and whether the prediction is another class than background (class 0).
BACKGROUND_AGREED = 0
FALSE_FOREGROUND = 1
MISSED_FOREGROUND = 2
FOREGROUND_AGREED = 3  # the foreground classes themselves may differ
N_STRATA = 4

VOXEL_SETS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "all": (BACKGROUND_AGREED, FALSE_FOREGROUND, MISSED_FOREGROUND, FOREGROUND_AGREED),
        "foreground": (MISSED_FOREGROUND, FOREGROUND_AGREED),
        "union": (FALSE_FOREGROUND, MISSED_FOREGROUND, FOREGROUND_AGREED),
        "predicted": (FALSE_FOREGROUND, FOREGROUND_AGREED),
    }
)
"""Voxel sets and their strata.

- ``all``: every voxel that is not ignored.
- ``foreground``: the label is not background (the convention of the NACL and SVLS papers).
- ``union``: the label or the prediction is not background.
- ``predicted``: the prediction is not background.

``foreground`` and ``union`` select voxels by their label, that is by the outcome. Calibration is not preserved by that: even
the true class posterior has an ECE above 0 there. It has one of 0, up to chance, in ``all`` and ``predicted``.
"""

NLL_FLOOR = 1e-12
"""A label's probability below this enters the negative log likelihood as this (27.6 nats), and is counted."""

SUM_TOLERANCE = 1e-2
"""How far the probabilities of a voxel may sum away from 1: float16 files with many classes reach a few thousandths."""


@dataclass
class CalibrationStatistics:
    """Sums over voxels from which every calibration score follows.

    Shapes, with S strata, K classes and B bins:

    Attributes:
        top_count, top_confidence, top_correct: ``(S, B)`` of the predicted class: voxels (int64), summed confidence
            (float64), correct voxels (int64).
        class_count, class_probability, class_positive: ``(S, K, B)`` of each class: voxels (int64), summed probability
            (float64), voxels with that label (int64).
        nll, brier: ``(S,)`` float64 sums over voxels.
        floored: ``(S,)`` int64, voxels whose label had a probability below :data:`NLL_FLOOR`.
        confusion: ``(K, K)`` int64, label by prediction.
        ignored: ``()`` int64, voxels with the ignore label.
    """

    top_count: Int64Array
    top_confidence: Float64Array
    top_correct: Int64Array
    class_count: Int64Array
    class_probability: Float64Array
    class_positive: Int64Array
    nll: Float64Array
    brier: Float64Array
    floored: Int64Array
    confusion: Int64Array
    ignored: Int64Array

    @classmethod
    def empty(cls, num_classes: int, n_bins: int = 15) -> CalibrationStatistics:
        """Return the statistics of no voxel, for ``num_classes`` classes and equal-width bins."""
        if num_classes < 2:
            raise ValueError(f"Expected argument `num_classes` to be at least 2, but got {num_classes}.")
        if n_bins < 1:
            raise ValueError(f"Expected argument `n_bins` to be at least 1, but got {n_bins}.")
        top, per_class = (N_STRATA, n_bins), (N_STRATA, num_classes, n_bins)
        return cls(
            top_count=np.zeros(top, np.int64),
            top_confidence=np.zeros(top),
            top_correct=np.zeros(top, np.int64),
            class_count=np.zeros(per_class, np.int64),
            class_probability=np.zeros(per_class),
            class_positive=np.zeros(per_class, np.int64),
            nll=np.zeros(N_STRATA),
            brier=np.zeros(N_STRATA),
            floored=np.zeros(N_STRATA, np.int64),
            confusion=np.zeros((num_classes, num_classes), np.int64),
            ignored=np.zeros((), np.int64),
        )

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.class_count.shape[1])

    @property
    def n_bins(self) -> int:
        """Number of bins B."""
        return int(self.top_count.shape[1])

    def update(self, probabilities: FloatArray, labels: NDArray[Any], ignore_label: int | None = None) -> None:
        """Add the voxels of one array.

        Args:
            probabilities: ``(K, *spatial)``, floating, summing to 1 over the first axis.
            labels: ``(*spatial)``, whole numbers 0 to K - 1, or the ignore label.
            ignore_label: label of voxels that are left out everywhere.

        Raises:
            ValueError: shapes that do not belong together, a label outside the classes, or probabilities that are not
                finite, outside [0, 1], or do not sum to 1 within :data:`SUM_TOLERANCE`. Nothing is added then.
        """
        probabilities, labels = self._checked(np.asarray(probabilities), np.asarray(labels), ignore_label)
        if ignore_label is not None:
            kept = labels != ignore_label
            self.ignored += kept.size - np.count_nonzero(kept)
            probabilities, labels = probabilities[:, kept], labels[kept]
        if labels.size:
            self._add(probabilities, labels)

    def merge(self, *others: CalibrationStatistics) -> CalibrationStatistics:
        """Return the statistics of these and the others' voxels together; equal to having seen them all at once."""
        for other in others:
            if (other.num_classes, other.n_bins) != (self.num_classes, self.n_bins):
                raise ValueError(
                    f"Expected statistics of {self.num_classes} classes and {self.n_bins} bins, "
                    f"but got {other.num_classes} and {other.n_bins}."
                )
        together = {
            field.name: np.sum([getattr(part, field.name) for part in (self, *others)], axis=0)
            for field in fields(self)
        }
        return CalibrationStatistics(**together)

    def top_label_bins(self, voxel_set: str) -> tuple[Int64Array, Float64Array, Int64Array]:
        """Return voxels, summed confidence and correct voxels per bin, each ``(B,)``, of a voxel set."""
        strata = list(VOXEL_SETS[voxel_set])
        return (
            self.top_count[strata].sum(0),
            self.top_confidence[strata].sum(0),
            self.top_correct[strata].sum(0),
        )

    def class_bins(self, voxel_set: str) -> tuple[Int64Array, Float64Array, Int64Array]:
        """Return voxels, summed probability and voxels with the label per class and bin, each ``(K, B)``."""
        strata = list(VOXEL_SETS[voxel_set])
        return (
            self.class_count[strata].sum(0),
            self.class_probability[strata].sum(0),
            self.class_positive[strata].sum(0),
        )

    def dice(self) -> Float64Array:
        """Return the Dice coefficient per class, ``(K,)``, over all voxels that are not ignored."""
        return scores.dice(self.confusion)

    def labelled(self) -> NDArray[np.bool_]:
        """Return which classes have at least one labelled voxel, ``(K,)``."""
        return np.asarray(self.confusion.sum(1) > 0)

    def scores(self, voxel_set: str) -> scores.Scores:
        """Return the scores of one voxel set (a key of :data:`VOXEL_SETS`)."""
        top = self.top_label_bins(voxel_set)
        strata = list(VOXEL_SETS[voxel_set])
        n_voxels = int(top[0].sum())
        class_wise = np.where(self.labelled(), scores.expected_calibration_error(*self.class_bins(voxel_set)), np.nan)

        def mean(total: float) -> float:
            return float(total) / n_voxels if n_voxels else np.nan

        return scores.Scores(
            n_voxels=n_voxels,
            accuracy=mean(top[2].sum()),
            confidence=mean(top[1].sum()),
            ece=float(scores.expected_calibration_error(*top)),
            ace=scores.average_calibration_error(*top),
            mce=scores.maximum_calibration_error(*top),
            class_wise_ece=class_wise,
            mean_class_wise_ece=scores.mean_of_defined(class_wise),
            nll=mean(self.nll[strata].sum()),
            brier=mean(self.brier[strata].sum()),
        )

    def _checked(
        self, probabilities: FloatArray, labels: NDArray[Any], ignore_label: int | None
    ) -> tuple[FloatArray, Int64Array]:
        if probabilities.ndim < 2 or probabilities.shape[0] != self.num_classes:
            raise ValueError(
                f"Expected probabilities of shape ({self.num_classes}, *spatial), but got {probabilities.shape}."
            )
        if labels.shape != probabilities.shape[1:]:
            raise ValueError(
                f"Expected labels of shape {probabilities.shape[1:]}, as the probabilities have, but got {labels.shape}."
            )
        if not np.issubdtype(probabilities.dtype, np.floating):
            raise ValueError(f"Expected floating point probabilities, but got dtype {probabilities.dtype}.")
        if labels.size:
            check_probabilities(probabilities)
        return probabilities.reshape(self.num_classes, -1), check_labels(labels, self.num_classes, ignore_label)

    def _add(self, probabilities: FloatArray, labels: Int64Array) -> None:
        prediction = probabilities.argmax(0)
        confidence = np.take_along_axis(probabilities, prediction[None], 0)[0]
        label_probability = np.take_along_axis(probabilities, labels[None], 0)[0]
        strata = _strata(labels, prediction)
        self._add_top_label(confidence, labels == prediction, strata)
        self._add_classes(probabilities, labels, strata)
        self._add_likelihood(label_probability.astype(np.float64), strata)
        self.confusion += count_per_cell(labels * self.num_classes + prediction, self.confusion.shape)

    def _add_top_label(self, confidence: FloatArray, correct: NDArray[np.bool_], strata: Int64Array) -> None:
        shape = self.top_count.shape
        cells = strata * self.n_bins + bin_index(confidence, self.n_bins)
        self.top_count += count_per_cell(cells, shape)
        self.top_confidence += sum_per_cell(cells, confidence, shape)
        self.top_correct += count_per_cell(cells[correct], shape)

    def _add_classes(self, probabilities: FloatArray, labels: Int64Array, strata: Int64Array) -> None:
        shape = self.top_count.shape
        brier = np.zeros(self.brier.shape)
        for number, probability in enumerate(probabilities):
            cells = strata * self.n_bins + bin_index(probability, self.n_bins)
            positive = labels == number
            self.class_count[:, number] += count_per_cell(cells, shape)
            self.class_probability[:, number] += sum_per_cell(cells, probability, shape)
            self.class_positive[:, number] += count_per_cell(cells[positive], shape)
            residual = probability.astype(np.float64) - positive
            brier += sum_per_cell(strata, residual * residual, brier.shape)
        self.brier += brier

    def _add_likelihood(self, label_probability: Float64Array, strata: Int64Array) -> None:
        floored = label_probability < NLL_FLOOR
        self.floored += count_per_cell(strata[floored], self.floored.shape)
        nats = -np.log(np.maximum(label_probability, NLL_FLOOR))
        self.nll += sum_per_cell(strata, nats, self.nll.shape)


def total(parts: Iterable[CalibrationStatistics]) -> CalibrationStatistics:
    """Return the sum of one or more statistics."""
    first, *others = parts
    return first.merge(*others)


def check_probabilities(probabilities: FloatArray) -> None:
    """Raise ValueError unless the values are finite, within [0, 1] and sum to 1 over the first axis."""
    lowest, highest = float(probabilities.min()), float(probabilities.max())
    if np.isnan(lowest) or np.isnan(highest):
        raise ValueError(f"Expected finite probabilities, but got NaN in {np.isnan(probabilities).sum()} places.")
    if lowest < 0 or highest > 1 + SUM_TOLERANCE:
        raise ValueError(f"Expected probabilities from 0 to 1, but got {lowest:g} to {highest:g}. Are these logits?")
    sums = probabilities.sum(0, dtype=np.float64)
    worst = float(np.abs(sums - 1).max())
    if worst > SUM_TOLERANCE:
        raise ValueError(
            f"Expected the probabilities of each voxel to sum to 1 (within {SUM_TOLERANCE}), but got sums from "
            f"{sums.min():g} to {sums.max():g}."
        )


def check_labels(labels: NDArray[Any], num_classes: int, ignore_label: int | None) -> Int64Array:
    """Return the labels flat and as int64, or raise ValueError where one is no class and not the ignore label."""
    flat: Int64Array = labels.reshape(-1).astype(np.int64)
    if not np.array_equal(flat, labels.reshape(-1)):
        raise ValueError(f"Expected labels that are whole numbers, but got {labels.dtype} values with fractions.")
    present = np.unique(flat)
    unknown = [int(value) for value in present if not 0 <= value < num_classes and value != ignore_label]
    if unknown:
        ignored = "no ignore label" if ignore_label is None else f"ignore label {ignore_label}"
        raise ValueError(f"Expected labels 0 to {num_classes - 1} ({ignored}), but got {unknown}.")
    return flat


def _strata(labels: Int64Array, prediction: NDArray[np.intp]) -> Int64Array:
    return 2 * (labels > 0).astype(np.int64) + (prediction > 0)
