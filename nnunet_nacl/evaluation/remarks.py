"""What a reader should know of some cases before believing their figures: by kind, so that it can be counted and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

SEGMENTATION_DIFFERS = "segmentation_differs"
GEOMETRY_DIFFERS = "geometry_differs"
SPACING_ASSUMED = "spacing_assumed"
SHEARED = "sheared"
TRAINED_ON = "trained_on"
LEFT_OVER = "left_over"
FLAT = "flat"

KINDS: Mapping[str, str] = MappingProxyType(
    {
        SEGMENTATION_DIFFERS: (
            "the saved segmentation differs from that of its probabilities (postprocessing changes it, and before 2.7 nnU-Net's "
            "ensembling of region-based models did); Dice, HD95 and volumes are computed from the probabilities"
        ),
        GEOMETRY_DIFFERS: "label file and prediction differ in spacing or position; the label file's spacing is used",
        SPACING_ASSUMED: (
            "no file contains the spacing of the voxels, so nnU-Net's reader assumes 1 mm: volumes, HD95 and the voxel set boundary "
            "are in voxels"
        ),
        SHEARED: (
            "the axes are not at right angles; volumes are correct, but HD95 and the voxel set boundary compute distances as if they were"
        ),
        TRAINED_ON: (
            "the network of fold_all was trained on the cases in its validation folder, so these figures say nothing about new "
            "patients, and a temperature fitted on them does not hold for any"
        ),
        LEFT_OVER: (
            "not among the validation cases of this fold in splits_final.json: perhaps left over from an older split, so the network may have "
            "been trained on them. Remove the files that do not belong there"
        ),
        FLAT: (
            "a structure is only one or two slices thick, in labels and prediction: each of its voxels is a surface voxel, so its HD95 is "
            "near 0 even if its outline in the slice is wrong"
        ),
    }
)
"""Each kind in words."""


def gather(
    cases: Sequence[tuple[str, Mapping[str, str]]], meanings: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the remarks by kind, as they stand in calibration.json: the kind in words, and what is said of which case.

    Args:
        cases: name and remarks of each case.
        meanings: of kinds that mean something else than in :data:`KINDS`.
    """
    of_kind = {kind: {name: held[kind] for name, held in cases if kind in held} for kind in KINDS}
    return {
        kind: {"meaning": meanings.get(kind, KINDS[kind]), "cases": found} for kind, found in of_kind.items() if found
    }


def in_words(remarks: Mapping[str, Any], n_cases: int, shown: int = 3) -> list[str]:
    """Return a sentence for each kind of remark, of what :func:`gather` gives."""
    sentences = []
    for found in remarks.values():
        named = [f"{name} ({detail})" if detail else name for name, detail in found["cases"].items()]
        more = f" and {len(named) - shown} more" if len(named) > shown else ""
        sentences.append(f"{len(named)} of {n_cases} cases: {found['meaning']}: {', '.join(named[:shown])}{more}")
    return sentences
