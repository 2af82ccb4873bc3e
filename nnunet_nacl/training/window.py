"""The neighbourhood on anisotropic voxels."""

from __future__ import annotations

from collections.abc import Sequence

from nnunetv2.configuration import ANISO_THRESHOLD


def in_plane_sides(side: int, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the window's side per axis: 1 along an axis whose voxels are far longer than those of the finest axis.

    A neighbour there is another anatomy, not another opinion on the border. "Far" is nnU-Net's ANISO_THRESHOLD.

    Args:
        side: of the window in voxels.
        spacing: in mm, one per axis.
    """
    finest = min(spacing)
    return tuple(1 if extent > ANISO_THRESHOLD * finest else side for extent in spacing)


def sigma_in_voxels(sigma: float, sigma_mm: float | None, spacing: Sequence[float]) -> tuple[float, ...]:
    """Return the Gaussian's sigma in voxels per axis, from mm where it is given in mm."""
    return tuple(sigma if sigma_mm is None else sigma_mm / extent for extent in spacing)
