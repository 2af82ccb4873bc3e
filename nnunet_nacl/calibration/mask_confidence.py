"""What the probabilities say of a predicted mask: confidences of a class or region in a case that need no label.

The mask is that of the label map that nnU-Net writes, as everywhere where Dice is concerned (:mod:`nnunet_nacl.calibration.overlap`). For
classes it is where the class has the highest probability; for regions, where the label that nnU-Net writes is one of the region's, so it
may hold voxels whose channel is below 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.calibration.arrays import Float64Array
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
        masks. NaN stays NaN; negative sums are not looked for.

    Raises:
        ValueError: shapes that do not broadcast.

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
