"""A recalibration fitted on a trained model's validation cases, without softmax files: they are predicted twice.

The first pass evaluates each case, as `validate` does, and keeps the voxels that the fit uses in a scratch file. The second one predicts each case
again and scores it with what was fitted without its fold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.recalibration import fit as recalibration
from nnunet_nacl.recalibration.fit import FitResult, Progress, fit_cases
from nnunet_nacl.recalibration.heads import heads_of
from nnunet_nacl.recalibration.voxels import Reader, Volume
from nnunet_nacl.validation.cross_validation import Fold, Options, Prepared, prepare, provenance_files
from nnunet_nacl.validation.kept_files import check_may_write, write_files
from nnunet_nacl.validation.model import TrainedModel
from nnunet_nacl.validation.predicted_case import evaluated, export_of
from nnunet_nacl.validation.scratch_voxels import ScratchVoxels

UNLIMITED = 2**62


class Fitted(NamedTuple):
    """The result of `evaluate`, what was fitted, and how many bytes of scratch that took."""

    result: FolderResult
    fit: FitResult
    scratch_bytes: int


@dataclass
class _Predictions:
    """Predicts a case whenever it is read, and evaluates it the first time."""

    prepared: Prepared
    options: Options
    results: dict[str, CaseResult] = field(default_factory=dict)
    taken: str = ""

    def volume(self, case: Case) -> Volume:
        fold = self._fold(case)
        if fold.name != self.taken:
            self.prepared.predictor.take(fold.name)
            self.taken = fold.name
        if self.options.keep and case.name not in self.results:
            check_may_write(case.probabilities)
        work = self.prepared.work(fold, case, self.options)
        segmentation, probabilities = export_of(work, work.logits)
        label_map = read_case_labels(case, work.dataset)
        if case.name not in self.results:
            self.results[case.name] = self.prepared.keep(evaluated(work, probabilities, label_map))
            if work.keep:
                write_files(case.probabilities, probabilities, segmentation, work.properties, work.dataset)
        flat: FloatArray = np.ascontiguousarray(probabilities).reshape(len(probabilities), -1)
        return Volume(case, flat, label_map.values, label_map.geometry.spacing)

    def _fold(self, case: Case) -> Fold:
        return next(fold for fold in self.prepared.folds if case.name in fold.cases)


@dataclass(frozen=True)
class _PredictingReader(Reader):
    """A reader that predicts what it is asked for."""

    predictions: _Predictions

    def read(self, case: Case) -> Volume:
        """Return a case, predicted anew."""
        return self.predictions.volume(case)


def validate_and_fit(
    model: TrainedModel,
    labels: Path,
    output: Path,
    options: Options,
    fit: recalibration.Options,
    progress: Progress = lambda what, done, of: None,
) -> Fitted:
    """Evaluate a trained model's folds as :func:`~nnunet_nacl.validation.cross_validation.validate_folds` does, and fit a recalibration.

    Args:
        model, labels, output, options: as there; cases of an earlier run are predicted again, since the fit needs their voxels.
        fit: what to fit. Folds take turns in being held out; of a single fold, parts of its cases.
        progress: called after each case and fit.

    Raises:
        InputError: a file is missing or cannot be used, or there is no voxel to fit on.
    """
    prepared = prepare(model, labels, output, options)
    predictions = _Predictions(prepared, options)
    heads = heads_of(model.dataset)
    found = [(case, str(case.probabilities.parent)) for fold in prepared.folds for case in fold.cases.values()]
    reader = _PredictingReader(model.dataset, heads, fit.n_bins, fit.memory, output, predictions)
    voxels = ScratchVoxels(reader, [case for case, _ in found], fit.set_to_fit_on, UNLIMITED)
    files = {key: str(value) for key, value in provenance_files(model, labels, prepared.predictor).items()}
    fitted = fit_cases(found, model.dataset, heads, fit, output, files, progress, voxels)
    return Fitted(prepared.result(list(predictions.results.values()), 0), fitted, voxels.nbytes)
