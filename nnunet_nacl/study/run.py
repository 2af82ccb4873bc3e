"""An evaluated run, read back from its result folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.output import BINS_FILE, SUMMARY_FILE
from nnunet_nacl.evaluation.summary import SCHEMA_VERSION


@dataclass(frozen=True)
class Run:
    """A result folder of ``nnunet-nacl evaluate``: its name, its summary and the statistics of each case."""

    name: str
    folder: Path
    summary: dict[str, Any]
    statistics: dict[str, CalibrationStatistics]


def load_run(folder: Path) -> Run:
    """Read calibration.json and calibration_bins.npz of a folder.

    Raises:
        InputError: a file is missing, damaged, or of another schema version.
    """
    return Run(_name(folder), folder, _load_summary(folder / SUMMARY_FILE), _load_statistics(folder / BINS_FILE))


def check_same_protocol(base: Run, other: Run) -> None:
    """Raise InputError unless two runs were evaluated alike (bins, labels, voxel sets)."""
    ours, theirs = base.summary["protocol"], other.summary["protocol"]
    differing = sorted(key for key in ours if key != "n_cases" and ours[key] != theirs.get(key))
    if differing:
        shown = "; ".join(f"{key} {ours[key]!r} against {theirs.get(key)!r}" for key in differing)
        raise InputError(f"{other.folder} was evaluated differently from {base.folder}: {shown}.")


def _name(folder: Path) -> str:
    """Return the trainer where the folder is nnU-Net's ``<trainer>__<plans>__<configuration>/fold_X/...``."""
    trained = [part for part in folder.resolve().parts if part.count("__") == 2]
    return trained[-1].split("__")[0] if trained else folder.resolve().name


def _load_summary(path: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = summary["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Run `nnunet-nacl evaluate` on this folder first."
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: expected schema version {SCHEMA_VERSION}, but got {version}. Evaluate it again.")
    return summary


def _load_statistics(path: Path) -> dict[str, CalibrationStatistics]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {field.name: stored[field.name] for field in fields(CalibrationStatistics)}
            names = [str(name) for name in stored["case"]]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Run `nnunet-nacl evaluate` on this folder first."
        ) from error
    return {
        name: CalibrationStatistics(**{key: stack[number] for key, stack in arrays.items()})
        for number, name in enumerate(names)
    }
