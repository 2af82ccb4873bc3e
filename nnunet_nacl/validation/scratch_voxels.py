"""The voxels that a recalibration is fitted on, kept in a compact scratch file instead of being read again from softmax files.

Of a voxel with C classes the logarithms of the probabilities over the largest one are kept in half precision, without that of the largest itself, which is 0:
``2 (C - 1)`` bytes, and one or two each for the label and the predicted class. The file has no name and vanishes with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.recalibration.voxels import Kept, Voxels

BLOCK_VOXELS = 2**18


@dataclass(frozen=True)
class Packed:
    """Voxels of a problem of C classes.

    Attributes:
        ratios: ``(C - 1, n)`` float16, log p_k - log p_m for each class k but the predicted class m.
        predicted: ``(n,)``, m.
        labels: ``(n,)``.
    """

    ratios: NDArray[np.float16]
    predicted: NDArray[Any]
    labels: NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Bytes in the scratch file."""
        return self.ratios.nbytes + self.predicted.nbytes + self.labels.nbytes


def pack(logarithm: NDArray[np.float32], labels: NDArray[Any]) -> Packed:
    """Return voxels ``(C, n)`` of log probabilities, packed."""
    num_classes, size = logarithm.shape
    predicted = logarithm.argmax(0).astype(labels.dtype)
    others = np.arange(num_classes)[:, None] != predicted
    ratios = (logarithm - logarithm.max(0)).T[others.T].reshape(size, num_classes - 1).T
    return Packed(ratios.astype(np.float16), predicted, labels)


def unpack(packed: Packed) -> Kept:
    """Return log probabilities ``(C, n)`` float32 whose exponentials sum to 1, and the labels."""
    num_classes, size = len(packed.ratios) + 1, packed.labels.size
    ratios = np.zeros((size, num_classes), np.float32)
    others = np.arange(num_classes) != np.asarray(packed.predicted)[:, None]
    ratios[others] = np.asarray(packed.ratios).T.reshape(-1)
    logarithm = ratios - np.log(np.exp(ratios, dtype=np.float64).sum(1, keepdims=True))
    return np.ascontiguousarray(logarithm.T, np.float32), np.asarray(packed.labels)


@dataclass
class ScratchVoxels(Voxels):
    """Voxels that are read once and kept in files in the folder ``reader.scratch``.

    Attributes:
        packed: per case the voxels of each problem.
    """

    packed: dict[int, list[Packed]] = field(init=False, default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes in the scratch files."""
        return sum(each.nbytes for problems in self.packed.values() for each in problems)

    def of(self, numbers: Sequence[int], problems: Sequence[int]) -> Iterator[Kept]:
        """Yield the voxels of these cases and problems, in pieces."""
        for number in numbers:
            for problem in problems:
                whole = self.packed[number][problem]
                for start in range(0, whole.labels.size, BLOCK_VOXELS):
                    part = slice(start, start + BLOCK_VOXELS)
                    yield unpack(Packed(whole.ratios[:, part], whole.predicted[part], whole.labels[part]))

    def _keep(self, number: int, voxels: list[list[Kept]]) -> None:
        heads = self.reader.heads
        self.packed[number] = [
            self._written([pack(*piece) for piece in pieces], heads.num_classes(problem))
            for problem, pieces in enumerate(voxels)
        ]
        self.kept[number] = []  # nothing in memory, and nothing that has to be read again

    def _written(self, pieces: Sequence[Packed], num_classes: int) -> Packed:
        empty = np.zeros(0, np.uint8)
        ratios = np.concatenate([np.zeros((num_classes - 1, 0), np.float16), *(piece.ratios for piece in pieces)], 1)
        labels = np.concatenate([piece.labels for piece in pieces] or [empty])
        predicted = np.concatenate([piece.predicted for piece in pieces] or [empty])
        scratch = self.reader.scratch
        return Packed(_in_file(ratios, scratch), _in_file(predicted, scratch), _in_file(labels, scratch))


def _in_file(values: NDArray[Any], scratch: Path) -> NDArray[Any]:
    if not values.size:
        return values
    with tempfile.TemporaryFile(dir=scratch) as file:
        held = np.memmap(file, values.dtype, "w+", shape=values.shape)
    held[...] = values
    return held
