"""What masks at each threshold hold in evaluated cases: of one structure, what is found, what is missed, what is false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.overlap import BOTH, LABELLED, PREDICTED
from nnunet_nacl.calibration.scores import divided
from nnunet_nacl.calibration.threshold_counts import INSIDE, OUTSIDE
from nnunet_nacl.decisions.case_table import MM3_PER_ML, Evaluated
from nnunet_nacl.decisions.miss_rate import miss_rates
from nnunet_nacl.errors import InputError


@dataclass(frozen=True)
class StructureCases:
    """A structure in N cases, at T thresholds that rise from 0.

    Attributes:
        missed: ``(N, T)`` share of the reference below each threshold; NaN in cases without it.
        found, false: ``(N, T)`` voxels from each threshold on, inside and outside of the reference. ``false`` is unknown at 0, and is NaN.
        labelled: ``(N,)`` voxels of the reference.
        argmax: ``(N, 2)`` voxels that nnU-Net's label map has, inside and outside of the reference.
        voxel_ml: ``(N,)``, NaN in 2D.
    """

    missed: Float64Array
    found: Float64Array
    false: Float64Array
    labelled: Float64Array
    argmax: Float64Array
    voxel_ml: Float64Array

    @property
    def argmax_missed(self) -> Float64Array:
        """The miss rate of nnU-Net's label map, ``(N,)``; NaN in cases without the structure."""
        return 1 - divided(self.argmax[:, 0], self.labelled)

    @property
    def dice(self) -> Float64Array:
        """Dice at each threshold, ``(N, T)``; NaN in cases without the structure, in which it says only whether anything is predicted."""
        labelled = np.where(self.labelled > 0, self.labelled, np.nan)[:, None]
        return np.asarray(2 * self.found / (labelled + self.found + self.false))

    @property
    def argmax_dice(self) -> Float64Array:
        """Dice of nnU-Net's label map, ``(N,)``, NaN likewise."""
        labelled = np.where(self.labelled > 0, self.labelled, np.nan)
        return np.asarray(2 * self.argmax[:, 0] / (labelled + self.argmax.sum(1)))


def structure_cases(evaluated: Evaluated) -> list[StructureCases]:
    """Return the structures of evaluated cases, in their order.

    Raises:
        InputError: cases were evaluated before these counts were kept.
    """
    cases = evaluated.result.cases
    without = [case.case.name for case in cases if case.threshold_counts is None]
    if without:
        raise InputError(
            f"{len(without)} of {len(cases)} cases ({', '.join(without[:3])}) were evaluated before probabilities were counted by "
            "threshold. Run `nnunet-nacl evaluate` on their folder again."
        )
    voxel_ml = evaluated.table.voxel_mm3 / MM3_PER_ML
    first = 0 if evaluated.result.protocol.get("regions") else 1
    return [
        _structure(
            np.stack([case.threshold_counts[number] for case in cases if case.threshold_counts is not None]),
            np.stack([case.overlap[first + number] for case in cases]),
            voxel_ml,
        )
        for number in range(len(evaluated.structures))
    ]


def _structure(counts: NDArray[np.uint32], overlap: NDArray[np.int64], voxel_ml: Float64Array) -> StructureCases:
    found, false = (_from_each_on(counts[:, row]) for row in (INSIDE, OUTSIDE))
    false[:, 0] = np.nan
    argmax = np.stack([overlap[:, BOTH], overlap[:, PREDICTED] - overlap[:, BOTH]], -1).astype(np.float64)
    missed = miss_rates(counts[:, INSIDE])
    return StructureCases(missed, found, false, overlap[:, LABELLED].astype(np.float64), argmax, voxel_ml)


def _from_each_on(counts: NDArray[np.uint32]) -> Float64Array:
    return np.cumsum(counts[:, ::-1], 1, dtype=np.int64)[:, ::-1].astype(np.float64)


def at(values: Float64Array, places: int | Sequence[int] | NDArray[np.intp]) -> Float64Array:
    """Return the values ``(N, T)`` at one threshold for all cases, or one for each, ``(N,)``."""
    return np.asarray(values[np.arange(len(values)), places])
