"""A case predicted by several folds: each fold by itself, both ensembles of them, and how far they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.validation.disagreement import Disagreement, Members
from nnunet_nacl.validation.predicted_case import Work, evaluated, export_of

MEAN_OF_LOGITS = "mean_of_logits"
MEAN_OF_SOFTMAX = "mean_of_softmax"
ENSEMBLES = (MEAN_OF_LOGITS, MEAN_OF_SOFTMAX)
"""The ensemble that ``nnUNetv2_predict`` makes of several folds, and the one that ``nnUNetv2_ensemble`` makes of their softmax files."""


class EnsembleResult(NamedTuple):
    """The results of a case by member, each fold and each ensemble, and the folds' disagreement; None of a single fold."""

    results: dict[str, CaseResult]
    disagreement: Disagreement | None


@dataclass(frozen=True)
class EnsembleWork(Work):
    """What a worker does with a case that several folds have predicted.

    ``logits`` are the mean of the folds' as nnU-Net takes it, and ``of_folds`` those of each.
    """

    of_folds: Mapping[str, NDArray[np.float16]] | None = None

    @property
    def bytes_needed(self) -> int:
        """The memory that it takes: that of one member, the logits of the others, and the sum of the probabilities."""
        others = sum(logits.nbytes for logits in self._folds.values())
        voxels = int(np.prod(self.properties["shape_before_cropping"]))
        return super().bytes_needed + others + (4 * len(self.logits) + 24) * voxels

    @property
    def _folds(self) -> Mapping[str, NDArray[np.float16]]:
        return self.of_folds or {}


def evaluate_ensemble(work: EnsembleWork) -> EnsembleResult:
    """Return what each member says of a case.

    Raises:
        InputError: see :func:`~nnunet_nacl.validation.predicted_case.evaluate_work`.
    """
    label_map = read_case_labels(work.case, work.dataset)
    dataset = work.dataset
    members = Members(dataset.regions, dataset.region_labels, list(dataset.target_names))
    results: dict[str, CaseResult] = {}
    for fold, logits in work._folds.items():
        _, probabilities = export_of(work, logits)
        results[fold] = evaluated(work, probabilities, label_map)
        if len(work._folds) > 1:
            members.add(probabilities)
        del probabilities
    if len(work._folds) == 1:
        return EnsembleResult(results, None)
    results[MEAN_OF_LOGITS] = evaluated(work, export_of(work, work.logits)[1], label_map)
    mean = members.mean()
    results[MEAN_OF_SOFTMAX] = evaluated(work, mean, label_map)
    return EnsembleResult(results, members.disagreement(mean))


def mean_of_logits(of_folds: Mapping[str, NDArray[np.float16]]) -> NDArray[np.float16]:
    """Return the mean of logits as nnU-Net's ``predict_logits_from_preprocessed_data`` takes it, in half precision."""
    total: torch.Tensor | None = None
    for logits in of_folds.values():
        if total is None:
            total = torch.from_numpy(np.array(logits))
        else:
            total += torch.from_numpy(logits)
    assert total is not None
    if len(of_folds) > 1:
        total /= len(of_folds)
    mean: NDArray[np.float16] = total.numpy()
    return mean
