"""calibration_bins.npz: everything that a result is made of, so that nothing else is needed to make it again or to merge it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.overlap import PREDICTED
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION, check_readable
from nnunet_nacl.evaluation.stored_arrays import StoredArrays
from nnunet_nacl.evaluation.stored_paths import absolute, files_here, here
from nnunet_nacl.evaluation.stored_statistics import check_mask_sums, read_statistics
from nnunet_nacl.evaluation.stored_thresholds import arrays_of_counts, read_threshold_counts
from nnunet_nacl.files import json_files
from nnunet_nacl.files.whole_file import replacing

BINS_FILE = "calibration_bins.npz"

RESULT_FOLDER = "calibration"
"""Where a result lies in a prediction folder. Beside the softmax files nnU-Net's ``nnUNetv2_ensemble`` and
``nnUNetv2_find_best_configuration``, which take each .npz for a case, would stumble over :data:`BINS_FILE`."""


def result_folder(folder: Path) -> Path:
    """Return where the result is: the folder itself, or the folder within a prediction folder that was evaluated."""
    inside = folder / RESULT_FOLDER
    return inside if (inside / BINS_FILE).is_file() and not (folder / BINS_FILE).is_file() else folder


def write_result(result: FolderResult, folder: Path) -> Path:
    """Write calibration_bins.npz and return its path.

    Args:
        result: of :func:`~nnunet_nacl.evaluation.evaluate_folder`.
        folder: an existing folder; a file of this name in it is replaced, and never half written.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / BINS_FILE
    write_bins(result, path)
    return path


def write_bins(result: FolderResult, path: Path) -> None:
    """Write a result, so that :func:`read_result` gives the same back, without the softmax files.

    Arrays, with N cases and P problems: each field of :class:`CalibrationStatistics` as ``(N, P, ...)``; ``case``,
    ``reference_file``, ``prediction_file``, ``voxel_volume_mm3`` and ``fingerprint`` ``(N,)``; ``hd95_mm`` ``(N, channels)``; ``schema_version``,
    ``protocol``, ``files`` and ``folder`` ``()``: the first two as JSON, the last the folder that it is written into, from which files that
    are moved with it are found. A merged result has ``part`` ``(N,)`` as well, one of a region model ``region_overlap``
    ``(N, channels, 3)`` and ``region_mask_sums`` ``(N, channels, 2)``, and one with remarks ``remarks`` ``(N,)``, each as JSON.
    ``threshold_counts`` is ``(N, structures, 2, T)`` uint32 and ``has_threshold_counts`` ``(N,)`` bool. ``spread``
    and the mask sums are missing in files from before they were summed up, and NaN in cases that are taken over from those.
    """
    arrays: dict[str, Any] = {
        "schema_version": np.array(SCHEMA_VERSION),
        "protocol": np.array(json.dumps(result.protocol)),
        "files": np.array(json.dumps(result.files)),
        "folder": np.array(absolute(path.parent)),
        **_arrays_of(result.cases),
    }
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_result(path: Path) -> FolderResult:
    """Read a result, against its checksums, and see that it is one that can have come from voxels.

    Files that were moved together with it are named where they are now.

    Raises:
        InputError: it is missing, damaged, or of another schema version.
    """
    try:
        with StoredArrays(path) as stored:
            version = int(stored.numbers("schema_version", np.int64, ())) if "schema_version" in stored else 1
            check_readable(path, version)
            protocol, files = (json_files.loads(str(stored.texts(name))) for name in ("protocol", "files"))
            _check_protocol(protocol, files)
            check_readable(path, version, protocol)
            written_into = str(stored.texts("folder")) if "folder" in stored else ""
            cases = _cases_of(stored, lambda name: Path(here(name, written_into, path.parent)))
            return FolderResult(cases, protocol, files_here(files, written_into, path.parent))
    except InputError:
        raise
    except Exception as error:  # zipfile and numpy fail on damaged files in many ways
        raise InputError(
            f"{path}: cannot be read ({first_line(error, path)}). Run `nnunet-nacl evaluate` on this folder first."
        ) from error


def _arrays_of(cases: tuple[CaseResult, ...]) -> dict[str, NDArray[Any]]:
    statistics = {
        field.name: np.stack([[getattr(problem, field.name) for problem in result.problems] for result in cases])
        for field in fields(CalibrationStatistics)
    }
    some: dict[str, NDArray[Any]] = {}
    if any(result.part for result in cases):
        some["part"] = np.array([result.part for result in cases])
    if any(result.remarks for result in cases):
        some["remarks"] = np.array([json.dumps(dict(result.remarks)) for result in cases])
    if any(result.region_overlap is not None for result in cases):
        some["region_overlap"] = np.array([result.overlap for result in cases])
        some["region_mask_sums"] = np.array([result.mask_sums for result in cases])
    if any(result.threshold_counts is not None for result in cases):
        some |= arrays_of_counts([result.threshold_counts for result in cases])
    return statistics | {
        "case": np.array([result.case.name for result in cases]),
        "reference_file": np.array([str(result.case.labels) for result in cases]),
        "prediction_file": np.array([str(result.case.probabilities) for result in cases]),
        "voxel_volume_mm3": np.array([result.voxel_volume_mm3 for result in cases]),
        "hd95_mm": np.array([result.hd95_mm for result in cases]),
        "fingerprint": np.array([result.fingerprint for result in cases]),
        **some,
    }


def _cases_of(stored: StoredArrays, place: Callable[[str], Path]) -> tuple[CaseResult, ...]:
    names = stored.texts("case")
    if names.ndim != 1 or not names.size or len(set(names.tolist())) < names.size:
        raise ValueError("expected a list of cases, each once")
    "".join(names.tolist()).encode()  # a UnicodeEncodeError is a ValueError
    references, predictions, prints = (
        stored.texts(name) for name in ("reference_file", "prediction_file", "fingerprint")
    )
    parts = stored.texts("part") if "part" in stored else np.full(names.shape, "")  # of merged results only
    remarks = stored.texts("remarks") if "remarks" in stored else np.full(names.shape, "{}")
    if not names.shape == references.shape == predictions.shape == prints.shape == parts.shape == remarks.shape:
        raise ValueError(
            "expected the files, the fingerprint, the remarks and, of a merged result, the part of each case"
        )
    statistics = read_statistics(stored, names.size)
    volumes = stored.numbers("voxel_volume_mm3", np.float64, (names.size,))
    distances = stored.numbers("hd95_mm", np.float64, (names.size, None))
    if (volumes <= 0).any() or (distances < 0).any() or np.isinf(volumes).any() or np.isinf(distances).any():
        raise ValueError("expected volumes above 0 and distances from 0")
    n_problems, num_classes = statistics["confusion"].shape[1:3]
    if distances.shape[1] != (num_classes if n_problems == 1 and distances.shape[1] != 1 else n_problems):
        raise ValueError(f"expected a distance for each class or region, but got {distances.shape[1]}")
    overlaps = _region_overlaps(stored, statistics["confusion"]) if "region_overlap" in stored else None
    if overlaps is None and distances.shape[1] != num_classes:
        raise ValueError("expected `region_overlap` of a region model")
    mask_sums = _region_mask_sums(stored, overlaps)
    thresholds = read_threshold_counts(stored, statistics["confusion"])
    return tuple(
        CaseResult(
            Case(str(name), place(str(predictions[row])), place(str(references[row]))),
            tuple(
                CalibrationStatistics(**{key: np.asarray(values[row, problem]) for key, values in statistics.items()})
                for problem in range(n_problems)
            ),
            float(volumes[row]),
            np.asarray(distances[row]),
            str(prints[row]),
            str(parts[row]),
            _remarks(str(remarks[row])),
            None if overlaps is None else overlaps[row],
            None if mask_sums is None else mask_sums[row],
            thresholds[row],
        )
        for row, name in enumerate(names)
    )


def _remarks(text: str) -> dict[str, str]:
    remarks = json_files.loads(text)
    if not isinstance(remarks, dict) or not all(isinstance(value, str) for value in remarks.values()):
        raise ValueError("expected the remarks on a case as a JSON mapping of texts")
    "".join((*remarks, *remarks.values())).encode()  # a UnicodeEncodeError is a ValueError
    return remarks


def _region_overlaps(stored: StoredArrays, confusion: NDArray[Any]) -> NDArray[np.int64]:
    """Return the overlaps ``(N, P, 3)`` of regions, each with as many labelled voxels as its problem has."""
    overlaps = stored.numbers("region_overlap", np.int64, (*confusion.shape[:2], 3))
    both, labelled, predicted = np.moveaxis(overlaps, -1, 0)
    voxels = confusion.sum((-1, -2))
    if confusion.shape[2] != 2 or not np.array_equal(labelled, confusion[..., 1, :].sum(-1)):
        raise ValueError("`region_overlap` does not have the labelled voxels of `confusion`")
    if ((both < 0) | (both > labelled) | (both > predicted) | (predicted > voxels - labelled + both)).any():
        raise ValueError("`region_overlap` holds more voxels than there are")
    return overlaps


def _region_mask_sums(stored: StoredArrays, overlaps: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
    """Return the mask sums ``(N, P, 2)`` of regions; None where the file was written without them."""
    if overlaps is None or "region_mask_sums" not in stored:
        return None
    sums = stored.numbers("region_mask_sums", np.float64, (*overlaps.shape[:2], 2))
    check_mask_sums("region_mask_sums", sums, overlaps[..., PREDICTED])
    return sums


def _check_protocol(protocol: Any, files: Any) -> None:
    """Raise ValueError unless the protocol is a mapping whose labels have names."""
    labels = protocol.get("labels", {}) if isinstance(protocol, dict) else None
    if not isinstance(labels, dict) or not isinstance(files, dict):
        raise ValueError("expected the protocol and the files as JSON mappings")
    if not all(isinstance(name, str) for name in labels.values()):
        raise ValueError("expected a name for each label")
    "".join((*labels, *labels.values())).encode()  # a UnicodeEncodeError is a ValueError
