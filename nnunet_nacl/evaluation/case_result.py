"""Evaluating one case."""

from __future__ import annotations

from dataclasses import dataclass

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.probabilities import read_probabilities


@dataclass(frozen=True)
class CaseResult:
    """A case and its calibration statistics."""

    case: Case
    statistics: CalibrationStatistics


def evaluate_case(case: Case, dataset: Dataset, n_bins: int) -> CaseResult:
    """Read the softmax and label file of a case and return its statistics.

    Raises:
        InputError: a file that cannot be read or whose values are unusable; the message names the file.
    """
    labels, _ = dataset.read_labels(case.labels)
    probabilities = read_probabilities(case.probabilities, dataset.num_classes, labels.shape)
    statistics = CalibrationStatistics.empty(dataset.num_classes, n_bins)
    try:
        statistics.update(probabilities, labels, dataset.ignore_label)
    except ValueError as error:
        raise InputError(f"{case.probabilities} with {case.labels}: {error}") from error
    return CaseResult(case, statistics)
