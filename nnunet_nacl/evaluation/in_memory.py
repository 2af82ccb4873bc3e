"""Probabilities in memory, gone through as those of a file are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.evaluation.probabilities import BLOCK_BYTES, Block, FloatArray


@dataclass(frozen=True)
class ProbabilityArray:
    """Probabilities ``(channels, z, y, x)`` of any memory layout, float32 or float64."""

    values: FloatArray

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.values.dtype

    def blocks(self) -> Iterator[Block]:
        """Yield ``(channel, start, values)`` in the blocks of a :class:`~nnunet_nacl.evaluation.probabilities.ProbabilityFile`.

        So sums of floating-point numbers come out the same to the last bit. Where the axes were transposed, one channel at a time is
        copied.
        """
        step = BLOCK_BYTES // self.values.dtype.itemsize
        for number, channel in enumerate(self.values):
            flat = np.ascontiguousarray(channel).reshape(-1)
            for start in range(0, flat.size, step):
                yield number, start, flat[start : start + step]
