"""Which voxels a recalibration is fitted on; the default is that of its method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.log_probabilities import floor_of, is_exact, log_probabilities
from nnunet_nacl.recalibration.heads import Problem

Mask = NDArray[np.bool_]

FIT_SETS: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], Mask]] = MappingProxyType(
    {
        "predicted": lambda labels, prediction: prediction > 0,
        "all": lambda labels, prediction: np.ones(labels.shape, bool),
        "foreground": lambda labels, prediction: labels > 0,
        "union": lambda labels, prediction: (labels > 0) | (prediction > 0),
    }
)
"""Voxel sets to fit on, by label and predicted class; as in :data:`~nnunet_nacl.calibration.VOXEL_SETS`.

``predicted`` and ``all`` choose without the label, so that a calibrated network gets a temperature of 1. ``foreground`` and
``union`` choose by the label, and the true posterior itself gets another one there (see docs/recalibrating.md). The set
``boundary`` chooses by the label too.
"""


@dataclass(frozen=True)
class Selected:
    """Voxels of a problem that a fit sees, and what was left out of the voxel set.

    Attributes:
        logarithm: ``(C, n)`` float32 log probabilities.
        labels: ``(n,)`` the labels, uint8 or uint16.
        n_exact: voxels left out since all their probability is on one class.
        n_exact_wrong: those among them whose label is another class: no temperature repairs them.
        n_floored: voxels kept in which a probability was raised to the floor.
    """

    logarithm: NDArray[np.float32]
    labels: NDArray[Any]
    n_exact: int
    n_exact_wrong: int
    n_floored: int


def select(problem: Problem, voxel_set: str) -> Selected:
    """Return the voxels of a set; ignored voxels are left out before."""
    probabilities, labels = problem.probabilities, problem.labels
    prediction = probabilities.argmax(0)
    chosen = FIT_SETS[voxel_set](labels, prediction)
    exact = chosen & is_exact(probabilities)
    kept = chosen & ~exact
    return Selected(
        logarithm=log_probabilities(probabilities[:, kept], floor_of(probabilities.dtype)).astype(np.float32),
        labels=labels[kept].astype(np.uint8 if len(probabilities) <= 256 else np.uint16),
        n_exact=int(np.count_nonzero(exact)),
        n_exact_wrong=int(np.count_nonzero(exact & (labels != prediction))),
        n_floored=int(np.count_nonzero(problem.floored & kept)),
    )
