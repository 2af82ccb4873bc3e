"""What keeps nnU-Net from finding the trainers, and what to set."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nnunet_nacl
from nnunet_nacl.errors import first_line
from nnunet_nacl.training.trainer_path import trainer_path
from nnunet_nacl.training.trainer_search import (
    VARIABLE,
    ext_folders,
    find_in_nnunet,
    find_trainer,
    is_in_folder,
    source_of,
    trainers_in,
)
from nnunet_nacl.training.trainers import TRAINERS

SUPPORTED_NNUNET = (2, 8)
FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, whether it is fine, and what was seen or what to do."""

    subject: str
    fine: bool
    detail: str


def examine() -> list[Finding]:
    """Return the findings on versions, environment variables and the trainers, in the order in which to correct them."""
    return [*_versions(), *_folders(), *_ext_trainer(), *_trainers()]


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


def _ext_trainer() -> Iterator[Finding]:
    value = os.environ.get(VARIABLE)
    wanted = trainer_path()
    advice = f'Run: export {VARIABLE}="$(nnunet-nacl trainer-path)"'
    if value is None:
        yield Finding(VARIABLE, False, f"is not set. {advice}")
        return
    folders = ext_folders()
    if wanted not in [folder.resolve() for folder in folders]:
        beside = f'{advice[:-1]}:${VARIABLE}"' if folders else advice
        yield Finding(VARIABLE, False, f"{value} does not name {wanted}. {beside}")
    elif len(folders) == 1:
        yield Finding(VARIABLE, True, value)
    if len(folders) > 1 or wanted not in [folder.resolve() for folder in folders]:
        yield from _ext_folders(folders, wanted)


def _ext_folders(folders: list[Path], ours: Path) -> Iterator[Finding]:
    """Say what each folder holds, in the order in which nnU-Net searches them, and who wins where a name is there twice."""
    for place, folder in enumerate(folders, start=1):
        subject = f"{VARIABLE}, folder {place} of {len(folders)}"
        if folder.resolve() == ours:
            yield Finding(subject, True, f"{folder}: nnunet-nacl")
            continue
        if not folder.is_dir():
            yield Finding(
                subject, False, f"{folder} is no folder, and nnU-Net passes over it. Correct the path or leave it out."
            )
            continue
        try:
            names = trainers_in(folder)
        except Exception as error:  # whatever any module raises at import
            yield Finding(subject, False, f"{folder}: a module in it fails ({_in_words(error)}), and so does nnU-Net's search. "
                                          "Correct the module or leave the folder out.")  # fmt: skip
            continue
        yield Finding(subject, True, f"{folder}: {_listed(names) or 'no trainer'}")
        for name in names:
            others = _others_with(name, folder, folders)
            if others and name not in TRAINERS:  # of those in TRAINERS it is said below whether ours wins
                yield Finding(
                    name, True, f"is of {' and of '.join(others)} as well; nnU-Net takes that of {source_of(name)}"
                )


def _others_with(name: str, folder: Path, folders: list[Path]) -> list[str]:
    """Return who else has a trainer of this name, variants included: nnU-Net, other folders."""
    others = [str(other) for other in folders if other.is_dir() and other.resolve() != folder.resolve()]
    own = ["nnU-Net"] if find_in_nnunet(name) is not None else []
    return own + [other for other in others if is_in_folder(name, Path(other))]


def _trainers() -> list[Finding]:
    """Return a finding for all trainers of nnunet-nacl of which there is the same to say."""
    said: dict[tuple[bool, str], list[str]] = {}
    for name, trainer in TRAINERS.items():
        said.setdefault(_found(name, trainer), []).append(name)
    return [
        Finding(f"all {len(names)} trainers" if len(names) == len(TRAINERS) else ", ".join(names), fine, detail)
        for (fine, detail), names in said.items()
    ]


def _found(name: str, trainer: type) -> tuple[bool, str]:
    """Return whether nnU-Net finds our trainer, and in words what it finds."""
    try:
        found = find_trainer(name)
    except Exception as error:  # whatever any module on nnUNet_extTrainer raises at import
        return False, f"nnU-Net's search ends in {_in_words(error)}. Correct {VARIABLE}, see above."
    if found is None:
        return False, f"nnU-Net does not find them. Correct {VARIABLE}, see above."
    if found is not trainer:
        return False, (
            f"nnU-Net takes another of this name, that of {source_of(name)}, instead of nnunet-nacl's. Put nnunet-nacl's folder "
            f"first in {VARIABLE}."
        )
    return True, "nnU-Net finds them"


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _listed(names: list[str], at_most: int = 8) -> str:
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
