"""How a predicted label map overlaps with the labels, class by class or region by region: the counts that Dice is made of.

The predicted label map is the one that nnU-Net writes. For regions that is not the same as their channels above 0.5: nnU-Net writes one
label a voxel, that of the last region in ``regions_class_order`` whose channel is above 0.5, and a region is predicted where that label is
one of its members. The two differ where regions are not nested in a prediction, or where the order gives a region another label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.scores import divided

BOTH, LABELLED, PREDICTED = range(3)
"""Columns of an overlap ``(C, 3)``: voxels that are labelled and predicted as a class or region, labelled, predicted."""

LABEL_VALUES = 2**16
"""nnU-Net writes label maps as uint8 or uint16."""


def overlap_of_classes(confusion: Int64Array) -> Int64Array:
    """Return the overlap ``(K, 3)`` of each class, of voxel counts ``(K, K)``, label by prediction."""
    return np.stack([np.diagonal(confusion), confusion.sum(1), confusion.sum(0)], -1)


def overlap_of_regions(
    labels: NDArray[np.int16], predicted: NDArray[np.uint16], regions: Sequence[Sequence[int]], ignored: int
) -> Int64Array:
    """Return the overlap ``(R, 3)`` of each region, as nnU-Net's ``compute_metrics`` counts it.

    Args:
        labels: ``(*spatial)``, label values from 0.
        predicted: ``(*spatial)``, the label map that nnU-Net writes.
        regions: label values that each region consists of.
        ignored: value in ``labels`` of voxels that are not counted.
    """
    values = sorted({value for region in regions for value in region})
    place = np.zeros(LABEL_VALUES, np.int32)  # 0: in no region
    place[values] = np.arange(1, len(values) + 1)
    counts = np.zeros((len(values) + 1, len(values) + 1), np.int64)
    _count_pairs(labels.ravel(), predicted.ravel(), place, np.int16(ignored), counts)
    inside = [place[sorted(set(region))] for region in regions]
    return np.array(
        [[counts[np.ix_(each, each)].sum(), counts[each].sum(), counts[:, each].sum()] for each in inside], np.int64
    )


def dice_of_overlap(overlap: Int64Array) -> Float64Array:
    """Return the Dice coefficient per class or region, ``(C,)``; NaN where it is neither labelled nor predicted, as in nnU-Net."""
    return divided(2 * overlap[:, BOTH], overlap[:, LABELLED] + overlap[:, PREDICTED])


@compiled
def _count_pairs(
    labels: NDArray[Any], predicted: NDArray[Any], place: NDArray[Any], ignored: Any, counts: NDArray[Any]
) -> None:
    for i in range(labels.size):
        if labels[i] != ignored:
            counts[place[labels[i]], place[predicted[i]]] += 1
