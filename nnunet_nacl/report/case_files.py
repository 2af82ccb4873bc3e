"""Reading the files behind a case again: image, label map and softmax files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.study.run import Run


@dataclass(frozen=True)
class Prediction:
    """What a softmax file says of each voxel, all ``(z, y, x)``.

    Attributes:
        classes: most probable class, int16.
        confidence: its probability, float32.
    """

    classes: NDArray[np.int16]
    confidence: NDArray[np.float32]


def dataset_of(run: Run) -> Dataset:
    """Return the data set that a run was evaluated with.

    Raises:
        InputError: dataset.json or plans.json is not where it was, or holds what cannot be pictured.
    """
    files = run.summary["provenance"].get("files", {})
    dataset = load_dataset(Path(files.get("dataset_json", "dataset.json")), Path(files.get("plans_json", "plans.json")))
    if dataset.regions is not None:
        raise InputError("Slices of region-based models are not drawn yet: their regions overlap.")
    return dataset


def case_entry(run: Run, case: str) -> dict[str, Any]:
    """Return the entry of a case in calibration.json."""
    entry: dict[str, Any] = next(entry for entry in run.summary["metric_per_case"] if entry["case"] == case)
    return entry


def read_case_labels(run: Run, case: str, dataset: Dataset) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return the label map ``(z, y, x)`` of a case and its spacing in mm.

    Raises:
        InputError: the file is gone or cannot be read.
    """
    path = Path(case_entry(run, case)["reference_file"])
    if not path.is_file():
        raise InputError(f"{path}: the label file is not there any more.")
    return dataset.read_labels(path)


def read_prediction(run: Run, case: str, dataset: Dataset, shape: tuple[int, ...]) -> Prediction:
    """Return the prediction of a run for a case, from its softmax file.

    The file is looked for where calibration.json says, then, since folders move, in the run's folder, and beside it where it is the
    folder ``calibration`` that ``evaluate`` makes among the softmax files.

    Raises:
        InputError: the file is gone or cannot be used.
    """
    written = Path(case_entry(run, case)["prediction_file"])
    places = [written, run.folder / written.name]
    if run.folder.name == RESULT_FOLDER:
        places.append(run.folder.parent / written.name)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise InputError(f"{written}: the softmax file is not there any more.")
    classes = np.zeros(shape, np.int16)
    confidence = np.full(shape, -1, np.float32)
    for number, channel in enumerate(open_probabilities(path, dataset.num_channels, shape).channels()):
        higher = channel > confidence
        classes[higher] = number
        np.copyto(confidence, channel, where=higher, casting="same_kind")
    return Prediction(classes, confidence)


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
        raise InputError(f"{path}: no such image.")
    try:
        image, properties = recursive_find_reader_writer_by_name(dataset.reader)().read_images([str(path)])
    except Exception as error:  # the reader's libraries each have exceptions of their own
        raise InputError(f"{path}: {dataset.reader} cannot read this image ({error}).") from error
    return image[0], properties
