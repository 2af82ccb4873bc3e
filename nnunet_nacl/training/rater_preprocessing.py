"""Preprocessing the raters' label maps exactly as nnU-Net preprocessed the reference.

The maps lie in ``nnUNet_raw/DATASET/ratersTr/RATER/CASE.ending``, one folder per rater. A case that a rater did not label
just has no file there. The result lies beside nnU-Net's own preprocessed data, in ``<configuration folder>_raters``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.files.whole_folder import whole_folder
from nnunet_nacl.nnunet.dataset_folders import dataset_folders
from nnunet_nacl.processes.pool import results_of
from nnunet_nacl.training.raters import RaterIndex, open_maps, preprocessed_raters

RAW_FOLDER = "ratersTr"


@dataclass(frozen=True)
class _Job:
    """One case of one configuration: what is read and how, and the file that is written."""

    case: str
    images: tuple[str, ...]
    reference: str
    maps: tuple[Path, ...]
    plans: dict[str, Any]
    configuration: str
    dataset_json: dict[str, Any]
    preprocessed: Path
    output: Path


def preprocess_raters(
    dataset: str,
    plans_name: str = "nnUNetPlans",
    configurations: Sequence[str] | None = None,
    num_processes: int = 1,
) -> list[Path]:
    """Preprocess the raters' maps of a data set that nnU-Net has preprocessed; return the folders written.

    Args:
        dataset: data set name or ID, as nnU-Net's commands take it.
        plans_name: plans that the data set was preprocessed with.
        configurations: e.g. ``("2d", "3d_fullres")``; default: all whose images are preprocessed.
        num_processes: worker processes over the cases; 1 works in this process.

    Raises:
        InputError: something is missing, of another size or has other labels than the reference; or nnU-Net's own
            preprocessing did not yield the reference that is now made from the same files. No folder is left half done.
    """
    raw, folder = dataset_folders(dataset, "nnUNet_raw", "nnUNet_preprocessed")
    hint = f"Run `nnUNetv2_plan_and_preprocess -d {folder.name}` first."
    plans, dataset_json = (read_mapping(folder / file, hint) for file in (f"{plans_name}.json", "dataset.json"))
    raters = sorted(path for path in (raw / RAW_FOLDER).glob("*") if path.is_dir() and not path.name.startswith("."))
    if not raters:
        raise InputError(f"{raw / RAW_FOLDER}: expected one folder of label maps per rater, found none.")
    manager = PlansManager(plans)
    written = []
    for configuration in configurations or _preprocessed_configurations(manager, folder):
        preprocessed = _preprocessed_images(manager, configuration, folder)
        output = preprocessed_raters(preprocessed)
        if output in written:  # cascade and full resolution share their images
            continue
        with whole_folder(output) as unfinished:
            jobs = _jobs(raw, raters, plans, configuration, dataset_json, preprocessed, unfinished)
            list(results_of(_write_maps, jobs, min(num_processes, len(jobs))))
            _index(jobs, raters).write(unfinished)
            shutil.rmtree(output, ignore_errors=True)
        written.append(output)
    return written


def _preprocessed_configurations(manager: PlansManager, folder: Path) -> list[str]:
    names = manager.available_configurations
    found = [name for name in names if (folder / manager.get_configuration(name).data_identifier).is_dir()]
    if not found:
        raise InputError(
            f"{folder}: expected the images of one of {', '.join(names)}, found none. Preprocess them first."
        )
    return found


def _preprocessed_images(manager: PlansManager, configuration: str, folder: Path) -> Path:
    known = manager.plans["configurations"]
    if configuration not in known:
        raise InputError(f"{manager.plans_name} has no configuration {configuration}, only {', '.join(known)}.")
    images: Path = folder / manager.get_configuration(configuration).data_identifier
    if not images.is_dir():
        raise InputError(f"{images}: no such folder. Run `nnUNetv2_preprocess -d {folder.name} -c {configuration}`.")
    return images


def _jobs(
    raw: Path,
    raters: Sequence[Path],
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    preprocessed: Path,
    output: Path,
) -> list[_Job]:
    ending = dataset_json["file_ending"]
    jobs = []
    for case, files in get_filenames_of_train_images_and_targets(str(raw), dataset_json).items():
        maps = tuple(rater / f"{case}{ending}" for rater in raters)
        if not any(path.is_file() for path in maps):
            raise InputError(f"{raw / RAW_FOLDER}: no rater has a label map {case}{ending}.")
        jobs.append(
            _Job(
                case,
                tuple(files["images"]),
                files["label"],
                maps,
                plans,
                configuration,
                dataset_json,
                preprocessed,
                output,
            )
        )
    known = {job.case for job in jobs}
    visible = [path.name for rater in raters for path in rater.glob(f"*{ending}") if not path.name.startswith(".")]
    unknown = sorted(name for name in visible if name.removesuffix(ending) not in known)
    if unknown:
        raise InputError(f"{raw / RAW_FOLDER}: no training case belongs to {', '.join(unknown[:5])}.")
    return jobs


def _write_maps(job: _Job) -> None:
    """Write the reference and the raters' maps of a case, ``(1 + M, *spatial)``, preprocessed together."""
    manager = PlansManager(job.plans)
    configuration = manager.get_configuration(job.configuration)
    reader = manager.image_reader_writer_class()
    image, properties = reader.read_images(job.images)
    reference, _ = reader.read_seg(job.reference)
    no_opinion = _no_opinion(manager, job.dataset_json)
    labels = manager.get_label_manager(job.dataset_json)
    allowed = {int(label) for label in labels.all_labels} | ({no_opinion} if labels.has_ignore_label else set())
    maps = [reference]
    for path in job.maps:
        if not path.is_file():
            maps.append(np.full_like(reference, no_opinion))
            continue
        values, _ = reader.read_seg(str(path))
        _check(path, values, reference, allowed)
        maps.append(values)
    preprocessor = configuration.preprocessor_class(verbose=False)
    _, seg, _ = preprocessor.run_case_npy(
        image, np.concatenate(maps), properties, manager, configuration, job.dataset_json
    )
    seg = seg.astype(np.int16)
    stored = open_maps(job.preprocessed / f"{job.case}_seg.b2nd")[:]
    if not np.array_equal(stored, seg[:1]):
        raise InputError(
            f"{job.reference}: expected the label map that is preprocessed in {job.preprocessed}, but got another one. "
            "The files or the plans have changed since. Run `nnUNetv2_preprocess` again."
        )
    blocks, chunks = comp_blosc2_params(seg.shape, tuple(configuration.patch_size), seg.itemsize)
    blosc2.asarray(
        np.ascontiguousarray(seg), urlpath=str(job.output / f"{job.case}.b2nd"), chunks=chunks, blocks=blocks
    )


def _index(jobs: Sequence[_Job], raters: Sequence[Path]) -> RaterIndex:
    manager, dataset_json = PlansManager(jobs[0].plans), jobs[0].dataset_json
    complete = all(path.is_file() for job in jobs for path in job.maps)
    declared = manager.get_label_manager(dataset_json).ignore_label
    return RaterIndex(tuple(path.name for path in raters), declared if complete else _no_opinion(manager, dataset_json))


def _no_opinion(manager: PlansManager, dataset_json: dict[str, Any]) -> int:
    """Return the value of voxels without an opinion: the ignore label, or the value that nnU-Net would ask of one."""
    labels = manager.get_label_manager(dataset_json)
    return int(labels.ignore_label if labels.has_ignore_label else max(labels.all_labels) + 1)


def _check(path: Path, labels: NDArray[Any], reference: NDArray[Any], allowed: set[int]) -> None:
    if labels.shape != reference.shape:
        raise InputError(f"{path}: expected {reference.shape[1:]} voxels as the reference has, got {labels.shape[1:]}.")
    unknown = sorted(set(np.unique(labels).tolist()) - allowed)
    if unknown:
        raise InputError(f"{path}: expected the labels {sorted(allowed)}, but it also has {unknown[:5]}.")
