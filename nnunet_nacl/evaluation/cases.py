"""Finding the cases to evaluate: each softmax file with its label file, or an error that names what is missing."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.calibration.voxel_sets import VOXEL_SETS
from nnunet_nacl.errors import InputError

HOW_TO_SAVE = "Save the probabilities with `nnUNetv2_train ... --npz` or `nnUNetv2_predict ... --save_probabilities`."

OUR_FILES = frozenset({"calibration_bins.npz", *(f"reliability_{name}.png" for name in VOXEL_SETS)})
"""Files that `evaluate` writes beside softmax files or PNG segmentations with their ending. Whole names: a case may be called calibration_1."""


@dataclass(frozen=True)
class Case:
    """One case: its name, the softmax file, the label file, and the segmentation that nnU-Net saved, where it is there."""

    name: str
    probabilities: Path
    labels: Path
    segmentation: Path | None = None


def find_cases(gt_folder: Path, pred_folder: Path, file_ending: str) -> list[Case]:
    """Return the cases of a prediction folder, sorted by name.

    Labels without a prediction are fine (a fold predicts part of the data set), predictions without labels are not. Hidden
    files are left out, names are compared as they are written, on systems that ignore case as well.

    Args:
        gt_folder: folder with the label files.
        pred_folder: folder with ``<case>.npz``, and the segmentations if nnU-Net saved them.
        file_ending: of labels and segmentations, with its dot: ``.nii.gz``, ``.nrrd``, ``.mha``, ``.tif``, ``.png``, ...

    Raises:
        InputError: a folder is missing or has no softmax file, a segmentation has no softmax file, a softmax file has
            no label file, or the names of two cases differ in upper and lower case only.
    """
    labelled = case_names(gt_folder, file_ending)
    names = sorted(case_names(pred_folder, ".npz"))
    segmented = case_names(pred_folder, file_ending)
    without_npz = sorted(segmented - set(names))
    if without_npz:
        raise InputError(f"{pred_folder}: no softmax file (.npz) for {_listed(without_npz)}. {HOW_TO_SAVE}")
    if not names:
        raise InputError(f"{pred_folder}: no softmax file (.npz). {HOW_TO_SAVE}")
    _check_distinct(pred_folder, names)
    without_labels = [name for name in names if name not in labelled]
    if without_labels:
        raise InputError(
            f"{gt_folder}: no label file ({file_ending}) for {_listed(without_labels)}, predicted in {pred_folder}."
        )
    return [
        Case(
            name,
            pred_folder / f"{name}.npz",
            gt_folder / f"{name}{file_ending}",
            pred_folder / f"{name}{file_ending}" if name in segmented else None,
        )
        for name in names
    ]


def select_part(cases: Sequence[Case], num_parts: int, part_id: int) -> list[Case]:
    """Return every ``num_parts``-th case from number ``part_id`` on: what ``nnUNetv2_predict -num_parts -part_id`` predicts.

    The parts of one list share no case and together are the list, in any order. Where there are fewer cases than parts, the last
    parts are empty, as nnU-Net's are.

    Args:
        cases: sorted by name; the same for each part, so all predictions have to be there.
        num_parts: number of parts, at least 1.
        part_id: from 0 to ``num_parts - 1``.

    Raises:
        InputError: there is no such part.
    """
    if num_parts < 1:
        raise InputError(f"Expected -num_parts to be at least 1, but got {num_parts}.")
    if not 0 <= part_id < num_parts:
        raise InputError(f"Expected a -part_id from 0 to {num_parts - 1} (-num_parts {num_parts}), but got {part_id}.")
    return list(cases[part_id::num_parts])


def case_names(folder: Path, ending: str) -> set[str]:
    """Return the names of the cases that have a file with this ending in a folder.

    Raises:
        InputError: the folder is missing or cannot be listed.
    """
    try:
        listed = [path.name for path in folder.iterdir()]
    except OSError as error:
        reason = "no such folder" if not folder.is_dir() else f"cannot be listed ({error.strerror})"
        raise InputError(f"{folder}: {reason}.") from error
    return {
        name.removesuffix(ending)
        for name in listed
        if name.endswith(ending) and not name.startswith(".") and name not in OUR_FILES
    }


def _check_distinct(folder: Path, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise InputError(
                f"{folder}: expected one softmax file a case, but got {other}.npz and {name}.npz, which are one file on "
                "systems that ignore case. Remove or rename one of them."
            )


def _listed(names: list[str], at_most: int = 5) -> str:
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
