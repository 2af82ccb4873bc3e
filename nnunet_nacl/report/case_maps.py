"""The map files of a case: what to read, what to compute, what to call the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.cases import HOW_TO_SAVE, case_names
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.report.maps import Maps, Reference, prepare_class_maps, prepare_region_maps
from nnunet_nacl.report.nifti import ENDING, affine_of, write_map


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
    array, properties = _read(dataset, geometry_file)
    reference = None
    if label_file is not None:
        values, label_properties = (array, properties) if label_file == geometry_file else _read(dataset, label_file)
        if values.shape != array.shape:
            raise InputError(f"{label_file}: has shape {values.shape}, but {geometry_file} has {array.shape}.")
        reference = Reference(values, label_properties["spacing"], dataset.ignore_label, sigma_mm)
    channels = open_probabilities(softmax, dataset.num_channels, array.shape).channels()
    affine, dimensions = affine_of(properties)
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


def _read(dataset: Dataset, path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return a segmentation ``(z, y, x)`` and its geometry, as nnU-Net's reader gives them."""
    try:
        segmentation, properties = recursive_find_reader_writer_by_name(dataset.reader)().read_seg(str(path))
    except Exception as error:  # the reader's libraries each have exceptions of their own
        raise InputError(f"{path}: {dataset.reader} cannot read this file ({first_line(error)}).") from error
    return segmentation[0], properties
