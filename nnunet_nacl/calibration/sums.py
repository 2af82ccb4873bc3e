"""What the compiled kernels add into, and how that becomes statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.voxel_sets import N_STRATA

LANES = 4
GROUPS = N_STRATA + 1  # the strata, and the voxels that are left out

GRID_CELLS = 1538
"""Cells of the confidence grid: 64 for each halving of 1 - confidence down to float32's last, 2**-24; and 0 and 1 alone."""

STRIP = 256
"""Places of the sums over masks."""

SPREAD, MASK_PROBABILITY, MASK_ENTROPY = range(3)
"""Rows of what is summed up for each class: p (1 - p) over all voxels; over its mask p, and its entropy against the rest."""


class Sums(NamedTuple):
    """What the kernels add into; shapes with L lanes, G groups, K classes, B bins, F grid cells.

    ``top_*`` is ``(L, G * B)``, ``grid_*`` is ``(L, G * F)``, ``class_count`` and ``class_probability`` are
    ``(K, L, G * (B + 1))`` and ``class_positive`` ``(K + 1, G * (B + 1))``, ``confusion`` is ``(K + 1, K)``; the label K stands
    for a voxel without one. ``of_masks`` is ``(K, 3, STRIP)``, a row for each of :data:`SPREAD`, :data:`MASK_PROBABILITY` and
    :data:`MASK_ENTROPY`; nothing is added for background. The others are ``(L, G)``.
    """

    top_count: NDArray[np.int64]
    top_confidence: NDArray[np.float64]
    top_correct: NDArray[np.int64]
    grid_count: NDArray[np.int64]
    grid_confidence: NDArray[np.float64]
    grid_correct: NDArray[np.int64]
    class_count: NDArray[np.int64]
    class_probability: NDArray[np.float64]
    class_positive: NDArray[np.int64]
    confusion: NDArray[np.int64]
    nll: NDArray[np.float64]
    brier: NDArray[np.float64]
    floored: NDArray[np.int64]
    certain: NDArray[np.int64]
    of_masks: NDArray[np.float64]


def no_sums(num_classes: int, n_bins: int) -> Sums:
    """Return sums of no voxel."""
    top, grid, groups = (LANES, GROUPS * n_bins), (LANES, GROUPS * GRID_CELLS), (LANES, GROUPS)
    cells = GROUPS * (n_bins + 1)
    return Sums(
        top_count=np.zeros(top, np.int64),
        top_confidence=np.zeros(top),
        top_correct=np.zeros(top, np.int64),
        grid_count=np.zeros(grid, np.int64),
        grid_confidence=np.zeros(grid),
        grid_correct=np.zeros(grid, np.int64),
        class_count=np.zeros((num_classes, LANES, cells), np.int64),
        class_probability=np.zeros((num_classes, LANES, cells)),
        class_positive=np.zeros((num_classes + 1, cells), np.int64),
        confusion=np.zeros((num_classes + 1, num_classes), np.int64),
        nll=np.zeros(groups),
        brier=np.zeros(groups),
        floored=np.zeros(groups, np.int64),
        certain=np.zeros(groups, np.int64),
        of_masks=np.zeros((num_classes, 3, STRIP)),
    )


def add_into(total: Sums, part: Sums) -> None:
    """Add sums to others in place."""
    for name in Sums._fields:
        getattr(total, name)[...] += getattr(part, name)


def joined(parts: Sequence[Sums], num_classes: int, n_bins: int) -> dict[str, NDArray[Any]]:
    """Return the sums of all parts, added in this order, by stratum (the voxels left out are gone)."""
    parts = [no_sums(num_classes, n_bins), *parts]
    added = {name: np.sum([getattr(part, name) for part in parts], axis=0) for name in Sums._fields}
    result = {name: added.pop(name)[:, :N_STRATA].sum(0) for name in ("nll", "brier", "floored", "certain")}
    result["confusion"] = added.pop("confusion")[:num_classes]
    of_masks = added.pop("of_masks")[1:].sum(-1)
    result |= {"spread": of_masks[:, SPREAD], "mask_sums": of_masks[:, [MASK_PROBABILITY, MASK_ENTROPY]]}
    for name in ("class_count", "class_probability"):
        added[name] = added[name].sum(1)
    added["class_positive"] = added["class_positive"][:num_classes]
    for name, array in added.items():
        if name.startswith("class_"):
            by_class = array.reshape(num_classes, GROUPS, n_bins + 1)
            result[name] = np.ascontiguousarray(by_class[:, :N_STRATA].swapaxes(0, 1))
        else:
            result[name] = array.sum(0).reshape(GROUPS, -1)[:N_STRATA]
    return result
