"""The selected voxels of many cases: kept up to a stated memory, read again from the files beyond it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.recalibration.heads import Heads, Scored
from nnunet_nacl.recalibration.methods.base import Map
from nnunet_nacl.recalibration.selection import Selected, select
from nnunet_nacl.recalibration.volumes import blocks, channel_blocks, empty_like, open_probabilities

Kept = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass
class Counts:
    """Voxels of a case or of many.

    Attributes:
        ignored: with the ignore label.
        selected: per problem, voxels of the voxel set that can be fitted on; the others are in the next two.
        exact, exact_wrong, floored: per problem, see :class:`Selected`.
    """

    ignored: int
    selected: NDArray[np.int64]
    exact: NDArray[np.int64]
    exact_wrong: NDArray[np.int64]
    floored: NDArray[np.int64]

    @classmethod
    def zero(cls, problems: int) -> Counts:
        """Return the counts of no voxel."""
        return cls(0, *(np.zeros(problems, np.int64) for _ in range(4)))

    def add(self, problem: int, selected: Selected) -> None:
        """Count the voxels of a block."""
        self.selected[problem] += selected.labels.size
        self.exact[problem] += selected.n_exact
        self.exact_wrong[problem] += selected.n_exact_wrong
        self.floored[problem] += selected.n_floored

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.ignored + other.ignored,
            self.selected + other.selected,
            self.exact + other.exact,
            self.exact_wrong + other.exact_wrong,
            self.floored + other.floored,
        )


@dataclass(frozen=True)
class Volume:
    """A case that has been read: probabilities ``(channels, N)``, label map ``(z, y, x)``, mm per voxel."""

    case: Case
    values: FloatArray
    labels: NDArray[Any]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Reader:
    """How a case is read and scored. Large probabilities lie in files in the folder ``scratch``."""

    dataset: Dataset
    heads: Heads
    n_bins: int
    memory: int
    scratch: Path

    def read(self, case: Case) -> Volume:
        """Return a case.

        Raises:
            InputError: a file that cannot be read.
        """
        label_map = read_case_labels(case, self.dataset)
        labels, spacing = label_map.values, label_map.geometry.spacing
        channels = len(self.heads.channels)
        values = open_probabilities(case.probabilities, channels, labels.shape, self.memory, self.scratch)
        return Volume(case, values, labels, spacing)

    def blocks(self, volume: Volume) -> Iterator[tuple[FloatArray, NDArray[Any], int]]:
        """Yield probabilities ``(channels, n)``, labels ``(n,)`` and the number of ignored voxels, left out, of each block."""
        labels = volume.labels.reshape(-1)
        for part in blocks(len(volume.values), labels.size):
            block, of_block = np.asarray(volume.values[:, part]), labels[part]
            if self.dataset.ignore_label is not None:
                annotated = of_block != self.dataset.ignore_label
                block, of_block = block[:, annotated], of_block[annotated]
            yield block, of_block, part.stop - part.start - of_block.size

    def score(self, volume: Volume) -> Scored:
        """Return what the scores of a case are computed from.

        Raises:
            InputError: values that are no probabilities, or labels that are no classes.
        """
        try:
            return self.heads.score(
                lambda: channel_blocks(volume.values),
                volume.labels,
                self.n_bins,
                self.dataset.ignore_label,
                volume.spacing,
            )
        except ValueError as error:
            raise InputError(f"{volume.case.probabilities} with {volume.case.labels}: {error}") from error

    def score_recalibrated(self, case: Case, maps: Sequence[Map]) -> Scored:
        """Read a case and return the same for its recalibrated probabilities."""
        volume = self.read(case)
        new = empty_like(volume.values.shape, self.memory, self.scratch)
        for part in blocks(*volume.values.shape):
            new[:, part] = self.heads.recalibrate(np.asarray(volume.values[:, part]), maps)
        return self.score(Volume(case, new, volume.labels, volume.spacing))


@dataclass
class Voxels:
    """The voxels of a set in many cases, as log probabilities.

    Attributes:
        kept: per case the voxels of each problem, in pieces, or None where memory did not allow it.
        free: bytes that may still be taken.
        sample: per case and problem the positions that were drawn among the selected voxels; None before, all are used.
    """

    reader: Reader
    cases: Sequence[Case]
    voxel_set: str
    free: int
    kept: list[list[list[Kept]] | None] = field(init=False)
    sample: list[list[NDArray[np.int64]]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.kept = [None] * len(self.cases)

    def scan(self, number: int) -> tuple[Counts, Scored]:
        """Read a case for the first time: score, count, and keep what memory allows.

        Raises:
            InputError: a file that cannot be read or whose values are unusable.
        """
        heads = self.reader.heads
        volume = self.reader.read(self.cases[number])
        scored = self.reader.score(volume)  # which refuses what are no probabilities
        counts = Counts.zero(len(heads.problems))
        pieces: list[list[Kept]] = [[] for _ in heads.problems]
        fits, held = True, 0
        for block, labels, ignored in self.reader.blocks(volume):
            counts.ignored += ignored
            for problem, voxels in enumerate(heads.split(block, labels)):
                selected = select(voxels, self.voxel_set)
                counts.add(problem, selected)
                held += selected.logarithm.nbytes + selected.labels.nbytes
                fits = fits and held <= self.free
                if fits:
                    pieces[problem].append((selected.logarithm, selected.labels))
                else:
                    pieces = [[] for _ in heads.problems]
        if fits:
            self._keep(number, pieces)
        return counts, scored

    def draw(self, selected: NDArray[np.int64], wanted: int, seed: int) -> None:
        """Keep ``wanted`` of the voxels only, each with the same chance, without replacement, from each case in proportion.

        Args:
            selected: ``(cases, problems)`` how many there are.
            wanted: how many are to remain.
            seed: of the random numbers.
        """
        rng = np.random.default_rng(seed)
        shares = proportional_shares(selected.reshape(-1), wanted, rng)
        self.sample = []
        for number, (available, share) in enumerate(zip(selected, shares.reshape(selected.shape), strict=True)):
            drawn = [
                np.sort(rng.choice(int(of), int(how_many), replace=False))
                for of, how_many in zip(available, share, strict=True)
            ]
            self.sample.append(drawn)
            kept = self.kept[number]
            if kept is not None:
                self.free += _bytes(kept)
                self._keep(number, [list(_drawn(pieces, at)) for pieces, at in zip(kept, drawn, strict=True)])

    def of(self, numbers: Sequence[int], problems: Sequence[int]) -> Iterator[Kept]:
        """Yield the voxels of these cases and problems, in pieces."""
        for number in numbers:
            kept = self.kept[number]
            if kept is None:
                yield from self._read_again(number, problems)
                continue
            for problem in problems:
                yield from kept[problem]

    def _read_again(self, number: int, problems: Sequence[int]) -> Iterator[Kept]:
        offsets = np.zeros(len(self.reader.heads.problems), np.int64)
        for block, labels, _ in self.reader.blocks(self.reader.read(self.cases[number])):
            split = self.reader.heads.split(block, labels)
            for problem in problems:
                selected = select(split[problem], self.voxel_set)
                start, end = offsets[problem], offsets[problem] + selected.labels.size
                offsets[problem] = end
                if self.sample is None:
                    yield selected.logarithm, selected.labels
                    continue
                drawn = self.sample[number][problem]
                here = drawn[np.searchsorted(drawn, start) : np.searchsorted(drawn, end)] - start
                yield selected.logarithm[:, here], selected.labels[here]

    def _keep(self, number: int, voxels: list[list[Kept]]) -> None:
        self.kept[number] = voxels
        self.free -= _bytes(voxels)


def _bytes(voxels: list[list[Kept]]) -> int:
    return sum(logarithm.nbytes + labels.nbytes for pieces in voxels for logarithm, labels in pieces)


def _drawn(pieces: Iterable[Kept], positions: NDArray[np.int64]) -> Iterator[Kept]:
    """Yield the voxels at these positions, sorted, among those of all pieces."""
    start = 0
    for logarithm, labels in pieces:
        end = start + labels.size
        here = positions[np.searchsorted(positions, start) : np.searchsorted(positions, end)] - start
        yield logarithm[:, here], labels[here]
        start = end


def proportional_shares(available: NDArray[np.int64], wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how many to draw from each group, ``(G,)``: its share of ``wanted``, rounded at random so that all have the same chance.

    One random shift rounds all cumulative shares (systematic sampling), so they add up to ``wanted``. Whole numbers of any size:
    numpy's hypergeometric numbers end at 1e9 voxels.

    Args:
        available: ``(G,)``, how many there are.
        wanted: how many to draw, at most all.
        rng: random numbers.
    """
    total = int(available.sum())
    shift = int(rng.integers(max(total, 1)))
    ends = [0]
    for below in np.cumsum(available).tolist():
        ends.append((below * wanted + shift) // max(total, 1))
    return np.array([end - start for start, end in itertools.pairwise(ends)], np.int64)
