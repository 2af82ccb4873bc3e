"""The findings and lesions of prediction folders."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.evaluation.cases import Case, find_cases
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.label_files import LabelMap, read_case_labels
from nnunet_nacl.evaluation.probabilities import checksum, open_probabilities
from nnunet_nacl.evaluation.remarks import SEGMENTATION_DIFFERS, SHEARED, SPACING_ASSUMED, gather
from nnunet_nacl.evaluation.saved_segmentation import remarks_on_geometry, remarks_on_saved
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.validation_cases import remarks_on_cases
from nnunet_nacl.evaluation.workers import Warn, evaluate_each
from nnunet_nacl.lesions.array_arguments import Place
from nnunet_nacl.lesions.case_lesions import CaseLesions
from nnunet_nacl.lesions.find import lesions_of_case
from nnunet_nacl.lesions.rules import Rules

Progress = Callable[[int, int], None]
"""Called with the number of finished cases and of all cases."""


MEANINGS = {
    SEGMENTATION_DIFFERS: (
        "the saved segmentation differs from that of its probabilities (postprocessing changes it, and before 2.7 nnU-Net's "
        "ensembling of region-based models did); findings and their confidence are those of the probabilities"
    ),
    SPACING_ASSUMED: ("no file contains the spacing of the voxels: sizes, also those of --sizes, are in voxels"),
}
"""What remarks mean here, where that is another than for an evaluation."""


@dataclass(frozen=True)
class FolderLesions:
    """One or several prediction folders.

    Attributes:
        cases: sorted by name.
        dataset: how it was read.
        rules: what counted.
        remarks: what to know of some cases before believing the figures, by kind.
        files: the folders and files that were read; under ``cases`` those of each case by its name: softmax file, label file,
            and the checksum of the probabilities.
        groups: the patient of each case; None: each case is its own.
    """

    cases: tuple[CaseLesions, ...]
    dataset: Dataset
    rules: Rules
    remarks: dict[str, Any]
    files: dict[str, Any]
    groups: list[str] | None = None


def lesions_of_folders(
    gt_folder: Path,
    pred_folders: Sequence[Path],
    dataset_json: Path,
    plans_json: Path,
    rules: Rules,
    num_processes: int = 1,
    max_memory: int | None = None,
    progress: Progress = lambda done, of: None,
    warn: Warn = warnings.warn,
    classes: Sequence[str] | None = None,
    groups: Groups | None = None,
) -> FolderLesions:
    """Return the findings and lesions of all cases of one or several prediction folders.

    Args:
        gt_folder: folder with the label files.
        pred_folders: folders with ``<case>.npz``, as nnU-Net saves them; of several folds, or one.
        dataset_json: nnU-Net's ``dataset.json``.
        plans_json: nnU-Net's plans file.
        rules: what is a finding's confidence, and when it is true.
        num_processes, max_memory, warn: as in :func:`~nnunet_nacl.evaluation.workers.evaluate_each`.
        progress: called at the start and after each case.
        classes: names of the classes or regions to look at; None: all.
        groups: the patient of each case.

    Raises:
        InputError: files that are missing or cannot be used, a class that there is not, or a case without group; the first case at
            fault stops it.
    """
    dataset = load_dataset(dataset_json, plans_json)
    cases = _all_cases(gt_folder, pred_folders, dataset.file_ending)
    of_cases = None if groups is None else groups.of(case.name for case in cases)
    chosen = _chosen(dataset, classes, dataset_json)
    found: dict[str, tuple[CaseLesions, dict[str, str]]] = {}
    progress(0, len(cases))
    work = partial(_of_case, dataset=dataset, rules=rules, chosen=chosen)
    for lesions, remarks in evaluate_each(cases, work, num_processes, max_memory, warn):
        found[lesions.case] = lesions, remarks
        progress(len(found), len(cases))
    trained = remarks_on_cases(cases, dataset.name)
    said = [(case.name, found[case.name][1] | trained.get(case.name, {})) for case in cases]
    given = {"labels": gt_folder, "dataset_json": dataset_json, "plans_json": plans_json}
    files: dict[str, Any] = {name: absolute(path) for name, path in given.items()}
    files["predictions"] = [absolute(folder) for folder in pred_folders]
    files["cases"] = {
        case.name: [absolute(case.probabilities), absolute(case.labels), checksum(case.probabilities)] for case in cases
    }
    lesions_of_cases = tuple(found[case.name][0] for case in cases)
    return FolderLesions(lesions_of_cases, dataset, rules, gather(said, MEANINGS), files, of_cases)


def _all_cases(gt_folder: Path, pred_folders: Sequence[Path], file_ending: str) -> list[Case]:
    """Return the cases of all folders, sorted by name; InputError where one is in two of them."""
    found: dict[str, Case] = {}
    for folder in pred_folders:
        for case in find_cases(gt_folder, folder, file_ending):
            other = found.setdefault(case.name, case)
            if other is not case:
                raise InputError(
                    f"{case.name}: is in {other.probabilities.parent} and in {folder}. Expected folders that share no case, as the folds of a "
                    "cross-validation."
                )
    return [found[name] for name in sorted(found)]


def _chosen(dataset: Dataset, classes: Sequence[str] | None, dataset_json: Path) -> tuple[int, ...]:
    """Return the numbers of the classes or regions to look at."""
    names = dict(enumerate(dataset.target_names.values()))
    if dataset.regions is None:
        del names[0]
    unknown = next((name for name in classes or () if name not in names.values()), None)
    if unknown is not None:
        raise InputError(
            f"{dataset_json}: has no {'class' if dataset.regions is None else 'region'} {unknown!r} for --class. There are "
            f"{', '.join(names.values())}."
        )
    return tuple(number for number, name in names.items() if classes is None or name in classes)


def _of_case(case: Case, dataset: Dataset, rules: Rules, chosen: tuple[int, ...]) -> tuple[CaseLesions, dict[str, str]]:
    label_map = read_case_labels(case, dataset)
    file = open_probabilities(case.probabilities, dataset.num_channels, label_map.values.shape)
    try:
        lesions, segmentation = lesions_of_case(
            file,
            label_map.values,
            *_place(label_map),
            tuple(dataset.target_names.values()),
            dataset.regions,
            dataset.region_labels,
            dataset.ignore_label,
            rules,
            case.name,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error
    remarks = remarks_on_geometry(label_map) | remarks_on_saved(case, dataset, segmentation, label_map)
    remarks.pop(SHEARED, None)  # sizes and centroids are right all the same
    return lesions.only(chosen), remarks


def _place(label_map: LabelMap) -> Place:
    """Return where the voxels lie: without a spacing sizes are in voxels, without a position there are no centroids in mm."""
    geometry = label_map.geometry
    affine = geometry.affine if geometry.has_position else np.full((4, 4), np.nan)
    if math.isnan(geometry.voxel_volume_mm3):
        return Place(affine, math.nan, "pixels")
    return Place(affine, geometry.voxel_volume_mm3, "mm3") if label_map.is_known else Place(affine, math.nan, "voxels")
