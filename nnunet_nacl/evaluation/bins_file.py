"""calibration_bins.npz: everything that a result is made of, so that nothing else is needed to make it again or to merge it."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.output import replacing
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION

BINS_FILE = "calibration_bins.npz"

RESULT_FOLDER = "calibration"
"""Where a result lies in a prediction folder. Beside the softmax files nnU-Net's ``nnUNetv2_ensemble`` and
``nnUNetv2_find_best_configuration``, which take each .npz for a case, would stumble over :data:`BINS_FILE`."""


def result_folder(folder: Path) -> Path:
    """Return where the result is: the folder itself, or the folder within a prediction folder that was evaluated."""
    inside = folder / RESULT_FOLDER
    return inside if (inside / BINS_FILE).is_file() and not (folder / BINS_FILE).is_file() else folder


def write_result(result: FolderResult, folder: Path) -> Path:
    """Write calibration_bins.npz and return its path."""
    path = folder / BINS_FILE
    write_bins(result, path)
    return path


def write_bins(result: FolderResult, path: Path) -> None:
    """Write a result, so that :func:`read_result` gives the same back, without the softmax files.

    Arrays, with N cases and P problems: each field of :class:`CalibrationStatistics` as ``(N, P, ...)``; ``case``,
    ``reference_file``, ``prediction_file``, ``voxel_volume_mm3`` and ``fingerprint`` ``(N,)``; ``hd95_mm`` ``(N, channels)``; ``schema_version``,
    ``protocol`` and ``files`` ``()``, the last two as JSON. A merged result has ``part`` ``(N,)`` as well.
    """
    arrays: dict[str, Any] = {
        "schema_version": np.array(SCHEMA_VERSION),
        "protocol": np.array(json.dumps(result.protocol)),
        "files": np.array(json.dumps(result.files)),
        **_arrays_of(result.cases),
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_result(path: Path) -> FolderResult:
    """Read a calibration_bins.npz.

    Raises:
        InputError: it is missing, damaged, or of another schema version.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            version = int(stored["schema_version"]) if "schema_version" in stored else 1
            if version != SCHEMA_VERSION:
                raise InputError(
                    f"{path}: expected schema version {SCHEMA_VERSION}, but got {version}. Evaluate it again."
                )
            protocol, files = json.loads(str(stored["protocol"])), json.loads(str(stored["files"]))
            return FolderResult(_cases_of(dict(stored)), protocol, files)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Run `nnunet-nacl evaluate` on this folder first."
        ) from error


def _arrays_of(cases: tuple[CaseResult, ...]) -> dict[str, NDArray[Any]]:
    statistics = {
        field.name: np.stack([[getattr(problem, field.name) for problem in result.problems] for result in cases])
        for field in fields(CalibrationStatistics)
    }
    parts = {"part": np.array([result.part for result in cases])} if any(result.part for result in cases) else {}
    return statistics | {
        "case": np.array([result.case.name for result in cases]),
        "reference_file": np.array([str(result.case.labels) for result in cases]),
        "prediction_file": np.array([str(result.case.probabilities) for result in cases]),
        "voxel_volume_mm3": np.array([result.voxel_volume_mm3 for result in cases]),
        "hd95_mm": np.array([result.hd95_mm for result in cases]),
        "fingerprint": np.array([result.fingerprint for result in cases]),
        **parts,
    }


def _cases_of(arrays: dict[str, NDArray[Any]]) -> tuple[CaseResult, ...]:
    statistics = {field.name: arrays[field.name] for field in fields(CalibrationStatistics)}
    n_problems = next(iter(statistics.values())).shape[1]
    return tuple(
        CaseResult(
            Case(str(name), Path(str(arrays["prediction_file"][row])), Path(str(arrays["reference_file"][row]))),
            tuple(
                CalibrationStatistics(**{key: np.asarray(values[row, problem]) for key, values in statistics.items()})
                for problem in range(n_problems)
            ),
            float(arrays["voxel_volume_mm3"][row]),
            np.asarray(arrays["hd95_mm"][row]),
            str(arrays["fingerprint"][row]),
            str(arrays["part"][row]) if "part" in arrays else "",
        )
        for row, name in enumerate(arrays["case"])
    )
