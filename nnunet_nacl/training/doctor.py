"""What keeps nnU-Net from finding the trainers, and what to set."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nnunet_nacl
from nnunet_nacl.training.trainer_path import trainer_path

SUPPORTED_NNUNET = (2, 8)
FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, whether it is fine, and what was seen or what to do."""

    subject: str
    fine: bool
    detail: str


def examine() -> list[Finding]:
    """Return the findings on versions, environment variables and the trainers, in the order in which to mend them."""
    return [*_versions(), *_folders(), _ext_trainer(), *_trainers()]


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 10), f"{python} (3.10 or newer is needed)")
    yield Finding("nnunet-nacl", True, nnunet_nacl.__version__)
    yield Finding("torch", True, metadata.version("torch"))
    installed = metadata.version("nnunetv2")
    fine = tuple(int(part) for part in installed.split(".")[:2]) == SUPPORTED_NNUNET
    advice = "" if fine else ": expected 2.8.x, which has nnUNet_extTrainer. Run: pip install 'nnunetv2>=2.8,<2.9'"
    yield Finding("nnunetv2", fine, installed + advice)


def _folders() -> Iterator[Finding]:
    for variable in FOLDER_VARIABLES:
        value = os.environ.get(variable)
        if value is None:
            yield Finding(variable, False, f"is not set. Run: export {variable}=/path/to/{variable}")
        elif not Path(value).is_dir():
            yield Finding(variable, False, f"{value} is no folder. Run: mkdir -p {value!r}")
        else:
            yield Finding(variable, True, value)


def _ext_trainer() -> Finding:
    value = os.environ.get("nnUNet_extTrainer")
    wanted = trainer_path()
    advice = 'Run: export nnUNet_extTrainer="$(nnunet-nacl trainer-path)"'
    if value is None:
        return Finding("nnUNet_extTrainer", False, f"is not set. {advice}")
    listed = [Path(part).resolve() for part in value.split(os.pathsep) if part.strip()]
    if wanted not in listed:
        return Finding("nnUNet_extTrainer", False, f"{value} does not name {wanted}. {advice}")
    return Finding("nnUNet_extTrainer", True, value)


def _trainers() -> Iterator[Finding]:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnunet_nacl.training.trainers import TRAINERS

    for name in TRAINERS:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = recursive_find_trainer_class_by_name(name)
        except Exception as error:  # whatever any module on nnUNet_extTrainer raises at import
            reason = (
                "nnU-Net does not find it" if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
            )
            yield Finding(name, False, f"{reason}. Mend nnUNet_extTrainer, see above.")
        else:
            ours = found is TRAINERS[name]
            yield Finding(name, ours, f"{found.__module__}" + ("" if ours else " shadows the trainer of nnunet-nacl"))
