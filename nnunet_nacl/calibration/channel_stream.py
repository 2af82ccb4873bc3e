"""The sums over voxels whose channels come one after another and are never in memory together.

The class bins of a voxel need its stratum, the stratum its prediction, and the prediction all channels. The first channel,
background, settles nearly all voxels: above one half no other can exceed it, below 1 / K another must. The open ones in
between are put aside with all their channels, as long as that takes no more memory than one channel of all voxels; otherwise
the channels are read a second time. Few channels (five of float32) are held altogether, in less memory and time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import kernels
from nnunet_nacl.calibration.checks import SUM_TOLERANCE, describe_sums, describe_values
from nnunet_nacl.calibration.kernels import SLAB, Voxels
from nnunet_nacl.calibration.sums import Sums, add_into, no_sums
from nnunet_nacl.calibration.voxel_sets import LEFT_OUT, PREDICTED_FOREGROUND

Block = tuple[int, int, NDArray[np.floating[Any]]]
"""Channel, index of the first voxel, and the probabilities ``(n,)`` of that channel from there on."""

HELD_BYTES = 20
"""Of a voxel: channels that take no more are held, since what would be known of the voxel while they pass by takes as much."""

BYTES_PER_VOXEL = 26
"""Memory of a pass over float32 channels: 20 for what is known of a voxel, 2 for its label, up to 4 put aside."""


def sums_of_channels(
    first_pass: Iterable[Block],
    second_pass: Callable[[], Iterable[Block]],
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    num_classes: int,
    n_bins: int,
) -> tuple[list[Sums], NDArray[np.int16]]:
    """Return the sums over the voxels, in parts, and the predicted class of each voxel ``(N,)``.

    Args:
        first_pass: the channels in order, each in consecutive blocks.
        second_pass: gives them once more, if need be.
        label: ``(N,)``, K for a voxel without label; changed.
        group: ``(N,)``, what is known of the stratum without the prediction, or LEFT_OUT; changed.
        num_classes: K.
        n_bins: equal-width bins.

    Raises:
        ValueError: values that are no probabilities or do not sum to 1; blocks that are not every voxel of every channel, in order.
    """
    if not label.size:
        return [], np.zeros(0, np.int16)
    stream = _whole(first_pass, num_classes, label.size)
    first = next(stream)
    if num_classes * first[2].itemsize <= HELD_BYTES:
        return _sums_of_held(chain((first,), stream), first[2].dtype, label, group, num_classes, n_bins)
    return _sums_of_passing(chain((first,), stream), second_pass, label, group, num_classes, n_bins)


def _whole(blocks: Iterable[Block], num_classes: int, size: int) -> Iterator[Block]:
    """Give the blocks on, and raise ValueError where one is missing: what it should have filled would be what memory happens to hold."""
    end = 0
    for channel, start, values in blocks:
        if channel * size + start != end or start + values.size > size or channel >= num_classes:
            raise ValueError(
                f"Expected voxel {end % size} of channel {end // size} next, but got a block of channel {channel} from voxel {start} on, "
                f"of {values.size} voxels; there are {num_classes} channels of {size}."
            )
        end += values.size
        yield channel, start, values
    if end != num_classes * size:
        raise ValueError(
            f"Expected {num_classes} channels of {size} voxels, but got {end // size} and {end % size} voxels of the next."
        )


def _sums_of_held(
    stream: Iterable[Block],
    dtype: np.dtype[Any],
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    num_classes: int,
    n_bins: int,
) -> tuple[list[Sums], NDArray[np.int16]]:
    """Return the sums over voxels with few channels, which are held until the last one comes: see :func:`sums_of_channels`.

    Each block of the last channel completes its voxels, which are added while the file is read on, by two threads in turn: each adds its
    blocks one after another to sums of its own, so that the result does not depend on which is faster.
    """
    probabilities = np.empty((num_classes, label.size), dtype)
    prediction = np.empty(label.size, np.int16)
    parts: list[Sums] = []
    in_work: list[Future[int]] = []

    def add(sums: Sums, part: slice) -> int:
        rest = n_bins, sums, SUM_TOLERANCE, prediction[part]
        return kernels.add_array(probabilities, part.start, label[part], group[part], *rest)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for channel, start, values in stream:
            part = slice(start, start + values.size)
            probabilities[channel, part] = values
            if channel == num_classes - 1:
                turn = len(in_work) % 2
                if turn == len(parts):
                    parts.append(no_sums(num_classes, n_bins))
                in_work.append((one, other)[turn].submit(add, parts[turn], part))
        faults = sum(work.result() for work in in_work)
    if faults:
        raise ValueError(describe_values(probabilities) or describe_sums(probabilities.sum(0, dtype=np.float64)))
    return parts, prediction


def _sums_of_passing(
    first_pass: Iterable[Block],
    second_pass: Callable[[], Iterable[Block]],
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    num_classes: int,
    n_bins: int,
) -> tuple[list[Sums], NDArray[np.int16]]:
    """Return the sums over voxels with many channels, each of which is seen and forgotten: see :func:`sums_of_channels`."""
    sums = no_sums(num_classes, n_bins)
    open_voxels = _OpenVoxels(group, num_classes)
    voxels: Voxels | None = None
    for channel, start, values in first_pass:
        if voxels is None:
            voxels = kernels.new_voxels(label, group, values)
        if kernels.see_channel(values, channel, voxels, start, 1 + SUM_TOLERANCE):
            raise ValueError(describe_values(values))
        open_voxels.see(channel, start, values)
        if open_voxels.kept:
            kernels.bin_channel(values, channel, group[start : start + values.size], n_bins, sums)
    assert voxels is not None, "there was no block"
    if open_voxels.kept:
        parts = [open_voxels.sums(label, n_bins), sums]
        label[open_voxels.indices] = num_classes  # they have been counted
    else:
        open_voxels.give_back()
        kernels.mark_predicted(voxels)
        sums = no_sums(num_classes, n_bins)
        for channel, start, values in second_pass():
            kernels.bin_channel(values, channel, group[start : start + values.size], n_bins, sums)
        parts = [sums]
    return [*parts, _binned(voxels, num_classes, n_bins)], voxels.argmax


def _binned(voxels: Voxels, num_classes: int, n_bins: int) -> Sums:
    """Return the sums that need all channels of a voxel, in two threads: no file is being read any more."""

    def slab(begin: int) -> tuple[Sums, int]:
        sums = no_sums(num_classes, n_bins)
        part = Voxels._make(array[begin : begin + SLAB] for array in voxels)
        return sums, kernels.bin_voxels(part, n_bins, sums, SUM_TOLERANCE)

    total, astray = no_sums(num_classes, n_bins), 0
    with ThreadPoolExecutor(2) as pool:
        for sums, count in pool.map(slab, range(0, voxels.label.size, SLAB)):
            add_into(total, sums)
            astray += count
    if astray:
        raise ValueError(describe_sums(voxels.total))
    return total


class _OpenVoxels:
    """The voxels whose prediction the first channel leaves open; taken out of ``group`` and kept with all channels."""

    def __init__(self, group: NDArray[np.uint8], num_classes: int) -> None:
        self.kept = True  # until they turn out to be too many
        self._group, self._num_classes = group, num_classes
        self._found: list[NDArray[np.intp]] = []
        self._groups_found: list[NDArray[np.uint8]] = []
        self._background: list[NDArray[np.floating[Any]]] = []

    def see(self, channel: int, start: int, values: NDArray[np.floating[Any]]) -> None:
        """Take in a block: of the first channel to find the voxels, of the others to keep their probabilities."""
        if channel == 0:
            self._find(start, values)
            return
        if channel == 1 and start == 0:
            self._make_room(values.dtype)
        if self.kept:
            first, last = np.searchsorted(self.indices, (start, start + values.size))
            self._probabilities[channel, first:last] = values[self.indices[first:last] - start]

    def sums(self, label: NDArray[np.int16], n_bins: int) -> Sums:
        """Return the sums over these voxels."""
        sums = no_sums(self._num_classes, n_bins)
        # their values have been checked with all others
        prediction = np.empty(self.indices.size, np.int16)
        rest = n_bins, sums, SUM_TOLERANCE, prediction
        kernels.add_array(self._probabilities, 0, label[self.indices], self._groups, *rest)
        return sums

    def give_back(self) -> None:
        """Put ``group`` back to what is known without any prediction."""
        self._group[self.indices] = self._groups
        self._group[self._group != LEFT_OUT] &= np.uint8(0xFF ^ PREDICTED_FOREGROUND)

    def _find(self, start: int, background: NDArray[np.floating[Any]]) -> None:
        group = self._group[start : start + background.size]
        counted = group != LEFT_OUT
        exceeded = background < (1 - SUM_TOLERANCE) / self._num_classes
        group[counted & exceeded] |= PREDICTED_FOREGROUND
        found = np.flatnonzero(counted & ~exceeded & (background <= (1 + SUM_TOLERANCE) / 2))
        self._found.append(found + start)
        self._groups_found.append(group[found])
        self._background.append(background[found])
        group[found] = LEFT_OUT

    def _make_room(self, dtype: np.dtype[Any]) -> None:
        self.indices = np.concatenate(self._found)
        self._groups = np.concatenate(self._groups_found)
        self.kept = self.indices.size * self._num_classes <= self._group.size
        if self.kept:
            self._probabilities = np.empty((self._num_classes, self.indices.size), dtype)
            self._probabilities[0] = np.concatenate(self._background)
