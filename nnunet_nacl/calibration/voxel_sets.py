"""Voxel sets, and the strata that they are unions of.

A voxel falls into one stratum by its label, its prediction and its place. The voxels are binned once for each stratum, and a
voxel set adds up the strata that it consists of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.boundary import boundary_band

# The number of a stratum has a bit for each of three questions.
PREDICTED_FOREGROUND = 1
LABELLED_FOREGROUND = 2
NEAR_BOUNDARY = 4
N_STRATA = 8

LEFT_OUT = N_STRATA
"""In place of a stratum: a voxel that is counted nowhere."""


def _strata(bits: int) -> tuple[int, ...]:
    return tuple(stratum for stratum in range(N_STRATA) if stratum & bits)


VOXEL_SETS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "all": tuple(range(N_STRATA)),
        "foreground": _strata(LABELLED_FOREGROUND),
        "union": _strata(LABELLED_FOREGROUND | PREDICTED_FOREGROUND),
        "predicted": _strata(PREDICTED_FOREGROUND),
        "boundary": _strata(NEAR_BOUNDARY),
    }
)
"""Voxel sets and their strata.

- ``all``: every voxel that is not ignored.
- ``foreground``: the label is not background (the convention of the NACL and SVLS papers).
- ``union``: the label or the prediction is not background.
- ``predicted``: the prediction is not background.
- ``boundary``: a voxel with another label lies within a distance in mm (see :mod:`nnunet_nacl.calibration.boundary`); none where
  no spacing was given, or where there is one label only.

``foreground``, ``union`` and ``boundary`` select voxels by the labels, that is by the outcome. Calibration is not preserved by
that: even the true class posterior has an ECE above 0 there. It has one of 0, up to chance, in ``all`` and ``predicted``.
"""

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "all": "every voxel that is not ignored",
        "foreground": "label is not background",
        "union": "label or prediction is not background",
        "predicted": "prediction is not background",
        "boundary": "a voxel of another label lies within boundary_mm",
    }
)


def groups_of_labels(
    label: NDArray[np.int16], num_classes: int, spacing: Sequence[float] | None, boundary_mm: float
) -> NDArray[np.uint8]:
    """Return the stratum of each voxel as far as it does not depend on the prediction; LEFT_OUT where there is no label.

    Args:
        label: ``(*spatial)``, K for a voxel without label.
        num_classes: K.
        spacing: mm per voxel of each axis, or None: no voxel is near a boundary then.
        boundary_mm: how near is near.

    Raises:
        ValueError: a spacing that does not fit the labels, or a distance below 0.
    """
    group = (label > 0).astype(np.uint8) * np.uint8(LABELLED_FOREGROUND)
    if spacing is not None:
        if len(spacing) != label.ndim or label.ndim > 3 or not all(step > 0 for step in spacing):
            raise ValueError(
                f"Expected a spacing above 0 for each of {label.ndim} axes (at most 3), but got {spacing}."
            )
        if not 0 <= boundary_mm < np.inf:
            raise ValueError(f"Expected argument `boundary_mm` to be a number of at least 0, but got {boundary_mm}.")
        group |= boundary_band(label, spacing, boundary_mm, ignored=num_classes) * np.uint8(NEAR_BOUNDARY)
    group[label == num_classes] = LEFT_OUT
    return group
