"""nnU-Net's folder of a trained model, ``<trainer>__<plans>__<configuration>``: what it is of, and which folds are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from nnunet_nacl.errors import InputError

NEEDED_FILES = ("dataset.json", "plans.json")


def parts_of(model_folder: Path) -> tuple[str, str, str]:
    """Return trainer, plans and configuration, of the name of a model folder.

    Raises:
        InputError: another name, or a file that nnU-Net puts there is missing.
    """
    parts = model_folder.resolve().name.split("__")
    if len(parts) != 3:
        raise InputError(
            f"{model_folder}: expected nnU-Net's folder <trainer>__<plans>__<configuration>, the parent of fold_0."
        )
    missing = [file for file in NEEDED_FILES if not (model_folder / file).is_file()]
    if missing:
        raise InputError(f"{model_folder}: lacks {', '.join(missing)}, so nothing was trained here.")
    return parts[0], parts[1], parts[2]


def folds_with(model_folder: Path, folds: Sequence[str] | None, checkpoint_name: str) -> tuple[str, ...]:
    """Return the names of the folds' folders, ``fold_0``, ...; found ones in the order of their numbers.

    Args:
        model_folder: where they lie.
        folds: e.g. ``("0", "all")``; None: every fold that has the checkpoint.
        checkpoint_name: file in each fold.

    Raises:
        InputError: a fold does not have the checkpoint, or there is none.
    """
    found = sorted((path.parent.name for path in model_folder.glob(f"fold_*/{checkpoint_name}")), key=_number)
    chosen = tuple(found if folds is None else dict.fromkeys(f"fold_{fold}" for fold in folds))
    missing = [fold for fold in chosen if fold not in found]
    if missing or not chosen:
        which = ", ".join(missing) if missing else "any fold"
        raise InputError(
            f"{model_folder}: has no {checkpoint_name} in {which}. Train to the end, or name one with -chk. {_what_is_there(model_folder)}"
        )
    return chosen


def _number(fold: str) -> tuple[float, str]:
    """Return what puts fold_10 after fold_9, and fold_all after both."""
    number = fold.removeprefix("fold_")
    return (int(number) if number.isdecimal() else math.inf), fold


def _what_is_there(model_folder: Path) -> str:
    checkpoints = sorted(model_folder.glob("fold_*/checkpoint_*.pth"))
    there = ", ".join(f"{path.parent.name}/{path.name}" for path in checkpoints[:10])
    return f"There are {there}{', ...' if len(checkpoints) > 10 else ''}." if there else "There is no checkpoint."
