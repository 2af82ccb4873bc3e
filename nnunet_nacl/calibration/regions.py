"""Region-based models: sigmoid channels, one binary problem per region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.boundary import DEFAULT_BOUNDARY_MM
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.checks import as_labels
from nnunet_nacl.calibration.overlap import overlap_of_regions
from nnunet_nacl.calibration.region_masks import RegionMasks, read_again
from nnunet_nacl.calibration.statistics import CalibrationStatistics
from nnunet_nacl.calibration.voxel_sets import groups_of_labels
from nnunet_nacl.calibration.whole_array import sums_of_array

NO_LABEL = 2  # beside outside, 0, and inside, 1


class RegionsOfCase(NamedTuple):
    """What the regions of a case give.

    Attributes:
        problems: the statistics of each region, see :func:`statistics_of_regions`.
        segmentation: ``(*spatial)``, the label map that nnU-Net writes for the channels.
        overlap: ``(R, 3)``, of each region in that label map, see :mod:`nnunet_nacl.calibration.overlap`.
        mask_sums: ``(R, 2)``, of each region's mask in that label map, see :mod:`nnunet_nacl.calibration.mask_confidence`.
    """

    problems: list[CalibrationStatistics]
    segmentation: NDArray[np.uint16]
    overlap: Int64Array
    mask_sums: Float64Array


def evaluate_regions(
    blocks: Callable[[], Iterable[Block]],
    labels: Any,
    regions: Sequence[Sequence[int]],
    region_labels: Sequence[int],
    n_bins: int = 15,
    ignore_label: int | None = None,
    *,
    spacing: Sequence[float] | None = None,
    boundary_mm: float = DEFAULT_BOUNDARY_MM,
) -> RegionsOfCase:
    """Return the statistics of the regions of a case, and how the label map that nnU-Net writes overlaps with the labels.

    Args:
        blocks: called once, or twice where a mask holds voxels that its own channel is next to sure do not belong to it; gives
            ``(channel, start, values)`` in order, one channel per region.
        region_labels: the label that nnU-Net writes where each channel is above 0.5, later channels over earlier ones
            (``regions_class_order``).
        labels, regions, n_bins, ignore_label, spacing, boundary_mm: as in :func:`statistics_of_regions`.

    Raises:
        ValueError: as in :func:`statistics_of_regions`.
    """
    ignored = max(max(region) for region in regions) + 1
    whole = as_labels(labels, np.shape(labels), ignored, ignore_label)
    segmentation = np.zeros(whole.shape, np.uint16)
    problems = []
    masks = RegionMasks(regions, region_labels, whole.size)
    results = statistics_of_regions(
        _seen(blocks(), masks), whole, regions, n_bins, ignored, spacing=spacing, boundary_mm=boundary_mm
    )
    for label, (statistics, inside) in zip(region_labels, results, strict=True):
        problems.append(statistics)
        segmentation[inside] = label
    own = np.concatenate([problem.mask_sums for problem in problems])
    mask_sums = masks.sums(own, whole, segmentation, ignored)
    if mask_sums is None:
        mask_sums = read_again(blocks(), regions, whole, segmentation, ignored)
    return RegionsOfCase(problems, segmentation, overlap_of_regions(whole, segmentation, regions, ignored), mask_sums)


def _seen(blocks: Iterable[Block], masks: RegionMasks) -> Iterator[Block]:
    for block in blocks:
        masks.see(*block)
        yield block


def statistics_of_regions(
    blocks: Iterable[Block],
    labels: Any,
    regions: Sequence[Sequence[int]],
    n_bins: int = 15,
    ignore_label: int | None = None,
    *,
    spacing: Sequence[float] | None = None,
    boundary_mm: float = DEFAULT_BOUNDARY_MM,
) -> Iterator[tuple[CalibrationStatistics, NDArray[np.bool_]]]:
    """Yield the statistics of each region, as classes outside (0) and inside (1) with probabilities 1 - p and p.

    A voxel is predicted inside where p > 0.5, whatever the other channels say: the label map that nnU-Net writes is another thing
    (:mod:`nnunet_nacl.calibration.overlap`). A region's interface is its boundary band.

    Args:
        blocks: gives ``(channel, start, values)`` in order, one channel per region.
        labels: ``(*spatial)``, whole numbers.
        regions: label values that each region consists of.
        n_bins, ignore_label, spacing, boundary_mm: as in :class:`CalibrationStatistics`.

    Yields:
        Statistics, and where the region's channel is above 0.5, ``(*spatial)``.

    Raises:
        ValueError: as in :meth:`CalibrationStatistics.update`.
    """
    known = max(max(region) for region in regions) + 1
    label_map = as_labels(labels, np.shape(labels), known, ignore_label)
    current = None
    for channel, start, values in blocks:
        if current is None or channel != current.channel:
            if current is not None:
                yield current.result()
            current = _Region(channel, label_map, regions[channel], known, n_bins, spacing, boundary_mm)
        current.add(start, values)
    if current is not None:
        yield current.result()


class _Region:
    """The binary problem of the channel that is passing by."""

    def __init__(
        self,
        channel: int,
        label_map: NDArray[np.int16],
        region: Sequence[int],
        ignored: int,
        n_bins: int,
        spacing: Sequence[float] | None,
        boundary_mm: float,
    ) -> None:
        self.channel = channel
        self.labels = np.isin(label_map, list(region)).astype(np.int16)
        self.labels[label_map == ignored] = NO_LABEL
        self.prediction = np.zeros(label_map.shape, bool)
        self.statistics = CalibrationStatistics.empty(2, n_bins)
        self.statistics.ignored += np.count_nonzero(self.labels == NO_LABEL)
        self._group = groups_of_labels(self.labels, NO_LABEL, spacing, boundary_mm).ravel()

    def add(self, start: int, values: NDArray[np.floating[Any]]) -> None:
        part = slice(start, start + values.size)
        self.prediction.reshape(-1)[part] = values > 0.5
        both = np.stack([1 - values, values])
        n_bins = self.statistics.n_bins
        self.statistics.add_sums(
            sums_of_array(both, self.labels.reshape(-1)[part], self._group[part], n_bins, threads=1)
        )

    def result(self) -> tuple[CalibrationStatistics, NDArray[np.bool_]]:
        return self.statistics, self.prediction
