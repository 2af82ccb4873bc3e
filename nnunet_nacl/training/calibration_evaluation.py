"""The mixin that evaluates the calibration of the validation cases once a training has ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.training.first_process import is_first_process

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    # At run time the mixin has no base of its own, so that it can be put before any trainer class.
    Trainer = object


class CalibrationEvaluationMixin(Trainer):
    """With ``--npz``, write calibration.json beside nnU-Net's summary.json after the validation.

    The whole result is in ``validation/calibration``: nnUNetv2_find_best_configuration and nnUNetv2_ensemble take each .npz beside the
    softmax files for a case, so calibration_bins.npz must not be there.

    It is ``nnunet-nacl evaluate`` in a process of its own: whatever happens there, a crash or the end of memory included, is
    a line in the training log, and the training has ended well. It also keeps the evaluator out of the trainers' imports.

    Class attributes:
        evaluate_calibration: set to False to do none of this.
    """

    evaluate_calibration: bool = True

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does, then evaluate the calibration where the probabilities were saved."""
        super().perform_actual_validation(save_probabilities)
        if save_probabilities and self.evaluate_calibration and is_first_process(self):
            self.print_to_log_file(self._evaluate_calibration())

    def _evaluate_calibration(self) -> str:
        """Run the evaluation and return what to say about it."""
        validation = Path(self.output_folder) / "validation"
        # nnU-Net keeps both files there, for inference
        trained = Path(self.output_folder_base)
        command = [sys.executable, "-m", "nnunet_nacl.cli", "evaluate",
                   validation, "-gt", Path(self.preprocessed_dataset_folder_base) / "gt_segmentations",
                   "-djfile", trained / "dataset.json", "-pfile", trained / "plans.json"]  # fmt: skip
        # nothing that lies in the working directory may pass for a module (from Python 3.11 on)
        environment = os.environ | {"PYTHONSAFEPATH": "1"}
        try:
            finished = subprocess.run(
                [str(part) for part in command], env=environment, capture_output=True, text=True, errors="replace"
            )
            if finished.returncode == 0:
                shutil.copyfile(validation / "calibration" / "calibration.json", validation / "calibration.json")
                return f"Calibration of the validation cases: {validation / 'calibration.json'}"
        except OSError as error:
            return f"Calibration was not evaluated: {error}"
        *_, last = finished.stderr.strip().splitlines() or [""]
        return f"Calibration was not evaluated (exit status {finished.returncode}): {last}"
