"""What is passed beside arrays: names, regions, spacing and affine, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.evaluation.geometry import SPACING_TOLERANCE
from nnunet_nacl.lesions.case_lesions import Unit

DEFAULT_SPACING = (1.0, 1.0, 1.0)
"""Recognised by identity: with an affine, it is the affine's spacing that counts."""


class Place(NamedTuple):
    """Where voxels lie: ``(4, 4)`` from indices (x, y, z) to mm, NaN where unknown; mm^3 of a voxel, NaN without; unit of sizes."""

    affine: NDArray[np.float64]
    voxel_volume_mm3: float
    unit: Unit


def checked_names(names: Sequence[str] | None, n_channels: int) -> tuple[str, ...]:
    """Return a name for each channel, by default its number."""
    if names is None:
        return tuple(map(str, range(n_channels)))
    if len(names) != n_channels:
        raise ValueError(f"Expected argument `names` to name {n_channels} channels, but got {len(names)} names.")
    return tuple(map(str, names))


def checked_regions(
    regions: Sequence[Sequence[int]] | None, region_labels: Sequence[int] | None, n_channels: int
) -> tuple[list[tuple[int, ...]] | None, tuple[int, ...]]:
    """Return the label values of each channel's region, and the label that is written for each; None and none without regions."""
    if regions is None:
        return None, ()
    if region_labels is None:
        raise ValueError("Expected argument `region_labels` beside `regions`.")
    if len(regions) != n_channels or len(region_labels) != n_channels:
        raise ValueError(
            f"Expected arguments `regions` and `region_labels` to have an entry for each of {n_channels} channels, but got {len(regions)} and "
            f"{len(region_labels)}."
        )
    members = [tuple(int(label) for label in region) for region in regions]
    if not all(members):
        raise ValueError("Expected each of `regions` to consist of at least one label.")
    return members, tuple(int(label) for label in region_labels)


def checked_place(spacing: Sequence[float] | None, affine: ArrayLike | None, is_2d: bool) -> Place:
    """Return where voxels lie.

    Raises:
        ValueError: a spacing that is none, an affine of another shape or without volume, or both and they contradict each other.
    """
    extents = None if spacing is None else _extents(spacing, is_2d)
    given = None if affine is None else _checked_affine(affine)
    if is_2d or extents is None:
        unplaced = np.full((4, 4), np.nan)
        return Place(unplaced if given is None else given, float("nan"), "pixels" if is_2d else "voxels")
    if given is None:
        return Place(np.diag([*extents[::-1], 1.0]), float(np.prod(extents)), "mm3")
    of_affine = np.linalg.norm(given[:3, :3], axis=0)[::-1]
    if spacing is not DEFAULT_SPACING and not np.allclose(of_affine, extents, rtol=SPACING_TOLERANCE, atol=0):
        raise ValueError(
            f"Expected arguments `affine` and `spacing` to agree, but the spacing along (z, y, x) is {of_affine.tolist()} and {list(extents)}."
        )
    x, y, z = given[:3, :3].T
    return Place(given, float(abs(np.dot(x, np.cross(y, z)))), "mm3")


def _extents(spacing: Sequence[float], is_2d: bool) -> tuple[float, ...]:
    extents = tuple(float(extent) for extent in spacing)
    if len(extents) not in ((2, 3) if is_2d else (3,)) or not all(0 < extent < np.inf for extent in extents):
        raise ValueError(
            f"Expected argument `spacing` to be {'two' if is_2d else 'three'} numbers above 0 in mm, but got {list(extents)}."
        )
    return extents


def _checked_affine(affine: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(affine, np.float64)
    if given.shape != (4, 4) or not np.isfinite(given).all():
        raise ValueError(
            f"Expected argument `affine` to be a finite matrix of shape (4, 4), but got shape {given.shape}."
        )
    if np.linalg.matrix_rank(given[:3, :3]) < 3:
        raise ValueError("Expected argument `affine` to have three axes in different directions.")
    return given
