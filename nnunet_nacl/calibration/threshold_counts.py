"""How many voxels of a class have which probability, inside and outside of the reference: what a mask at any threshold is made of.

The cells are finer where thresholds lie close together: 16 for each halving of p from 1/2 down to 2**-16, and of 1 - p up to 1 - 2**-16, and
one beyond each end. A cell begins at its threshold, so what a mask ``p >= threshold`` holds and misses at these thresholds is exact;
between them it is not known. The next higher threshold is at most 1/16 further in p (or 1 - p), and all are float32 numbers, so that
counting and thresholding see the same voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.sums import LANES

OUTSIDE, INSIDE = range(2)
"""Rows of the counts ``(C, 2, T)`` of structures. Voxels outside with a probability below the second threshold are not counted."""

N_THRESHOLDS = 482

_HALVINGS = 16
_LEAST = 2.0**-_HALVINGS
_LAST = N_THRESHOLDS - 1
_RUN = 512  # voxels: shorter runs are skipped more often, and cost more to look at

# whole numbers of the size of a float, how many of its bits follow the first four of the mantissa, and the bits before them of 2**-16
_BITS = {4: (np.int32, 19, (127 - _HALVINGS) * 16), 8: (np.int64, 48, (1023 - _HALVINGS) * 16)}


def thresholds() -> Float64Array:
    """Return the threshold of each cell, ``(T,)``, rising from 0.

    >>> thresholds()[[0, 1, 2, 241, 242, -1]].tolist()
    [0.0, 1.52587890625e-05, 1.621246337890625e-05, 0.5, 0.515625, 0.9999847412109375]
    """
    _, dropped, bits_of_least = _BITS[8]
    low = ((bits_of_least + np.arange(241)) << dropped).view(np.float64)  # to 1/2
    return np.concatenate([[0.0], low, 1 - low[-2::-1]])


class ThresholdCounts:
    """Counts the voxels of structures while the channels of their probabilities pass by.

    Args:
        labels: ``(*spatial)``, whole numbers.
        structures: label values of each structure: one of a class, several of a region.
        first_channel: the channel of the first structure: 1 beside background, 0 of regions.
        ignore_label: value of voxels that are not counted.
    """

    def __init__(
        self, labels: NDArray[Any], structures: Sequence[Sequence[int]], first_channel: int, ignore_label: int | None
    ) -> None:
        self._counts = np.zeros((len(structures), LANES, 2 * N_THRESHOLDS), np.int64)
        self._labels = labels.reshape(-1)
        self._structures, self._first, self._ignored = structures, first_channel, ignore_label

    @property
    def counts(self) -> Int64Array:
        """Voxels by structure, by :data:`OUTSIDE` and :data:`INSIDE`, and by cell, ``(C, 2, T)``."""
        counts: Int64Array = self._counts.sum(1).reshape(-1, 2, N_THRESHOLDS)
        counts[:, OUTSIDE, 0] = 0  # only those that shared a run with others
        return counts

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Give the blocks on, and count each."""
        for block in blocks:
            self.add(*block)
            yield block

    def add(self, channel: int, start: int, values: NDArray[np.floating[Any]]) -> None:
        """Count a block of a channel, ``(n,)``, from a voxel in C order on; unusable values are somebody else's to refuse."""
        if channel < self._first:
            return
        labels = self._labels[start : start + values.size]
        members = self._structures[channel - self._first]
        inside = labels == members[0] if len(members) == 1 else np.isin(labels, members)
        if self._ignored is not None:
            counted = labels != self._ignored
            values, inside = values[counted], inside[counted]
        whole_numbers, dropped, bits_of_least = _BITS[values.dtype.itemsize]
        bits = np.empty(_RUN, whole_numbers)
        _count(values, inside.view(np.uint8), self._counts[channel - self._first], bits, dropped, bits_of_least)


@compiled
def _count(
    values: NDArray[Any],
    inside: NDArray[np.uint8],
    counts: NDArray[np.int64],
    bits: NDArray[Any],
    dropped: int,
    bits_of_least: int,
) -> None:
    """Add a block of a structure to the counts ``(LANES, 2, T)``; ``bits`` is scratch of whole numbers as wide as the values.

    A run at a time: in most runs of a foreground channel no voxel is inside, and none has a probability to speak of.
    """
    least, folded = values.dtype.type(_LEAST), bits.view(values.dtype)
    shift, lowest = bits.dtype.type(dropped), bits.dtype.type(bits_of_least - 1)
    cells = np.empty(_RUN, np.int32)
    for begin in range(0, values.size, _RUN):
        run, within = values[begin : begin + _RUN], inside[begin : begin + _RUN]
        some = np.uint32(0)
        for i in range(run.size):
            some += np.uint32(run[i] >= least) | np.uint32(within[i])
        if some == 0:
            continue
        for i in range(run.size):
            folded[i] = 1 - run[i] if run[i] >= 0.5 else run[i]
        for i in range(run.size):  # by the leading bits of p, or of 1 - p from above
            upper = np.int32(run[i] >= 0.5)
            step = np.int32(((bits[i] - upper) >> shift) - lowest)
            step = min(max(step, np.int32(0)), np.int32(_LAST))
            cells[i] = np.int32(within[i]) * np.int32(N_THRESHOLDS) + (np.int32(_LAST) - step if upper else step)
        whole = run.size - run.size % LANES
        for i in range(0, whole, LANES):
            for lane in range(LANES):
                counts[lane, cells[i + lane]] += 1
        for i in range(whole, run.size):
            counts[0, cells[i]] += 1
