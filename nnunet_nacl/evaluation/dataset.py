"""What dataset.json and plans.json say about labels and files."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.calibration.overlap import LABEL_VALUES
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.labels import Region, labels_of
from nnunet_nacl.files import json_files


@dataclass(frozen=True)
class Dataset:
    """The labels of a data set and how its files are read.

    Attributes:
        name: nnU-Net's name, e.g. ``Dataset004_Hippocampus``.
        target_names: name of what each channel of a softmax file predicts, by its key in nnU-Net's summary.json: label values
            ("0", "1", ...), or regions ("(1, 2)", ...).
        regions: label values that each channel's region consists of; None where channels are labels.
        ignore_label: value of voxels without annotation, or None.
        file_ending: of the label files, e.g. ``.nii.gz``.
        reader: class name of nnU-Net's reader.
        region_labels: the label that nnU-Net writes where each channel is above 0.5, later channels over earlier ones
            (``regions_class_order``); empty where channels are labels.
    """

    name: str
    target_names: dict[str, str]
    regions: tuple[tuple[int, ...], ...] | None
    ignore_label: int | None
    file_ending: str
    reader: str
    region_labels: tuple[int, ...] = ()

    @property
    def num_channels(self) -> int:
        """Channels of a softmax file: the classes with background, or the regions."""
        return len(self.target_names)


def load_dataset(dataset_json: Path, plans_json: Path) -> Dataset:
    """Read dataset.json and plans.json.

    Args:
        dataset_json: nnU-Net's, of a data set or beside predictions; a task's own of the MSD is refused.
        plans_json: nnU-Net's plans, which name the reader of label files.

    Raises:
        InputError: a file is missing or is no such file, or nnU-Net refuses its labels.
    """
    dataset = _load_json(dataset_json, ("labels", "file_ending"))
    plans = _load_json(plans_json, ("dataset_name", "image_reader_writer", "configurations"))
    try:
        _check_labels(dataset["labels"])
        regions, order, ignore_label = labels_of(dataset, plans)
        return Dataset(
            name=str(plans["dataset_name"]),
            target_names=_label_names(dataset["labels"], dataset_json)
            if regions is None
            else _region_names(dataset["labels"], regions, dataset_json),
            regions=None if regions is None else tuple(_members(region) for region in regions),
            ignore_label=ignore_label,
            file_ending=str(dataset["file_ending"]),
            reader=str(plans["image_reader_writer"]),
            region_labels=() if regions is None else _region_labels(order),
        )
    except InputError:
        raise
    except Exception as error:  # nnU-Net does not check what it reads, and fails wherever it first does not fit
        raise InputError(f"{dataset_json}: nnU-Net refuses these labels ({first_line(error)}).") from error


def _check_labels(labels: dict[str, Any]) -> None:
    """Raise ValueError unless names can be printed and written and values are whole numbers, which nnU-Net would round to."""
    for name, value in labels.items():
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise ValueError(f"expected printable names, but got {name!r}")
        for member in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(member, float) and not member.is_integer():
                raise ValueError(f"expected whole numbers, but got {member}")


def _label_names(labels: dict[str, Any], dataset_json: Path) -> dict[str, str]:
    # a list of one label is a label, as nnU-Net has it: `kidney: [1]`
    names = {label: name for name, value in labels.items() if name != "ignore" for label in _members(value)}
    if sorted(names) != list(range(len(names))):
        raise InputError(f"{dataset_json}: expected consecutive labels from 0, as nnU-Net does, got {sorted(names)}.")
    return {str(value): names[value] for value in sorted(names)}


def _region_names(labels: dict[str, Any], regions: list[Region], dataset_json: Path) -> dict[str, str]:
    """Return the name of each region by its key in nnU-Net's summary.json, in the order of the channels."""
    # as nnU-Net's keys have it, `1` and `[1]` differ: of the same voxels, each with a name of its own
    named = {
        str(tuple(value) if isinstance(value, list) else value): name
        for name, value in labels.items()
        if name != "ignore"
    }
    names = {str(region): named[str(region)] for region in regions}
    if len(names) != len(regions):
        raise InputError(f"{dataset_json}: expected regions that differ, got {regions}.")
    return names


def _region_labels(order: Any) -> tuple[int, ...]:
    """Return the label that nnU-Net writes for each region; it writes uint16."""
    labels = tuple(int(label) for label in order)
    if not all(0 <= label < LABEL_VALUES for label in labels):
        raise ValueError(f"expected regions_class_order to hold labels below {LABEL_VALUES}, but got {list(labels)}")
    return labels


def _members(region: Any) -> tuple[int, ...]:
    return tuple(int(label) for label in region) if isinstance(region, (list, tuple)) else (int(region),)


def _is_of_msd(content: Any) -> bool:
    """Return whether this is a dataset.json in the MSD's form: modalities, names by value, and a list of training cases."""
    return isinstance(content, dict) and "modality" in content and "file_ending" not in content


def _load_json(path: Path, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json_files.read(path, finite=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Pass nnU-Net's {path.name} file.") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({first_line(error)}).") from error
    if _is_of_msd(content):
        raise InputError(
            f"{path}: is the dataset.json of a Medical Segmentation Decathlon task. nnU-Net makes its own of it "
            "(nnUNetv2_convert_MSD_dataset) and puts that beside predictions and models: leave out -djfile, or pass the one in "
            "nnUNet_raw."
        )
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}. Pass dataset.json as -djfile and plans.json as -pfile.")
    return content  # type: ignore[no-any-return]
