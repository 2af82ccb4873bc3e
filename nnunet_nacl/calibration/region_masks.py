"""Probability and entropy over the masks of regions in the label map that nnU-Net writes, which is known only once all channels have been seen.

Nearly all voxels of a mask are those in which the region's own channel is above 0.5, over which the sums are taken while it passes by. The others, where
another channel decides, are added or taken away at the end. Their probabilities have been kept: those up to 0.5 of a region that another one's label
belongs to, as long as they are not next to nothing, and those above 0.5 of one that a label from outside may be written over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray, Int64Array
from nnunet_nacl.calibration.channel_stream import HELD_BYTES, Block
from nnunet_nacl.calibration.mask_kernels import add_masks, find_members, see_region
from nnunet_nacl.calibration.overlap import LABEL_VALUES
from nnunet_nacl.calibration.sums import MASK_ENTROPY, MASK_PROBABILITY, STRIP

LIKELY = 0.02
"""Probabilities up to this are not kept; where one is needed after all, the channels are read again."""

_BITS = 8  # regions at a time


class RegionMasks:
    """The regions of a case, from the first channel to the masks."""

    def __init__(self, regions: Sequence[Sequence[int]], region_labels: Sequence[int], voxels: int) -> None:
        """Take the label values of each region, and the label that is written where its channel is above 0.5, later ones over earlier ones."""
        self._regions = regions
        self._above = np.zeros((-(-len(regions) // _BITS), voxels), np.uint8)
        self._kept: list[list[tuple[Int64Array, FloatArray]]] = [[] for _ in regions]
        self._room = HELD_BYTES * voxels  # memory that what is kept may take
        self._ranges = []
        for number, region in enumerate(regions):
            gains = any(label in region for other, label in enumerate(region_labels) if other != number)
            loses = any(label not in region for label in region_labels[number:])
            self._ranges.append((LIKELY if gains else 0.5, np.inf if loses else 0.5))

    def see(self, channel: int, start: int, values: FloatArray) -> None:
        """Take in a block of a channel; all come in order."""
        group, bit = divmod(channel, _BITS)
        low, high = self._ranges[channel] if self._room > 0 else (np.inf, 0.0)
        at, kept = see_region(values, bit, self._above[group, start : start + values.size], low, high)
        if at.size:
            self._kept[channel].append((at.astype(np.int64) + start, kept))
            self._room -= 2 * at.nbytes + kept.nbytes

    def sums(
        self, own: Float64Array, labels: NDArray[Any], predicted: NDArray[np.uint16], ignored: int
    ) -> Float64Array | None:
        """Return the mask sums ``(R, 2)``, or None where a probability that they need was not kept.

        Args:
            own: ``(R, 2)``, the sums over the voxels in which the region's own channel is above 0.5.
            labels: ``(*spatial)``, whole numbers.
            predicted: ``(*spatial)``, the label map that nnU-Net writes.
            ignored: value in ``labels`` of voxels that are not counted.
        """
        if self._room <= 0:
            return None
        sums = np.array(own)
        for group, above in enumerate(self._above):
            inside = members(self._regions[group * _BITS : (group + 1) * _BITS], labels, predicted, ignored)
            if ignored >= 0:
                above[labels.ravel() == ignored] = 0
            differs = np.flatnonzero(above != inside)
            for bit in range(min(_BITS, len(self._regions) - group * _BITS)):
                channel = group * _BITS + bit
                flag = np.uint8(1 << bit)
                at = differs[(above[differs] ^ inside[differs]) & flag != 0]
                values = self._values(channel, at)
                if values is None:
                    return None
                sign = np.where(inside[at] & flag, 1.0, -1.0)
                sums[channel] += (
                    (sign * values).sum(),
                    -(sign * (xlogy(values, values) + xlog1py(1 - values, -values))).sum(),
                )
        return np.maximum(sums, 0)

    def _values(self, channel: int, at: Int64Array) -> Float64Array | None:
        if not at.size:
            return np.empty(0)
        if not self._kept[channel]:
            return None
        where, values = (np.concatenate(parts) for parts in zip(*self._kept[channel], strict=True))
        place = np.minimum(np.searchsorted(where, at), max(where.size - 1, 0))
        if not where.size or not np.array_equal(where[place], at):
            return None
        return np.minimum(values[place].astype(np.float64), 1)


def members(
    regions: Sequence[Sequence[int]], labels: NDArray[Any], predicted: NDArray[np.uint16], ignored: int
) -> NDArray[np.uint8]:
    """Return for each voxel ``(N,)`` in which of up to eight regions it is predicted, a bit each; 0 where it is not counted."""
    bits, inside = np.zeros(LABEL_VALUES, np.uint8), np.empty(labels.size, np.uint8)
    for number, region in enumerate(regions):
        bits[list(region)] |= np.uint8(1 << number)
    find_members(labels.ravel(), predicted.ravel(), ignored, bits, inside)
    return inside


def read_again(
    blocks: Iterable[Block],
    regions: Sequence[Sequence[int]],
    labels: NDArray[Any],
    predicted: NDArray[np.uint16],
    ignored: int,
) -> Float64Array:
    """Return the mask sums ``(R, 2)`` from the channels once more; the other arguments are those of :meth:`RegionMasks.sums`."""
    lanes = np.zeros((len(regions), 3, STRIP))
    inside, counted = np.empty(0, np.uint8), np.empty(0, np.uint8)
    for channel, start, values in blocks:
        if start == 0 and channel % _BITS == 0:
            inside = members(regions[channel : channel + _BITS], labels, predicted, ignored)
        if counted.size < values.size:
            counted = np.zeros(values.size, np.uint8)
        mask = inside[start : start + values.size] >> np.uint8(channel % _BITS) & np.uint8(1)
        add_masks(values, mask, counted[: values.size], 1, lanes[channel : channel + 1])
    return np.asarray(lanes[:, [MASK_PROBABILITY, MASK_ENTROPY]].sum(-1))
