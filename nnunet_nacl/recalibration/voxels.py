"""The selected voxels of many cases: kept up to a stated memory, read again from the files beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.recalibration.heads import Heads, Problem
from nnunet_nacl.recalibration.selection import Selected, select
from nnunet_nacl.recalibration.volumes import blocks, open_probabilities

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
class Reader:
    """How the voxels of a case are read: in blocks, without ignored voxels."""

    dataset: Dataset
    heads: Heads
    memory: int
    scratch: Path

    def blocks(self, case: Case) -> Iterator[tuple[FloatArray, NDArray[Any], int]]:
        """Yield probabilities ``(channels, n)``, labels ``(n,)`` and the number of ignored voxels of each block.

        Raises:
            InputError: a file that cannot be read.
        """
        label_map, _ = self.dataset.read_labels(case.labels)
        channels = len(self.heads.channels)
        values = open_probabilities(case.probabilities, channels, label_map.shape, self.memory, self.scratch)
        labels = label_map.reshape(-1)
        for part in blocks(channels, labels.size):
            block, of_block = np.asarray(values[:, part]), labels[part]
            if self.dataset.ignore_label is not None:
                annotated = of_block != self.dataset.ignore_label
                block, of_block = block[:, annotated], of_block[annotated]
            yield block, of_block, part.stop - part.start - of_block.size

    def statistics(self, case: Case, n_bins: int, factors: NDArray[np.float64]) -> list[CalibrationStatistics]:
        """Return the calibration statistics of a case per problem, of its tempered probabilities.

        Raises:
            InputError: a file that cannot be read or whose values are unusable.
        """
        sums = empty_sums(self.heads, n_bins)
        for block, labels, _ in self.blocks(case):
            add(sums, self.heads.split(self.heads.temper(block, factors), labels), case)
        return sums


def empty_sums(heads: Heads, n_bins: int) -> list[CalibrationStatistics]:
    """Return the statistics of no voxel for each problem."""
    problems = range(len(heads.problems))
    return [CalibrationStatistics.empty(heads.num_classes(number), n_bins) for number in problems]


def add(sums: Sequence[CalibrationStatistics], problems: Sequence[Problem], case: Case) -> None:
    """Add voxels to the statistics of each problem.

    Raises:
        InputError: values that are no probabilities, or labels that are no classes.
    """
    try:
        for statistics, problem in zip(sums, problems, strict=True):
            statistics.update(problem.probabilities, problem.labels)
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error


@dataclass
class Voxels:
    """The voxels of a set in many cases, as log probabilities.

    Attributes:
        kept: per case the voxels of each problem, or None where memory did not allow it.
        free: bytes that may still be taken.
        sample: per case and problem the positions that were drawn among the selected voxels; None before, all are used.
    """

    reader: Reader
    cases: Sequence[Case]
    voxel_set: str
    free: int
    kept: list[list[Kept] | None] = field(init=False)
    sample: list[list[NDArray[np.int64]]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.kept = [None] * len(self.cases)

    def scan(self, number: int, n_bins: int) -> tuple[Counts, list[CalibrationStatistics]]:
        """Read a case for the first time: count, score, and keep what memory allows.

        Raises:
            InputError: a file that cannot be read or whose values are unusable.
        """
        heads, case = self.reader.heads, self.cases[number]
        counts = Counts.zero(len(heads.problems))
        sums = empty_sums(heads, n_bins)
        pieces: list[list[Kept]] = [[] for _ in heads.problems]
        fits, held = True, 0
        for block, labels, ignored in self.reader.blocks(case):
            split = heads.split(block, labels)
            add(sums, split, case)
            counts.ignored += ignored
            for problem, voxels in enumerate(split):
                selected = select(voxels, self.voxel_set)
                counts.add(problem, selected)
                held += _bytes(selected)
                fits = fits and held <= self.free
                if fits:
                    pieces[problem].append((selected.logarithm, selected.labels))
                else:
                    pieces = [[] for _ in heads.problems]
        if fits:
            self._keep(number, [_joined(parts) for parts in pieces])
        return counts, sums

    def draw(self, selected: NDArray[np.int64], wanted: int, seed: int) -> None:
        """Keep ``wanted`` of the voxels only, each with the same chance, without replacement.

        Args:
            selected: ``(cases, problems)`` how many there are.
            wanted: how many are to remain.
            seed: of the random numbers.
        """
        rng = np.random.default_rng(seed)
        shares = rng.multivariate_hypergeometric(selected.reshape(-1), wanted, method="marginals")
        self.sample = []
        for number, (available, share) in enumerate(zip(selected, shares.reshape(selected.shape), strict=True)):
            drawn = [
                np.sort(rng.choice(int(of), int(how_many), replace=False))
                for of, how_many in zip(available, share, strict=True)
            ]
            self.sample.append(drawn)
            kept = self.kept[number]
            if kept is not None:
                self.free += sum(logarithm.nbytes + labels.nbytes for logarithm, labels in kept)
                self._keep(number, [(log[:, at], lab[at]) for (log, lab), at in zip(kept, drawn, strict=True)])

    def of(self, numbers: Sequence[int], problems: Sequence[int]) -> Iterator[Kept]:
        """Yield the voxels of these cases and problems, in pieces."""
        for number in numbers:
            kept = self.kept[number]
            if kept is None:
                yield from self._read_again(number, problems)
                continue
            for problem in problems:
                logarithm, labels = kept[problem]
                for part in blocks(len(logarithm), labels.size):
                    yield logarithm[:, part], labels[part]

    def _read_again(self, number: int, problems: Sequence[int]) -> Iterator[Kept]:
        offsets = np.zeros(len(self.reader.heads.problems), np.int64)
        for block, labels, _ in self.reader.blocks(self.cases[number]):
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

    def _keep(self, number: int, voxels: list[Kept]) -> None:
        self.kept[number] = voxels
        self.free -= sum(logarithm.nbytes + labels.nbytes for logarithm, labels in voxels)


def _bytes(selected: Selected) -> int:
    return selected.logarithm.nbytes + selected.labels.nbytes


def _joined(parts: list[Kept]) -> Kept:
    return np.concatenate([log for log, _ in parts], axis=1), np.concatenate([labels for _, labels in parts])
