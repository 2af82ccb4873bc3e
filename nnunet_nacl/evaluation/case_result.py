"""Evaluating one case."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.probabilities import read_probabilities


@dataclass(frozen=True)
class CaseResult:
    """A case and its calibration statistics.

    Attributes:
        case: name and files.
        problems: one entry of K classes for a label model; one of two classes per region for a region model.
        voxel_volume_mm3: of the label file; in 2D the area of a pixel in mm^2.
        fingerprint: of what the result was computed from, see :mod:`~nnunet_nacl.evaluation.fingerprint`; empty: unknown.
    """

    case: Case
    problems: tuple[CalibrationStatistics, ...]
    voxel_volume_mm3: float
    fingerprint: str = ""

    @property
    def statistics(self) -> CalibrationStatistics:
        """The statistics of all problems added up."""
        return total(self.problems)


def evaluate_case(case: Case, dataset: Dataset, n_bins: int) -> CaseResult:
    """Read the softmax and label file of a case and return its statistics.

    Raises:
        InputError: a file that cannot be read or whose values are unusable; the message names the file.
    """
    labels, spacing = dataset.read_labels(case.labels)
    probabilities = read_probabilities(case.probabilities, dataset.num_classes, labels.shape)
    statistics = CalibrationStatistics.empty(dataset.num_classes, n_bins)
    try:
        statistics.update(probabilities, labels, dataset.ignore_label)
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error
    return CaseResult(case, (statistics,), voxel_volume(spacing))


def voxel_volume(spacing: tuple[float, ...]) -> float:
    """Return the product of the spacing in mm, without the third axis that nnU-Net makes up for 2D data."""
    in_plane = spacing[1:]
    # NaturalImage2DIO gives (999, 1, 1) and SimpleITKIO 999 times the larger in-plane spacing
    return math.prod(in_plane if spacing[0] > 998 * max(in_plane) else spacing)
