"""Finding the cases to evaluate: each softmax file with its label file, or an error that names what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.errors import InputError

HOW_TO_SAVE = "Save the probabilities with `nnUNetv2_train ... --npz` or `nnUNetv2_predict ... --save_probabilities`."


@dataclass(frozen=True)
class Case:
    """One case: its name, the softmax file and the label file."""

    name: str
    probabilities: Path
    labels: Path


def find_cases(gt_folder: Path, pred_folder: Path, file_ending: str) -> list[Case]:
    """Return the cases of a prediction folder, sorted by name.

    Labels without a prediction are fine (a fold predicts part of the data set), predictions without labels are not.

    Raises:
        InputError: a folder is missing or has no softmax file, a segmentation has no softmax file, or a softmax file has
            no label file.
    """
    for folder in (gt_folder, pred_folder):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder.")
    names = sorted(path.name.removesuffix(".npz") for path in pred_folder.glob("*.npz") if _is_case(path))
    segmentations = sorted(path.name.removesuffix(file_ending) for path in pred_folder.glob(f"*{file_ending}"))
    without_npz = sorted(set(segmentations) - set(names))
    if without_npz:
        raise InputError(f"{pred_folder}: no softmax file (.npz) for {_listed(without_npz)}. {HOW_TO_SAVE}")
    if not names:
        raise InputError(f"{pred_folder}: no softmax file (.npz). {HOW_TO_SAVE}")
    cases = [Case(name, pred_folder / f"{name}.npz", gt_folder / f"{name}{file_ending}") for name in names]
    without_labels = [case.name for case in cases if not case.labels.is_file()]
    if without_labels:
        raise InputError(
            f"{gt_folder}: no label file ({file_ending}) for {_listed(without_labels)}, predicted in {pred_folder}."
        )
    return cases


def select_part(cases: list[Case], num_parts: int, part_id: int) -> list[Case]:
    """Return every ``num_parts``-th case from ``part_id`` on, as nnUNetv2_predict splits its cases.

    Raises:
        InputError: ``part_id`` is not one of 0 to ``num_parts`` - 1.
    """
    if not 0 <= part_id < num_parts:
        raise InputError(f"Expected a -part_id from 0 to {num_parts - 1} (-num_parts {num_parts}), but got {part_id}.")
    return cases[part_id::num_parts]


def _is_case(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "calibration_"))


def _listed(names: list[str], at_most: int = 5) -> str:
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
