"""Writing results so that a reader never sees half a file."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.summary import CLASS_SCORES, CONFIDENCES, SCORE_NAMES, VOLUMES

SUMMARY_FILE = "calibration.json"
CASES_FILE = "calibration_cases.csv"

OF_CASE = ("Dice", "HD95")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place on success and vanishes on failure."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(temporary)
        # mkstemp makes the file private; give it the permissions that a plain open() would have
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def prepare_folder(folder: Path) -> None:
    """Make the output folder and see that it can be written to, before anything is computed.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another output folder with -o."
        ) from error


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make the output folder for a block, as :func:`prepare_folder` does; a block that fails leaves no empty folder behind.

    Raises:
        InputError: it cannot be made or written to.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        prepare_folder(folder)
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # it has files, or was not made
                path.rmdir()
        raise


def write_summary(summary: dict[str, Any], folder: Path) -> Path:
    """Write calibration.json, with the folder that it is written into beside the other provenance, and return its path."""
    path = folder / SUMMARY_FILE
    placed = {**summary, "provenance": {**summary["provenance"], "folder": absolute(folder)}}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(placed, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_cases(summary: dict[str, Any], folder: Path) -> Path:
    """Write calibration_cases.csv, one row per case and voxel set, and return its path."""
    path = folder / CASES_FILE
    labels = list(summary["mean"])
    header = ["case", "voxel_set", "n_voxels", *SCORE_NAMES]
    header += [f"{name}_{label}" for name in CLASS_SCORES for label in labels]
    header += [f"{name}_{label}" for name in OF_CASE for label in labels]
    header += [f"volume_ml_{kind}_{label}" for kind in VOLUMES for label in labels]
    header += [f"confidence_{name}_{label}" for name in CONFIDENCES for label in labels]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for case in summary["metric_per_case"]:
            per_class = [case["metrics"][label] for label in labels]
            of_case = [entry[name] for name in OF_CASE for entry in per_class]
            of_case += [entry["volume_ml"][kind] for kind in VOLUMES for entry in per_class]
            of_case += [entry["confidence"][name] for name in CONFIDENCES for entry in per_class]
            for voxel_set, scores in case["voxel_sets"].items():
                row = [case["case"], voxel_set, scores["n_voxels"], *(scores[name] for name in SCORE_NAMES)]
                row += [entry[name][voxel_set] for name in CLASS_SCORES for entry in per_class]
                writer.writerow(row + of_case)
    return path
