"""Reading softmax files, of any size in constant memory, without trusting them.

Nothing is unpickled. The header is compared with the label map before the rest is read. A file is never read whole, unless its
array is in Fortran order, which nnU-Net does not write.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.read_ahead import read_ahead
from nnunet_nacl.evaluation.zip_member import PREDICT_AGAIN, Member, MemberStream, find_member

KEY = "probabilities"

BLOCK_BYTES = 2**20
"""Bytes of the file's array in a block. From 64 KiB to 4 MiB the time is the same within the noise (measured)."""

_HEADER_BYTES = 2**14  # numpy refuses headers above 10,000 characters

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Block: TypeAlias = tuple[int, int, FloatArray]


@dataclass(frozen=True)
class ProbabilityFile:
    """A softmax file whose header fits the label map; made by :func:`open_probabilities`.

    Attributes:
        path: npz file.
        num_channels: channels K.
        spatial_shape: shape of the label map, ``(z, y, x)``; ``(1, y, x)`` in 2D.
        dtype: of the values that the methods yield, float32 or float64 (float16 is widened to float32).
    """

    path: Path
    num_channels: int
    spatial_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _member: Member = field(repr=False)
    _header: Header = field(repr=False)

    @property
    def voxels(self) -> int:
        """Voxels of a channel."""
        return math.prod(self.spatial_shape)

    def blocks(self) -> Iterator[Block]:
        """Yield ``(channel, start, values)`` from the first channel to the last; each call reads the file anew.

        ``values`` are the voxels ``start`` to ``start + len(values)`` of a channel in C order: 1-D, contiguous, writable, in native
        byte order, and the caller's to keep. Of files above 4 MiB the next blocks are inflated meanwhile in a thread, which ends with the iterator.
        At any time about 26 blocks of 1 MiB are held (float16: of 2 MiB); for a Fortran-ordered array, which has the channels
        of a voxel side by side, the whole array as well.

        Raises:
            InputError: the file is damaged. That the checksum is right is known only after the last block.
        """
        blocks = self._fortran_blocks() if self._header.fortran else self._blocks()
        # a small file is read before a thread has started
        return read_ahead(blocks) if self._member.size > 4 * BLOCK_BYTES else blocks

    def channels(self) -> Iterator[FloatArray]:
        """Yield the channels ``(*spatial)`` one after the other, each an array of its own; memory as in :meth:`blocks`.

        Raises:
            InputError: as in :meth:`blocks`.
        """
        channel = np.empty(self.voxels, self.dtype)
        for _, start, values in self.blocks():
            channel[start : start + len(values)] = values
            if start + len(values) == self.voxels:
                yield channel.reshape(self.spatial_shape)
                channel = np.empty(self.voxels, self.dtype)

    def _blocks(self) -> Generator[Block, None, None]:
        with MemberStream(self._member) as stream:
            self._skip_header(stream)
            for channel in range(self.num_channels):
                for start, stop in self._runs():
                    yield channel, start, self._values(stream, stop - start)
            stream.finish()

    def _fortran_blocks(self) -> Generator[Block, None, None]:
        with MemberStream(self._member) as stream:
            self._skip_header(stream)
            values = self._values(stream, self.num_channels * self.voxels)
            stream.finish()
        array = values.reshape(self._header.shape, order="F")
        for channel in range(self.num_channels):
            flat = array[channel].ravel(order="C")
            for start, stop in self._runs():
                yield channel, start, flat[start:stop]

    def _runs(self) -> Iterator[tuple[int, int]]:
        step = BLOCK_BYTES // self._header.dtype.itemsize
        return ((start, min(start + step, self.voxels)) for start in range(0, self.voxels, step))

    def _skip_header(self, stream: MemberStream) -> None:
        stream.readinto(memoryview(bytearray(self._header.size)))

    def _values(self, stream: MemberStream, count: int) -> FloatArray:
        values = np.empty(count, self._header.dtype)
        stream.readinto(memoryview(values.view(np.uint8).data))
        return values.astype(self.dtype, copy=False)


def open_probabilities(path: Path, num_channels: int, spatial_shape: tuple[int, ...]) -> ProbabilityFile:
    """Open a softmax file that nnU-Net saved, and check everything that can be checked before its values are read.

    Args:
        path: npz file with an array ``probabilities``, float16, float32 or float64, ``(K, z, y, x)``, or ``(K, y, x)`` in 2D.
        num_channels: channels K that the data set asks for.
        spatial_shape: shape of the label map.

    Raises:
        InputError: no npz file, truncated, encrypted, without ``probabilities``, of another shape or dtype, or of another size
            than its header says.
    """
    member = find_member(path, KEY)
    header = _header_of(member)
    _check_dtype(path, header.dtype)
    _check_shape(path, header.shape, num_channels, spatial_shape)
    promised = header.size + math.prod(header.shape) * header.dtype.itemsize
    if member.size != promised:
        raise InputError(
            f"{path}: expected {promised - header.size} bytes of `{KEY}`, but the file holds {member.size - header.size}. "
            f"{PREDICT_AGAIN}"
        )
    dtype = np.dtype(np.float64 if header.dtype.itemsize == 8 else np.float32)
    return ProbabilityFile(path, num_channels, spatial_shape, dtype, member, header)


def read_probabilities(path: Path, num_classes: int, spatial_shape: tuple[int, ...]) -> FloatArray:
    """Return all probabilities ``(K, *spatial)`` of a file, in memory.

    Args and errors: as in :func:`open_probabilities` and :meth:`ProbabilityFile.blocks`.
    """
    file = open_probabilities(path, num_classes, spatial_shape)
    values = np.empty((num_classes, file.voxels), file.dtype)
    for channel, start, run in file.blocks():
        values[channel, start : start + len(run)] = run
    return values.reshape(num_classes, *spatial_shape)


@dataclass(frozen=True)
class Header:
    """What the npy header of the softmax array says, and its own size in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and dtype from the start of an npy file, and leave the file after its header.

    Args:
        file: with what of the array is at hand; numpy reads as many bytes as the header claims to have, up to 4 GiB.

    Raises:
        ValueError: it is none; numpy also hands on whatever Python's parser raises.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"an npy file of unknown version {version[0]}.{version[1]}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy and Python's parser about odd headers, which are refused or right
        return read(file)


def read_header(path: Path) -> Header:
    """Return the header of a softmax file, of which no more than a few kilobytes are read, whatever it claims.

    Raises:
        InputError: no npz file, or no plain array in it.
    """
    return _header_of(find_member(path, KEY))


def checksum(path: Path) -> str:
    """Return the CRC-32 of a softmax array as the file's directory has it, in hexadecimal: which probabilities these are, without reading them.

    Raises:
        InputError: no npz file.
    """
    return f"{find_member(path, KEY).crc:08x}"


def _header_of(member: Member) -> Header:
    start = bytearray(min(_HEADER_BYTES, member.size))
    with MemberStream(member) as stream:
        stream.readinto(memoryview(start))
    content = io.BytesIO(start)
    try:
        shape, fortran, dtype = read_npy_header(content)
    except Exception as error:  # numpy hands on whatever Python's parser raises
        reason = first_line(error)
        raise InputError(f"{member.path}: `{KEY}` is no plain array ({reason}). {PREDICT_AGAIN}") from error
    return Header(shape, fortran, dtype, content.tell())


def _check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise InputError(
            f"{path}: expected floating point `{KEY}` (float16, float32, float64), but got dtype {dtype}. {PREDICT_AGAIN}"
        )


def _check_shape(path: Path, shape: tuple[int, ...], num_channels: int, spatial_shape: tuple[int, ...]) -> None:
    if not shape or shape[0] != num_channels:
        raise InputError(
            f"{path}: expected {num_channels} channels, one per class of dataset.json, but `{KEY}` has shape {shape}. "
            "Pass the dataset.json that the case was predicted with."
        )
    flat_2d = spatial_shape[:1] == (1,) and shape[1:] == spatial_shape[1:]
    if shape[1:] != spatial_shape and not flat_2d:
        raise InputError(
            f"{path}: expected shape {(num_channels, *spatial_shape)} to match the label file, but `{KEY}` has {shape}. "
            "Pass the label file of this case."
        )
