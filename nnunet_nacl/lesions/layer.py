"""Findings held against lesions in one label map: of all classes, or of one region."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.lesions.case_lesions import DUPLICATE, FALSE, FOUND, MERGED, MISSED, TRUE, Findings, Lesions, selected
from nnunet_nacl.lesions.components import Components, count_within, overlaps
from nnunet_nacl.lesions.matching import NONE, match_in_order
from nnunet_nacl.lesions.rules import Rules


class Predicted(NamedTuple):
    """Predicted components with the sum and the largest of their class's probability, each ``(n,)``."""

    components: Components
    sum_p: Float64Array
    largest_p: Float64Array


class Labelled(NamedTuple):
    """Labelled components with the same."""

    components: Components
    sum_p: Float64Array
    largest_p: Float64Array


class Pairs(NamedTuple):
    """Findings and lesions that share voxels, a row each: their indices, shared voxels, intersection over union."""

    finding: Int64Array
    lesion: Int64Array
    shared: Int64Array
    iou: Float64Array


def compare(
    predicted: Predicted,
    labelled: Labelled,
    ignored: NDArray[np.bool_] | None,
    affine: NDArray[np.float64],
    rules: Rules,
) -> tuple[Findings, Lesions, Int64Array]:
    """Return findings, lesions, and the structure of each finding that is left out.

    A finding that stands for no lesion is left out where more than half of its voxels are ignored: nobody knows whether it is a false one (COCO
    does so with regions that are not annotated one by one). Ignored voxels count in size and confidence, which are the finding's own, and
    not in the overlap, which is with what was annotated.

    Args:
        predicted, labelled: of one label map each, of the same structures.
        ignored: ``(z, y, x)``, voxels without annotation; None: there are none.
        affine: ``(4, 4)``, from indices (x, y, z) to mm; NaN where that is unknown.
        rules: what is a true finding.
    """
    found, true = predicted.components, labelled.components
    n_ignored = np.zeros(found.n, np.int64) if ignored is None else count_within(found.numbers, ignored, found.n)
    pairs = _pairs(found, true, n_ignored)
    candidates = _candidates(found, true, pairs, rules)
    confidence = predicted.largest_p if rules.confidence == "largest" else predicted.sum_p / np.maximum(found.voxels, 1)
    # of findings of the same confidence the larger one first
    order = np.lexsort((-found.voxels, -confidence)).tolist()
    lesion_of = match_in_order(candidates, order, true.n)
    kept = (lesion_of != NONE) | (2 * n_ignored <= found.voxels)
    findings = Findings(
        **_rows(found, predicted.sum_p, predicted.largest_p, affine),
        outcome=_outcomes(lesion_of, [len(each) > 0 for each in candidates], (TRUE, DUPLICATE, FALSE)),
        partner=lesion_of + 1,
        overlap_voxels=_total(pairs.finding, pairs.shared, found.n),
        iou=_largest(pairs.finding, pairs.iou, found.n),
    )
    finding_of = np.full(true.n, NONE, np.int64)
    finding_of[lesion_of[lesion_of != NONE]] = np.flatnonzero(lesion_of != NONE)
    wanted = np.zeros(true.n, bool)
    wanted[[lesion for each in candidates for lesion in each]] = True
    lesions = Lesions(
        **_rows(true, labelled.sum_p, labelled.largest_p, affine),
        outcome=_outcomes(finding_of, wanted, (FOUND, MERGED, MISSED)),
        partner=finding_of + 1,
        overlap_voxels=_total(pairs.lesion, pairs.shared, true.n),
        iou=_largest(pairs.lesion, pairs.iou, true.n),
    )
    return selected(findings, kept), lesions, found.structures[~kept]


def _pairs(found: Components, true: Components, n_ignored: Int64Array) -> Pairs:
    finding, lesion, shared = overlaps(found, true)
    union = (found.voxels - n_ignored)[finding] + true.voxels[lesion] - shared
    return Pairs(finding, lesion, shared, shared / np.maximum(union, 1))


def _candidates(found: Components, true: Components, pairs: Pairs, rules: Rules) -> list[list[int]]:
    """Return the lesions that each finding may stand for, the largest intersection over union first."""
    candidates: list[list[int]] = [[] for _ in range(found.n)]
    if rules.overlap == "centroid":
        # half-way between two voxels it is the one of the larger index, wherever the image begins (np.rint takes the even one)
        places = np.floor(found.centroids + 0.5).astype(np.int64)
        for row, lesion in enumerate(true.numbers[tuple(places.T)].astype(np.int64) - 1):
            if lesion != NONE and true.structures[lesion] == found.structures[row]:
                candidates[row].append(int(lesion))
        return candidates
    enough = pairs.iou >= (rules.iou if rules.overlap == "iou" else 0)
    for row in np.lexsort((pairs.lesion, -pairs.iou)):
        if enough[row]:
            candidates[pairs.finding[row]].append(int(pairs.lesion[row]))
    return candidates


def _rows(
    components: Components, sum_p: Float64Array, largest_p: Float64Array, affine: NDArray[np.float64]
) -> dict[str, NDArray]:  # type: ignore[type-arg]
    centroid = components.centroids[:, ::-1]
    places = np.concatenate([centroid, np.ones((components.n, 1))], 1) @ affine.T
    return {
        "structure": components.structures,
        "number": np.arange(1, components.n + 1),
        "voxels": components.voxels,
        "centroid": centroid,
        "centroid_mm": places[:, :3],
        "largest_p": largest_p,
        "mean_p": sum_p / np.maximum(components.voxels, 1),
    }


def _outcomes(
    partner: Int64Array, wanted: NDArray[np.bool_] | list[bool], names: tuple[str, str, str]
) -> NDArray[np.str_]:
    with_partner, only_wanted, neither = names
    return np.where(partner != NONE, with_partner, np.where(np.asarray(wanted, bool), only_wanted, neither))


def _total(rows: Int64Array, values: Int64Array, n: int) -> Int64Array:
    total = np.zeros(n, np.int64)
    np.add.at(total, rows, values)
    return total


def _largest(rows: Int64Array, values: Float64Array, n: int) -> Float64Array:
    largest = np.zeros(n)
    np.maximum.at(largest, rows, values)
    return largest
