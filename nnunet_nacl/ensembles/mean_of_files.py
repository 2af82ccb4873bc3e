"""The mean of several folders of softmax files, written as a folder of nnU-Net's, with a few channels in memory.

The arithmetic mean is that of ``nnUNetv2_ensemble``, to the bit. The geometric one, normalized, is the softmax (of regions: the sigmoid) of
the mean of the logits as far as the files hold them: what ``nnUNetv2_predict`` makes of several folds, but for half precision and for the resampling, which it does
after the mean.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from numpy.typing import NDArray

from nnunet_nacl.calibration.checks import SUM_TOLERANCE, describe_sums, describe_values
from nnunet_nacl.calibration.log_probabilities import ceiling_gap_of, floor_of
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.geometry import difference
from nnunet_nacl.evaluation.label_files import LabelMap, read_label_map, spacing_files
from nnunet_nacl.evaluation.prediction_files import (
    channel_writer,
    copy_whole,
    predicted_names,
    prepare_new_folder,
    side_files,
)
from nnunet_nacl.evaluation.probabilities import FloatArray, ProbabilityFile, open_probabilities, read_header
from nnunet_nacl.processes.pool import results_of

Channels = Callable[[], Iterator[NDArray[np.float32]]]
"""Gives the channels of the mean ``(*spatial)``, at each call from the first on."""


@dataclass(frozen=True)
class Job:
    """A case to do.

    Attributes:
        case: its name.
        folders: the members, the first of which gives geometry and side files.
        output: where the mean goes.
        dataset: labels and reader.
        geometric: which mean.
    """

    case: str
    folders: tuple[Path, ...]
    output: Path
    dataset: Dataset
    geometric: bool


def ensemble_folders(
    folders: Sequence[Path],
    output: Path,
    dataset_json: Path,
    plans_json: Path,
    geometric: bool = False,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[str]:
    """Write the mean of the probabilities of several folders and return the names of the cases.

    Args:
        folders: at least two, each with the same cases: ``<case>.npz`` and segmentations.
        output: new or empty folder.
        dataset_json, plans_json: of all folders.
        geometric: the normalized geometric mean instead of the arithmetic one.
        num_processes: worker processes over the cases.
        progress: called after each case.

    Raises:
        InputError: a folder lacks a case, files do not belong together or cannot be used; the cases finished until then stay.
    """
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        raise InputError("expected at least two folders of predictions, each once.")
    dataset = load_dataset(dataset_json, plans_json)
    names = {folder: predicted_names(folder, dataset.file_ending) for folder in folders}
    everything = sorted({name for found in names.values() for name in found})
    for folder, found in names.items():
        missing = sorted(set(everything) - set(found))
        if missing:
            raise InputError(
                f"{folder}: lacks {', '.join(missing[:5])}, which other folders have. Predict it with all."
            )
    _check_outside(output, folders)
    prepare_new_folder(output, *folders)
    jobs = [Job(name, tuple(folders), output, dataset, geometric) for name in everything]
    for done, _ in enumerate(results_of(ensemble_case, jobs, min(num_processes, len(jobs))), start=1):
        progress(done, len(jobs))
    copy_whole(dataset_json, output / "dataset.json")
    copy_whole(plans_json, output / "plans.json")
    return everything


def _check_outside(output: Path, folders: Sequence[Path]) -> None:
    """Raise InputError where the mean would lie in one of its members, and move and be deleted with it."""
    within = [folder for folder in folders if folder.resolve() in output.resolve().parents]
    if within:
        raise InputError(f"{output}: lies in {within[0]}, a folder that is averaged. Choose an -o outside of them.")


def ensemble_case(job: Job) -> str:
    """Write the mean of a case, its segmentation as nnU-Net makes it, and the other files of the first member; the probabilities last.

    Raises:
        InputError: files that do not belong together or cannot be used; nothing is written then.
    """
    placed = _placed(job)
    paths = [folder / f"{job.case}.npz" for folder in job.folders]
    files = [open_probabilities(path, job.dataset.num_channels, placed.values.shape) for path in paths]
    channels = _geometric(files, job.dataset.regions is None) if job.geometric else _arithmetic(files)
    ending = job.dataset.file_ending
    with tempfile.TemporaryDirectory(prefix=f".{job.case}.", dir=job.output) as unfinished:
        folder = Path(unfinished)
        segmentation = _write(
            channels, job, folder / f"{job.case}.npz", read_header(paths[0]).shape, placed.values.shape
        )
        for path in side_files(paths[0], paths[0].with_name(f"{job.case}{ending}")):
            copyfile(path, folder / path.name)
        writer = recursive_find_reader_writer_by_name(job.dataset.reader)()
        writer.write_seg(segmentation, str(folder / f"{job.case}{ending}"), placed.properties)
        for path in sorted(folder.iterdir(), key=lambda path: path.suffix == ".npz"):
            path.replace(job.output / path.name)
    return job.case


def _placed(job: Job) -> LabelMap:
    """Return the segmentation of the first member; those of the others have to lie at the same place."""
    maps = []
    for folder in job.folders:
        path = folder / f"{job.case}{job.dataset.file_ending}"
        case = Case(job.case, folder / f"{job.case}.npz", path)
        maps.append(read_label_map(path, job.dataset, spacing_files(case, job.dataset)))
    first, *others = maps
    for folder, other in zip(job.folders[1:], others, strict=True):
        if other.values.shape != first.values.shape:
            raise InputError(
                f"{job.case}: has shape {first.values.shape} in {job.folders[0]}, but {other.values.shape} in {folder}."
            )
        apart = difference(first.geometry, other.geometry, first.values.shape)
        if apart and first.is_known and other.is_known:
            raise InputError(f"{job.case}: lies elsewhere in {folder} than in {job.folders[0]} ({_of_members(apart)}).")
    return first


def _of_members(apart: str) -> str:
    return apart.replace("in the label file", "in the first").replace("in the prediction", "in the other")


def _write(
    channels: Channels, job: Job, path: Path, stored_shape: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.uint16]:
    """Write the channels of a mean and return the label map ``(z, y, x)`` that nnU-Net writes for them."""
    segmentation = np.zeros(shape, np.uint16)
    highest = np.full(shape, -1, np.float32)
    total = np.zeros(shape)
    with channel_writer(path, stored_shape) as writer:
        for number, channel in enumerate(channels()):
            wrong = describe_values(channel)
            if wrong is not None:
                raise InputError(f"{job.case} in {', '.join(map(str, job.folders))}: {wrong}")
            writer.write(channel)
            if job.dataset.regions is not None:
                segmentation[channel > 0.5] = job.dataset.region_labels[number]
                continue
            total += channel
            higher = channel > highest
            segmentation[higher] = number
            np.copyto(highest, channel, where=higher)
    if job.dataset.regions is None and np.abs(total - 1).max(initial=0) > SUM_TOLERANCE:
        raise InputError(f"{job.case} in {', '.join(map(str, job.folders))}: {describe_sums(total)}")
    return segmentation


def _arithmetic(files: Sequence[ProbabilityFile]) -> Channels:
    def channels() -> Iterator[NDArray[np.float32]]:
        for first, *others in zip(*(file.channels() for file in files), strict=True):
            total = first.astype(np.float32, copy=False)
            for other in others:
                total += other  # float32, in the order of the folders: as nnU-Net adds them
            total /= len(files)
            yield total

    return channels


def _geometric(files: Sequence[ProbabilityFile], exclusive: bool) -> Channels:
    """Return the channels of the geometric mean; those of classes that exclude each other are read twice, to normalize them."""

    def unnormalized(outside: bool = False) -> Iterator[NDArray[np.float64]]:
        for members in zip(*(file.channels() for file in files), strict=True):
            logarithms = np.zeros(members[0].shape)
            nowhere = np.ones(members[0].shape, bool)
            for member in members:
                logarithms += np.log(_not_zero(member, outside))
                nowhere &= member == 0
            mean = np.exp(logarithms / len(members))
            mean[nowhere] = 1 if outside else 0
            yield mean

    def of_classes() -> Iterator[NDArray[np.float32]]:
        total: NDArray[np.float64] | float = 0.0
        for channel in unnormalized():
            total = total + channel
        for channel in unnormalized():
            yield np.divide(channel, total).astype(np.float32)

    def of_regions() -> Iterator[NDArray[np.float32]]:
        for inside, outside in zip(unnormalized(), unnormalized(outside=True), strict=True):
            yield np.divide(inside, inside + outside).astype(np.float32)

    return of_classes if exclusive else of_regions


def _not_zero(channel: FloatArray, outside: bool) -> NDArray[np.float64]:
    """Return ``p``, or ``1 - p``, with what a stored 0 or 1 stands for; see :mod:`nnunet_nacl.calibration.log_probabilities`."""
    values: NDArray[np.float64] = channel.astype(np.float64)
    floor = ceiling_gap_of(channel.dtype) if outside else floor_of(channel.dtype)
    return np.asarray(np.maximum(1 - values if outside else values, floor))
