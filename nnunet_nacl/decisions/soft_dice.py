"""Confidences of a case that need no label."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    numerator, denominator = 2 * np.asarray(inside, np.float64), np.add(soft, predicted, dtype=np.float64)
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return np.asarray(np.minimum(result, 1.0))  # probabilities may exceed 1 by rounding
