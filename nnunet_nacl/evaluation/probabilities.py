"""Reading softmax files without trusting them: nothing is unpickled, and the header is checked before the data is read."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError

KEY = "probabilities"


def read_probabilities(path: Path, num_classes: int, spatial_shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    """Return the probabilities ``(K, z, y, x)`` of a file that nnU-Net saved.

    Args:
        path: npz file with a floating point array ``probabilities``, ``(K, z, y, x)``, or ``(K, y, x)`` in 2D.
        num_classes: channels K that the data set asks for.
        spatial_shape: ``(z, y, x)`` of the label map.

    Raises:
        InputError: no npz file, truncated, without ``probabilities``, or of another shape or dtype.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{KEY}.npy" not in archive.namelist():
                held = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
                raise InputError(f"{path}: expected an array `{KEY}`, but the file holds {held}.")
            with archive.open(f"{KEY}.npy") as member:
                shape, fortran, dtype = _header(member)
                shape = _checked_shape(path, shape, dtype, num_classes, spatial_shape)
                data = member.read()
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: is truncated or no npz file ({error}). Predict this case again.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: `{KEY}` is no plain array ({error}).") from error
    values = _as_array(path, data, shape, fortran, dtype)
    return values.reshape(num_classes, *spatial_shape)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _checked_shape(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], num_classes: int, spatial_shape: tuple[int, ...]
) -> tuple[int, ...]:
    if not np.issubdtype(dtype, np.floating):
        raise InputError(f"{path}: expected floating point `{KEY}`, but got dtype {dtype}.")
    if not shape or shape[0] != num_classes:
        raise InputError(
            f"{path}: expected {num_classes} channels, one per class of dataset.json, but `{KEY}` has shape {shape}."
        )
    flat_2d = spatial_shape[0] == 1 and shape[1:] == spatial_shape[1:]
    if shape[1:] != spatial_shape and not flat_2d:
        raise InputError(
            f"{path}: expected shape {(num_classes, *spatial_shape)} to match the label file, but `{KEY}` has {shape}."
        )
    return shape


def _as_array(
    path: Path, data: bytes, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> NDArray[np.floating[Any]]:
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise InputError(f"{path}: expected {expected} bytes of `{KEY}`, but the file holds {len(data)}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
