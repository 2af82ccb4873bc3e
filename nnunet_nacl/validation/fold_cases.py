"""The validation cases of a fold, and where nnU-Net has their images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2 import paths
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.cases import case_names
from nnunet_nacl.files import json_files
from nnunet_nacl.nnunet.image_files import images_in
from nnunet_nacl.nnunet.prediction_folder import label_places
from nnunet_nacl.validation.case_inputs import PREPROCESSED_ENDINGS, CaseInput, PreprocessedCase, RawCase
from nnunet_nacl.validation.model import ALL, TrainedModel
from nnunet_nacl.validation.network import FoldPredictor

SPLITS_FILE = "splits_final.json"

PREPROCESSED_BY = (
    "data_identifier", "preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data",
    "resampling_fn_data_kwargs",
)  # fmt: skip
"""What of a configuration the preprocessed images depend on; of the plans there are the transposition and the intensities."""
PLANNED = ("transpose_forward", "foreground_intensity_properties_per_channel", "image_reader_writer")


def validation_cases(model: TrainedModel, labels: Path) -> dict[str, list[str]]:
    """Return the names of the validation cases of each fold, as nnU-Net has them.

    Args:
        model: whose folds they are.
        labels: folder of label files; all of them are those of ``fold_all``.

    Raises:
        InputError: nnU-Net's file of the split is missing or does not have a fold.
    """
    found: dict[str, list[str]] = {}
    for fold in model.folds:
        if fold == ALL:
            found[fold] = sorted(case_names(labels, model.dataset.file_ending))
            continue
        found[fold] = sorted(_val_cases(model, _number(fold, model)))
    owner: dict[str, str] = {}
    for fold, names in found.items():
        for name in names:
            if name in owner:
                raise InputError(
                    f"{name} is a validation case of {owner[name]} and of {fold}. Name folds with -f that share none."
                )
            owner[name] = fold
    return found


def label_folder(model: TrainedModel) -> Path:
    """Return where nnU-Net has the labels of the training cases.

    Raises:
        InputError: in neither of its folders.
    """
    places = list(label_places(model.dataset.name))
    for folder in places:
        if folder.is_dir():
            return folder
    if not places:
        raise InputError(
            f"{model.folder}: nnUNet_preprocessed and nnUNet_raw are not set; the labels of {model.dataset.name} and {SPLITS_FILE} are "
            "there. Set them as for the training."
        )
    looked = " or ".join(map(str, places))
    raise InputError(
        f"{model.folder}: found no labels of {model.dataset.name} in {looked}. Pass their folder with -gt."
    )


def inputs_of(model: TrainedModel, predictor: FoldPredictor, names: Sequence[str]) -> dict[str, CaseInput]:
    """Return for each case its preprocessed data, where they are there and of the model's plans, or else its raw images.

    Raises:
        InputError: a case has neither, or a cascade's previous stage has not predicted it.
    """
    folder = _preprocessed_folder(model, predictor)
    previous = _previous_stage(model, predictor, folder)
    raw = _RawImages(model, predictor)
    found: dict[str, CaseInput] = {}
    for name in names:
        if folder is not None and _is_preprocessed(folder, name):
            if previous is not None and not _is_preprocessed(previous, name, properties=False):
                raise InputError(
                    _NOT_PREDICTED.format(stage=predictor.configuration.previous_stage_name, name=name, folder=previous)
                )
            found[name] = PreprocessedCase(name, folder, previous)
        elif previous is not None:
            raise InputError(f"{name}: a cascade is validated on preprocessed data, and {folder} does not have them.")
        else:
            found[name] = raw.of(name)
    return found


_NOT_PREDICTED = (
    "{name}: the network takes the segmentation of the stage {stage} as input, and {folder} does not have it. "
    "`nnUNetv2_train ... {stage} FOLD --val` of that stage writes it."
)


def _previous_stage(model: TrainedModel, predictor: FoldPredictor, folder: Path | None) -> Path | None:
    """Return where the previous stage of a cascade has left its segmentations; None where there is no such stage."""
    stage = predictor.configuration.previous_stage_name
    if stage is None:
        return None
    place = model.sibling(stage) / "predicted_next_stage" / predictor.configuration_name
    if folder is None:
        raise InputError(
            f"{model.folder}: a cascade is validated on preprocessed data, and nnUNet_preprocessed has none of its plans."
        )
    if not place.is_dir():
        raise InputError(_NOT_PREDICTED.format(stage=stage, name=model.folder.name, folder=place))
    return place


def _is_preprocessed(folder: Path, name: str, properties: bool = True) -> bool:
    data = any((folder / f"{name}{ending}").is_file() for ending in PREPROCESSED_ENDINGS)
    return data and (not properties or (folder / f"{name}.pkl").is_file())


def _preprocessed_folder(model: TrainedModel, predictor: FoldPredictor) -> Path | None:
    """Return the folder of preprocessed data, or None where there is none or it is of other plans than the model's."""
    if not paths.nnUNet_preprocessed.is_set():
        return None
    of_dataset = Path(str(paths.nnUNet_preprocessed), model.dataset.name)
    folder = of_dataset / predictor.configuration.data_identifier
    stored = json_files.mapping_if_any(of_dataset / f"{predictor.plans.plans_name}.json")
    if not folder.is_dir() or not stored:
        return None
    try:
        ours = _relevant(predictor.plans, predictor.configuration_name)
        theirs = _relevant(PlansManager(stored), predictor.configuration_name)
    except (KeyError, RuntimeError, ValueError, TypeError):
        return None
    return folder if ours == theirs else None


def _relevant(plans: PlansManager, configuration: str) -> dict[str, Any]:
    of_configuration = plans.get_configuration(configuration).configuration
    return {key: of_configuration.get(key) for key in PREPROCESSED_BY} | {key: plans.plans.get(key) for key in PLANNED}


class _RawImages:
    """The images of the training cases in nnUNet_raw."""

    def __init__(self, model: TrainedModel, predictor: FoldPredictor) -> None:
        self._name, self._num_channels = model.dataset.name, predictor.num_channels
        self._ending, self._listed = model.dataset.file_ending, model.dataset_json.get("dataset")
        self._reader = model.dataset.reader

    def of(self, name: str) -> RawCase:
        if not paths.nnUNet_raw.is_set():
            raise InputError(
                f"{name}: nnUNet_preprocessed has no data of it for this model, and nnUNet_raw is not set. "
                "Preprocess the data set, or set nnUNet_raw."
            )
        folder = Path(str(paths.nnUNet_raw), self._name)
        if self._listed is None:
            return RawCase(name, images_in(folder / "imagesTr", name, self._num_channels, self._ending, self._reader))
        try:
            images = tuple(folder / os.path.expandvars(image) for image in self._listed[name]["images"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{name}: `dataset` of dataset.json does not name its images ({first_line(error)})."
            ) from error
        return RawCase(name, images)


def _number(fold: str, model: TrainedModel) -> int:
    text = fold.removeprefix("fold_")
    if not text.isdecimal():
        raise InputError(f"{model.folder / fold}: expected a fold with a number, or fold_all.")
    return int(text)


def _val_cases(model: TrainedModel, fold: int) -> list[str]:
    if not paths.nnUNet_preprocessed.is_set():
        raise InputError(
            f"nnUNet_preprocessed is not set; its {SPLITS_FILE} says which cases are of which fold. Set it, or evaluate a test "
            "set with --images and --labels."
        )
    path = Path(str(paths.nnUNet_preprocessed), model.dataset.name, SPLITS_FILE)
    try:
        splits = [[str(name) for name in split["val"]] for split in json_files.read(path, finite=False)]
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); it says which cases are of which fold."
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: is not nnU-Net's file of the folds ({first_line(error)}).") from error
    if fold >= len(splits):
        raise InputError(
            f"{path}: has {len(splits)} folds and none of number {fold}; nnU-Net then draws cases at random, which is not "
            "supported."
        )
    return splits[fold]
