"""What the channels of a softmax file are: classes that exclude each other, or regions that do not.

Either gives classification problems: one of all K classes, or one of two classes per region. Fitting and scoring look at
problems only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.arrays import FloatArray, Int64Array
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.log_probabilities import floor_of, log_probabilities, two_classes
from nnunet_nacl.calibration.normalized import normalized, normalized_region
from nnunet_nacl.calibration.overlap import overlap_of_classes
from nnunet_nacl.calibration.regions import evaluate_regions
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.recalibration.methods.base import Kind, Map


@dataclass(frozen=True)
class Problem:
    """Voxels of a classification problem.

    Attributes:
        probabilities: ``(C, n)``.
        labels: ``(n,)`` 0 to C - 1.
        floored: ``(n,)`` where a stored probability is too small, or a sigmoid too near to 1, to have its own logarithm.
    """

    probabilities: FloatArray
    labels: NDArray[Any]
    floored: NDArray[np.bool_]


class Scored(NamedTuple):
    """What a case's scores are computed from.

    Attributes:
        problems: the calibration statistics of each problem, as the evaluator has them.
        overlap: ``(channels, 3)``, of each class or region in the label map that nnU-Net writes, see
            :mod:`nnunet_nacl.calibration.overlap`.
    """

    problems: list[CalibrationStatistics]
    overlap: Int64Array


class Heads(Protocol):
    """The channels of a network's output.

    Attributes:
        kind: ``softmax`` or ``sigmoid``.
        channels: name of each channel.
        problems: name of each classification problem.
    """

    @property
    def kind(self) -> Kind: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    def num_classes(self, problem: int) -> int:
        """Return the number of classes of a problem."""

    def split(self, probabilities: FloatArray, labels: NDArray[Any]) -> list[Problem]:
        """Return the problems of voxels ``(channels, n)`` with labels ``(n,)``."""

    def recalibrate(self, probabilities: FloatArray, maps: Sequence[Map]) -> NDArray[np.float32]:
        """Return new probabilities of voxels ``(channels, n)``, float32, given the map of each problem."""

    def score(
        self,
        blocks: Callable[[], Iterable[Block]],
        labels: NDArray[Any],
        n_bins: int,
        ignore_label: int | None,
        spacing: tuple[float, ...],
    ) -> Scored:
        """Return what the scores of a case are computed from.

        Raises:
            ValueError: values that are no probabilities, or labels that are no classes.
        """


@dataclass(frozen=True)
class SoftmaxHeads:
    """Classes that exclude each other: channel k is the label k."""

    channels: tuple[str, ...]
    kind: Kind = "softmax"
    problems: tuple[str, ...] = ("classes",)

    def num_classes(self, problem: int) -> int:
        """Return the number of classes of a problem."""
        return len(self.channels)

    def split(self, probabilities: FloatArray, labels: NDArray[Any]) -> list[Problem]:
        """Return the one problem."""
        return [Problem(probabilities, labels, np.asarray((probabilities < floor_of(probabilities.dtype)).any(0)))]

    def recalibrate(self, probabilities: FloatArray, maps: Sequence[Map]) -> NDArray[np.float32]:
        """Return new probabilities of voxels ``(channels, n)``, float32."""
        (fitted,) = maps
        logarithm = log_probabilities(probabilities, floor_of(probabilities.dtype))
        scores = fitted.scores(logarithm, probabilities.argmax(0))
        return normalized(scores, probabilities, fitted.keeps_argmax)

    def score(
        self,
        blocks: Callable[[], Iterable[Block]],
        labels: NDArray[Any],
        n_bins: int,
        ignore_label: int | None,
        spacing: tuple[float, ...],
    ) -> Scored:
        """Return the statistics of the one problem, and the overlap of the classes."""
        statistics = CalibrationStatistics.empty(len(self.channels), n_bins)
        statistics.update_channels(blocks, labels, ignore_label, spacing=spacing)
        return Scored([statistics], overlap_of_classes(statistics.confusion))


@dataclass(frozen=True)
class SigmoidHeads:
    """Regions, each a set of labels, in nnU-Net's channel order, and the label that nnU-Net writes for each."""

    channels: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    region_labels: tuple[int, ...]
    kind: Kind = "sigmoid"

    @property
    def problems(self) -> tuple[str, ...]:
        """Name of each problem: the regions."""
        return self.channels

    def num_classes(self, problem: int) -> int:
        """Return 2: outside and inside."""
        return 2

    def split(self, probabilities: FloatArray, labels: NDArray[Any]) -> list[Problem]:
        """Return a problem of two classes, outside and inside, per region."""
        floor = floor_of(probabilities.dtype)
        return [
            Problem(two_classes(channel), np.isin(labels, region).astype(np.uint8), (channel < floor) | (channel == 1))
            for channel, region in zip(probabilities, self.regions, strict=True)
        ]

    def recalibrate(self, probabilities: FloatArray, maps: Sequence[Map]) -> NDArray[np.float32]:
        """Return new probabilities of voxels ``(channels, n)``, float32."""
        result = np.empty(probabilities.shape, np.float32)
        for number, (region, fitted) in enumerate(zip(probabilities, maps, strict=True)):
            logarithm = log_probabilities(two_classes(region), floor_of(region.dtype))
            inside = np.asarray(region > np.float32(0.5)).astype(np.intp)
            result[number] = normalized_region(fitted.scores(logarithm, inside), region)
        return result

    def score(
        self,
        blocks: Callable[[], Iterable[Block]],
        labels: NDArray[Any],
        n_bins: int,
        ignore_label: int | None,
        spacing: tuple[float, ...],
    ) -> Scored:
        """Return the statistics of each region, and its overlap."""
        found = evaluate_regions(
            blocks, labels, self.regions, self.region_labels, n_bins, ignore_label, spacing=spacing
        )
        return Scored(found.problems, found.overlap)


def heads_of(dataset: Dataset) -> Heads:
    """Return what the channels of a data set's softmax files are."""
    names = tuple(dataset.target_names.values())
    return (
        SoftmaxHeads(names) if dataset.regions is None else SigmoidHeads(names, dataset.regions, dataset.region_labels)
    )
