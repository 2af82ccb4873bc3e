"""Evaluating one case."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.regions import NO_LABEL, statistics_of_regions
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.probabilities import ProbabilityFile, open_probabilities
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.surface import hd95, hd95_per_class


@dataclass(frozen=True)
class CaseResult:
    """A case and its calibration statistics.

    Attributes:
        case: name and files.
        problems: one entry of K classes for a label model; one of two classes per region for a region model.
        voxel_volume_mm3: of the label file; NaN in 2D.
        hd95_mm: ``(channels,)`` float64, NaN for background, for a mask that is nowhere, and where it was not asked for.
        fingerprint: of what the result was computed from, see :mod:`~nnunet_nacl.evaluation.fingerprint`; empty: unknown.
        part: which of the results that were merged it is from, as ``fold_0``; empty where nothing was merged.
    """

    case: Case
    problems: tuple[CalibrationStatistics, ...]
    voxel_volume_mm3: float
    hd95_mm: NDArray[np.float64] = field(repr=False)
    fingerprint: str = ""
    part: str = ""

    @property
    def statistics(self) -> CalibrationStatistics:
        """The statistics of all problems added up."""
        return total(self.problems)


def evaluate_case(case: Case, dataset: Dataset, settings: Settings) -> CaseResult:
    """Read the softmax and label file of a case and return its statistics.

    Raises:
        InputError: a file that cannot be read or whose values are unusable; the message names the file.
    """
    labels, spacing = dataset.read_labels(case.labels)
    file = open_probabilities(case.probabilities, dataset.num_channels, labels.shape)
    evaluate = _evaluate_labels if dataset.regions is None else _evaluate_regions
    try:
        problems, distances = evaluate(file, labels, spacing, dataset, settings)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error
    return CaseResult(case, problems, voxel_volume(spacing), distances)


def _evaluate_labels(
    file: ProbabilityFile, labels: NDArray[Any], spacing: tuple[float, ...], dataset: Dataset, settings: Settings
) -> tuple[tuple[CalibrationStatistics, ...], NDArray[np.float64]]:
    statistics = CalibrationStatistics.empty(dataset.num_channels, settings.n_bins)
    prediction = statistics.update_channels(
        file.blocks, labels, dataset.ignore_label, spacing=spacing, boundary_mm=settings.boundary_mm
    )
    distances = np.full(dataset.num_channels, np.nan)
    if settings.hd95:
        whole = labels.astype(np.int64)
        distances[1:] = hd95_per_class(whole, prediction, range(1, dataset.num_channels), spacing, dataset.ignore_label)
    return (statistics,), distances


def _evaluate_regions(
    file: ProbabilityFile, labels: NDArray[Any], spacing: tuple[float, ...], dataset: Dataset, settings: Settings
) -> tuple[tuple[CalibrationStatistics, ...], NDArray[np.float64]]:
    assert dataset.regions is not None
    problems, distances = [], np.full(dataset.num_channels, np.nan)
    results = statistics_of_regions(
        file.blocks(),
        labels,
        dataset.regions,
        settings.n_bins,
        dataset.ignore_label,
        spacing=spacing,
        boundary_mm=settings.boundary_mm,
    )
    for channel, (statistics, region, prediction) in enumerate(results):
        problems.append(statistics)
        if settings.hd95:
            distances[channel] = hd95(region == 1, prediction & (region != NO_LABEL), spacing)
    return tuple(problems), distances


def voxel_volume(spacing: tuple[float, ...]) -> float:
    """Return the product of the spacing in mm; NaN in 2D, for which nnU-Net's readers make up a third axis."""
    # NaturalImage2DIO gives (999, 1, 1) and SimpleITKIO 999 times the larger in-plane spacing
    return math.nan if spacing[0] > 998 * max(spacing[1:]) else math.prod(spacing)
