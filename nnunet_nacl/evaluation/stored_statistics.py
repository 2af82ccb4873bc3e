"""The statistics in a result file: read, and checked for sums that no voxels can have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.checks import MOST_BINS, MOST_CLASSES, SUM_TOLERANCE
from nnunet_nacl.calibration.sums import GRID_CELLS
from nnunet_nacl.calibration.voxel_sets import N_STRATA
from nnunet_nacl.evaluation.stored_arrays import StoredArrays

_MOST_VOXELS = 2**53
"""Of a case; sums of counts below this do not overflow, and float64 holds them exactly."""

_ROUNDING = 1e-6

Arrays = dict[str, NDArray[Any]]


def read_statistics(stored: StoredArrays, n_cases: int) -> Arrays:
    """Return each field of :class:`CalibrationStatistics` as ``(N, P, ...)``.

    Raises:
        ValueError: shapes that do not belong together, or sums that no voxels have: counts below 0, more voxels correct than there
            are, other totals in one field than in another.
    """
    top = stored.numbers("top_count", np.int64, (n_cases, None, N_STRATA, None))
    n_problems, n_bins = top.shape[1], top.shape[3]
    confusion = stored.numbers("confusion", np.int64, (n_cases, n_problems, None, None))
    num_classes = confusion.shape[2]
    if n_problems < 1 or not 1 <= n_bins <= MOST_BINS or not 2 <= num_classes <= MOST_CLASSES:
        raise ValueError(f"{n_problems} problems of {num_classes} classes and {n_bins} bins")
    shapes = {
        "top": (N_STRATA, n_bins),
        "grid": (N_STRATA, GRID_CELLS),
        "class": (N_STRATA, num_classes, n_bins + 1),
        "confusion": (num_classes, num_classes),
        "ignored": (),
    }
    sums = {"top_confidence", "grid_confidence", "class_probability", "nll", "brier"}
    names = ("top_count", "top_confidence", "top_correct", "grid_count", "grid_confidence", "grid_correct", "class_count",
             "class_probability", "class_positive", "nll", "brier", "floored", "certain", "confusion", "ignored")  # fmt: skip
    arrays = {
        name: stored.numbers(
            name,
            np.float64 if name in sums else np.int64,
            (n_cases, n_problems, *shapes.get(name.split("_")[0], (N_STRATA,))),
        )
        for name in names
    }
    _check(arrays)
    return arrays | _of_masks(stored, arrays)


def _of_masks(stored: StoredArrays, arrays: Arrays) -> Arrays:
    """Return ``spread`` and ``mask_sums``, NaN in the cases that were evaluated before they were summed up."""
    confusion = arrays["confusion"]
    shape = (*confusion.shape[:2], confusion.shape[2] - 1)
    if "spread" not in stored:
        return {"spread": np.full(shape, np.nan), "mask_sums": np.full((*shape, 2), np.nan)}
    spread, sums = stored.numbers("spread", np.float64, shape), stored.numbers("mask_sums", np.float64, (*shape, 2))
    soft = arrays["class_probability"][..., 1:, :].sum((2, -1))
    check_sums("spread", spread[..., None], np.minimum(confusion.sum((-1, -2))[..., None] / 4, soft)[..., None])
    check_mask_sums("mask_sums", sums, confusion.sum(-2)[..., 1:])
    if not np.array_equal(np.isnan(spread), np.isnan(sums[..., 0])):
        raise ValueError("`spread` and `mask_sums` are not of the same cases")
    return {"spread": spread, "mask_sums": sums}


def check_mask_sums(name: str, sums: NDArray[np.float64], predicted: NDArray[np.int64]) -> None:
    """Raise ValueError unless masks of so many voxels can have these sums ``(..., 2)``: see :func:`check_sums`."""
    most = np.stack([predicted * (1 + SUM_TOLERANCE), predicted * math.log(2)], -1)
    check_sums(name, sums, most)


def check_sums(name: str, sums: NDArray[np.float64], most: NDArray[np.float64]) -> None:
    """Raise ValueError unless sums ``(..., C)`` are from 0 to ``most``, or NaN in all C where they are not known."""
    unknown = np.isnan(sums)
    if (unknown.any(-1) != unknown.all(-1)).any() or not (unknown | (sums >= -_ROUNDING * most)).all():
        raise ValueError(f"`{name}` holds values below 0, or some that are not known")
    if not (unknown | (sums <= most * (1 + _ROUNDING) + _ROUNDING)).all():
        raise ValueError(f"`{name}` is more than its voxels allow")


def _check(arrays: Arrays) -> None:
    for name, values in arrays.items():
        if values.size and not (values.min() >= 0 and values.max() <= _MOST_VOXELS):
            raise ValueError(f"`{name}` holds {values.min():g} to {values.max():g}")
    for count, summed, part in (
        ("top_count", "top_confidence", "top_correct"),
        ("grid_count", "grid_confidence", "grid_correct"),
        ("class_count", "class_probability", "class_positive"),
    ):
        # a probability may exceed 1 by the tolerance, and sums are rounded
        if (arrays[summed] > arrays[count] * (1 + SUM_TOLERANCE) * (1 + 1e-9)).any():
            raise ValueError(f"`{summed}` is more than `{count}` allows")
        if (arrays[part] > arrays[count]).any():
            raise ValueError(f"`{part}` is more than `{count}`")
    for name, total in _totals(arrays).items():
        if not np.array_equal(total, arrays["top_count"].sum(-1)):
            raise ValueError(f"`{name}` does not add up to the voxels of `top_count`")
    voxels, correct = arrays["top_count"].sum((-1, -2)), arrays["top_correct"].sum((-1, -2))
    confusion = arrays["confusion"]
    if not np.array_equal(confusion.sum((-1, -2)), voxels) or not np.array_equal(
        np.trace(confusion, axis1=-2, axis2=-1), correct
    ):
        raise ValueError("`confusion` does not add up to the voxels of `top_count`")


def _totals(arrays: Arrays) -> Arrays:
    """Return the voxels of each stratum, counted in other ways; correct voxels are added where both sides have the same."""
    difference = arrays["top_correct"].sum(-1) - arrays["grid_correct"].sum(-1)
    totals = {"grid_count": arrays["grid_count"].sum(-1), "grid_correct": arrays["top_count"].sum(-1) + difference}
    for number in range(arrays["class_count"].shape[-2]):
        totals[f"class_count` of class {number} in `class_count"] = arrays["class_count"][..., number, :].sum(-1)
    totals["class_positive"] = arrays["class_positive"].sum((-1, -2))
    return totals
