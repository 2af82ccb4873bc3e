"""Confidence bins: where a probability belongs, and the sums of a bin that add up exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


def bin_index(probabilities: FloatArray, n_bins: int) -> Int64Array:
    """Return the equal-width bin of each probability: ``(j / n, (j + 1) / n]``, with 0 in the first bin.

    The product with the number of bins is taken in float64, where it is exact for a float32 probability and fewer than
    2**29 bins, so a probability on an edge never changes its bin through rounding.

    Args:
        probabilities: any shape, within [0, 1].
        n_bins: number of bins.

    Returns:
        Same shape, int64, 0 to ``n_bins - 1``.
    """
    scaled = probabilities.astype(np.float64, copy=True)
    scaled *= n_bins
    np.ceil(scaled, out=scaled)
    index = scaled.astype(np.int64)
    index -= 1
    return np.clip(index, 0, n_bins - 1, out=index)


def count_per_cell(cells: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    """Return how often each flat cell number occurs, int64 of the given shape."""
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64, copy=False)


def sum_per_cell(cells: Int64Array, values: FloatArray, shape: tuple[int, ...]) -> Float64Array:
    """Return the float64 sum of the values in each flat cell, of the given shape."""
    sums: Float64Array = np.bincount(cells, weights=values, minlength=int(np.prod(shape))).astype(
        np.float64, copy=False
    )
    return sums.reshape(shape)
