"""The counts of voxels by probability in a result file: written, read, and held against the voxels that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.threshold_counts import INSIDE, N_THRESHOLDS, OUTSIDE
from nnunet_nacl.evaluation.stored_arrays import StoredArrays

Counts = NDArray[np.uint32]


def arrays_of_counts(counts: Sequence[Counts | None]) -> dict[str, NDArray[Any]]:
    """Return the arrays that hold the counts of cases, some of which may be without."""
    shape = next(each.shape for each in counts if each is not None)
    return {
        "threshold_counts": np.stack([np.zeros(shape, np.uint32) if each is None else each for each in counts]),
        "has_threshold_counts": np.array([each is not None for each in counts]),
    }


def read_threshold_counts(stored: StoredArrays, confusion: NDArray[np.int64]) -> list[Counts | None]:
    """Return the counts of each case, None where it was evaluated without.

    Args:
        stored: a result file.
        confusion: ``(N, P, K, K)`` voxels of its cases, label by prediction: what the counts have to agree with.

    Raises:
        ValueError: counts that no voxels of these cases give.
    """
    n_cases, n_problems, num_classes, _ = confusion.shape
    if "threshold_counts" not in stored:
        return [None] * n_cases
    counts = stored.numbers("threshold_counts", np.uint32, (n_cases, None, 2, N_THRESHOLDS))
    held = stored.numbers("has_threshold_counts", np.bool_, (n_cases,))
    labelled = confusion.sum(-1)[..., 1:]  # (N, P, K - 1)
    if counts.shape[1] != (num_classes - 1) * n_problems:
        raise ValueError(f"`threshold_counts` is of {counts.shape[1]} structures")
    labelled = labelled.reshape(n_cases, -1)
    voxels = np.repeat(confusion.sum((-1, -2)), num_classes - 1, axis=1)
    summed = counts.sum(-1, dtype=np.int64)
    if not np.array_equal(summed[held, :, INSIDE], labelled[held]) or counts[~held].any():
        raise ValueError("`threshold_counts` does not have the labelled voxels of `confusion`")
    if (summed[held, :, OUTSIDE] > (voxels - labelled)[held]).any():
        raise ValueError("`threshold_counts` holds more voxels than there are")
    return [each if known else None for each, known in zip(counts, held, strict=True)]
