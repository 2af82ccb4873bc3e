"""Calibration statistics that add up: one pass over the voxels, then every score of every voxel set.

Statistics of two cases, folds or machines are added without loss: counts are int64 and sums are float64 (a float32 counter
stops at 2**24 voxels, and one CT volume has more).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import scores
from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.boundary import DEFAULT_BOUNDARY_MM
from nnunet_nacl.calibration.channel_stream import Block, sums_of_channels
from nnunet_nacl.calibration.checks import as_labels, as_probabilities, check_size
from nnunet_nacl.calibration.scores import Bins, join_first_two
from nnunet_nacl.calibration.sums import Sums, joined
from nnunet_nacl.calibration.voxel_sets import VOXEL_SETS, groups_of_labels
from nnunet_nacl.calibration.whole_array import sums_of_array


@dataclass
class CalibrationStatistics:
    """Sums over voxels from which every calibration score follows. Start with :meth:`empty`.

    Methods that take a voxel set raise KeyError for a name that is no key of :data:`VOXEL_SETS`.

    Shapes, with S strata, K classes, B bins and F cells of the confidence grid:

    Attributes:
        top_count, top_confidence, top_correct: ``(S, B)`` of the predicted class: voxels (int64), summed confidence
            (float64), correct voxels (int64).
        grid_count, grid_confidence, grid_correct: ``(S, F)``, the same in the finer cells from which bins of equal mass
            are made.
        class_count, class_probability, class_positive: ``(S, K, B + 1)`` of each class: voxels (int64), summed probability
            (float64), voxels with that label (int64). The first bin is in two parts, up to and above 1e-3.
        nll, brier: ``(S,)`` float64 sums over voxels.
        floored: ``(S,)`` int64, voxels whose label had a probability below 1e-12.
        certain: ``(S,)`` int64, voxels whose probabilities are all exactly 0 or 1: nnU-Net writes them outside its crop, and a
            network's own output may be saturated.
        confusion: ``(K, K)`` int64, label by prediction.
        spread: ``(K - 1,)`` float64 of each foreground class, sum of p (1 - p) over all voxels that are not ignored.
        mask_sums: ``(K - 1, 2)`` float64 of each foreground class, over the voxels that are predicted as it: the summed probability,
            and the summed entropy of the class against the rest, in nats; see :mod:`~nnunet_nacl.calibration.mask_confidence`.
            Both are NaN in files that were written without them. In the problem of a region the voxels are those with a
            probability above 0.5; for its mask in the label map see :mod:`~nnunet_nacl.calibration.region_masks`.
        ignored: ``()`` int64, voxels with the ignore label.
    """

    top_count: Int64Array
    top_confidence: Float64Array
    top_correct: Int64Array
    grid_count: Int64Array
    grid_confidence: Float64Array
    grid_correct: Int64Array
    class_count: Int64Array
    class_probability: Float64Array
    class_positive: Int64Array
    nll: Float64Array
    brier: Float64Array
    floored: Int64Array
    certain: Int64Array
    confusion: Int64Array
    spread: Float64Array
    mask_sums: Float64Array
    ignored: Int64Array

    @classmethod
    def empty(cls, num_classes: int, n_bins: int = 15) -> CalibrationStatistics:
        """Return the statistics of no voxel, for ``num_classes`` classes and equal-width bins.

        Raises:
            ValueError: not 2 to 32767 classes, or not 1 to 999 bins.
        """
        check_size(num_classes, n_bins)
        return cls(**joined([], num_classes, n_bins), ignored=np.zeros((), np.int64))

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.class_count.shape[1])

    @property
    def n_bins(self) -> int:
        """Number of bins B."""
        return int(self.top_count.shape[1])

    def update(
        self,
        probabilities: Any,
        labels: Any,
        ignore_label: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        boundary_mm: float = DEFAULT_BOUNDARY_MM,
        threads: int | None = None,
    ) -> None:
        """Add the voxels of one array; an array without voxels adds nothing.

        Of equal probabilities the class of the lowest number is predicted.

        Args:
            probabilities: ``(K, *spatial)``, numpy array or torch tensor, floating (16 bits are widened to float32), summing to 1
                over the first axis.
            labels: ``(*spatial)``, numpy array or torch tensor, whole numbers 0 to K - 1, or the ignore label.
            ignore_label: label of voxels that are left out everywhere; their probabilities have to be probabilities nevertheless.
            spacing: mm per voxel of each spatial axis (at most three); without it no voxel is in the set ``boundary``.
            boundary_mm: half the width of the band that is the set ``boundary``.
            threads: at most so many, default one a core; the result is the same to the last bit.

        Raises:
            ValueError: shapes that do not belong together, a label that is no class and not the ignore label, probabilities that are
                NaN, below 0, above 1.01, or do not sum to 1 within 1e-2, a spacing that is not one number above 0 an axis, or
                beside it a ``boundary_mm`` below 0. Nothing is added then.
        """
        values = as_probabilities(probabilities, self.num_classes)
        label = as_labels(labels, values.shape[1:], self.num_classes, ignore_label)
        group = groups_of_labels(label, self.num_classes, spacing, boundary_mm)
        flat = values.reshape(self.num_classes, -1)
        self.add_sums(sums_of_array(flat, label.ravel(), group.ravel(), self.n_bins, threads))
        self.ignored += np.count_nonzero(label == self.num_classes)

    def update_channels(
        self,
        blocks: Callable[[], Iterable[Block]],
        labels: Any,
        ignore_label: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        boundary_mm: float = DEFAULT_BOUNDARY_MM,
    ) -> NDArray[np.int16]:
        """Add the voxels of an array whose channels come one after another and are never in memory together.

        Args:
            blocks: called once or twice, gives ``(channel, start, values)`` in order: the float32 or float64
                probabilities ``(n,)`` of a channel from voxel number ``start`` (in C order) on, every voxel of every channel.
            labels, ignore_label, spacing, boundary_mm: as in :meth:`update`.

        Returns:
            The predicted class of each voxel, ``(*spatial)`` int16, since it is known by then; of ignored voxels too.

        Raises:
            ValueError: as in :meth:`update`; a block that is missing or not in order.
        """
        stream = iter(blocks())
        # a reader that reads ahead does so from here on, while the labels are looked at
        first = list(islice(stream, 1))
        label = as_labels(labels, np.shape(labels), self.num_classes, ignore_label)
        group = groups_of_labels(label, self.num_classes, spacing, boundary_mm)
        ignored = np.count_nonzero(label == self.num_classes)
        parts, prediction = sums_of_channels(
            chain(first, stream), blocks, label.ravel(), group.ravel(), self.num_classes, self.n_bins
        )
        self.add_sums(parts)
        self.ignored += ignored
        return prediction.reshape(label.shape)

    def merge(self, *others: CalibrationStatistics) -> CalibrationStatistics:
        """Return the statistics of these and the others' voxels together, as a new object.

        Counts are equal to those of having seen all voxels at once, sums are up to rounding.

        Raises:
            ValueError: another number of classes or bins.
        """
        for other in others:
            if (other.num_classes, other.n_bins) != (self.num_classes, self.n_bins):
                raise ValueError(
                    f"Expected statistics of {self.num_classes} classes and {self.n_bins} bins, "
                    f"but got {other.num_classes} and {other.n_bins}."
                )
        together = {field.name: np.array(getattr(self, field.name)) for field in fields(self)}
        for other in others:  # one after another: a stack of thousands of cases takes their memory once more
            for name, values in together.items():
                values += getattr(other, name)
        return CalibrationStatistics(**together)

    def top_label_bins(self, voxel_set: str) -> Bins:
        """Return voxels, summed confidence and correct voxels per bin, each ``(B,)``, of a voxel set."""
        return self._of_set(voxel_set, "top_count", "top_confidence", "top_correct")

    def grid_cells(self, voxel_set: str) -> Bins:
        """Return voxels, summed confidence and correct voxels per cell of the confidence grid, each ``(F,)``."""
        return self._of_set(voxel_set, "grid_count", "grid_confidence", "grid_correct")

    def class_bins(self, voxel_set: str) -> Bins:
        """Return voxels, summed probability and voxels with the label per class and bin, each ``(K, B)``."""
        count, probability, positive = self.thresholded_class_bins(voxel_set)
        return join_first_two(count), join_first_two(probability), join_first_two(positive)

    def thresholded_class_bins(self, voxel_set: str) -> Bins:
        """Return the same as :meth:`class_bins`, each ``(K, B + 1)``: probabilities up to 1e-3 have the first bin."""
        return self._of_set(voxel_set, "class_count", "class_probability", "class_positive")

    def dice(self) -> Float64Array:
        """Return the Dice coefficient per class, ``(K,)``, over all voxels that are not ignored.

        NaN for a class that is neither labelled nor predicted, as in nnU-Net; 0 where it is only one of them.
        """
        return scores.dice(self.confusion)

    def labelled(self) -> NDArray[np.bool_]:
        """Return which classes have at least one labelled voxel, ``(K,)`` bool."""
        return np.asarray(self.confusion.sum(1) > 0)

    def soft_volumes(self) -> Float64Array:
        """Return the summed probability of each class, ``(K,)`` in voxels, over all voxels that are not ignored."""
        return np.asarray(self.class_probability.sum((0, 2)))

    def scores(self, voxel_set: str) -> scores.Scores:
        """Return the scores of one voxel set (a key of :data:`VOXEL_SETS`); NaN, not an error, where it has no voxel."""
        strata = list(VOXEL_SETS[voxel_set])
        values: dict[str, Any] = scores.scores_from(
            top=self.top_label_bins(voxel_set),
            grid=self.grid_cells(voxel_set),
            classes=self.thresholded_class_bins(voxel_set),
            labelled=self.labelled(),
            nll=self.nll[strata].sum(),
            brier=self.brier[strata].sum(),
        )
        return scores.Scores(**{name: value if np.ndim(value) else value.item() for name, value in values.items()})

    def _of_set(self, voxel_set: str, count: str, predicted: str, observed: str) -> Bins:
        strata = list(VOXEL_SETS[voxel_set])
        return (
            getattr(self, count)[strata].sum(0),
            getattr(self, predicted)[strata].sum(0),
            getattr(self, observed)[strata].sum(0),
        )

    def add_sums(self, parts: list[Sums]) -> None:
        """Add what the kernels have summed up."""
        for name, values in joined(parts, self.num_classes, self.n_bins).items():
            getattr(self, name)[...] += values


def total(parts: Iterable[CalibrationStatistics]) -> CalibrationStatistics:
    """Return the sum of one or more statistics; of one it is that one, not a copy.

    Args:
        parts: of cases, folds or machines, with the same number of classes and bins; at least one.

    Raises:
        ValueError: there is none, or they differ in classes or bins.
    """
    first, *others = parts
    return first.merge(*others) if others else first
