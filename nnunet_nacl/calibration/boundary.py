"""The band around the interfaces between labels, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.compiled import compiled

DEFAULT_BOUNDARY_MM = 3.0

LOOK_AFTER = 32
"""Rows of the ball after which it is asked whether a row of voxels is all in the band: large balls on small voxels have thousands."""

_MOST_CODES = 255
"""Labels that fit into uint8 beside the code of ignored voxels."""


def boundary_band(
    labels: NDArray[np.int16], spacing: Sequence[float], distance_mm: float, ignored: int | None = None
) -> NDArray[np.bool_]:
    """Return which voxels have a voxel of another label within a distance, from centre to centre.

    Exactly the voxels whose Euclidean distance transform to the other labels is at most ``distance_mm``. The ball of that radius is
    cut into rows along the last axis. For each voxel it is known, from a first pass, how many steps along its row the nearest voxel of
    another label is away. A voxel is in the band if, in one of the rows of the ball around it, the voxel at its own place along the row
    has another label, or the steps from there are no more than half that row. So the cost is that of the volume times the
    rows, whatever the labels, in bytes that vector instructions compare many at a time.

    Args:
        labels: ``(*spatial)``, at most three axes, int16.
        spacing: mm per voxel of each axis.
        distance_mm: from centre to centre, included.
        ignored: a value that belongs to no label; such voxels are neither in the band nor make one.

    Returns:
        ``(*spatial)``, bool.
    """
    shape = (1,) * (3 - labels.ndim) + labels.shape
    band = np.zeros(shape, np.uint8)
    if not labels.size:
        return band.reshape(labels.shape).view(np.bool_)
    rows = _rows_of_ball(np.array((1.0,) * (3 - labels.ndim) + tuple(spacing)), distance_mm, shape)
    small = labels.max() < _MOST_CODES and labels.min() >= 0
    codes = labels.reshape(shape).astype(np.uint8 if small else np.int16)
    no_label = codes.dtype.type(_MOST_CODES if small else -1)
    has_ignored = ignored is not None and bool((labels == ignored).any())
    if has_ignored:
        codes[labels.reshape(shape) == ignored] = no_label
    # steps beyond the widest row are all alike
    beyond = int(rows[:, 2].max()) + 1
    steps = np.full(shape, beyond, np.uint8 if beyond < 256 else np.int32)
    if has_ignored:
        nearest, to_nearest = codes.copy(), np.zeros(shape, steps.dtype)
        _find_nearest(codes, nearest, no_label, to_nearest, beyond)
        _find_steps(codes, nearest, no_label, steps, beyond)
        _mark_beside_ignored(codes, nearest, to_nearest, steps, no_label, rows, band)
    else:
        _find_steps(codes, codes, no_label, steps, beyond)
        _mark(codes, steps, rows, band)
    return band.reshape(labels.shape).view(np.bool_)


def _rows_of_ball(spacing: NDArray[np.float64], radius: float, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the ball as rows along the last axis, ``(R, 3)`` of offset z, offset y, half length; the nearest rows first."""
    # a hair more than the radius, so that a voxel at exactly that distance does not fall to rounding
    square = (radius * (1 + 1e-9)) ** 2
    reach = [min(int(radius * (1 + 1e-9) / step), extent - 1) for step, extent in zip(spacing, shape, strict=True)]
    rows = []
    for z in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            rest = square - (z * spacing[0]) ** 2 - (y * spacing[1]) ** 2
            if rest >= 0:
                rows.append((z, y, min(int(np.sqrt(rest) / spacing[2]), reach[2])))
    return np.array(sorted(rows, key=lambda row: -row[2]), np.int64).reshape(-1, 3)


@compiled
def _find_steps(codes: NDArray[Any], own: NDArray[Any], no_label: Any, steps: NDArray[Any], beyond: int) -> None:
    """Find how many steps along the row the nearest voxel is that has a label and another than ``own`` of this voxel."""
    depth, height, width = codes.shape
    for z in range(depth):
        for y in range(height):
            row, mine, found = codes[z, y], own[z, y], steps[z, y]
            for step in range(min(beyond, width) - 1, 0, -1):  # the nearest is written last
                _find_step(row[step:], mine[: width - step], no_label, found[: width - step], step)
                _find_step(row[: width - step], mine[step:], no_label, found[step:], step)


@compiled
def _find_step(row: NDArray[Any], mine: NDArray[Any], no_label: Any, found: NDArray[Any], step: int) -> None:
    """Write a step where the voxel that lies so far away counts; parts of rows, since an index that may be negative is no vector."""
    away = found.dtype.type(step)
    for x in range(row.size):
        found[x] = away if (row[x] != mine[x]) & (row[x] != no_label) else found[x]


@compiled
def _find_nearest(codes: NDArray[Any], nearest: NDArray[Any], no_label: Any, steps: NDArray[Any], beyond: int) -> None:
    """Put into each ignored voxel the label of the nearest voxel of its row that has one, and how many steps that is away."""
    depth, height, width = codes.shape
    for z in range(depth):
        for y in range(height):
            row, label, found = codes[z, y], nearest[z, y], steps[z, y]
            for x in range(width):
                found[x] = beyond if row[x] == no_label else 0
            for step in range(min(beyond, width) - 1, 0, -1):
                end = width - step
                _find_label(row[step:], row[:end], no_label, label[:end], found[:end], step)
                _find_label(row[:end], row[step:], no_label, label[step:], found[step:], step)


@compiled
def _find_label(
    row: NDArray[Any], mine: NDArray[Any], no_label: Any, label: NDArray[Any], found: NDArray[Any], step: int
) -> None:
    away = found.dtype.type(step)
    for x in range(row.size):
        label[x] = row[x] if (mine[x] == no_label) & (row[x] != no_label) else label[x]
    for x in range(row.size):
        found[x] = away if (mine[x] == no_label) & (row[x] != no_label) else found[x]


@compiled
def _uniform_rows(codes: NDArray[Any]) -> NDArray[np.int32]:
    """Return the label of each row ``(z, y)`` that has one label only, or -2."""
    depth, height, width = codes.shape
    labels = np.empty((depth, height), np.int32)
    for z in range(depth):
        for y in range(height):
            row = codes[z, y]
            first, differing = row[0], 0
            for x in range(width):
                differing += row[x] != first
            labels[z, y] = -2 if differing else first
    return labels


@compiled
def _count(marked: NDArray[np.uint8]) -> int:
    total = 0
    for x in range(marked.size):
        total += marked[x]
    return total


@compiled
def _mark(codes: NDArray[Any], steps: NDArray[Any], rows: NDArray[np.int64], band: NDArray[np.uint8]) -> None:
    depth, height, width = codes.shape
    uniform = _uniform_rows(codes)
    for z in range(depth):
        for y in range(height):
            own, marked = codes[z, y], band[z, y]
            for number in range(rows.shape[0]):
                if number % LOOK_AFTER == LOOK_AFTER - 1 and _count(marked) == width:
                    break
                other_z, other_y = z + rows[number, 0], y + rows[number, 1]
                if other_z < 0 or other_z >= depth or other_y < 0 or other_y >= height:
                    continue
                if uniform[other_z, other_y] == uniform[z, y] and uniform[z, y] != -2:
                    continue
                other, away, half = codes[other_z, other_y], steps[other_z, other_y], steps.dtype.type(rows[number, 2])
                for x in range(width):
                    marked[x] |= (other[x] != own[x]) | (away[x] <= half)


@compiled
def _mark_beside_ignored(
    codes: NDArray[Any],
    nearest: NDArray[Any],
    to_nearest: NDArray[Any],
    steps: NDArray[Any],
    no_label: Any,
    rows: NDArray[np.int64],
    band: NDArray[np.uint8],
) -> None:
    depth, height, width = codes.shape
    uniform = _uniform_rows(codes)
    for z in range(depth):
        for y in range(height):
            own, marked = codes[z, y], band[z, y]
            for number in range(rows.shape[0]):
                if number % LOOK_AFTER == LOOK_AFTER - 1 and _count(marked) == width:
                    break
                other_z, other_y = z + rows[number, 0], y + rows[number, 1]
                if other_z < 0 or other_z >= depth or other_y < 0 or other_y >= height:
                    continue
                if uniform[other_z, other_y] == uniform[z, y] and uniform[z, y] != -2:
                    continue
                other, half = nearest[other_z, other_y], steps.dtype.type(rows[number, 2])
                at_other, away = to_nearest[other_z, other_y], steps[other_z, other_y]
                for x in range(width):
                    # both are read, whichever counts, as vector instructions do
                    near, beside = at_other[x] <= half, away[x] <= half
                    differs = other[x] != own[x]
                    marked[x] |= (differs & near) | (beside & (not differs))
            for x in range(width):
                marked[x] &= own[x] != no_label
