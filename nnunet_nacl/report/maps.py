"""Where a network is unsure, and where its confidence is wrong: maps over the voxels of a case.

**Confidence** is the probability of the predicted class. **Entropy** is -sum p_k log p_k / log K: 0 where one class has all the
probability, 1 where all K have the same.

**Local calibration error** needs labels. Luo et al. (Local Calibration: Metrics and Recalibration, UAI 2022, arXiv 2102.10809) define it
for a prediction as the absolute difference between confidence and accuracy, averaged with a kernel over similar predictions. Here similar
means near: the kernel is a Gaussian of the distance in mm, cut off at three sigma, over the labelled voxels of the case,

    LCE(v) = | sum_u w(v, u) (confidence(u) - [prediction(u) is right]) | / sum_u w(v, u).

Their second condition, the same confidence bin, is left out: few voxels within some mm share a bin. **Local gap** is the same without the
absolute value: positive where the network is overconfident.

A case has one label per voxel and errors come in patches, so that even the true posterior has a local error above 0. The maps
say where, not how much: the scores of many cases say that.

With regions (sigmoid channels) there are maps for each: the region's probability p, the entropy of p and 1 - p over log 2,
and the local error of that question of two answers, with max(p, 1 - p) as the confidence.

Ignored voxels have no weight; their local error is that of the labelled voxels around them, 0 where there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import entr

DEFAULT_SIGMA_MM = 3.0
CUT_OFF = 3.0  # sigmas

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """Maps of one question to the network, each ``(*spatial)`` float32.

    Attributes:
        confidence: of the predicted class; of a region its probability.
        entropy: between 0 and 1.
        gap: local gap, or None without labels; its absolute value is the local calibration error.
        region: name of the region, or None for classes.
    """

    confidence: Float32Array
    entropy: Float32Array
    gap: Float32Array | None = None
    region: str | None = None


@dataclass(frozen=True)
class Reference:
    """Labels ``(*spatial)``, their spacing in mm in the order of the axes, and how far the local error looks."""

    labels: NDArray[Any]
    spacing: Sequence[float]
    ignore_label: int | None = None
    sigma_mm: float = DEFAULT_SIGMA_MM
    _weights: list[Float32Array] = field(default_factory=list, repr=False)

    def local_gap(self, confidence: Float32Array, right: NDArray[np.bool_]) -> Float32Array:
        """Return the weighted mean of confidence minus accuracy around each voxel."""
        known = np.ones_like(right) if self.ignore_label is None else self.labels != self.ignore_label
        if not self._weights:  # the same for every region
            self._weights.append(self._smooth(known.astype(np.float32)))
        weights = self._weights[0]
        sums = self._smooth((confidence - right) * known)
        gap: Float32Array = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
        return gap

    def _smooth(self, values: NDArray[Any]) -> Float32Array:
        # an axis of one voxel is a slice, whatever thickness a reader gives it
        sigma = [
            self.sigma_mm / extent if side > 1 else 0.0 for extent, side in zip(self.spacing, values.shape, strict=True)
        ]
        # nothing lies beyond the border: neither errors nor weights
        smooth: Float32Array = gaussian_filter(
            values.astype(np.float32), sigma, mode="constant", cval=0.0, truncate=CUT_OFF
        )
        return smooth


def prepare_class_maps(channels: Iterable[NDArray[Any]], num_classes: int, reference: Reference | None = None) -> Maps:
    """Return the maps of a softmax.

    Args:
        channels: probabilities of each class ``(*spatial)``, one after the other; none is kept.
        num_classes: how many there are.
        reference: labels, for the local gap.

    Raises:
        ValueError: a probability is NaN or not between 0 and 1.
    """
    confidence = predicted = entropy = None
    for index, channel in enumerate(channels):
        probability = _checked(channel)
        if confidence is None or predicted is None or entropy is None:
            confidence = probability.copy()
            predicted = np.zeros(probability.shape, np.uint16)
            entropy = entr(probability)
            continue
        larger = probability > confidence  # of equal ones the first, as argmax in nnU-Net
        confidence[larger] = probability[larger]
        predicted[larger] = index
        entropy += entr(probability)
    if confidence is None or predicted is None or entropy is None:
        raise ValueError("Expected argument `channels` to hold at least one channel, but got none.")
    entropy = np.clip(entropy / math.log(num_classes), 0, 1) if num_classes > 1 else np.zeros_like(entropy)
    gap = None if reference is None else reference.local_gap(confidence, predicted == reference.labels)
    return Maps(confidence, entropy.astype(np.float32), gap)


def prepare_region_maps(
    channels: Iterable[NDArray[Any]], regions: dict[str, tuple[int, ...]], reference: Reference | None = None
) -> Iterable[Maps]:
    """Yield the maps of each region.

    Args:
        channels: probability of each region ``(*spatial)``, in the order of ``regions``.
        regions: the label values of each region by its name.
        reference: labels, for the local gap.

    Raises:
        ValueError: a probability is NaN or not between 0 and 1.
    """
    for channel, (name, values) in zip(channels, regions.items(), strict=True):
        probability = _checked(channel)
        entropy = (entr(probability) + entr(1 - probability)) / math.log(2)
        gap = None
        if reference is not None:
            right = (probability > 0.5) == np.isin(reference.labels, values)
            gap = reference.local_gap(np.maximum(probability, 1 - probability), right)
        yield Maps(probability, np.clip(entropy, 0, 1), gap, name)


def _checked(channel: NDArray[Any]) -> Float32Array:
    lowest, highest = float(np.min(channel)), float(np.max(channel))
    if not (lowest >= 0 and highest <= 1.001):  # NaN is neither
        raise ValueError(f"Expected probabilities between 0 and 1, but got values from {lowest} to {highest}.")
    probability: Float32Array = np.minimum(channel, 1).astype(np.float32, copy=False)
    return probability
