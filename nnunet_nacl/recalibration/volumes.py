"""The probabilities of a case, in memory or, where they are large, unpacked to a scratch file, and gone through in blocks."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.evaluation.probabilities import KEY, read_probabilities

BLOCK_VALUES = 2**20
"""Values of a block: 8 MB for each float64 array of its size, of which the arithmetic needs about five."""


def open_probabilities(path: Path, num_channels: int, shape: tuple[int, ...], memory: int, scratch: Path) -> FloatArray:
    """Return the probabilities ``(channels, voxels)`` of a file.

    Where they take more than ``memory`` bytes as float32, the array lies in a nameless file in the folder ``scratch`` (channels
    x voxels x 4 bytes) that vanishes with the array, even if the process is killed.

    Raises:
        InputError: see :func:`read_probabilities`.
    """
    channels = read_probabilities(path, num_channels, shape)
    n_voxels = int(np.prod(shape))
    if num_channels * n_voxels * 4 <= memory:
        return channels.reshape(num_channels, n_voxels)
    unpacked = scratch_array((num_channels, n_voxels), scratch, channels.dtype)
    for number, channel in enumerate(channels):
        unpacked[number] = channel.reshape(-1)
    return unpacked


def empty_like(shape: tuple[int, int], memory: int, scratch: Path) -> NDArray[np.float32]:
    """Return an array to fill, float32, in memory or in a scratch file as in :func:`open_probabilities`."""
    if int(np.prod(shape)) * 4 <= memory:
        return np.empty(shape, np.float32)
    return scratch_array(shape, scratch, np.dtype(np.float32))


def scratch_array(shape: tuple[int, int], scratch: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array in a nameless file in a folder."""
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def blocks(num_channels: int, n_voxels: int) -> Iterator[slice]:
    """Yield slices that go through the voxels, :data:`BLOCK_VALUES` values at a time."""
    step = max(1, BLOCK_VALUES // num_channels)
    for start in range(0, n_voxels, step):
        yield slice(start, min(start + step, n_voxels))


def stored_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the array in a file that :func:`read_probabilities` accepts; in 2D it may lack the axis of slices."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{KEY}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read(member)[0]
        return shape
