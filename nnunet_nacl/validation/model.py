"""A trained model as nnU-Net keeps it: its folder, its folds, and what its plans say of the images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.nnunet.model_folder import folds_with, parts_of
from nnunet_nacl.nnunet.prediction_folder import DATASET_JSON, PLANS_JSON

ALL = "fold_all"
"""Trained on all cases, which nnU-Net then "validates" it on."""


@dataclass(frozen=True)
class TrainedModel:
    """nnU-Net's folder ``<trainer>__<plans>__<configuration>``.

    Attributes:
        folder: where it is.
        folds: names of the folders of its folds that are looked at, ``fold_0``, ...
        checkpoint_name: the file in each.
        dataset: labels and files, as the evaluator has them.
        dataset_json, plans: content of the files in the folder.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint_name: str
    dataset: Dataset
    dataset_json: dict[str, Any]
    plans: dict[str, Any]

    @property
    def files(self) -> tuple[Path, Path]:
        """``dataset.json`` and ``plans.json``."""
        return self.folder / DATASET_JSON, self.folder / PLANS_JSON

    def checkpoint(self, fold: str) -> Path:
        """Return the checkpoint of a fold."""
        return self.folder / fold / self.checkpoint_name

    def sibling(self, configuration: str) -> Path:
        """Return where nnU-Net keeps the model of the same trainer and plans in another configuration."""
        trainer, plans, _ = parts_of(self.folder)
        return self.folder.parent / f"{trainer}__{plans}__{configuration}"


def open_model(folder: Path, folds: Sequence[str] | None, checkpoint_name: str) -> TrainedModel:
    """Return a trained model.

    Args:
        folder: ``<trainer>__<plans>__<configuration>``.
        folds: e.g. ``("0", "all")``; None: every fold that has the checkpoint, ``fold_all`` only where there is no other.
        checkpoint_name: e.g. ``checkpoint_final.pth``.

    Raises:
        InputError: no such folder, or a file in it is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: {'is a file; expected a folder' if folder.exists() else 'no such folder'}. Pass nnU-Net's folder "
            "<trainer>__<plans>__<configuration>, the parent of fold_0."
        )
    parts_of(folder)
    chosen = folds_with(folder, folds, checkpoint_name)
    if folds is None and len(chosen) > 1:
        chosen = tuple(fold for fold in chosen if fold != ALL)
    paths = folder / DATASET_JSON, folder / PLANS_JSON
    dataset = load_dataset(*paths)
    dataset_json, plans = (read_mapping(path, "") for path in paths)
    return TrainedModel(folder, chosen, checkpoint_name, dataset, dataset_json, plans)


def digest_of(*paths: Path) -> str:
    """Return a digest of the content of files, whatever their names.

    Raises:
        OSError: one cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    for path in paths:
        found.update(path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while part := file.read(2**20):
                found.update(part)
    return found.hexdigest()
