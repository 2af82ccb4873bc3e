"""From scores of the classes back to stored probabilities, such that no rounding moves a prediction.

A recalibration changes the log probabilities of a voxel to scores ``s_k``; the new probabilities are their softmax. Where the map keeps
the predicted class c in real numbers (``s_c >= s_k`` for all k), it is kept in the stored float32 numbers too: the sums and the
rounding may leave the lead of c nothing, and a class before c would then be the first of the largest, which is what ``argmax`` and nnU-Net
take. There c gets the next float32 number above the largest one. That is possible always: two classes that share the largest
value have at most 0.5 each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.log_probabilities import is_exact


def normalized(scores: Float64Array, given: FloatArray, keep_prediction: bool) -> NDArray[np.float32]:
    """Return the softmax of scores over the first axis, ``(K, n)`` float32.

    Args:
        scores: ``(K, n)``; overwritten.
        given: ``(K, n)`` the stored probabilities that they were made from. Voxels with all probability on one class stay.
        keep_prediction: whether the largest score is that of the given argmax, to be kept in spite of rounding.
    """
    scores -= scores.max(0)
    np.exp(scores, out=scores)
    scores /= scores.sum(0)
    result = scores.astype(np.float32)
    exact = is_exact(given)
    result[:, exact] = given[:, exact]
    if keep_prediction:
        prediction = given.argmax(0)
        moved = np.flatnonzero(result.argmax(0) != prediction)
        result[prediction[moved], moved] = np.nextafter(result[:, moved].max(0), np.float32(1))
    return result


def normalized_region(scores: Float64Array, given: FloatArray) -> NDArray[np.float32]:
    """Return the probability of the inside of a region, ``(n,)`` float32, on its side of nnU-Net's threshold.

    Args:
        scores: ``(2, n)`` of outside and inside.
        given: ``(n,)`` the stored probabilities that they were made from. A 0 stays 0, and above 0.5 stays above 0.5.
    """
    half = np.float32(0.5)
    result: NDArray[np.float32] = expit(scores[1] - scores[0]).astype(np.float32)
    result[given == 0] = 0
    above = given > half
    result[above & (result <= half)] = np.nextafter(half, np.float32(1))
    result[~above & (result > half)] = half
    return result
