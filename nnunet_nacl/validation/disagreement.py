"""How far the networks of several folds disagree on a case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from nnunet_nacl.calibration.arrays import FloatArray


@dataclass(frozen=True)
class Disagreement:
    """Disagreement of the members of an ensemble on a case; no label enters it.

    Attributes:
        mutual_information: in nats, mean over all voxels: entropy of the mean of the probabilities less the mean of the entropies
            (Houlsby et al. 2011, arXiv 1112.5745). 0 where all members say the same, at most log K. Of regions the mean
            over the channels, each a binary problem.
        mutual_information_foreground: the same over the voxels that at least one member's segmentation does not call background;
            NaN where there is none.
        pairwise_dice: of each foreground class or region, the mean Dice of the segmentations of two members (Roy et al. 2019,
            arXiv 1811.09800); NaN where no member finds it.
    """

    mutual_information: float
    mutual_information_foreground: float
    pairwise_dice: dict[str, float]


class Members:
    """Takes in the probabilities of one member after another, none of which is kept.

    Args:
        regions: label values of each channel's region; None where channels are labels.
        region_labels: the label that nnU-Net writes for each region, see :class:`~nnunet_nacl.evaluation.dataset.Dataset`.
        targets: keys of the channels.
    """

    def __init__(
        self, regions: Sequence[Sequence[int]] | None, region_labels: Sequence[int], targets: Sequence[str]
    ) -> None:
        self._regions, self._region_labels, self._targets = regions, region_labels, targets
        self._sum: NDArray[np.float32] | None = None
        self._entropies: NDArray[np.float64] | None = None
        self._segmentations: list[NDArray[np.uint16]] = []

    def add(self, probabilities: FloatArray) -> None:
        """Take in a member's probabilities ``(K, z, y, x)``."""
        entropy = self._entropy(probabilities)
        self._segmentations.append(self._segmentation(probabilities))
        if self._sum is None or self._entropies is None:
            self._sum, self._entropies = np.array(probabilities, np.float32), entropy
            return
        self._sum += probabilities
        self._entropies += entropy

    def mean(self) -> NDArray[np.float32]:
        """Return the mean of the members' probabilities, in place of their sum: no member can be added any more."""
        assert self._sum is not None
        self._sum /= np.float32(len(self._segmentations))
        return self._sum

    def disagreement(self, mean: FloatArray) -> Disagreement:
        """Return how far the members disagree, given the mean of their probabilities."""
        assert self._entropies is not None
        # rounding may leave members that agree a little below 0
        information = np.maximum(self._entropy(mean) - self._entropies / len(self._segmentations), 0)
        found = np.any([segmentation > 0 for segmentation in self._segmentations], axis=0)
        return Disagreement(
            float(information.mean()),
            float(information[found].mean()) if found.any() else math.nan,
            {
                target: self._pairwise_dice(number)
                for number, target in enumerate(self._targets)
                if self._is_foreground(number)
            },
        )

    def _entropy(self, probabilities: FloatArray) -> NDArray[np.float64]:
        """Return the entropy of each voxel, float64, channel by channel; of regions the mean over the channels."""
        total = np.zeros(probabilities.shape[1:])
        for channel in probabilities:
            total += entr(channel)
            if self._regions is not None:
                total += entr(1 - channel)
        return total if self._regions is None else total / len(probabilities)

    def _segmentation(self, probabilities: FloatArray) -> NDArray[np.uint16]:
        """Return the label map that nnU-Net writes for probabilities."""
        if self._regions is None:
            return np.asarray(probabilities.argmax(0), np.uint16)
        segmentation = np.zeros(probabilities.shape[1:], np.uint16)
        for channel, label in zip(probabilities, self._region_labels, strict=True):
            segmentation[channel > 0.5] = label
        return segmentation

    def _is_foreground(self, number: int) -> bool:
        return self._regions is not None or number > 0

    def _pairwise_dice(self, number: int) -> float:
        values = [number] if self._regions is None else list(self._regions[number])
        masks = [np.isin(segmentation, values) for segmentation in self._segmentations]
        return mean_or_nan([_dice(first, second) for first, second in itertools.combinations(masks, 2)])


def mean_or_nan(values: Sequence[float]) -> float:
    """Return the mean of those that are not NaN; NaN where there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    sizes = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / sizes if sizes else math.nan
