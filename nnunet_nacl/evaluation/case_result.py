"""Evaluating one case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.overlap import overlap_of_classes
from nnunet_nacl.calibration.regions import evaluate_regions
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.calibration.threshold_counts import ThresholdCounts
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.label_files import LabelMap, read_case_labels
from nnunet_nacl.evaluation.probabilities import open_probabilities
from nnunet_nacl.evaluation.remarks import FLAT
from nnunet_nacl.evaluation.saved_segmentation import remarks_on_geometry, remarks_on_saved
from nnunet_nacl.evaluation.settings import Settings


class Probabilities(Protocol):
    """The probabilities of a case, in a file or in memory.

    Attributes:
        dtype: of the values that :meth:`blocks` gives.
    """

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def blocks(self) -> Iterable[Block]:
        """Give ``(channel, start, values)`` from the first channel to the last, at each call from the beginning."""


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
        remarks: what a reader should know of the case, in words, by kind, a key of :data:`~nnunet_nacl.evaluation.remarks.KINDS`.
        region_overlap: of a region model, see :attr:`overlap`; None for a label model, whose confusion tells it.
        region_mask_sums: likewise, see :attr:`mask_sums`.
        threshold_counts: ``(structures, 2, T)`` uint32 of the foreground classes or the regions, see
            :mod:`~nnunet_nacl.calibration.threshold_counts`; None in files that were written without them.
    """

    case: Case
    problems: tuple[CalibrationStatistics, ...]
    voxel_volume_mm3: float
    hd95_mm: NDArray[np.float64] = field(repr=False)
    fingerprint: str = ""
    part: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)
    region_overlap: Int64Array | None = field(default=None, repr=False)
    region_mask_sums: Float64Array | None = field(default=None, repr=False)
    threshold_counts: NDArray[np.uint32] | None = field(default=None, repr=False)

    @property
    def overlap(self) -> Int64Array:
        """Voxels of each class or region in the label map that nnU-Net writes for the probabilities, ``(channels, 3)`` int64.

        The columns are those of :mod:`nnunet_nacl.calibration.overlap`; Dice and predicted volumes come from them.
        """
        if self.region_overlap is not None:
            return self.region_overlap
        (problem,) = self.problems
        return overlap_of_classes(problem.confusion)

    @property
    def mask_sums(self) -> Float64Array:
        """What the probabilities say of the mask of each class or region in that label map, ``(channels, 2)`` float64.

        The columns are those of :mod:`nnunet_nacl.calibration.mask_confidence`; NaN for background, and in files that were written
        without them.
        """
        if self.region_overlap is None:
            (problem,) = self.problems
            return np.concatenate([np.full((1, 2), np.nan), problem.mask_sums])
        return np.full((len(self.problems), 2), np.nan) if self.region_mask_sums is None else self.region_mask_sums

    @property
    def soft_volumes(self) -> Float64Array:
        """Summed probability of each class or region, ``(channels,)`` float64, in voxels."""
        if self.region_overlap is None:
            return self.problems[0].soft_volumes()
        return np.array([problem.soft_volumes()[1] for problem in self.problems])

    @property
    def spread(self) -> Float64Array:
        """Sum of p (1 - p) of each class or region, ``(channels,)`` float64, in voxels; NaN as in :attr:`mask_sums`."""
        if self.region_overlap is None:
            return np.append(np.nan, self.problems[0].spread)
        return np.array([problem.spread[0] for problem in self.problems])

    @property
    def statistics(self) -> CalibrationStatistics:
        """The statistics of all problems added up."""
        return total(self.problems)


def evaluate_case(case: Case, dataset: Dataset, settings: Settings) -> CaseResult:
    """Read the softmax and label file of a case and return its statistics.

    Raises:
        InputError: a file that cannot be read or whose values are unusable; the message names the file.
    """
    label_map = read_case_labels(case, dataset)
    file = open_probabilities(case.probabilities, dataset.num_channels, label_map.values.shape)
    return evaluate_probabilities(case, file, label_map, dataset, settings)


def evaluate_probabilities(
    case: Case, probabilities: Probabilities, label_map: LabelMap, dataset: Dataset, settings: Settings
) -> CaseResult:
    """Return the statistics of a case whose probabilities are at hand, in a file or in memory.

    Args:
        case: names the files in messages; of them only the saved segmentation is read, where there is one.
        probabilities: of the shape of the label map, which has been seen to.
        label_map: of the case.
        dataset: its labels.
        settings: what changes the figures.

    Raises:
        InputError: values that are unusable.
    """
    labels, spacing = label_map.values, label_map.geometry.spacing
    evaluate = _evaluate_labels if dataset.regions is None else _evaluate_regions
    try:
        found = evaluate(probabilities, labels, spacing, dataset, settings)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error
    remarks = remarks_on_geometry(label_map) | remarks_on_saved(case, dataset, found.segmentation, label_map)
    if found.flat:
        remarks[FLAT] = ", ".join(found.flat)
    return CaseResult(
        case,
        found.problems,
        label_map.geometry.voxel_volume_mm3,
        found.hd95_mm,
        remarks=remarks,
        region_overlap=found.region_overlap,
        region_mask_sums=found.region_mask_sums,
        threshold_counts=found.threshold_counts.astype(np.uint32),
    )


class _Found(NamedTuple):
    """What the probabilities of a case give.

    The segmentation is the label map ``(z, y, x)`` that nnU-Net writes for them; ``flat`` names classes whose HD95 says little.
    """

    problems: tuple[CalibrationStatistics, ...]
    region_overlap: Int64Array | None
    region_mask_sums: Float64Array | None
    hd95_mm: NDArray[np.float64]
    segmentation: NDArray[Any]
    flat: list[str]
    threshold_counts: Int64Array


def _evaluate_labels(
    file: Probabilities, labels: NDArray[Any], spacing: tuple[float, ...], dataset: Dataset, settings: Settings
) -> _Found:
    statistics = CalibrationStatistics.empty(dataset.num_channels, settings.n_bins)
    masks = ThresholdCounts(labels, [(value,) for value in range(1, dataset.num_channels)], 1, dataset.ignore_label)
    passes = chain([masks.watch(file.blocks())], iter(file.blocks, None))  # the second pass is not counted
    prediction = statistics.update_channels(
        passes.__next__, labels, dataset.ignore_label, spacing=spacing, boundary_mm=settings.boundary_mm
    )
    names, flat = list(dataset.target_names.values()), []
    distances = np.full(dataset.num_channels, np.nan)
    if settings.hd95:
        from nnunet_nacl.evaluation.surface import flat_classes, hd95_per_class  # SciPy takes half a second to import

        whole, classes = labels.astype(np.int64), range(1, dataset.num_channels)
        distances[1:] = hd95_per_class(whole, prediction, classes, spacing, dataset.ignore_label)
        flat = [names[value] for value in flat_classes(whole, prediction, classes)]
    return _Found((statistics,), None, None, distances, prediction, flat, masks.counts)


def _evaluate_regions(
    file: Probabilities, labels: NDArray[Any], spacing: tuple[float, ...], dataset: Dataset, settings: Settings
) -> _Found:
    assert dataset.regions is not None
    masks = ThresholdCounts(labels, dataset.regions, 0, dataset.ignore_label)
    passes = chain([masks.watch(file.blocks())], iter(file.blocks, None))  # the second pass is not counted
    regions = evaluate_regions(
        passes.__next__,
        labels,
        dataset.regions,
        dataset.region_labels,
        settings.n_bins,
        dataset.ignore_label,
        spacing=spacing,
        boundary_mm=settings.boundary_mm,
    )
    names, flat = list(dataset.target_names.values()), []
    distances = np.full(dataset.num_channels, np.nan)
    if settings.hd95:
        from nnunet_nacl.evaluation.surface import flat_classes, hd95

        annotated = np.ones(labels.shape, bool) if dataset.ignore_label is None else labels != dataset.ignore_label
        for channel, region in enumerate(dataset.regions):
            reference, predicted = np.isin(labels, region), np.isin(regions.segmentation, region) & annotated
            distances[channel] = hd95(reference, predicted, spacing)
            flat += [names[channel]] * len(flat_classes(reference.view(np.uint8), predicted.view(np.uint8), [1]))
    return _Found(
        tuple(regions.problems), regions.overlap, regions.mask_sums, distances, regions.segmentation, flat, masks.counts
    )
