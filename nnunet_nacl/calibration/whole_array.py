"""The sums over voxels whose probabilities are all in memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import kernels
from nnunet_nacl.calibration.checks import SUM_TOLERANCE, describe_sums, describe_values
from nnunet_nacl.calibration.kernels import SLAB
from nnunet_nacl.calibration.sums import Sums, no_sums


def sums_of_array(
    probabilities: NDArray[np.floating[Any]],
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    n_bins: int,
    threads: int | None = None,
) -> list[Sums]:
    """Return the sums over the voxels, in parts.

    Args:
        probabilities: ``(K, N)``, float32 or float64.
        label: ``(N,)``, K for a voxel without label.
        group: ``(N,)``, what is known of the stratum without the prediction, or LEFT_OUT.
        n_bins: equal-width bins.
        threads: at most so many, default one a core; the result is the same to the last bit.

    Raises:
        ValueError: values that are no probabilities or do not sum to 1.
    """
    num_classes, size = probabilities.shape
    values = np.ascontiguousarray(probabilities)

    def slab(begin: int) -> tuple[Sums, int]:
        sums = no_sums(num_classes, n_bins)
        part = slice(begin, begin + SLAB)
        prediction, rest = np.empty(label[part].size, np.int16), (n_bins, sums, SUM_TOLERANCE)
        return sums, kernels.add_array(values, begin, label[part], group[part], *rest, prediction)

    starts = range(0, size, SLAB)
    n_threads = min(threads or os.cpu_count() or 1, len(starts))
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            parts = list(pool.map(slab, starts))
    else:
        parts = [slab(begin) for begin in starts]
    if any(faults for _, faults in parts):
        total = probabilities.sum(0, dtype=np.float64)
        raise ValueError(describe_values(probabilities) or describe_sums(total))
    return [sums for sums, _ in parts]
