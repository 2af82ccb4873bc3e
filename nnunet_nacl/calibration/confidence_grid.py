"""Which confidences each cell of the confidence grid holds."""

from __future__ import annotations

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.sums import GRID_CELLS

_BITS_OF_ONE = 1023 * 64  # the leading 17 of float64
_DROPPED = 46


def grid_ends() -> tuple[Float64Array, Float64Array]:
    """Return the lowest and the highest confidence of each cell, ``(F,)`` each; they lie within 1/64 of 1 - confidence of one another.

    >>> lower, upper = grid_ends()
    >>> float(lower[-1]), float(upper[-1])
    (0.9999999403953552, 1.0)
    """
    doubt = ((_BITS_OF_ONE - np.arange(-1, GRID_CELLS)) << _DROPPED).view(np.float64)
    lower, upper = 1 - doubt[:-1], 1 - doubt[1:]
    lower[0], upper[-1] = 0.0, 1.0
    return np.maximum(lower, 0.0), upper
