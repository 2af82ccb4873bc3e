"""The image files of a case, how many channels they hold, and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError

A_FILE_PER_CHANNEL = frozenset(
    {"SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "Tiff3DIO"}
)
"""nnU-Net's readers of images with one channel in a file. NaturalImage2DIO reads colour images, with three or four in a file."""


def num_image_channels(dataset_json: Mapping[str, Any]) -> int:
    """Return the number of channels of the images, without those that a cascade adds."""
    return len(dataset_json["modality"] if "modality" in dataset_json else dataset_json["channel_names"])


def enough_files(number: int, channels: int, reader: str) -> bool:
    """Return whether so many image files can hold the channels, as far as their number tells.

    Args:
        number: of image files of a case.
        channels: that a network takes.
        reader: nnU-Net's class that reads them.
    """
    return number == channels if reader in A_FILE_PER_CHANNEL else 1 <= number <= channels


def images_in(folder: Path, name: str, channels: int, file_ending: str, reader: str) -> tuple[Path, ...]:
    """Return the image files of a case, ``<name>_XXXX<ending>``, as nnU-Net lists them: in the order of their names.

    Raises:
        InputError: there is none, or they are not as many as the channels need.
    """
    pattern = re.compile(re.escape(name) + r"_\d{4}" + re.escape(file_ending))
    present = {path.name for path in folder.iterdir() if pattern.fullmatch(path.name)} if folder.is_dir() else set()
    if enough_files(len(present), channels, reader):
        return tuple(folder / file for file in sorted(present))
    expected = [f"{name}_{channel:04d}{file_ending}" for channel in range(channels)]
    missing = [file for file in expected if file not in present]
    if missing:
        raise InputError(
            f"{folder / missing[0]}: no such file; expected one image for each of {channels} channels of {name}."
        )
    raise InputError(
        f"{folder}: expected one image for each of {channels} channels of {name}, but got {len(present)}: "
        f"{', '.join(sorted(present)[:5])}."
    )


def voxel_files(path: Path) -> Iterator[Path]:
    """Yield the files that hold the voxels of an image whose own file does not; they need not be there.

    So it may be with MetaImage (.mhd), NRRD (.nhdr) and Analyze (.hdr, .img).
    """
    ending = path.suffix.lower()
    if ending in (".hdr", ".img"):
        yield path.with_suffix(".img" if ending == ".hdr" else ".hdr")
    elif ending in (".mhd", ".nhdr"):
        key, between = ("elementdatafile", "=") if ending == ".mhd" else ("data file", ":")
        lines = path.read_bytes()[: 2**16].decode("utf-8", "replace").splitlines()
        places = [number for number, line in enumerate(lines) if line.partition(between)[0].strip().lower() == key]
        for number in places:
            # after LIST stand the names of the files, one a line
            yield from (
                path.parent / line.strip() for line in (lines[number].partition(between)[2], *lines[number + 1 :])
            )
