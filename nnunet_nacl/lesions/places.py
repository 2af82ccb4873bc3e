"""Where a finding or lesion of a result lies: its case's files read again, its component found again by its number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.label_files import LabelMap, read_case_labels
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.evaluation.stored_paths import here
from nnunet_nacl.lesions.components import Connectivity, components_of
from nnunet_nacl.lesions.predicted_labels import channels, predicted_classes, predicted_regions


@dataclass(frozen=True)
class Place:
    """A finding or lesion in its case; arrays are ``(z, y, x)``.

    Attributes:
        component: its voxels.
        structure: its class, or the number of its region from 1.
        label_map: of the label file.
        labels, predicted: labels and the predicted label map; of a region its mask with its number.
        probability: of its class or region.
        ignored: voxels without annotation.
        dataset: of the case.
    """

    component: NDArray[np.bool_]
    structure: int
    label_map: LabelMap
    labels: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[np.floating[Any]]
    ignored: NDArray[np.bool_]
    dataset: Dataset


def place_of(content: dict[str, Any], folder: Path, entry: dict[str, Any]) -> Place:
    """Return where an entry of ``extremes`` lies.

    Args:
        content: of lesions.json.
        folder: where that is now; files that were moved with it are found from there.
        entry: the finding or lesion.

    Raises:
        InputError: a file is gone or another one, so that there is no such component any more.
    """
    files, into = content["provenance"]["files"], content["provenance"]["folder"]

    def found(stored: str) -> Path:
        return Path(here(stored, into, folder))

    dataset = load_dataset(found(files["dataset_json"]), found(files["plans_json"]))
    paths = [found(stored) for stored in files["cases"].get(entry["case"], [])[:2]]
    names = list(dataset.target_names.values())
    connectivity = content["rules"]["connectivity"]
    if len(paths) != 2 or entry["class"] not in names or connectivity not in get_args(Connectivity):
        raise InputError(f"{entry['case']}: does not say where its files are. Run `nnunet-nacl lesions` again.")
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing}: no such file.")
    label_map = read_case_labels(Case(entry["case"], *paths), dataset)
    labels: NDArray[Any]
    labels, ignored = _annotated(label_map.values, dataset)
    predicted, probability = _predicted(paths[0], labels, dataset, names.index(entry["class"]))
    if dataset.regions is not None:
        members = list(dataset.regions[names.index(entry["class"])])
        labels, predicted = np.isin(labels, members), np.isin(predicted, members)
    numbers = components_of(predicted if entry["kind"] == "finding" else labels, connectivity).numbers
    component = numbers == entry["number"]
    if not component.any() or not entry["number"]:
        raise InputError(f"{paths[0]}: has no such {entry['kind']} any more. Run `nnunet-nacl lesions` again.")
    structure = names.index(entry["class"]) + (dataset.regions is not None)
    if dataset.regions is not None:
        labels, predicted = np.int16(structure) * labels, np.int16(structure) * predicted
    return Place(component, structure, label_map, labels, predicted, probability, ignored, dataset)


def _annotated(values: NDArray[Any], dataset: Dataset) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    ignored = np.zeros(values.shape, bool) if dataset.ignore_label is None else values == dataset.ignore_label
    return np.where(ignored, 0, values).astype(np.int16), ignored


def _predicted(
    path: Path, labels: NDArray[np.int16], dataset: Dataset, number: int
) -> tuple[NDArray[Any], NDArray[np.floating[Any]]]:
    """Return the label map that nnU-Net writes, and the probability of one channel."""
    file = open_probabilities(path, dataset.num_channels, labels.shape)
    try:
        if dataset.regions is None:
            predicted: NDArray[Any] = predicted_classes(file.blocks(), components_of(labels)).segmentation
        else:
            predicted = predicted_regions(file.blocks(), labels.shape, dataset.region_labels)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    for channel, values in enumerate(channels(file.blocks(), labels.shape)):
        if channel == number:
            return predicted, values.copy()
    raise InputError(f"{path}: has no channel {number}.")
