"""Where nnU-Net looks for a trainer, which one it takes, and what the folders of ``nnUNet_extTrainer`` hold."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pkgutil
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import nnunetv2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import (
    recursive_find_python_class,
    temporarily_cleanup_imports_from_path,
    temporarily_extend_syspath,
)
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

VARIABLE = "nnUNet_extTrainer"
NOT_FOUND = "Could not find requested nnunet trainer"
"""How nnU-Net's message begins where it finds no trainer; a module that raises RuntimeError at import says something else."""

SEARCHING: ContextVar[bool] = ContextVar("SEARCHING", default=False)
"""Whether the search under way is ours, which says itself what it did not find."""


def ext_folders() -> list[Path]:
    """Return the folders that ``nnUNet_extTrainer`` names, in the order in which nnU-Net searches them."""
    return [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]


def find_trainer(name: str) -> type[nnUNetTrainer] | None:
    """Return the class that ``nnUNetv2_train -tr NAME`` trains, or None where nnU-Net finds none.

    Raises:
        Exception: whatever a module in one of the folders raises when it is imported.
    """
    with _searching():
        try:
            found: type[nnUNetTrainer] = recursive_find_trainer_class_by_name(name)
        except RuntimeError as error:
            if not str(error).startswith(NOT_FOUND):
                raise
            return None
        except AssertionError:  # a class of that name that is no trainer
            return None
    return found


def find_in_nnunet(name: str) -> type[nnUNetTrainer] | None:
    """Return a trainer of nnU-Net's own, which goes before all others of its name, or None."""
    root = nnunetv2.__path__[0]
    folder = f"{root}/training/nnUNetTrainer"
    with _searching():
        found: type[nnUNetTrainer] | None = recursive_find_python_class(
            folder, name, "nnunetv2.training.nnUNetTrainer", root
        )
    return found


def stock_trainers() -> list[str]:
    """Return the names of nnU-Net's own trainers, of those modules that are imported: all of them once a search has failed."""
    classes, names = [nnUNetTrainer], []
    while classes:
        trainer = classes.pop()
        classes += trainer.__subclasses__()
        if trainer.__module__.startswith("nnunetv2."):
            names.append(trainer.__name__)
    return sorted(names)


def is_in_folder(name: str, folder: Path) -> bool:
    """Return whether nnU-Net finds a class of that name in a folder of ``nnUNet_extTrainer``."""
    with _searching():
        path = str(folder)
        return recursive_find_python_class(path, name, None, path, cleanup_imports_from_base_folder=True) is not None


def source_of(name: str) -> str:
    """Return whose trainer nnU-Net takes: ``nnU-Net``, or the folder of ``nnUNet_extTrainer``; empty where it finds none."""
    if find_in_nnunet(name) is not None:
        return "nnU-Net"
    return next((str(folder) for folder in ext_folders() if folder.is_dir() and is_in_folder(name, folder)), "")


def trainers_in(folder: Path) -> list[str]:
    """Return the names of the trainers that the modules of a folder define, sorted; those that they import are left out.

    Raises:
        Exception: whatever one of the modules raises when it is imported.
    """
    names = set()
    path = str(folder)
    with _searching(), temporarily_extend_syspath(path), temporarily_cleanup_imports_from_path(path):
        for module_name in _modules(folder, ""):
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                if error.name != module_name:  # nnU-Net passes over a module that cannot be found itself
                    raise
                continue
            names |= {
                name
                for name, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, nnUNetTrainer) and value.__module__ == module_name
            }
    return sorted(name for name in names if not name.startswith("_"))


def _modules(folder: Path, package: str) -> Iterator[str]:
    for found in pkgutil.iter_modules([str(folder)]):
        if found.ispkg:
            yield from _modules(folder / found.name, f"{package}{found.name}.")
        else:
            yield f"{package}{found.name}"


@contextlib.contextmanager
def _searching() -> Iterator[None]:
    """Keep nnU-Net's account of its search from standard output, and one warning from standard error.

    nnU-Net imports all of its trainers to find one, some of those import timm, and timm's use of TorchScript makes PyTorch warn
    whoever runs the command of something that they cannot change.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", r"`torch\.jit\.interface` is deprecated", FutureWarning)
        token = SEARCHING.set(True)
        try:
            yield
        finally:
            SEARCHING.reset(token)
