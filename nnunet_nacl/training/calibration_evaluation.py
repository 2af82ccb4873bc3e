"""The mixin that evaluates the calibration of the validation cases once a training has ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnunet_nacl.training.first_process import is_first_process

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    # At run time the mixin has no base of its own, so that it can be put before any trainer class.
    Trainer = object


VARIABLE = "NNUNET_NACL_VALIDATE"
"""Set to f or 0, it keeps trainings without ``--npz`` from being validated once more for their calibration."""


class CalibrationEvaluationMixin(Trainer):
    """Write calibration.json beside nnU-Net's summary.json after the validation.

    The whole result is in ``validation/calibration``: nnUNetv2_find_best_configuration and nnUNetv2_ensemble take each .npz beside the
    softmax files for a case, so calibration_bins.npz must not be there.

    With ``--npz`` it is ``nnunet-nacl evaluate`` of the softmax files. Without, it is ``nnunet-nacl validate``, which predicts the
    validation cases once more, since nnU-Net hands out no probabilities, and writes no softmax file either. Both are processes of their
    own: whatever happens there, a crash or the end of memory included, is a line in the training log, and the training has ended
    well. It also keeps the evaluator out of the trainers' imports.

    Class attributes:
        evaluate_calibration: set to False to do none of this.
        validate_without_npz: set to False to do it with ``--npz`` only; so does the variable :data:`VARIABLE`.
    """

    evaluate_calibration: bool = True
    validate_without_npz: bool = True
    _checkpoint_name = "checkpoint_final.pth"

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Load a checkpoint as nnU-Net does, and remember which one is validated (``--val_best``)."""
        super().load_checkpoint(filename_or_checkpoint)
        if isinstance(filename_or_checkpoint, str):
            self._checkpoint_name = Path(filename_or_checkpoint).name

    def on_train_end(self) -> None:
        """End as nnU-Net does; what is validated then is the last state."""
        super().on_train_end()
        self._checkpoint_name = "checkpoint_final.pth"

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does, then evaluate the calibration."""
        super().perform_actual_validation(save_probabilities)
        if not self.evaluate_calibration or not is_first_process(self):
            return
        if save_probabilities:
            self.print_to_log_file(self._evaluate_calibration(self._evaluate_command()))
        elif self.validate_without_npz and os.environ.get(VARIABLE, "t").lower() not in ("f", "false", "0"):
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # for the other process
            self.print_to_log_file(self._evaluate_calibration(self._validate_command()))

    def _evaluate_command(self) -> list[str | Path]:
        # nnU-Net keeps both files there, for inference
        trained = Path(self.output_folder_base)
        return ["evaluate", Path(self.output_folder) / "validation", "-gt", self._labels(),
                "-djfile", trained / "dataset.json", "-pfile", trained / "plans.json"]  # fmt: skip

    def _validate_command(self) -> list[str | Path]:
        return ["validate", Path(self.output_folder_base), "-f", str(self.fold), "-chk", self._checkpoint_name,
                "-gt", self._labels(), "-o", Path(self.output_folder) / "validation" / "calibration",
                "-device", self.device.type]  # fmt: skip

    def _labels(self) -> Path:
        return Path(self.preprocessed_dataset_folder_base) / "gt_segmentations"

    def _evaluate_calibration(self, arguments: list[str | Path]) -> str:
        """Run one of our commands and return what to say about it."""
        validation = Path(self.output_folder) / "validation"
        command = [sys.executable, "-m", "nnunet_nacl.cli", *arguments]
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
