"""The findings and lesions of a case, from its probabilities and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.calibration.channel_stream import HELD_BYTES, Block
from nnunet_nacl.calibration.checks import as_labels, as_probabilities
from nnunet_nacl.evaluation.case_result import Probabilities
from nnunet_nacl.evaluation.in_memory import ProbabilityArray
from nnunet_nacl.lesions.array_arguments import DEFAULT_SPACING, checked_names, checked_place, checked_regions
from nnunet_nacl.lesions.case_lesions import CaseLesions, Findings, Lesions, Unit, joined
from nnunet_nacl.lesions.components import components_of, sums_within
from nnunet_nacl.lesions.layer import Labelled, Predicted, compare
from nnunet_nacl.lesions.predicted_labels import channels, predicted_classes, predicted_regions
from nnunet_nacl.lesions.rules import Rules

DEFAULT_RULES = Rules()


def find_lesions(
    probabilities: Any,
    labels: Any,
    *,
    spacing: Sequence[float] | None = DEFAULT_SPACING,
    affine: ArrayLike | None = None,
    regions: Sequence[Sequence[int]] | None = None,
    region_labels: Sequence[int] | None = None,
    ignore_label: int | None = None,
    rules: Rules = DEFAULT_RULES,
    case: str = "",
    names: Sequence[str] | None = None,
) -> CaseLesions:
    """Return the findings and lesions of a case whose arrays are in memory; no rows where nothing is predicted or labelled.

    Of equal probabilities the class of the lowest number is predicted; a region is predicted above 0.5, not at it. Of findings of equal
    confidence the larger one is matched first. A finding without a lesion, more than half of it ignored, is left out.

    Args:
        probabilities: ``(K, z, y, x)`` or ``(K, y, x)``, softmax over the classes, or sigmoid of each region; array or tensor, floating.
        labels: ``(z, y, x)`` or ``(y, x)``, whole numbers.
        spacing: mm per voxel along ``(z, y, x)``; None: sizes are in voxels, whatever the affine. In 2D sizes are in pixels.
        affine: ``(4, 4)``, from indices (x, y, z) to mm; default: from the spacing. With it the spacing need not be given.
        regions: label values that each channel's region consists of; None where channels are classes.
        region_labels: the label that nnU-Net writes for each region (``regions_class_order``); unused without regions.
        ignore_label: value of voxels without annotation; their probabilities have to be probabilities nevertheless.
        rules: what is a finding's confidence, and when it is true.
        case: its name.
        names: of the channels; default: their numbers.

    Raises:
        ValueError: shapes that do not fit, probabilities that are NaN, below 0, above 1.01 or (of classes) do not sum to 1 within 1e-2,
            labels that are no class, a spacing that is none, an affine that contradicts it, regions without ``region_labels``, or another
            number of names, regions or region labels than of channels.

    >>> p = np.zeros((2, 1, 4, 6)); p[1, 0, 1, 1:3] = 0.9; p[1, 0, 3, 5] = 0.7; p[0] = 1 - p[1]
    >>> labels = np.zeros((1, 4, 6), int); labels[0, 0:2, 1] = 1
    >>> found = find_lesions(p, labels, spacing=(2, 1, 1))
    >>> found.findings.outcome.tolist(), found.sizes(found.lesions).tolist()
    (['true', 'false'], [4.0])
    """
    values = as_probabilities(probabilities, len(np.shape(probabilities)) and np.shape(probabilities)[0])
    whole, is_2d = np.asarray(labels), False
    if whole.ndim == 2 and values.ndim == 3:
        whole, values, is_2d = whole[None], values[:, None], True
    if whole.ndim != 3 or values.shape[1:] != whole.shape:
        raise ValueError(f"Expected labels and probabilities of one shape, but got {whole.shape} and {values.shape}.")
    named = checked_names(names, len(values))
    members, written = checked_regions(regions, region_labels, len(values))
    return lesions_of_case(
        ProbabilityArray(values),
        whole,
        *checked_place(spacing, affine, is_2d),
        named,
        members,
        written,
        ignore_label,
        rules,
        case,
    )[0]


def lesions_of_case(
    probabilities: Probabilities,
    labels: NDArray[Any],
    affine: NDArray[np.float64],
    voxel_volume_mm3: float,
    unit: Unit,
    names: tuple[str, ...],
    regions: Sequence[Sequence[int]] | None,
    region_labels: Sequence[int],
    ignore_label: int | None,
    rules: Rules,
    case: str,
) -> tuple[CaseLesions, NDArray[np.integer[Any]]]:
    """Return the findings and lesions of a case whose probabilities pass by in blocks, and its segmentation ``(z, y, x)``.

    The segmentation is the label map that nnU-Net writes for the probabilities. Arguments as of :func:`find_lesions`.
    """
    known = len(names) if regions is None else max(max(region) for region in regions) + 1
    whole = as_labels(labels, labels.shape, known, ignore_label)
    ignored = None if ignore_label is None else whole == known
    if ignored is not None:
        whole[ignored] = 0
    segmentation: NDArray[np.integer[Any]]
    layers: Iterable[tuple[Predicted, Labelled]]
    if regions is None:
        segmentation, *layers = _layer_of_classes(probabilities, whole, rules)
    else:
        segmentation, layers = _layers_of_regions(probabilities, whole, regions, region_labels, rules)
    found = [(number, *compare(*layer, ignored, affine, rules)) for number, layer in enumerate(layers)]
    left_out = np.zeros(len(names), np.int64)
    parts: list[tuple[Findings, Lesions]] = []
    for number, findings, lesions, without in found:
        if regions is not None:  # a mask of ones, whichever region
            findings.structure[:], lesions.structure[:], without[:] = number, number, number
        left_out += np.bincount(without, minlength=len(names))
        parts.append((findings, lesions))
    lesions_found = CaseLesions(
        case,
        joined([findings for findings, _ in parts]),
        joined([lesions for _, lesions in parts]),
        left_out,
        voxel_volume_mm3,
        unit,
        names,
        tuple(range(0 if regions is not None else 1, len(names))),
    )
    return lesions_found, segmentation


def _layer_of_classes(
    probabilities: Probabilities, labels: NDArray[np.int16], rules: Rules
) -> tuple[NDArray[np.int16], tuple[Predicted, Labelled]]:
    true = components_of(labels, rules.connectivity)
    predicted = predicted_classes(probabilities.blocks(), true)
    found = components_of(predicted.segmentation, rules.connectivity)
    sums = sums_within(found.numbers, predicted.probability, found.n)
    return predicted.segmentation, (Predicted(found, *sums), Labelled(true, predicted.sum_p, predicted.largest_p))


def _layers_of_regions(
    probabilities: Probabilities,
    labels: NDArray[np.int16],
    regions: Sequence[Sequence[int]],
    region_labels: Sequence[int],
    rules: Rules,
) -> tuple[NDArray[np.uint16], Iterator[tuple[Predicted, Labelled]]]:
    # the masks are known after the last channel: few channels are held until then, of many the file is read again
    held: list[Block] = []
    holds = len(regions) * probabilities.dtype.itemsize <= HELD_BYTES
    first = _holding(probabilities.blocks(), held) if holds else probabilities.blocks()
    segmentation = predicted_regions(first, labels.shape, region_labels)
    again: Iterable[Block] = held if holds else probabilities.blocks()

    def layer(values: FloatArray, region: Sequence[int]) -> tuple[Predicted, Labelled]:
        found, true = (
            components_of(np.isin(each, list(region)), rules.connectivity) for each in (segmentation, labels)
        )
        return (
            Predicted(found, *sums_within(found.numbers, values, found.n)),
            Labelled(true, *sums_within(true.numbers, values, true.n)),
        )

    return segmentation, map(layer, channels(again, labels.shape), regions)


def _holding(blocks: Iterable[Block], held: list[Block]) -> Iterator[Block]:
    for block in blocks:
        held.append(block)
        yield block
