"""A copy of a trained model that predicts without this package.

The losses change what a network learns, not what it is. So a checkpoint whose ``trainer_name`` is that of nnU-Net's own class
that builds the same network predicts the same, wherever nnU-Net is installed. What only continuing a training needs
(optimizer, grad scaler, logged curves: half of a checkpoint trained with SGD) is left out, and with it every pickled
object that ``torch.load(weights_only=True)`` would refuse.

The copy is compared with the original before it gets its name: :mod:`nnunet_nacl.training.predict_alone` runs once on either,
on the copy in a process that cannot import ``nnunet_nacl`` and has none of nnU-Net's environment variables. With temperatures
(:mod:`nnunet_nacl.training.baked_temperature`) it is compared with the original's predictions, tempered in float64.
"""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_nacl import __version__
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.files.whole_folder import whole_folder
from nnunet_nacl.nnunet.image_files import enough_files, num_image_channels
from nnunet_nacl.nnunet.model_folder import NEEDED_FILES, folds_with, parts_of
from nnunet_nacl.training.baked_temperature import (
    OUTPUT_TOLERANCE,
    PROBABILITY_TOLERANCE,
    Agreement,
    divided,
)
from nnunet_nacl.training.compare_copy import check_equal, check_tempered, predictions
from nnunet_nacl.training.trainer_search import find_trainer
from nnunet_nacl.training.variants import UnknownVariantError, resolve

KEPT_KEYS = ("network_weights", "init_args", "inference_allowed_mirroring_axes")
WELCOME_FILES = ("dataset_fingerprint.json",)
NOTE_FILE = "shared.json"


@dataclass(frozen=True)
class Shared:
    """What was written, and over what the comparison with the original was made."""

    folder: Path
    trained_with: str
    trainer: str
    folds: tuple[str, ...]
    patch_size: tuple[int, ...]
    compared_case: bool
    agreement: Agreement | None


def share(
    model_folder: Path,
    output: Path,
    folds: Sequence[str] | None = None,
    checkpoint_name: str = "checkpoint_final.pth",
    images: Sequence[Path] = (),
    temperatures: Sequence[NDArray[np.float64]] = (),
) -> Shared:
    """Write ``output/<stock trainer>__<plans>__<configuration>`` and return what was done.

    Args:
        model_folder: nnU-Net's folder ``<trainer>__<plans>__<configuration>``.
        output: parent of the new folder.
        folds: e.g. ``("0", "all")``; default: every fold that has the checkpoint.
        checkpoint_name: file in each fold; it keeps its name.
        images: one case, a file per channel, to predict fully with either model; default: one random patch.
        temperatures: ``(channels,)`` for all folds, or one such array for each, to divide the logits by.

    Raises:
        InputError: this is no such folder, a fold or file is missing, the checkpoint holds more than numbers, nnU-Net has no
            trainer that builds this network, the new folder exists, the copy does not predict the same, or the network has no
            place for a temperature.
    """
    name, plans, configuration = parts_of(model_folder)
    chosen = folds_with(model_folder, folds, checkpoint_name)
    _check_images(model_folder, configuration, images)
    of_fold = _of_folds(temperatures, chosen)
    stock = stock_trainer(name)
    target = output / f"{stock.__name__}__{plans}__{configuration}"
    if target.exists():
        raise InputError(f"{target}: exists already and is left alone. Choose another folder with -o or remove it.")
    with whole_folder(target) as unfinished:
        for file in (*NEEDED_FILES, *WELCOME_FILES):
            if (model_folder / file).is_file():
                shutil.copyfile(model_folder / file, unfinished / file)
        for fold in chosen:
            source = model_folder / fold / checkpoint_name
            (unfinished / fold).mkdir()
            shared = _for_prediction(read_checkpoint(source), name, configuration, stock, source)
            if of_fold:
                network = f"the network of {stock.__name__}"
                shared["network_weights"] = divided(shared["network_weights"], of_fold[fold], network, source)
            torch.save(shared, unfinished / fold / checkpoint_name)
        original, copy = predictions(model_folder, unfinished, chosen, checkpoint_name, images, bool(of_fold))
        agreed = check_tempered(model_folder, original, copy, of_fold) if of_fold else None
        if agreed is None:
            check_equal(model_folder, original, copy)
        patch_size: tuple[int, ...] = original[f"outputs_{chosen[0]}"].shape[2:]
        _write_note(unfinished, name, patch_size, images, of_fold or dict.fromkeys(chosen), agreed)
    return Shared(target, name, stock.__name__, chosen, patch_size, bool(images), agreed)


def stock_trainer(name: str) -> type:
    """Return nnU-Net's own class that builds the network of a trainer.

    It is the class that defines ``build_network_architecture``, which is all that a predictor asks a trainer for: for most
    trainers ``nnUNetTrainer``, for a loss on top of ``nnUNet_Primus_M_Trainer`` that one.

    Raises:
        InputError: no trainer of this name is found, or its network is not one of nnU-Net's.
    """
    trainer = trainer_of(name)
    builder = next(base for base in trainer.__mro__ if "build_network_architecture" in vars(base))
    if builder.__module__.split(".")[0] != "nnunetv2":
        raise InputError(
            f"{name}: its network is built by {builder.__module__}.{builder.__name__}, not by nnU-Net, so it cannot be "
            "predicted with nnU-Net alone."
        )
    return builder


def trainer_of(name: str) -> type:
    """Return the class that a model was trained with: one of this package, or what nnU-Net finds.

    Raises:
        InputError: neither has a trainer of this name.
    """
    try:
        return resolve(name)
    except UnknownVariantError as unknown:
        found = find_trainer(name)
        if found is None:
            raise InputError(f"{unknown} Nor does nnU-Net find it through nnUNet_extTrainer.") from None
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of one of nnU-Net's checkpoints without running any code that it might carry.

    Beside tensors and plain values these hold NumPy scalars (the logged curves and ``_best_ema``), whose dtypes are allowed here.

    Raises:
        InputError: no checkpoint of nnU-Net, or one that holds other objects; a PyTorch that cannot tell (before 2.6).
    """
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise InputError(
            f"{path}: PyTorch {torch.__version__} cannot load it without running code from it. Expected 2.6 or newer."
        )
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: is no checkpoint that torch can load (no zip file).") from error
        found = [name for name in torch.serialization.get_unsafe_globals_in_checkpoint(path) if "numpy" not in name]
        held = f"it holds {', '.join(found)}" if found else first_line(error)
        raise InputError(f"{path}: cannot be loaded without running code from it ({held}).") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: is no checkpoint that torch can load ({first_line(error)}).") from error
    missing = [key for key in (*KEPT_KEYS, "trainer_name") if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise InputError(f"{path}: is no checkpoint of nnU-Net; it lacks {', '.join(missing)}.")
    return checkpoint  # type: ignore[no-any-return]


def _numpy_scalars() -> list[Any]:
    reconstruct = np.float32(0).__reduce__()[0]
    # the module was renamed in NumPy 2, and a checkpoint may be older or newer than the NumPy here
    aliases = [(reconstruct, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    kinds = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    return [*aliases, np.dtype, *(type(np.dtype(kind)) for kind in kinds)]


def _check_images(model_folder: Path, configuration: str, images: Sequence[Path]) -> None:
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such file. Pass the files of one case, one per channel.")
    if not images:
        return
    try:
        dataset, plans = (read_mapping(model_folder / file, "") for file in NEEDED_FILES)
        channels, reader = num_image_channels(dataset), str(plans["image_reader_writer"])
        is_cascade = "previous_stage" in plans["configurations"][configuration]
    except (KeyError, TypeError) as error:
        raise InputError(f"{model_folder}: dataset.json and plans.json are not those of nnU-Net ({error}).") from error
    if not enough_files(len(images), channels, reader):
        raise InputError(f"expected {channels} image files with -i, one per channel of one case, got {len(images)}.")
    if is_cascade:
        raise InputError(f"{configuration} also needs the previous stage's segmentation: leave out -i.")


def _for_prediction(
    checkpoint: dict[str, Any], name: str, configuration: str, stock: type, path: Path
) -> dict[str, Any]:
    """Return what a predictor needs of a checkpoint, under the stock trainer's name."""
    for what, held, expected in (
        ("trainer", checkpoint["trainer_name"], name),
        ("configuration", checkpoint["init_args"].get("configuration"), configuration),
    ):
        if held != expected:
            raise InputError(f"{path}: is of {what} {held}, but its folder says {expected}.")
    known = inspect.signature(stock.__init__).parameters  # type: ignore[misc]
    arguments = {key: value for key, value in checkpoint["init_args"].items() if key in known}
    return {key: checkpoint[key] for key in KEPT_KEYS} | {"init_args": arguments, "trainer_name": stock.__name__}


def _of_folds(temperatures: Sequence[NDArray[np.float64]], folds: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the temperatures of each fold; empty where there are none.

    Raises:
        InputError: neither one for all nor one for each.
    """
    if len(temperatures) not in (0, 1, len(folds)):
        raise InputError(
            f"expected one temperature file, or {len(folds)}, in the order of {', '.join(folds)}; got {len(temperatures)}."
        )
    each = list(temperatures) * (len(folds) if len(temperatures) == 1 else 1)
    return dict(zip(folds, each, strict=False))


def _write_note(
    folder: Path,
    name: str,
    patch: Sequence[int],
    images: Sequence[Path],
    temperatures: Mapping[str, NDArray[np.float64] | None],
    agreed: Agreement | None,
) -> None:
    """Write shared.json, so that whoever gets the model knows what it was trained with and what became of it."""
    note: dict[str, Any] = {
        "trained_with": name,
        "folds": list(temperatures),
        "written_by": f"nnunet-nacl {__version__} share",
        "left_out": "optimizer, grad scaler and logged curves of each checkpoint; logs, validation, postprocessing",
        "compared": {
            "with": "the original's network outputs, bitwise equal, in a process without nnunet-nacl",
            "patch_size": list(patch),
            "full_case": bool(images),
        },
    }
    if agreed is not None:
        note["temperature"] = {
            "segmentation_layers_divided_by": {
                fold: values.tolist() for fold, values in temperatures.items() if values is not None
            },
            "output_tolerance": OUTPUT_TOLERANCE,
            "probability_tolerance": PROBABILITY_TOLERANCE,
            **{key: value for key, value in asdict(agreed).items() if value == value},
        }
        note["compared"]["with"] = "the original's predictions, tempered in float64, in a process without nnunet-nacl"
    (folder / NOTE_FILE).write_text(json.dumps(note, indent=4) + "\n", encoding="utf-8")
