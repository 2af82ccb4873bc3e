"""Reading the files behind a case again: image, label map and softmax files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import label_files
from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.evaluation.stored_paths import places_of
from nnunet_nacl.study.run import Run


class MissingFileError(InputError):
    """A file is in none of the places where it may be.

    Attributes:
        what: which file it is, for instance ``label file``.
        places: where it was looked for.
    """

    def __init__(self, what: str, places: Iterable[Path]) -> None:
        self.what = what
        self.places = tuple(dict.fromkeys(places))
        super().__init__(f"{self.what} not found. Looked for {' and '.join(map(str, _telling(self.places)))}.")


@dataclass(frozen=True)
class Given:
    """Files that the user named; None where they are looked for.

    Attributes:
        images: nnU-Net's folder of images; None: no images are shown.
        dataset_json, plans_json: of the data set.
    """

    images: Path | None = None
    dataset_json: Path | None = None
    plans_json: Path | None = None


@dataclass(frozen=True)
class Prediction:
    """What a softmax file says of each voxel, all ``(z, y, x)``.

    Attributes:
        classes: most probable class, int16; of a region its number from 1 where its probability is above one half, otherwise 0.
        confidence: its probability, float32; of a region that of inside or outside.
    """

    classes: NDArray[np.int16]
    confidence: NDArray[np.float32]


def dataset_of(run: Run, given: Given) -> Dataset:
    """Return the data set that a run was evaluated with.

    Raises:
        InputError: dataset.json or plans.json is not where it was, and was not given, or it is none.
    """
    paths = [
        named or _find(name.replace("_", "."), _places_of_description(run, name))
        for name, named in (("dataset_json", given.dataset_json), ("plans_json", given.plans_json))
    ]
    return load_dataset(*paths)


def told_apart(labels: NDArray[Any], dataset: Dataset) -> dict[str, NDArray[Any]]:
    """Return what is pictured of a label map: the classes, under an empty name, or a mask of each region with its number from 1."""
    if dataset.regions is None:
        return {"": labels}
    regions = zip(dataset.target_names.values(), dataset.regions, strict=True)
    return {
        name: np.int16(number) * np.isin(labels, members) for number, (name, members) in enumerate(regions, start=1)
    }


def case_entry(run: Run, case: str) -> dict[str, Any]:
    """Return the entry of a case in calibration.json."""
    entry: dict[str, Any] = next(entry for entry in run.summary["metric_per_case"] if entry["case"] == case)
    return entry


def read_case_labels(run: Run, case: str, dataset: Dataset) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return the label map ``(z, y, x)`` of a case and its spacing in mm.

    Raises:
        InputError: the file is gone or cannot be read.
    """
    entry = case_entry(run, case)
    path = _find("label file", _places(run, entry["reference_file"]))
    # TIFF labels may have their spacing beside the prediction
    softmax = softmax_file(run, case) or Path(entry["prediction_file"])
    label_map = label_files.read_case_labels(Case(case, softmax, path), dataset)
    return label_map.values, label_map.geometry.spacing


def softmax_file(run: Run, case: str) -> Path | None:
    """Return the softmax file of a case, looked for as :func:`read_predictions` does; None where it is nowhere."""
    return next((place for place in _softmax_places(run, case) if _is_file(place)), None)


def read_predictions(run: Run, case: str, dataset: Dataset, shape: tuple[int, ...]) -> list[Prediction]:
    """Return the prediction of a run for a case, from its softmax file: one of all classes, or one of each region.

    The file is looked for where calibration.json says, then, since folders move, in the run's folder, and beside it where it is the
    folder ``calibration`` that ``evaluate`` makes among the softmax files. Where there never was one, the case is predicted again.

    Raises:
        InputError: the file is gone or cannot be used, or the case cannot be predicted again.
    """
    channels: Iterable[NDArray[Any]]
    try:
        path = _find("softmax file", _softmax_places(run, case))
    except MissingFileError:
        if run.predict_again is None:
            raise
        channels = run.predict_again(case)
    else:
        channels = open_probabilities(path, dataset.num_channels, shape).channels()
    if dataset.regions is not None:
        return [_of_region(number, channel) for number, channel in enumerate(channels, start=1)]
    classes = np.zeros(shape, np.int16)
    confidence = np.full(shape, -1, np.float32)
    for number, channel in enumerate(channels):
        higher = channel > confidence
        classes[higher] = number
        np.copyto(confidence, channel, where=higher, casting="same_kind")
    return [Prediction(classes, confidence)]


def _of_region(number: int, channel: NDArray[Any]) -> Prediction:
    inside = channel.astype(np.float32)
    return Prediction(np.int16(number) * (inside > 0.5), np.maximum(inside, 1 - inside))


def read_image(folder: Path, case: str, dataset: Dataset) -> tuple[NDArray[Any], Mapping[str, Any]]:
    """Return the first channel of a case's image, ``(z, y, x)``, and the properties that nnU-Net's reader gives.

    Args:
        folder: nnU-Net's imagesTr or imagesTs.
        case: name of the case.
        dataset: names the reader and the file ending.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    path = folder / f"{case}_0000{dataset.file_ending}"
    if Path(case).name != case or not path.is_file():
        raise MissingFileError("image", [path])
    try:
        image, properties = recursive_find_reader_writer_by_name(dataset.reader)().read_images([str(path)])
    except Exception as error:  # the reader's libraries each have exceptions of their own
        raise InputError(f"{path}: {dataset.reader} cannot read this image ({error}).") from error
    return image[0], properties


def _places(run: Run, stored: str) -> Iterator[Path]:
    return places_of(stored, run.summary["provenance"].get("folder", ""), run.folder)


def _softmax_places(run: Run, case: str) -> list[Path]:
    written = case_entry(run, case)["prediction_file"]
    places = [*_places(run, written), run.folder / Path(written).name]
    if run.folder.name == RESULT_FOLDER:
        places.append(run.folder.parent / Path(written).name)
    return places


def _places_of_description(run: Run, name: str) -> Iterator[Path]:
    """Yield where dataset.json or plans.json may be: where they were, or where nnU-Net puts them for softmax files."""
    for files in _all_files(run.summary["provenance"]["files"]):
        if isinstance(files.get(name), str):
            yield from _places(run, files[name])
    for entry in run.summary["metric_per_case"][:1]:
        for place in _places(run, entry["prediction_file"]):
            for folder in (place.parent, place.parent.parent.parent):
                yield folder / name.replace("_", ".")


def _all_files(files: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the files of a result, and those of each part of a merged one."""
    yield files
    parts = files.get("merged", [])
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict):
            yield from _all_files(part)


def _find(what: str, places: Iterable[Path]) -> Path:
    tried = []
    for place in places:
        if _is_file(place):
            return place
        tried.append(place)
    raise MissingFileError(what, tried)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False


def _telling(places: tuple[Path, ...], at_most: int = 2) -> tuple[Path, ...]:
    """Return the first and the last of many places."""
    return places if len(places) <= at_most else (places[0], places[-1])
