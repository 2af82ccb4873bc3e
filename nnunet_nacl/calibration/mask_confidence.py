"""What the probabilities say of a predicted mask: confidences of a class or region in a case that need no label.

The mask is that of the label map that nnU-Net writes, as everywhere where Dice is concerned (:mod:`nnunet_nacl.calibration.overlap`). For
classes it is where the class has the highest probability; for regions, where the label that nnU-Net writes is one of the region's, so it
may hold voxels whose channel is below 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.kernels import entropies
from nnunet_nacl.calibration.overlap import LABEL_VALUES
from nnunet_nacl.calibration.scores import divided

PROBABILITY, ENTROPY = range(2)
"""Columns of mask sums ``(C, 2)``: summed probability, and summed entropy of the class against the rest in nats, over a mask's voxels."""


def soft_dice_confidence(inside: ArrayLike, soft: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Return the soft Dice confidence, 2 sum(p m) / (sum(p) + sum(m)) with probabilities p and the predicted mask m.

    It is the Dice coefficient that the mask is expected to have if the probabilities are right, up to the exchange of the expectation
    of a ratio for the ratio of expectations (Borges, Pacheco and Silva, arXiv 2402.10665).

    Args:
        inside: ``(...)``, sum of p over the voxels of the mask, in voxels.
        soft: ``(...)``, sum of p over all voxels, in voxels.
        predicted: ``(...)``, number of voxels of the mask.

    Returns:
        ``(...)`` float64 in [0, 1]: 0 for an empty mask, unless no probability is above 0 either: NaN, as nnU-Net's Dice of two empty
        masks.

    >>> soft_dice_confidence([8.0, 0.0], [10.0, 2.0], [10, 0]).tolist()
    [0.8, 0.0]
    """
    numerator, denominator = np.broadcast_arrays(
        2 * np.asarray(inside, np.float64), np.add(soft, predicted, dtype=np.float64)
    )
    return np.asarray(np.minimum(divided(numerator, denominator), 1.0))  # probabilities may exceed 1 by rounding


def mask_means(mask_sums: ArrayLike, predicted: ArrayLike) -> Float64Array:
    """Return mean probability and mean entropy (nats) over each mask, ``(..., 2)``; NaN for an empty one.

    Args:
        mask_sums: ``(..., 2)``, see :data:`PROBABILITY` and :data:`ENTROPY`.
        predicted: ``(...)``, number of voxels of each mask.
    """
    sums = np.asarray(mask_sums, np.float64)
    return divided(sums, np.broadcast_to(np.asarray(predicted)[..., None], sums.shape))


def mask_sums_of_regions(
    blocks: Iterable[Block],
    labels: NDArray[Any],
    predicted: NDArray[np.uint16],
    regions: Sequence[Sequence[int]],
    ignore_label: int | None,
) -> Float64Array:
    """Return the mask sums ``(R, 2)`` of the regions in a label map, which is known only once all channels have been seen.

    Args:
        blocks: gives ``(channel, start, values)`` in order, one channel per region.
        labels: ``(*spatial)``, whole numbers.
        predicted: ``(*spatial)``, the label map that nnU-Net writes.
        regions: label values that each region consists of.
        ignore_label: value in ``labels`` of voxels that are not counted.
    """
    sums = np.zeros((len(regions), 2))
    members = np.zeros((len(regions), LABEL_VALUES), np.bool_)
    for member, region in zip(members, regions, strict=True):
        member[list(region)] = True
    flat_labels, flat_predicted = labels.ravel(), predicted.ravel()
    ignored = np.int32(-1 if ignore_label is None else ignore_label)
    for channel, start, values in blocks:
        part = slice(start, start + values.size)
        sums[channel] += _add_region(values, flat_labels[part], flat_predicted[part], members[channel], ignored)
    return sums


@compiled
def _add_region(
    values: NDArray[Any], labels: NDArray[Any], predicted: NDArray[Any], member: NDArray[Any], ignored: Any
) -> NDArray[np.float64]:
    found, n_found = np.empty(values.size, np.float64), 0
    for i in range(values.size):
        found[n_found] = values[i]
        n_found += member[predicted[i]] & (labels[i] != ignored)
    inside = found[:n_found]
    sums = np.zeros(2)
    sums[PROBABILITY], sums[ENTROPY] = inside.sum(), entropies(inside).sum()
    return sums
