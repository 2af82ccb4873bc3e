"""The band around the interfaces between labels, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.compiled import compiled

DEFAULT_BOUNDARY_MM = 3.0


def boundary_band(
    labels: NDArray[np.int16], spacing: Sequence[float], distance_mm: float, ignored: int | None = None
) -> NDArray[np.bool_]:
    """Return which voxels have a voxel of another label within a distance, from centre to centre.

    Exactly the voxels whose Euclidean distance transform to the other labels is at most ``distance_mm``. Instead of one
    transform per label, each voxel at an interface marks the voxels of other labels around it: the nearest voxel of another
    label always touches, by a face, one that is not of its label, so no other voxels have to be looked at.

    Args:
        labels: ``(*spatial)``, at most three axes, int16.
        spacing: mm per voxel of each axis.
        distance_mm: from centre to centre, included.
        ignored: a value that belongs to no label; such voxels are neither in the band nor make one.

    Returns:
        ``(*spatial)``, bool.
    """
    shape = (1,) * (3 - labels.ndim) + labels.shape
    steps = np.array((1.0,) * (3 - labels.ndim) + tuple(spacing))
    band = np.zeros(shape, np.bool_)
    rows = _rows_of_ball(steps, distance_mm, shape)
    no_label = np.int16(-1 if ignored is None else ignored)
    _mark(np.ascontiguousarray(labels.reshape(shape)), no_label, rows, band)
    return band.reshape(labels.shape)


def _rows_of_ball(spacing: NDArray[np.float64], radius: float, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the ball as rows along the last axis: ``(R, 3)`` of offset z, offset y, half length."""
    # a hair more than the radius, so that a voxel at exactly that distance does not fall to rounding
    square = (radius * (1 + 1e-9)) ** 2
    reach = [min(int(radius * (1 + 1e-9) / step), extent - 1) for step, extent in zip(spacing, shape, strict=True)]
    rows = []
    for z in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            rest = square - (z * spacing[0]) ** 2 - (y * spacing[1]) ** 2
            if rest >= 0:
                rows.append((z, y, min(int(np.sqrt(rest) / spacing[2]), reach[2])))
    return np.array(rows, np.int64).reshape(-1, 3)


@compiled
def _mark(labels: NDArray[Any], ignored: Any, rows: NDArray[np.int64], band: NDArray[np.bool_]) -> None:
    depth, height, width = labels.shape
    at_interface = np.empty(width, np.bool_)
    for z in range(depth):
        for y in range(height):
            _find_interface(labels, z, y, at_interface)
            for x in range(width):
                own = labels[z, y, x]
                if not at_interface[x] or own == ignored:
                    continue
                for number in range(rows.shape[0]):
                    other_z, other_y, half = z + rows[number, 0], y + rows[number, 1], rows[number, 2]
                    if other_z < 0 or other_z >= depth or other_y < 0 or other_y >= height:
                        continue
                    first, last = max(x - half, 0), min(x + half, width - 1) + 1
                    label_row = labels[other_z, other_y, first:last]
                    band_row = band[other_z, other_y, first:last]
                    for i in range(last - first):
                        band_row[i] |= (label_row[i] != own) & (label_row[i] != ignored)


@compiled
def _find_interface(labels: NDArray[Any], z: int, y: int, found: NDArray[np.bool_]) -> None:
    """Find which voxels of a row have a face neighbour of another label; whole rows, so that vector instructions do it."""
    depth, height, width = labels.shape
    row = labels[z, y]
    found[:] = False
    for step in (-1, 1):
        if 0 <= z + step < depth:
            other = labels[z + step, y]
            for x in range(width):
                found[x] |= row[x] != other[x]
        if 0 <= y + step < height:
            other = labels[z, y + step]
            for x in range(width):
                found[x] |= row[x] != other[x]
    for x in range(1, width):
        found[x] |= row[x] != row[x - 1]
    for x in range(width - 1):
        found[x] |= row[x] != row[x + 1]
