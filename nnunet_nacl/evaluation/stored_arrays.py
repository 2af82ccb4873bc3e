"""The arrays of an npz file of ours, each read whole, against its checksum and only as large as its header says."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.evaluation.probabilities import read_npy_header

_HEADER_BYTES = 2**14
_TEXT_BYTES = 2**26
"""Of an array of texts: names and paths of cases. Files of a kilobyte can unpack to gigabytes, and no header foresees it."""


class StoredArrays:
    """An open npz file, in a ``with`` statement. ``np.load`` skips the checksum of an array whose header is cut short.

    Raises:
        OSError, ValueError, KeyError and whatever zipfile and numpy raise for damaged files, also from :meth:`read`.
    """

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)

    def __enter__(self) -> StoredArrays:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.namelist()

    def texts(self, name: str) -> NDArray[np.str_]:
        """Return an array of texts, of any shape."""
        array = self._read(name, None)
        if array.dtype.kind != "U":
            raise ValueError(f"expected texts in `{name}`, but got {array.dtype}")
        return array

    def numbers(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array of this dtype and shape, in which None stands for any length."""
        return self._read(name, (np.dtype(dtype), shape))

    def _read(self, name: str, expected: tuple[np.dtype[Any], tuple[int | None, ...]] | None) -> NDArray[Any]:
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            start = io.BytesIO(member.read(_HEADER_BYTES))
        shape, _, dtype = read_npy_header(start)
        if expected is not None and not (dtype == expected[0] and _fits(shape, expected[1])):
            raise ValueError(f"expected `{name}` to be {expected[0]} {_shown(expected[1])}, but got {dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or start.tell() + size != info.file_size:
            raise ValueError(f"`{name}` is not as large as its header says")
        if expected is None and size > _TEXT_BYTES:
            raise ValueError(f"`{name}` is too large")
        return np.asarray(np.lib.format.read_array(io.BytesIO(self._archive.read(info)), allow_pickle=False))


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted, strict=True))


def _shown(wanted: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in wanted)})"
