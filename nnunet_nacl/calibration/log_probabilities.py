"""Logarithms of stored probabilities: what a 0 and a 1 stand for, and which voxels no recalibration can move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray


def floor_of(dtype: np.dtype[Any]) -> float:
    """Return what stands for a probability below it when a logarithm is taken.

    A stored 0 says "less than the smallest number of this type". That is 2**-126 (87.3 nats) for float32 and float64, since a
    GPU may flush the smaller subnormal numbers to 0, and 2**-24 (16.6 nats) for float16.
    """
    return max(float(np.finfo(np.float32).tiny), float(np.finfo(dtype).smallest_subnormal))


def ceiling_gap_of(dtype: np.dtype[Any]) -> float:
    """Return what stands for ``1 - p`` where a sigmoid was rounded to 1: half the distance to the number below 1.

    2**-25 for float32: the logit was 16.6 or more and is taken as 17.3.
    """
    return float(np.finfo(dtype).epsneg) / 2


def is_exact(probabilities: FloatArray) -> NDArray[np.bool_]:
    """Return where all probability is on one class, shape ``(*spatial)``: no temperature moves these voxels.

    nnU-Net writes background there outside of its crop.
    """
    return np.asarray(np.count_nonzero(probabilities, axis=0) == 1)


def two_classes(region: FloatArray) -> Float64Array:
    """Return ``1 - p`` and ``p`` of a region's channel, ``(2, *spatial)``, to take logarithms of.

    So a ``p`` of 1 leaves ``1 - p`` its smallest value (scores take it as it is, see :mod:`nnunet_nacl.calibration.regions`). A ``p``
    of 0 stays exact: nnU-Net writes it outside of its crop.
    """
    inside = region.astype(np.float64)
    outside = np.where(region == 1, ceiling_gap_of(region.dtype), 1 - inside)
    return np.stack([outside, inside])


def log_probabilities(probabilities: FloatArray, floor: float) -> Float64Array:
    """Return the logarithm of the probabilities, raised to ``floor``; same shape, float64."""
    logarithm: Float64Array = np.maximum(probabilities, floor, dtype=np.float64)
    return np.log(logarithm, out=logarithm)
