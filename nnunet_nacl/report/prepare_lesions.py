"""The lesions of runs, read back, and the slices that show the worst false findings and missed lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
from nnunet_nacl.evaluation.probabilities import checksum
from nnunet_nacl.lesions import output as lesions_output
from nnunet_nacl.lesions.places import Place, place_of
from nnunet_nacl.report.case_files import Given, read_image, softmax_file
from nnunet_nacl.report.names import listed
from nnunet_nacl.report.not_shown import NotShown, not_shown
from nnunet_nacl.report.prepare_slices import CaseSlice, SliceOfRun, plane_spacing, window_on, windowed
from nnunet_nacl.study.run import Run


@dataclass(frozen=True)
class LesionsOfRun:
    """What lesions.json says of a run, and the folder that it lies in."""

    name: str
    folder: Path
    content: dict[str, Any]


@dataclass(frozen=True)
class ExtremeSlice:
    """A false finding or missed lesion, its slice, and the run that it is of."""

    run: str
    entry: dict[str, Any]
    shown: CaseSlice
    said: SliceOfRun


def find_lesions_of(runs: Sequence[Run], given: Sequence[Path] = ()) -> tuple[list[LesionsOfRun], list[str]]:
    """Return what there is of the lesions of runs, and why some of it is not shown.

    It is looked for in the folders that were given, one a run, or beside the predictions; what lies there and cannot be used is left out.

    Raises:
        InputError: a file in a given folder cannot be used, or another number of folders than of runs.
    """
    if given and len(given) != len(runs):
        raise InputError(
            f"expected a folder of --lesions for each of {len(runs)} results, in their order, but got {len(given)}."
        )
    places = given or [_beside(run) for run in runs]
    found: list[LesionsOfRun] = []
    left_out = []
    for run, place in zip(runs, places, strict=True):
        if not given and not (place / lesions_output.JSON_FILE).is_file():
            continue
        try:
            found.append(_read(run, place, found))
        except InputError as error:
            if given:
                raise
            left_out.append(f"The lesions of {run.name} are left out: {error}")
    return found, left_out


def _read(run: Run, place: Path, before: Sequence[LesionsOfRun]) -> LesionsOfRun:
    """Return a run's lesions; InputError where they are of other predictions, or were made otherwise than those before."""
    path = place / lesions_output.JSON_FILE
    content = lesions_output.read_json(path)
    if set(content["cases"]) != set(run.statistics):
        raise InputError(
            f"{path}: has other cases than {run.folder}. Run `nnunet-nacl lesions` on the same predictions."
        )
    changed = [case for case, files in content["provenance"]["files"]["cases"].items() if _is_another(run, case, files)]
    if changed:
        raise InputError(
            f"{path}: is of other predictions of {listed(changed)} than {run.folder}. Run `nnunet-nacl lesions` on these predictions."
        )
    for key in ("rules", "unit_of_intervals"):
        if before and content[key] != before[0].content[key]:
            raise InputError(
                f"{place} and {before[0].folder}: were made with other options of `nnunet-nacl lesions`. Run it alike on both."
            )
    return LesionsOfRun(run.name, place, content)


def _is_another(run: Run, case: str, files: Sequence[str]) -> bool:
    """Tell whether a run's softmax file is there, and another one than lesions were found in."""
    path = softmax_file(run, case) if case in run.statistics else None
    return path is not None and checksum(path) != (files[2] if len(files) > 2 else "")


def _beside(run: Run) -> Path:
    """Return where `lesions` writes for the predictions that a run was evaluated from."""
    predictions = run.folder.parent if run.folder.name == RESULT_FOLDER else run.folder
    return predictions / lesions_output.RESULT_FOLDER


def prepare_extremes(
    found: Sequence[LesionsOfRun], at_most: int, given: Given
) -> tuple[list[ExtremeSlice], list[NotShown]]:
    """Return the slices of the extremes of each run, at most so many of each, and what could not be shown."""
    shown: list[ExtremeSlice] = []
    missing: list[NotShown] = []
    for of_run in found:
        for entry in of_run.content["extremes"][:at_most]:
            try:
                shown.append(_slice(of_run, entry, given, missing))
            except InputError as error:
                missing.append(not_shown(entry["case"], f"picture of the {_words(entry)}", error))
    return shown, missing


def _words(entry: Mapping[str, Any]) -> str:
    return "worst false finding" if entry["kind"] == "finding" else "largest missed lesion"


def _slice(of_run: LesionsOfRun, entry: dict[str, Any], given: Given, missing: list[NotShown]) -> ExtremeSlice:
    place = place_of(of_run.content, of_run.folder, entry)
    geometry = place.label_map.geometry
    image, properties = _image(place, entry["case"], given, missing)
    axis = int(np.argmax(geometry.spacing))
    in_plane = tuple(number for number in range(3) if number != axis)
    number = int(place.component.sum(in_plane).argmax())
    window, where = window_on(place.component, axis, number, geometry.spacing, properties)
    rows_mm, columns_mm = plane_spacing(geometry.spacing, window)
    tall, wide = window.cut(place.component).shape
    shown = CaseSlice(
        case=entry["case"], region="", where=where, extent=(tall * rows_mm, wide * columns_mm), image=None if image is None else window.cut(image),
        labels=window.cut(place.labels), ignored=window.cut(place.ignored), runs={}, missing=(),
    )  # fmt: skip
    said = SliceOfRun(window.cut(place.predicted).astype(np.int16), window.cut(place.probability).astype(np.float32))
    return ExtremeSlice(of_run.name, entry, shown, said)


def _image(
    place: Place, case: str, given: Given, missing: list[NotShown]
) -> tuple[NDArray[np.float32] | None, Mapping[str, Any]]:
    if given.images is None:
        return None, {}
    try:
        image, properties = read_image(given.images, case, place.dataset)
    except InputError as error:
        missing.append(not_shown(case, "image", error))
        return None, {}
    return (windowed(image) if image.shape == place.component.shape else None), properties
