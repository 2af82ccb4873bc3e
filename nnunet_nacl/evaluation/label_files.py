"""Reading label maps and saved segmentations, with the geometry from the file that knows it.

A TIFF file does not say its spacing: nnU-Net's Tiff3DIO reads it from ``<case>.json`` beside the file, and takes 1 mm where there
is none. nnU-Net copies labels to ``gt_segmentations`` without that file, but writes one beside each prediction. So where a label file
has none, the one beside the prediction counts, which is that of the image, or that of the raw data.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnunetv2 import paths
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.geometry import Geometry, geometry_of
from nnunet_nacl.evaluation.gzip_check import check_gzip
from nnunet_nacl.files import json_files
from nnunet_nacl.nnunet.image_files import voxel_files

SPACING_READER = "Tiff3DIO"
"""nnU-Net's reader that looks for the spacing in a file of its own."""

READER_MODULES = {
    "SimpleITKIO": "simpleitk_reader_writer",
    "SimpleITKIOWithReorient": "simpleitk_reader_writer",
    "NibabelIO": "nibabel_reader_writer",
    "NibabelIOWithReorient": "nibabel_reader_writer",
    "Tiff3DIO": "tif_reader_writer",
    "NaturalImage2DIO": "natural_image_reader_writer",
}
"""Where nnU-Net has its readers, by name; others are looked for."""

SHORTEST_MM, LONGEST_MM = 1e-12, 1e12
"""What is no length of a voxel, however it came about: volumes and distances in voxels are finite numbers of all that lie between."""

RAW_FOLDERS = ("labelsTr", "imagesTr", "labelsTs", "imagesTs")


class LabelMap(NamedTuple):
    """A label file's content.

    Attributes:
        values: ``(z, y, x)``, as the reader gives them.
        properties: what the reader says of the file, which its writer takes; with the spacing that counts.
        geometry: of these properties.
        is_known: whether any file says the spacing.
    """

    values: NDArray[Any]
    properties: dict[str, Any]
    geometry: Geometry
    is_known: bool


def read_case_labels(case: Case, dataset: Dataset) -> LabelMap:
    """Return the label map of a case, labels as they are in the file.

    Args:
        case: of :func:`~nnunet_nacl.evaluation.evaluate_folder`, ``result.cases[0].case``.
        dataset: of :func:`~nnunet_nacl.evaluation.load_dataset`; names the reader.

    Raises:
        InputError: see :func:`read_label_map`.
    """
    return read_label_map(case.labels, dataset, spacing_files(case, dataset))


def read_label_map(path: Path, dataset: Dataset, elsewhere: Sequence[Path] = ()) -> LabelMap:
    """Return the label map of a file.

    Args:
        path: label file, or a segmentation that nnU-Net saved.
        dataset: names the reader.
        elsewhere: files that say the spacing where the file does not, in the order in which they are asked.

    Raises:
        InputError: the file cannot be read, holds several volumes, or has a spacing that is no length.
    """
    places = spacing_files_of(path, dataset, elsewhere)
    found = next((file for file in places if file.is_file()), None)
    try:
        check_gzip(path)
        # Tiff3DIO prints that it assumes 1 mm, which is said where it counts
        with contextlib.redirect_stdout(io.StringIO()) if places else contextlib.nullcontext():
            labels, properties = _reader(dataset.reader)().read_seg(str(path))
        # what the reader took of a spacing file is read again, and checked
        spacing = _read_spacing(found) if found else tuple(float(extent) for extent in properties["spacing"])
    except InputError:
        raise
    except Exception as error:  # the reader's libraries each have exceptions of their own
        raise InputError(f"{path}: {dataset.reader} cannot read this label file ({first_line(error)}).") from error
    if len(labels) != 1 or labels[0].ndim != 3:
        raise InputError(f"{path}: expected one label map, but got an array of shape {labels.shape}.")
    if not all(SHORTEST_MM <= extent <= LONGEST_MM for extent in spacing):
        raise InputError(f"{path}: expected a spacing above 0 mm, but got {spacing}.")
    properties["spacing"] = list(spacing)
    return LabelMap(labels[0], properties, geometry_of(properties), not places or found is not None)


def spacing_files(case: Case, dataset: Dataset) -> list[Path]:
    """Return the files that may say the spacing of a case where its label file does not, whether they are there or not."""
    if dataset.reader != SPACING_READER:
        return []
    raw = Path(str(paths.nnUNet_raw), dataset.name) if paths.nnUNet_raw.is_set() else None
    folders = [case.probabilities.parent, *(() if raw is None else (raw / name for name in RAW_FOLDERS))]
    return [folder / f"{case.name}.json" for folder in folders]


def spacing_files_of(path: Path, dataset: Dataset, elsewhere: Sequence[Path]) -> list[Path]:
    """Return all files that may say the spacing of a label file, its own first; none where the label file itself says it."""
    return [path.with_suffix(".json"), *elsewhere] if dataset.reader == SPACING_READER else []


def files_read(path: Path, dataset: Dataset, elsewhere: Sequence[Path] = ()) -> list[Path]:
    """Return all files that are there and that a label map depends on: the file itself, its voxels, its spacing."""
    side = [*spacing_files_of(path, dataset, elsewhere), *voxel_files(path)]
    return [path, *(file for file in side if file.is_file())]


def _read_spacing(path: Path) -> tuple[float, ...]:
    spacing = json_files.read_mapping(path, "").get("spacing")
    if not (isinstance(spacing, list) and len(spacing) == 3 and all(_is_length(extent) for extent in spacing)):
        raise InputError(
            f"{path}: expected `spacing`, three numbers in mm, as Tiff3DIO has it, but got {spacing!r:.200}."
        )
    return tuple(float(extent) for extent in spacing)


def _is_length(extent: Any) -> bool:
    return type(extent) in (int, float) and SHORTEST_MM <= extent <= LONGEST_MM


@functools.cache
def _reader(name: str) -> Any:
    """Return nnU-Net's reader of this name; nnU-Net looks through its modules each time, and imports all that come before it."""
    if name in READER_MODULES:
        module = importlib.import_module(f"nnunetv2.imageio.{READER_MODULES[name]}")
        if hasattr(module, name):
            return getattr(module, name)
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    return recursive_find_reader_writer_by_name(name)
