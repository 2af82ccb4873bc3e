"""Applying a recalibration to a folder of predictions: new softmax files in nnU-Net's form, beside what belongs to each case.

The segmentation of a case is copied as it is, since only probabilities are recalibrated: it may have been postprocessed, or be that
of an ensemble. So are the files that nnU-Net or a reader leave beside it (``<case>.pkl``, without which ``nnUNetv2_ensemble`` does not
take the folder; the spacing of a TIFF). They are never opened.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from nnunet_nacl.calibration.checks import SUM_TOLERANCE
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.prediction_files import copy_whole, predicted_names, prepare_new_folder, side_files
from nnunet_nacl.evaluation.probabilities import KEY
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.evaluation.recalibrated import RECORD_FILE
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.nnunet.prediction_folder import DATASET_JSON, PLANS_JSON, find_description
from nnunet_nacl.processes.pool import results_of
from nnunet_nacl.recalibration.heads import Heads, heads_of
from nnunet_nacl.recalibration.methods.base import Map
from nnunet_nacl.recalibration.temperature_file import TemperatureFile, load
from nnunet_nacl.recalibration.volumes import blocks, empty_like, open_probabilities, stored_header


@dataclass(frozen=True)
class Applied:
    """What became of a case.

    Attributes:
        case: its name.
        n_changed: voxels whose label by the probabilities is another one, because of the map.
        n_edited: voxels in which the given segmentation was not that of its own probabilities (postprocessing, ensembling).
        rewritten: whether the segmentation was made anew from the new probabilities.
    """

    case: str
    n_changed: int
    n_edited: int
    rewritten: bool = False


@dataclass(frozen=True)
class Job:
    """A case to do, with all that a worker process needs."""

    case: str
    probabilities: Path
    segmentation: Path
    maps: tuple[Map, ...]
    output: Path
    dataset: Dataset
    heads: Heads
    dataset_json: Path
    plans_json: Path
    memory: int
    rewrite: bool = False


def apply_to_folder(
    temperature: Path,
    predictions: Path,
    output: Path,
    dataset_json: Path | None = None,
    plans_json: Path | None = None,
    held_out: bool = False,
    num_processes: int = 1,
    memory: int = 2**31,
    rewrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[Applied], TemperatureFile]:
    """Write recalibrated copies of all cases of a folder.

    Args:
        temperature: file of ``nnunet-nacl recalibrate fit``.
        predictions: folder with ``<case>.npz`` and the segmentations, which give the geometry.
        output: new or empty folder.
        dataset_json: default: see :func:`~nnunet_nacl.nnunet.prediction_folder.find_description`.
        plans_json: likewise.
        held_out: each case with the map that it had no part in, instead of those fitted on all cases.
        num_processes: worker processes over the cases.
        memory: bytes for the probabilities of a case, and again for the new ones; more go to a scratch file.
        rewrite: make the segmentations anew from the new probabilities instead of copying those given.
        progress: called after each case.

    Raises:
        InputError: anything that cannot be used; the cases finished until then stay.
    """
    fitted = load(temperature)
    dataset_json = dataset_json or find_description(predictions, DATASET_JSON)
    plans_json = plans_json or find_description(predictions, PLANS_JSON)
    dataset = load_dataset(dataset_json, plans_json)
    heads = heads_of(dataset)
    fitted.check_heads(heads, temperature, dataset_json)
    found = predicted_names(predictions, dataset.file_ending)
    jobs = [
        Job(name, predictions / f"{name}.npz", predictions / f"{name}{dataset.file_ending}",
            _maps_of(name, fitted, held_out, temperature), output, dataset, heads, dataset_json, plans_json, memory,
            rewrite)
        for name in found
    ]  # fmt: skip
    prepare_new_folder(output, predictions)
    applied = []
    for done, result in enumerate(results_of(apply_to_case, jobs, min(num_processes, len(jobs))), start=1):
        applied.append(result)
        progress(done, len(jobs))
    applied.sort(key=lambda result: result.case)
    copy_whole(dataset_json, output / "dataset.json")
    copy_whole(plans_json, output / "plans.json")
    _write_record(output, temperature, predictions, fitted, held_out, applied)
    return applied, fitted


def apply_to_case(job: Job) -> Applied:
    """Write the new probabilities of a case, and beside them its segmentation and the other files of the case.

    All are written elsewhere and moved into place, the probabilities last.

    Raises:
        InputError: files that cannot be used; nothing is written then.
    """
    label_manager = _label_manager(job)
    reader = recursive_find_reader_writer_by_name(job.dataset.reader)()
    given, properties = _read_segmentation(job, reader)
    heads = job.heads
    channels, n_voxels = len(heads.channels), given.size
    values = open_probabilities(job.probabilities, channels, given.shape, job.memory, job.output)
    new = empty_like((channels, n_voxels), job.memory, job.output)
    segmentation = np.empty(n_voxels, np.uint8 if len(label_manager.foreground_labels) < 255 else np.uint16)
    n_changed = n_edited = 0
    for part in blocks(channels, n_voxels):
        block = np.asarray(values[:, part])
        _check(block, heads, job.probabilities)
        new[:, part] = heads.recalibrate(block, job.maps)
        before = label_manager.convert_probabilities_to_segmentation(block)
        after = label_manager.convert_probabilities_to_segmentation(np.asarray(new[:, part]))
        segmentation[part] = after
        n_changed += int(np.count_nonzero(before != after))
        n_edited += int(np.count_nonzero(before != given.reshape(-1)[part]))
    with tempfile.TemporaryDirectory(prefix=f".{job.case}.", dir=job.output) as unfinished:
        folder = Path(unfinished)
        for path in (*side_files(job.probabilities, job.segmentation), job.segmentation):
            shutil.copyfile(path, folder / path.name)
        if job.rewrite:
            reader.write_seg(segmentation.reshape(given.shape), str(folder / job.segmentation.name), properties)
        arrays: dict[str, Any] = {KEY: new.reshape(stored_header(job.probabilities)[0])}
        np.savez_compressed(folder / job.probabilities.name, **arrays)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == job.probabilities.name):
            path.replace(job.output / path.name)
    return Applied(job.case, n_changed, n_edited, job.rewrite)


def _maps_of(name: str, fitted: TemperatureFile, held_out: bool, path: Path) -> tuple[Map, ...]:
    if not held_out:
        return fitted.maps
    if not fitted.held_out:
        raise InputError(
            f"{path}: holds no map that was fitted without some of the cases, since there was but one case or group."
        )
    if name not in fitted.held_out:
        raise InputError(f"{path}: has no held-out map for {name}; --held-out is for the cases it was fitted on.")
    return fitted.held_out[name]


def _label_manager(job: Job) -> LabelManager:
    plans, dataset = (read_mapping(path, "") for path in (job.plans_json, job.dataset_json))
    return PlansManager(plans).get_label_manager(dataset)


def _read_segmentation(job: Job, reader: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    try:
        given, properties = reader.read_seg(str(job.segmentation))
    except Exception as error:  # the reader's libraries each have exceptions of their own
        raise InputError(
            f"{job.segmentation}: {job.dataset.reader} cannot read this segmentation ({first_line(error)})."
        ) from error
    return given[0], properties


def _check(block: NDArray[Any], heads: Heads, path: Path) -> None:
    """Raise InputError unless the values are probabilities."""
    if not np.all((block >= 0) & (block <= 1 + SUM_TOLERANCE)):
        raise InputError(f"{path}: expected probabilities from 0 to 1, but got others. Are these logits?")
    if heads.kind == "softmax" and np.any(np.abs(block.sum(0, dtype=np.float64) - 1) > SUM_TOLERANCE):
        raise InputError(f"{path}: expected the probabilities of each voxel to sum to 1 (within {SUM_TOLERANCE}).")


def _write_record(
    output: Path, temperature: Path, predictions: Path, fitted: TemperatureFile, held_out: bool, applied: list[Applied]
) -> None:
    record = {
        "schema_version": 1,
        "held_out": held_out,
        "cases": [
            asdict(result) | {"fitted_on": result.case in fitted.fitted_on and not held_out} for result in applied
        ],
        "temperature": fitted.content,
        "provenance": provenance({"temperature": absolute(temperature), "predictions": absolute(predictions)}),
    }
    with replacing(output / RECORD_FILE) as temporary:
        temporary.write_text(json.dumps(record, indent=4) + "\n", encoding="utf-8")
