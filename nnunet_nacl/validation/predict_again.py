"""Predicting single cases of a result of `validate` again, for pictures: no softmax file was written of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.study.run import Run
from nnunet_nacl.validation.cross_validation import Options, Prepared, prepare_cases
from nnunet_nacl.validation.model import open_model
from nnunet_nacl.validation.predicted_case import export_of

PredictAgain = Callable[[str], NDArray[np.float32]]
"""Gives the probabilities ``(K, z, y, x)`` of a case."""


def predict_again(run: Run) -> PredictAgain | None:
    """Return what predicts the cases of a result again; None where it is not one of validation cases predicted in memory."""
    files = run.summary["provenance"]["files"]
    wanted = ("predictions", "labels", "checkpoint", "device")
    if files.get("predicted") != "in memory" or "images" in files:
        return None
    if not all(isinstance(files.get(key), str) for key in wanted):
        return None

    def probabilities(case: str) -> NDArray[np.float32]:
        entry = next(entry for entry in run.summary["metric_per_case"] if entry["case"] == case)
        fold = Path(entry["prediction_file"]).parent.parent.name
        one = _prepared(run, files, fold, case)
        (of_fold,) = one.folds
        if one.store.load(of_fold.prints[case]) is None:
            raise InputError(
                f"{case}: the model, its image or its label file has changed since it was validated. Validate it again to see it."
            )
        one.predictor.take(fold)
        work = one.work(of_fold, of_fold.cases[case], _options(run, files))
        return export_of(work, work.logits)[1]

    return probabilities


def _prepared(run: Run, files: Mapping[str, Any], fold: str, case: str) -> Prepared:
    model = open_model(Path(files["predictions"]), [fold.removeprefix("fold_")], files["checkpoint"])
    return prepare_cases({fold: [case]}, model, Path(files["labels"]), run.folder, _options(run, files))


def _options(run: Run, files: Mapping[str, Any]) -> Options:
    protocol = run.summary["protocol"]
    settings = Settings(protocol["n_bins"], protocol["boundary_mm"], protocol["hd95"])
    return Options(settings, files["device"], batch_mirrors=files.get("batch_mirrors") is True)
