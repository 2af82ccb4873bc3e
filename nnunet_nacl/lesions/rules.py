"""What a user may choose: when a finding may stand for a lesion, what its confidence is, and which voxels are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nnunet_nacl.lesions.components import Connectivity

Overlap = Literal["any", "iou", "centroid"]
Confidence = Literal["largest", "mean"]
Duplicates = Literal["false", "ignored"]

DEFAULT_IOU = 0.1
DEFAULT_SIZES = (10.0, 100.0, 1000.0, 10000.0)
"""Edges of the size bins in mm^3 (in 2D pixels): a bin a decade."""


@dataclass(frozen=True)
class Rules:
    """Choices that change the figures.

    Attributes:
        overlap: when a finding may stand for a lesion of its class: ``any``: they share a voxel; ``iou``: their intersection over union is at least
            ``iou``; ``centroid``: the voxel nearest to the finding's centroid is one of the lesion's (half-way between two, the one of the larger index).
        iou: above 0, at most 1, reached counts; another than the default with ``overlap="iou"`` only.
        confidence: ``largest`` or ``mean`` probability of the class within the finding; it orders the findings.
        duplicates: a further finding in a lesion that has one already is ``false``, as in COCO and nnDetection, or ``ignored``, as in LUNA16.
        connectivity: 26 or 6 neighbours (in 2D 8 or 4).
        sizes: ascending edges above 0 of the bins of lesion sizes in mm^3, in 2D in pixels; a lesion at an edge is in the bin above it.
            Without edges there is one bin.

    Raises:
        ValueError: a choice that there is not; the message names it and what there is.
    """

    overlap: Overlap = "any"
    iou: float = DEFAULT_IOU
    confidence: Confidence = "largest"
    duplicates: Duplicates = "false"
    connectivity: Connectivity = 26
    sizes: Sequence[float] = DEFAULT_SIZES

    def __post_init__(self) -> None:
        """Raise ValueError for a choice that there is not."""
        for name, value, known in (
            ("overlap", self.overlap, get_args(Overlap)),
            ("confidence", self.confidence, get_args(Confidence)),
            ("duplicates", self.duplicates, get_args(Duplicates)),
            ("connectivity", self.connectivity, get_args(Connectivity)),
        ):
            if value not in known:
                raise ValueError(f"Expected argument `{name}` to be one of {known}, but got {value!r}.")
        if not 0 < self.iou <= 1:
            raise ValueError(f"Expected argument `iou` to be above 0 and at most 1, but got {self.iou}.")
        if self.overlap != "iou" and self.iou != DEFAULT_IOU:
            raise ValueError(
                f"Expected argument `overlap` to be 'iou' for an `iou` of {self.iou}, but got {self.overlap!r}, which does not use it."
            )
        if not all(0 < low < high < float("inf") for low, high in zip((1e-300, *self.sizes), self.sizes, strict=False)):
            raise ValueError(f"Expected argument `sizes` to be ascending sizes above 0, but got {list(self.sizes)}.")

    @property
    def in_words(self) -> str:
        """When a finding is a true one."""
        rule = {
            "any": "it shares a voxel with",
            "iou": f"its intersection over union is at least {self.iou:g} with",
            "centroid": "its centroid lies in",
        }[self.overlap]
        return f"a finding is true if {rule} a lesion of its class that no more confident finding needs"
