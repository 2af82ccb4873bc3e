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
from nnunet_nacl.calibration.mask_kernels import add_masks
from nnunet_nacl.calibration.overlap import LABEL_VALUES
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.calibration.sums import MASK_ENTROPY, MASK_PROBABILITY, STRIP

PROBABILITY, ENTROPY = range(2)
"""Columns of mask sums ``(C, 2)``: summed probability, and summed entropy of the class against the rest in nats, over a mask's voxels."""

_REGIONS_A_BYTE = 8


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
    lanes = np.zeros((len(regions), 3, STRIP))
    inside, counted = np.empty(0, np.uint8), np.empty(0, np.uint8)
    for channel, start, values in blocks:
        if start == 0 and channel % _REGIONS_A_BYTE == 0:
            inside = _memberships(labels, predicted, regions[channel : channel + _REGIONS_A_BYTE], ignore_label)
        if counted.size < values.size:
            counted = np.zeros(values.size, np.uint8)
        mask = inside[start : start + values.size] >> channel % _REGIONS_A_BYTE & 1
        add_masks(values, mask, counted[: values.size], 1, lanes[channel : channel + 1])
    return np.asarray(lanes[:, [MASK_PROBABILITY, MASK_ENTROPY]].sum(-1))


def _memberships(
    labels: NDArray[Any], predicted: NDArray[np.uint16], regions: Sequence[Sequence[int]], ignore_label: int | None
) -> NDArray[np.uint8]:
    """Return for each voxel ``(N,)`` in which of up to eight regions it is predicted, a bit each; 0 where it is not counted."""
    bits = np.zeros(LABEL_VALUES, np.uint8)
    for number, region in enumerate(regions):
        bits[list(region)] |= np.uint8(1 << number)
    inside = bits[predicted.ravel()]
    if ignore_label is not None:
        inside[labels.ravel() == ignore_label] = 0
    return inside
