"""Finding the files that go with a prediction folder where nnU-Net put them: dataset.json, plans.json, a fold's labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nnunetv2 import paths

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import mapping_if_any

DATASET_JSON = "dataset.json"
PLANS_JSON = "plans.json"
OPTIONS = {DATASET_JSON: "-djfile", PLANS_JSON: "-pfile"}
"""The option of our commands that names each file."""


def find_description(predictions: Path, name: str) -> Path:
    """Return ``dataset.json`` or ``plans.json`` of a prediction folder.

    ``nnUNetv2_predict`` puts both beside its predictions; those of a fold's ``validation`` lie in the model's folder, two levels
    above.

    Args:
        predictions: folder with ``<case>.npz``.
        name: :data:`DATASET_JSON` or :data:`PLANS_JSON`.

    Raises:
        InputError: there is no such folder, or the file is in neither place; the message says where was looked.
    """
    if not predictions.is_dir():
        raise InputError(f"{predictions}: no such folder.")
    model = _model_folder(predictions)
    folders = [predictions] if model is None else [predictions, model]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    places = " or in its model folder ".join(map(str, folders))
    raise InputError(f"found no {name} in {places}. Pass the one of this data set with {OPTIONS[name]}.")


def find_labels(predictions: Path, plans_json: Path) -> Path:
    """Return the folder with the label files of a fold's ``validation``, as nnU-Net stored them for this data set.

    Args:
        predictions: folder with ``<case>.npz``.
        plans_json: names the data set.

    Raises:
        InputError: these are no validation cases, so nnU-Net knows no labels of them, or the labels are in neither place.
    """
    if _model_folder(predictions) is None:
        raise InputError(
            f"{predictions}: is no fold_X/validation of a training, so nnU-Net has no labels of these cases. Pass the folder "
            "of their label files with -gt."
        )
    name = str(mapping_if_any(plans_json).get("dataset_name", ""))
    places = list(label_places(name)) if name else []
    for folder in places:
        if folder.is_dir():
            return folder
    unset = [str(path) for path in ("nnUNet_preprocessed", "nnUNet_raw") if not getattr(paths, path).is_set()]
    looked = " or ".join(map(str, places)) or "nnU-Net's folders"
    reason = f"; {' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set" if unset else ""
    raise InputError(f"{predictions}: found no labels of its cases in {looked}{reason}. Pass their folder with -gt.")


def label_places(dataset_name: str) -> Iterator[Path]:
    """Yield where nnU-Net keeps the labels of a data set's training cases, the place to prefer first.

    ``gt_segmentations`` is what nnU-Net's own validation is compared with, and stays where raw data are archived.
    """
    if paths.nnUNet_preprocessed.is_set():
        yield Path(str(paths.nnUNet_preprocessed), dataset_name, "gt_segmentations")
    if paths.nnUNet_raw.is_set():
        yield Path(str(paths.nnUNet_raw), dataset_name, "labelsTr")


def _model_folder(predictions: Path) -> Path | None:
    """Return ``<trainer>__<plans>__<configuration>`` of a folder in its ``fold_X``, such as ``validation``, or None."""
    fold = predictions.resolve().parent
    return fold.parent if fold.name.startswith("fold_") else None
