"""What is known of a case: its findings, which are predicted, and its lesions, which are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array

TRUE, DUPLICATE, FALSE = "true", "duplicate", "false"
"""Outcomes of a finding: it stands for a lesion; all lesions that it could stand for have another finding; there is none."""

FOUND, MERGED, MISSED = "found", "merged", "missed"
"""Outcomes of a lesion: a finding stands for it; those that could stand for it stand for other lesions; there is none."""


Unit = Literal["mm3", "pixels", "voxels"]
"""Of sizes."""


@dataclass(frozen=True)
class Rows:
    """Components, a row each, n rows; none where there is no component. Numbers are int64, positions and probabilities float64.

    Attributes:
        structure: ``(n,)``, class, or number of the region from 0.
        number: ``(n,)``, of the component among those of its case (of a region model: of its region), from 1; findings that are left out
            leave gaps.
        voxels: ``(n,)``.
        centroid: ``(n, 3)``, index along x, y, z, from 0.
        centroid_mm: ``(n, 3)``, along x, y, z in the world coordinates of the label file (RAS); NaN where it has none.
        largest_p, mean_p: ``(n,)``, of the class's probability within the component.
        outcome: ``(n,)``.
        partner: ``(n,)``, number of the lesion that a finding stands for, or of the finding that stands for a lesion; 0 for none.
        overlap_voxels: ``(n,)``, voxels of a finding that are labelled as its class, or of a lesion that are predicted as its class.
        iou: ``(n,)``, largest intersection over union with a component of the other kind, of the same class; 0 for none.
    """

    structure: Int64Array
    number: Int64Array
    voxels: Int64Array
    centroid: Float64Array
    centroid_mm: Float64Array
    largest_p: Float64Array
    mean_p: Float64Array
    outcome: NDArray[np.str_]
    partner: Int64Array
    overlap_voxels: Int64Array
    iou: Float64Array


class Findings(Rows):
    """The predicted components, columns of :class:`Rows`; ``outcome`` is :data:`TRUE`, :data:`DUPLICATE` or :data:`FALSE`."""


class Lesions(Rows):
    """The labelled components, columns of :class:`Rows`; ``outcome`` is :data:`FOUND`, :data:`MERGED` or :data:`MISSED`.

    Probabilities are there whatever was predicted.
    """


SomeRows = TypeVar("SomeRows", bound=Rows)


@dataclass(frozen=True)
class CaseLesions:
    """A case.

    Attributes:
        case: its name.
        findings: what is predicted.
        lesions: what is labelled.
        n_left_out: ``(structures,)``, findings that are left out: they stand for no lesion, and more than half of them is not annotated.
        voxel_volume_mm3: NaN where sizes are not in mm^3.
        unit: of sizes; ``voxels`` where no file has the spacing, ``pixels`` in 2D.
        structures: names of the classes, or regions, by number; class 0 of a label model is background.
        foreground: numbers of those that findings are of.
    """

    case: str
    findings: Findings
    lesions: Lesions
    n_left_out: Int64Array
    voxel_volume_mm3: float
    unit: Unit
    structures: tuple[str, ...]
    foreground: tuple[int, ...]

    def only(self, chosen: tuple[int, ...]) -> CaseLesions:
        """Return the case with the findings and lesions of some of its structures, by number; a number without any gives none."""
        findings = selected(self.findings, np.isin(self.findings.structure, chosen))
        lesions = selected(self.lesions, np.isin(self.lesions.structure, chosen))
        return replace(self, findings=findings, lesions=lesions, foreground=chosen)

    def sizes(self, rows: Rows) -> Float64Array:
        """Return the size of each row in :attr:`unit`, ``(n,)`` float64; without a voxel volume the number of voxels."""
        unit = 1.0 if np.isnan(self.voxel_volume_mm3) else self.voxel_volume_mm3
        return rows.voxels.astype(np.float64) * unit


def selected(rows: SomeRows, chosen: NDArray[np.bool_]) -> SomeRows:
    """Return some of the rows, ``(n,)`` bool."""
    return type(rows)(*(getattr(rows, name)[chosen] for name in rows.__dataclass_fields__))


def joined(parts: Sequence[SomeRows]) -> SomeRows:
    """Return the rows of several parts, at least one, as one."""
    first = parts[0]
    return type(first)(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in first.__dataclass_fields__)
    )
