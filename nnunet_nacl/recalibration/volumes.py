"""The probabilities of a case, in memory or, where they are large, unpacked to a scratch file, and gone through in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.evaluation import probabilities
from nnunet_nacl.evaluation.probabilities import read_header

BLOCK_VALUES = 2**20
"""Values of a block: 8 MB for each float64 array of its size, of which the arithmetic needs about five."""


def open_probabilities(path: Path, num_channels: int, shape: tuple[int, ...], memory: int, scratch: Path) -> FloatArray:
    """Return the probabilities ``(channels, voxels)`` of a file, in its own dtype: what a stored 0 says depends on it.

    Where they take more than ``memory`` bytes as float32, the array lies in a nameless file in the folder ``scratch`` (channels
    x voxels x 4 bytes) that vanishes with the array, even if the process is killed.

    Raises:
        InputError: see :func:`nnunet_nacl.evaluation.probabilities.open_probabilities`.
    """
    file = probabilities.open_probabilities(path, num_channels, shape)
    dtype = stored_header(path)[1].newbyteorder("=")
    values = _array((num_channels, file.voxels), dtype, memory, scratch)
    for channel, start, run in file.blocks():
        values[channel, start : start + len(run)] = run
    return values


def empty_like(shape: tuple[int, int], memory: int, scratch: Path) -> NDArray[np.float32]:
    """Return an array to fill, float32, in memory or in a scratch file as in :func:`open_probabilities`."""
    return _array(shape, np.dtype(np.float32), memory, scratch)


def blocks(num_channels: int, n_voxels: int) -> Iterator[slice]:
    """Yield slices that go through the voxels, :data:`BLOCK_VALUES` values at a time."""
    step = max(1, BLOCK_VALUES // num_channels)
    for start in range(0, n_voxels, step):
        yield slice(start, min(start + step, n_voxels))


def channel_blocks(values: FloatArray) -> Iterator[tuple[int, int, FloatArray]]:
    """Yield ``(channel, start, values)`` from the first channel to the last, as the evaluator reads a file."""
    for channel, row in enumerate(values):
        for part in blocks(1, row.size):
            run = np.asarray(row[part])
            yield channel, part.start, run.astype(np.float32) if run.dtype.itemsize < 4 else run


def stored_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of the array in a file that the evaluator accepts; in 2D it may lack the axis of slices."""
    header = read_header(path)
    return header.shape, header.dtype


def _array(shape: tuple[int, int], dtype: np.dtype[Any], memory: int, scratch: Path) -> NDArray[Any]:
    if int(np.prod(shape)) * 4 <= memory:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
