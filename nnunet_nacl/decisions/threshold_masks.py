"""Applying thresholds to a folder of predictions: a mask of each structure in each case, and what it holds.

The masks of structures overlap where thresholds are below one half, so they are files of their own: ``<structure>/<case>``, in the format
and geometry of the saved segmentation, 1 where the probability is the threshold or more.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from numpy.typing import NDArray

from nnunet_nacl.calibration.checks import SUM_TOLERANCE
from nnunet_nacl.decisions.case_table import MM3_PER_ML
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.evaluation.prediction_files import predicted_names, prepare_new_folder
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.processes.pool import results_of


@dataclass(frozen=True)
class Mask:
    """A structure in a case.

    Attributes:
        case: its name.
        key: of the structure.
        volume_ml, segmentation_ml: of the mask, and of the structure in the saved segmentation; NaN in 2D.
        findings, segmentation_findings: connected components of both, with 26 neighbours.
    """

    case: str
    key: str
    volume_ml: float
    segmentation_ml: float
    findings: int
    segmentation_findings: int


@dataclass(frozen=True)
class _Job:
    """A case to do: its files, where its masks go, and the threshold of each channel by the key of its structure."""

    case: Case
    output: Path
    dataset: Dataset
    thresholds: dict[int, tuple[str, float]]


def folder_names(structures: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the folder of each structure by its key: its name as far as every file system takes it, after its number."""
    return {
        key: f"{number}_{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60]}"
        for number, (key, name) in enumerate(structures.items(), start=1)
    }


def write_masks(
    thresholds: Mapping[str, float | None],
    structures: Mapping[str, str],
    predictions: Path,
    output: Path,
    dataset: Dataset,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Mask]:
    """Write the masks of all cases of a folder.

    Args:
        thresholds: of each structure by its key, in the order of the channels; none is written where it is None.
        structures: names by the same keys.
        predictions: folder with ``<case>.npz`` and the segmentations, which give the geometry.
        output: new or empty folder.
        dataset: of the predictions.
        num_processes: worker processes over the cases.
        progress: called after each case.

    Raises:
        InputError: anything that cannot be used; the cases finished until then stay.
    """
    names = predicted_names(predictions, dataset.file_ending)
    prepare_new_folder(output, predictions)
    first = 0 if dataset.regions is not None else 1
    of_channels = {
        first + number: (key, value) for number, (key, value) in enumerate(thresholds.items()) if value is not None
    }
    for key, name in folder_names(structures).items():
        if thresholds[key] is not None:
            (output / name).mkdir()
    cases = [Case(name, predictions / f"{name}.npz", predictions / f"{name}{dataset.file_ending}") for name in names]
    jobs = [_Job(case, output, dataset, of_channels) for case in cases]
    found: list[Mask] = []
    work = _Worker(folder_names(structures))
    for done, masks in enumerate(results_of(work, jobs, min(num_processes, len(jobs))), start=1):
        found += masks
        progress(done, len(jobs))
    return sorted(found, key=lambda mask: mask.case)


@dataclass(frozen=True)
class _Worker:
    """Writes the masks of a case; all are made elsewhere and moved into place."""

    folders: dict[str, str]

    def __call__(self, job: _Job) -> list[Mask]:
        labels = read_case_labels(job.case, job.dataset)
        reader = recursive_find_reader_writer_by_name(job.dataset.reader)()
        voxel_ml = labels.geometry.voxel_volume_mm3 / MM3_PER_ML
        found = []
        with tempfile.TemporaryDirectory(prefix=f".{job.case.name}.", dir=job.output) as unfinished:
            for number, mask in _masks(job, labels.values.shape):
                key, _ = job.thresholds[number]
                path = Path(unfinished) / self.folders[key] / job.case.labels.name
                path.parent.mkdir()
                reader.write_seg(mask, str(path), labels.properties)
                before = np.isin(labels.values, _members(job.dataset, number))
                found.append(
                    Mask(job.case.name, key, mask.sum() * voxel_ml, before.sum() * voxel_ml,
                         n_findings(mask), n_findings(before))
                )  # fmt: skip
            for path in sorted(Path(unfinished).glob("*/*")):
                shutil.move(path, job.output / path.parent.name / path.name)
        return found


def _masks(job: _Job, shape: tuple[int, ...]) -> Iterable[tuple[int, NDArray[np.uint8]]]:
    """Yield the channel of each structure that has a threshold, and its mask; a channel at a time is in memory."""
    file = open_probabilities(job.case.probabilities, job.dataset.num_channels, shape)
    mask = np.zeros(int(np.prod(shape)), np.uint8)
    for channel, start, values in file.blocks():
        if not np.all((values >= 0) & (values <= 1 + SUM_TOLERANCE)):
            raise InputError(
                f"{job.case.probabilities}: expected probabilities from 0 to 1, but got others. Are these logits?"
            )
        if channel in job.thresholds:
            mask[start : start + values.size] = values >= values.dtype.type(job.thresholds[channel][1])
            if start + values.size == mask.size:
                yield channel, mask.reshape(shape)


def _members(dataset: Dataset, channel: int) -> list[int]:
    return [channel] if dataset.regions is None else list(dataset.regions[channel])


def n_findings(mask: NDArray[Any]) -> int:
    """Return the number of connected components of a mask ``(z, y, x)``, voxels that touch at a corner being connected."""
    import cc3d  # a compiled extension, which --help has no need of

    return int(cc3d.connected_components(np.ascontiguousarray(mask, np.uint8), connectivity=26, return_N=True)[1])
