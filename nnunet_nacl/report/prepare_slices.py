"""Which slice of a case is shown, and the arrays to draw of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.report.case_files import (
    Given,
    Prediction,
    dataset_of,
    read_case_labels,
    read_image,
    read_predictions,
    told_apart,
)
from nnunet_nacl.report.not_shown import NoSliceError, NotShown, not_shown
from nnunet_nacl.report.orientation import AS_STORED, Layout, layout_of
from nnunet_nacl.study.run import Run

MARGIN_MM = 12.0
"""What is shown around the structures."""
WINDOW_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class SliceOfRun:
    """A run's prediction in the slice, both ``(H, W)``."""

    classes: NDArray[np.int16]
    confidence: NDArray[np.float32]


@dataclass(frozen=True)
class CaseSlice:
    """A slice of a case, laid out as it is shown; arrays are ``(H, W)``.

    Attributes:
        case: its name.
        region: of which region it is; empty where it is of all classes.
        where: view and number of the slice, in words.
        extent: height and width in mm.
        image: 0 to 1, or None.
        labels: label map, where a value that is no class is ignored; or the region, by its number.
        ignored: voxels without annotation.
        runs: what each run says, by its name; without those whose file could not be read.
        missing: what could not be read.
    """

    case: str
    region: str
    where: str
    extent: tuple[float, float]
    image: NDArray[np.float32] | None
    labels: NDArray[Any]
    ignored: NDArray[np.bool_]
    runs: dict[str, SliceOfRun]
    missing: tuple[NotShown, ...]


@dataclass(frozen=True)
class Window:
    """Cuts the shown part of a slice out of a volume ``(z, y, x)``."""

    axis: int
    number: int
    layout: Layout
    rows: slice
    columns: slice

    def cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        return self.layout.lay_out(np.take(volume, self.number, self.axis))[self.rows, self.columns]


def prepare_slices(runs: Sequence[Run], case: str, given: Given) -> list[CaseSlice]:
    """Return the slice of a case in which confidence and outcome differ most, over the runs: of all classes, or of each region.

    Args:
        runs: runs that have the case.
        case: its name.
        given: files that the user named.

    Raises:
        NoSliceError: every softmax file cannot be read.
        InputError: the label map cannot be read.
    """
    dataset = dataset_of(runs[0], given)
    labels, spacing = read_case_labels(runs[0], case, dataset)
    predictions, missing = _predictions(runs, case, labels.shape, given)
    image, properties = _image(given, case, dataset, labels.shape, missing)
    ignored = labels == dataset.ignore_label if dataset.ignore_label is not None else np.zeros(labels.shape, bool)
    references = told_apart(labels, dataset)
    window, where = _window(list(references.values()), ignored, predictions, spacing, properties)
    rows_mm, columns_mm = plane_spacing(spacing, window)
    tall, wide = window.cut(labels).shape
    shown_image = None if image is None else window.cut(windowed(image))
    return [
        CaseSlice(
            case=case,
            region=region,
            where=where,
            extent=(tall * rows_mm, wide * columns_mm),
            image=shown_image,
            labels=window.cut(reference),
            ignored=window.cut(ignored),
            runs={
                name: SliceOfRun(window.cut(held[number].classes), window.cut(held[number].confidence))
                for name, held in predictions.items()
            },
            missing=tuple(missing),
        )
        for number, (region, reference) in enumerate(references.items())
    ]


def _image(
    given: Given, case: str, dataset: Dataset, shape: tuple[int, ...], missing: list[NotShown]
) -> tuple[NDArray[Any] | None, Mapping[str, Any]]:
    """Return the image, or None and a reason in ``missing`` where there should be one."""
    if given.images is None:
        return None, {}
    try:
        image, properties = read_image(given.images, case, dataset)
    except InputError as error:
        missing.append(not_shown(case, "image", error))
        return None, {}
    if image.shape != shape:
        reason = f"it has another shape, {image.shape}, than the labels, {shape}."
        missing.append(NotShown(case, "image", "another shape", reason))
        return None, properties
    return image, properties


def _predictions(
    runs: Sequence[Run], case: str, shape: tuple[int, ...], given: Given
) -> tuple[dict[str, list[Prediction]], list[NotShown]]:
    predictions: dict[str, list[Prediction]] = {}
    missing: list[NotShown] = []
    for run in runs:
        try:
            predictions[run.name] = read_predictions(run, case, dataset_of(run, given), shape)
        except InputError as error:
            missing.append(not_shown(case, f"pictures of {run.name}" if len(runs) > 1 else "pictures", error))
    if not predictions:
        raise NoSliceError(missing)
    return predictions, missing


def _window(
    references: Sequence[NDArray[Any]],
    ignored: NDArray[np.bool_],
    predictions: Mapping[str, Sequence[Prediction]],
    spacing: Sequence[float],
    properties: Mapping[str, Any],
) -> tuple[Window, str]:
    """Return the window on the worst slice, across the axis of the coarsest spacing, and its name."""
    axis = int(np.argmax(spacing))
    structures = np.zeros(ignored.shape, bool)
    error = np.zeros(ignored.shape[axis])
    in_plane = tuple(number for number in range(3) if number != axis)
    for of_run in predictions.values():
        for labels, held in zip(references, of_run, strict=True):
            looked_at = ((labels > 0) | (held.classes > 0)) & ~ignored
            difference = np.abs(held.confidence - (held.classes == labels))
            error += np.where(looked_at, difference, 0).sum(in_plane)
            structures |= looked_at
    return window_on(structures, axis, int(error.argmax()), spacing, properties)


def window_on(
    structures: NDArray[np.bool_],
    axis: int,
    number: int,
    spacing: Sequence[float],
    properties: Mapping[str, Any],
) -> tuple[Window, str]:
    """Return the window around a mask ``(z, y, x)`` in one slice across an axis, and the slice's name.

    Args:
        structures: what is to be seen.
        axis, number: the slice.
        spacing: mm along ``(z, y, x)``.
        properties: of the image, from which the sides of the patient are known.
    """
    layout = layout_of(properties, axis) if structures.shape[axis] > 1 else AS_STORED
    plane = layout.lay_out(np.take(structures, number, axis))
    millimetres = plane_spacing(spacing, Window(axis, number, layout, slice(None), slice(None)))
    rows = _bounds(np.asarray(plane.any(1)), millimetres[0])
    columns = _bounds(np.asarray(plane.any(0)), millimetres[1])
    return Window(axis, number, layout, rows, columns), _where(layout, number, structures.shape[axis])


def plane_spacing(spacing: Sequence[float], window: Window) -> tuple[float, float]:
    """Return mm per row and per column of a window."""
    rows, columns = (spacing[number] for number in range(3) if number != window.axis)
    return (columns, rows) if window.layout.transpose else (rows, columns)


def _bounds(occupied: NDArray[np.bool_], millimetres: float) -> slice:
    held = np.flatnonzero(occupied)
    if not held.size:
        return slice(None)
    margin = max(2, round(MARGIN_MM / millimetres))
    return slice(max(int(held[0]) - margin, 0), int(held[-1]) + margin + 1)


def _where(layout: Layout, number: int, of: int) -> str:
    if of == 1:
        return "the whole image is one slice"
    sides = f", {layout.sides}" if layout.sides else ", as stored in the file"
    return f"{layout.view} slice {number + 1} of {of}{sides}".strip()


def windowed(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image scaled to 0 to 1, without its extremes."""
    low, high = np.percentile(image, WINDOW_PERCENTILES)
    scaled: NDArray[np.float32] = np.clip((image - low) / max(float(high - low), 1e-12), 0, 1).astype(np.float32)
    return scaled
