"""What tells a data set from another of the same name: the content of its label and image files, case by case.

Label files are small and are hashed whole. Of an image above a megabyte, its size and blocks spread over it are hashed, among
them the end: a gzip file (``.nii.gz``) ends with the CRC-32 of all that it holds (RFC 1952). So a data set of 27 GB is known in
seconds. It does not notice an uncompressed image that differs between those blocks alone.

``nnUNetv2_convert_MSD_dataset`` copies labels and three-dimensional images byte by byte, so that a task and what was imported
from it have the same digests. It splits four-dimensional ones into channels; what those were split from, an import of ours records.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nnunet_nacl.benchmark.tasks.download import archived_files
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files.json_files import read_mapping

WHOLE = 1 << 20  # bytes of the largest image file that is hashed whole
BLOCK, BLOCKS = 1 << 16, 16
MSD_ENDING = ".nii.gz"  # the converter looks at no other files
_SHOWN = 4  # names in a message


@dataclass(frozen=True)
class CaseDigests:
    """What a case holds, as short texts; None where it is not known.

    Attributes:
        labels: of its label file.
        images: of its image files, one per channel.
        unsplit: of the four-dimensional file that the channels were split from.
    """

    labels: str
    images: str | None = None
    unsplit: str | None = None


Cases = Mapping[str, CaseDigests]
"""A data set, by case."""


def of_task(source: Path) -> dict[str, CaseDigests]:
    """Return the cases of an MSD-style task, in a folder or an archive.

    Raises:
        InputError: it cannot be read.
    """
    labels: dict[str, str] = {}
    images: dict[str, CaseDigests] = {}
    try:
        for part, name, size, open_file in _files_of_task(source):
            case = name.removesuffix(MSD_ENDING)
            if part == "labelsTr":
                labels[case] = _digest(open_file(), size, whole=True)
            else:
                key = "images" if _is_volume(open_file()) else "unsplit"
                images[case] = CaseDigests("", **{key: _digest(open_file(), size)})
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{source}: cannot be read ({first_line(error)}).") from error
    unknown = CaseDigests("")
    return {
        case: CaseDigests(label, images.get(case, unknown).images, images.get(case, unknown).unsplit)
        for case, label in labels.items()
    }


def of_raw(folder: Path) -> dict[str, CaseDigests]:
    """Return the cases of a data set in nnUNet_raw.

    Raises:
        InputError: it is no such data set, or cannot be read.
    """
    content = read_mapping(folder / "dataset.json", "A data set of nnU-Net has one.")
    try:
        files = _listed(folder, content) if "dataset" in content else _in_folders(folder, str(content["file_ending"]))
        return {case: CaseDigests(_of_file(label), _of_files(images)) for case, (label, images) in files.items()}
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: is not as nnU-Net keeps a data set ({first_line(error)}).") from error


def of_labels(folder: Path, ending: str) -> dict[str, CaseDigests]:
    """Return the cases of a folder of label files.

    Raises:
        InputError: they cannot be read.
    """
    try:
        return {path.name.removesuffix(ending): CaseDigests(_of_file(path)) for path in folder.glob(f"[!.]*{ending}")}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({first_line(error)}).") from error


def digest(cases: Cases) -> str:
    """Return a short text for all cases: the same for the same labels and images."""
    parts = (f"{case}\n{one.labels}\n{one.images}\n" for case, one in sorted(cases.items()))
    return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()


def difference(wanted: Cases, held: Cases) -> str | None:
    """Return in words how a data set differs from the one that is wanted; None where nothing that both know differs."""
    missing, more = sorted(wanted.keys() - held.keys()), sorted(held.keys() - wanted.keys())
    both = sorted(wanted.keys() & held.keys())
    labels = [case for case in both if wanted[case].labels != held[case].labels]
    images = [case for case in both if case not in labels and _other_images(wanted[case], held[case])]
    parts = [
        f"{len(missing)} of {len(wanted)} cases are missing ({_names(missing)})" if missing else "",
        f"{len(more)} are too many ({_names(more)})" if more else "",
        f"{len(labels)} have other labels ({_names(labels)})" if labels else "",
        f"{len(images)} have other images ({_names(images)})" if images else "",
    ]
    return ", ".join(part for part in parts if part) or None


def _other_images(wanted: CaseDigests, held: CaseDigests) -> bool:
    pairs = ((wanted.images, held.images), (wanted.unsplit, held.unsplit))
    return any(a is not None and b is not None and a != b for a, b in pairs)


def _names(cases: list[str]) -> str:
    return ", ".join(cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")


def _files_of_task(source: Path) -> Iterator[tuple[str, str, int, Callable[[], IO[bytes]]]]:
    """Give folder, name, size and a function that opens it, for each training image and label file that is converted."""
    if source.is_dir():
        for part in ("imagesTr", "labelsTr"):
            for path in sorted((source / part).iterdir()):
                if _is_converted(path.name):
                    yield part, path.name, path.stat().st_size, lambda path=path: path.open("rb")  # type: ignore[misc]
        return
    for inside, size, open_file in archived_files(source):
        if inside.parent.name in ("imagesTr", "labelsTr") and _is_converted(inside.name):
            yield inside.parent.name, inside.name, size, open_file


def _is_converted(name: str) -> bool:
    return name.endswith(MSD_ENDING) and not name.startswith((".", "_"))


def _is_volume(opened: IO[bytes]) -> bool:
    """Return whether a NIfTI-1 file has three dimensions, which stand at byte 40 of its header."""
    try:
        with opened as file, gzip.GzipFile(fileobj=file) as unpacked:
            header = unpacked.read(42)
    except (OSError, EOFError, zlib.error):
        return False
    # in the byte order of the machine that wrote it
    return len(header) == 42 and 3 in struct.unpack("<h", header[40:]) + struct.unpack(">h", header[40:])


def _in_folders(folder: Path, ending: str) -> dict[str, tuple[Path, list[Path]]]:
    """Return label and images of each case, named as nnU-Net asks: ``imagesTr/<case>_0000.nii.gz``."""
    images: dict[str, list[Path]] = {}
    for path in sorted((folder / "imagesTr").glob(f"[!.]*_[0-9][0-9][0-9][0-9]{ending}")):
        images.setdefault(path.name[: -len(ending) - 5], []).append(path)
    return {case: (folder / "labelsTr" / f"{case}{ending}", paths) for case, paths in images.items()}


def _listed(folder: Path, content: dict[str, object]) -> dict[str, tuple[Path, list[Path]]]:
    """Return label and images of each case as the key ``dataset`` of dataset.json lists them."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    listed = get_filenames_of_train_images_and_targets(str(folder), content)
    return {case: (Path(files["label"]), [Path(image) for image in files["images"]]) for case, files in listed.items()}


def _of_files(paths: Iterable[Path]) -> str:
    digests = [_of_file(path, whole=False) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.blake2b("".join(digests).encode(), digest_size=8).hexdigest()


def _of_file(path: Path, whole: bool = True) -> str:
    return _digest(path.open("rb"), path.stat().st_size, whole)


def _digest(opened: IO[bytes], size: int, whole: bool = False) -> str:
    hasher = hashlib.blake2b(f"{size}\n".encode(), digest_size=8)
    with opened as file:
        if whole or size <= WHOLE:
            for chunk in iter(lambda: file.read(WHOLE), b""):
                hasher.update(chunk)
        else:
            for number in range(BLOCKS):
                file.seek(number * (size - BLOCK) // (BLOCKS - 1))
                hasher.update(file.read(BLOCK))
    return hasher.hexdigest()
