"""What a user may choose about an evaluation and what changes its figures."""

from __future__ import annotations

from dataclasses import dataclass

from nnunet_nacl.calibration.boundary import DEFAULT_BOUNDARY_MM


@dataclass(frozen=True)
class Settings:
    """Choices that results must share to be comparable.

    Attributes:
        n_bins: equal-width confidence bins, 1 to 999.
        boundary_mm: the voxel set ``boundary`` has the voxels within this distance of a voxel with another label; finite, at least 0.
        hd95: whether to compute the HD95 of each class, which takes longer than all else together on large structures.
    """

    n_bins: int = 15
    boundary_mm: float = DEFAULT_BOUNDARY_MM
    hd95: bool = False
