"""Where the voxels of a label map lie, from what nnU-Net's reader says of its file.

SimpleITK gives origin, spacing and direction in ITK's terms (LPS), nibabel NIfTI's own affine (RAS); either becomes an affine. Files
without geometry (png, tif) get the one that ITK assumes for them: origin 0, axes along the image's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

SPACING_TOLERANCE = 1e-3
"""Relative: files store spacing as float32 or in a few decimals."""

PLACE_TOLERANCE = 0.1
"""How far a corner may be off, in voxels."""

SHEAR_TOLERANCE = 1e-3
"""Cosine of the angle between two axes."""


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a label map ``(z, y, x)`` lie.

    Attributes:
        spacing: mm per voxel along ``(z, y, x)``; in 2D nnU-Net's readers make up the first.
        affine: ``(4, 4)``, from voxel indices (x, y, z) to mm in RAS.
        dimensions: 2 or 3.
        has_position: whether the format has a position; without (png, tif) the affine is a convention.
    """

    spacing: tuple[float, ...]
    affine: NDArray[np.float64]
    dimensions: int
    has_position: bool = True

    @property
    def voxel_volume_mm3(self) -> float:
        """The volume of a voxel: the determinant of the affine, which for a sheared one is less than the product of the axes; NaN in 2D."""
        # NaturalImage2DIO gives (999, 1, 1) and SimpleITKIO 999 times the larger in-plane spacing
        if self.dimensions == 2 or self.spacing[0] > 998 * max(self.spacing[1:]):
            return math.nan
        x, y, z = self.affine[:3, :3].T
        return float(abs(np.dot(x, np.cross(y, z))))  # numpy's det takes a logarithm on the way

    @property
    def shear(self) -> float:
        """The largest cosine between two axes: 0 where they are at right angles."""
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(np.abs(np.triu(axes.T @ axes, 1)).max())


def geometry_of(properties: Mapping[str, Any]) -> Geometry:
    """Return the geometry of a label map.

    Args:
        properties: what an nnU-Net reader returns beside the array.
    """
    spacing = tuple(float(extent) for extent in properties["spacing"])
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        # where the reader turned the axes, the array and the softmax file are in the turned order
        affine = stuff.get("reoriented_affine", stuff["original_affine"])
        return Geometry(spacing, np.asarray(affine, dtype=np.float64), 3)
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        dimensions = len(stuff["spacing"])
        direction = np.asarray(stuff["direction"]).reshape(dimensions, dimensions)
        return Geometry(spacing, _from_itk(stuff["spacing"], stuff["origin"], direction), dimensions)
    # NaturalImage2DIO calls the missing third axis 999 mm
    dimensions = 2 if spacing[0] == 999 else 3
    affine = _from_itk(spacing[::-1][:dimensions], [0.0] * dimensions, np.eye(dimensions))
    return Geometry(spacing, affine, dimensions, has_position=False)


def difference(ours: Geometry, theirs: Geometry, shape: tuple[int, ...]) -> str:
    """Return in words how a prediction's geometry differs from its label's, or an empty text.

    Args:
        ours: of the label file.
        theirs: of the prediction.
        shape: voxels along ``(z, y, x)``, of both.
    """
    if not np.allclose(ours.spacing, theirs.spacing, rtol=SPACING_TOLERANCE, atol=0):
        return f"spacing {_shown(ours.spacing)} mm in the label file, {_shown(theirs.spacing)} in the prediction"
    ends = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in shape[::-1]))], float)
    apart = np.linalg.norm(ends @ (ours.affine - theirs.affine).T, axis=1).max()
    if apart > PLACE_TOLERANCE * min(ours.spacing):
        return f"a corner of the volume lies {apart:.3g} mm apart"
    return ""


def _shown(spacing: tuple[float, ...]) -> str:
    return f"({', '.join(f'{extent:.6g}' for extent in spacing)})"


def _from_itk(spacing: Any, origin: Any, direction: NDArray[Any]) -> NDArray[np.float64]:
    dimensions = len(spacing)
    affine = np.eye(4)
    affine[:dimensions, :dimensions] = direction * np.asarray(spacing)
    affine[:dimensions, 3] = origin
    result: NDArray[np.float64] = _LPS_TO_RAS @ affine
    return result
