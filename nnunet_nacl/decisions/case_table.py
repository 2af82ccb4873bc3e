"""What decisions are made from: the volumes and confidences of each case and structure, of results or of new predictions.

A structure is a foreground class or a region. Volumes are in voxels of the case; the masks are those of the label map that nnU-Net writes
for the probabilities, in results as in new predictions, so that a fit and its use see the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.mask_confidence import PROBABILITY, mask_means, soft_dice_confidence
from nnunet_nacl.calibration.overlap import LABELLED, PREDICTED, dice_of_overlap
from nnunet_nacl.decisions.volumes import Volumes
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, result_folder
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.merging import merge_results

MM3_PER_ML = 1000
BACKGROUND = "0"


@dataclass(frozen=True)
class CaseTable:
    """N cases with C structures.

    Attributes:
        cases: names.
        voxel_mm3: ``(N,)`` float64, volume of a voxel; NaN in 2D.
        predicted: ``(N, C)`` float64, voxels of the mask.
        soft, spread: ``(N, C)`` float64, sums of p and of p (1 - p); None where they are not known for every case.
        mask_sums: ``(N, C, 2)`` float64, see :mod:`nnunet_nacl.calibration.mask_confidence`; None likewise.
        remarks: N mappings, what is to be said of each case by kind (:mod:`nnunet_nacl.evaluation.remarks`); none for segmentations alone.
    """

    cases: tuple[str, ...]
    voxel_mm3: Float64Array
    predicted: Float64Array
    soft: Float64Array | None = None
    spread: Float64Array | None = None
    mask_sums: Float64Array | None = None
    remarks: tuple[Mapping[str, str], ...] = ()

    @property
    def soft_dice(self) -> Float64Array | None:
        """Soft Dice confidence, ``(N, C)``; 0 for an empty mask, NaN where no probability is above 0 either."""
        if self.mask_sums is None or self.soft is None:
            return None
        return soft_dice_confidence(self.mask_sums[..., PROBABILITY], self.soft, self.predicted)

    @property
    def mask_means(self) -> Float64Array | None:
        """Mean probability and mean entropy over each mask, ``(N, C, 2)``; NaN for an empty one."""
        return None if self.mask_sums is None else mask_means(self.mask_sums, self.predicted)

    def volumes(self, structure: int) -> Volumes:
        """Return the volumes of a structure in ml.

        Raises:
            InputError: the cases are 2D.
        """
        if np.isnan(self.voxel_mm3).any():
            raise InputError(
                f"{self.cases[int(np.argmax(np.isnan(self.voxel_mm3)))]}: is 2D, and an area has no volume. Volumes need three "
                "dimensions."
            )
        voxel = self.voxel_mm3 / MM3_PER_ML
        columns = (None if each is None else each[:, structure] * voxel for each in (self.soft, self.spread))
        return Volumes(self.predicted[:, structure] * voxel, voxel, *columns)


class Evaluated(NamedTuple):
    """Cases whose labels are known: their table, the voxels of the labels ``(N, C)``, Dice ``(N, C)``, and what they are of.

    ``structures`` is the name of each structure by its key in nnU-Net's summary.json. Dice is NaN where the structure is neither
    labelled nor predicted.
    """

    table: CaseTable
    labelled: Float64Array
    dice: Float64Array
    structures: dict[str, str]
    result: FolderResult


def structures_of(labels: Mapping[str, str], regions: bool) -> dict[str, str]:
    """Return the name of each structure by its key: all regions, or the classes without background."""
    return {key: name for key, name in labels.items() if regions or key != BACKGROUND}


def read_evaluated(folders: list[Path]) -> Evaluated:
    """Return the cases of evaluated folders, as of one.

    Raises:
        InputError: a result cannot be read, a case comes twice, or they were evaluated differently.
    """
    places = [result_folder(folder) for folder in folders]
    results = {place: read_result(place / BINS_FILE) for place in places}
    if len(results) < len(places):
        raise InputError("Expected different RESULT folders, but one was given twice.")
    return evaluated_of(merge_results(results))


def evaluated_of(result: FolderResult) -> Evaluated:
    """Return what is known of the cases of a result."""
    regions = bool(result.protocol.get("regions"))
    structures = structures_of(result.protocol["labels"], regions)
    first = 0 if regions else 1
    labelled = np.stack([case.overlap[first:, LABELLED] for case in result.cases]).astype(np.float64)
    dice = np.stack([dice_of_overlap(case.overlap)[first:] for case in result.cases])
    return Evaluated(table_of(result.cases, regions), labelled, dice, structures, result)


def table_of(cases: Sequence[CaseResult], regions: bool) -> CaseTable:
    """Return the table of evaluated cases; nothing in it depends on their labels."""
    first = 0 if regions else 1
    return CaseTable(
        tuple(case.case.name for case in cases),
        np.array([case.voxel_volume_mm3 for case in cases]),
        np.stack([case.overlap[first:, PREDICTED] for case in cases]).astype(np.float64),
        np.stack([case.soft_volumes[first:] for case in cases]),
        _known(np.stack([case.spread[first:] for case in cases])),
        _known(np.stack([case.mask_sums[first:] for case in cases])),
        tuple(case.remarks for case in cases),
    )


def _known(values: NDArray[Any]) -> NDArray[Any] | None:
    return None if np.isnan(values).any() else values
