"""The map files of a case: what to read, what to compute, what to call the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import HOW_TO_SAVE, Case, case_names
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.label_files import LabelMap, read_label_map, spacing_files
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.report.maps import Maps, Reference, prepare_class_maps, prepare_region_maps
from nnunet_nacl.report.nifti import ENDING, write_map


def find_names(predictions: Path, wanted: Iterable[str]) -> list[str]:
    """Return the wanted cases, or all that have a softmax file, sorted.

    Raises:
        InputError: a wanted case has none, or there are none at all.
    """
    found = sorted(case_names(predictions, ".npz"))
    missing = [name for name in wanted if name not in found]
    if missing or not found:
        raise InputError(
            f"{predictions}: no softmax file (.npz){' for ' + missing[0] if missing else ''}. {HOW_TO_SAVE}"
        )
    return list(dict.fromkeys(wanted)) or found


def write_case_maps(
    name: str, predictions: Path, labels: Path | None, dataset: Dataset, sigma_mm: float, folder: Path
) -> list[Path]:
    """Write the maps of a case and return their paths.

    The geometry is that of the segmentation beside the softmax file, or of the label file. Without labels there is no local
    error to map. Memory: some maps and one channel of the softmax file, however many it has.

    Args:
        name: of the case.
        predictions: folder with ``<name>.npz`` and, usually, nnU-Net's segmentation.
        labels: folder with the label files, or None.
        dataset: what the channels mean and how files are read.
        sigma_mm: of the Gaussian over which the local error is averaged.
        folder: to write to.

    Raises:
        InputError: a file is missing, cannot be read, or does not fit the others.
    """
    softmax = predictions / f"{name}.npz"
    label_file = None if labels is None else labels / f"{name}{dataset.file_ending}"
    if label_file is not None and not label_file.is_file():
        raise InputError(f"{label_file}: no such label file. Leave out -gt for confidence and entropy alone.")
    segmentation = predictions / f"{name}{dataset.file_ending}"
    geometry_file = segmentation if segmentation.is_file() else label_file
    if geometry_file is None:
        raise InputError(
            f"{segmentation}: no such file, and without labels (-gt) nothing else says where the case lies."
        )
    elsewhere = spacing_files(Case(name, softmax, segmentation), dataset)
    placed = read_label_map(geometry_file, dataset, elsewhere)
    reference = None
    if label_file is not None:
        given = placed if label_file == geometry_file else read_label_map(label_file, dataset, elsewhere)
        reference = _reference(given, placed, dataset, sigma_mm, (label_file, geometry_file))
    channels = open_probabilities(softmax, dataset.num_channels, placed.values.shape).channels()
    affine, dimensions = placed.geometry.affine, placed.geometry.dimensions
    written = []
    try:
        for part, description, image, signed in _images(channels, dataset, reference):
            path = folder / f"{name}_{part}{ENDING}"
            write_map(image, signed, affine, dimensions, description, path)
            written.append(path)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{softmax}: {error}") from error
    return written


def _reference(
    given: LabelMap, placed: LabelMap, dataset: Dataset, sigma_mm: float, files: tuple[Path, Path]
) -> Reference:
    """Return the labels that the local error is computed against; both label maps have to be of one shape."""
    if given.values.shape != placed.values.shape:
        raise InputError(f"{files[0]}: has shape {given.values.shape}, but {files[1]} has {placed.values.shape}.")
    return Reference(given.values, given.geometry.spacing, dataset.ignore_label, sigma_mm)


def _images(
    channels: Iterator[NDArray[Any]], dataset: Dataset, reference: Reference | None
) -> Iterator[tuple[str, str, NDArray[np.float32], bool]]:
    """Yield the end of the file's name, a description, the values and whether they have a sign."""
    if dataset.regions is None:
        yield from _images_of(prepare_class_maps(channels, dataset.num_channels, reference), "", "confidence")
        return
    regions = dict(zip(dataset.target_names.values(), dataset.regions, strict=True))
    for number, maps in enumerate(prepare_region_maps(channels, regions, reference), start=1):
        # a region may have any name, a file may not
        yield from _images_of(
            maps, f"region{number}-{re.sub(r'[^A-Za-z0-9]+', '-', maps.region or '')}_", "probability"
        )


def _images_of(maps: Maps, prefix: str, first: str) -> Iterator[tuple[str, str, NDArray[np.float32], bool]]:
    yield f"{prefix}{first}", first, maps.confidence, False
    yield f"{prefix}entropy", "entropy / log of the number of classes", maps.entropy, False
    if maps.gap is not None:
        error = "local calibration error"
        yield f"{prefix}local_calibration_error", f"{error}, absolute", np.abs(maps.gap), False
        yield f"{prefix}local_gap", f"{error}, positive where overconfident", maps.gap, True
