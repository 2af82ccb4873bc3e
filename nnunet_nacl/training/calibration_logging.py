"""The mixin that follows the calibration of any nnU-Net trainer while it trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.training.calibration_progress import write_calibration_progress
from nnunet_nacl.training.first_process import is_first_process
from nnunet_nacl.training.online_calibration import ForegroundCalibration, OnlineCalibration
from nnunet_nacl.training.watching import watching

if TYPE_CHECKING:
    from nnunetv2.training.logging.nnunet_logger import MetaLogger
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    # At run time the mixin has no base of its own, so that it can be put before any trainer class.
    Trainer = object

ECE_KEY = "val_fg_ece"
GAP_KEY = "val_fg_confidence_gap"


class CalibrationLoggingMixin(Trainer):
    """Log the foreground calibration of each epoch's validation patches: nnU-Net's pseudo Dice, but for calibration.

    Per epoch there are the foreground ECE (15 bins) and the mean confidence minus the accuracy: as a line in the training
    log, as ``val_fg_ece`` and ``val_fg_confidence_gap`` in nnU-Net's logger (from where they get into checkpoints, and to
    Weights & Biases if nnU-Net is told to use it), and in ``calibration_progress.png`` beside ``progress.png``.

    Like the pseudo Dice they come from random patches at the network's resolution, so they show a trend;
    ``nnunet-nacl evaluate`` measures whole images.

    Class attributes:
        log_calibration: set to False to do none of this.
    """

    log_calibration: bool = True
    # the sums of the epoch; None outside of validation
    _online_calibration: OnlineCalibration | None = None

    def on_validation_epoch_start(self) -> None:
        """Start the epoch's sums."""
        super().on_validation_epoch_start()
        if self.log_calibration:
            manager = self.label_manager
            self._online_calibration = OnlineCalibration(self.device, manager.ignore_label, manager.has_regions)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate as nnU-Net does, and add the batch to the sums."""
        sums = self._online_calibration
        if sums is None:
            return super().validation_step(batch)  # type: ignore[no-any-return]
        with watching(self.loss, sums.add):
            return super().validation_step(batch)  # type: ignore[no-any-return]

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log as nnU-Net does, then the calibration."""
        super().on_validation_epoch_end(val_outputs)
        sums, self._online_calibration = self._online_calibration, None
        if sums is None:
            pad_histories(self.logger, self.current_epoch + 1)
            return
        if self.is_ddp:
            sums.all_reduce()
        scores = sums.scores()
        pad_histories(self.logger, self.current_epoch, create=True)
        self.logger.log(ECE_KEY, scores.ece, self.current_epoch)
        self.logger.log(GAP_KEY, scores.gap, self.current_epoch)
        self.print_to_log_file(_in_words(scores))

    def on_epoch_end(self) -> None:
        """End the epoch as nnU-Net does, then draw the progress of the calibration."""
        super().on_epoch_end()
        histories = self.logger.local_logger.my_fantastic_logging
        if self.log_calibration and is_first_process(self) and ECE_KEY in histories:
            path = Path(self.output_folder) / "calibration_progress.png"
            write_calibration_progress(histories[ECE_KEY], histories[GAP_KEY], path)


def pad_histories(logger: MetaLogger, length: int, create: bool = False) -> None:
    """Fill the calibration's lists in nnU-Net's local logger with NaN up to ``length`` epochs.

    The local logger takes a value only for a list that it has and that holds one value for each earlier epoch. A checkpoint
    replaces all its lists, and one of a training without this mixin lacks ours. Its progress.png ends where the shortest list
    does, so our lists have to grow even in an epoch that is not measured.

    Args:
        logger: of the trainer; its lists are changed.
        length: number of epochs.
        create: make the lists where they are missing.
    """
    histories = logger.local_logger.my_fantastic_logging
    for key in (ECE_KEY, GAP_KEY):
        if create:
            histories.setdefault(key, [])
        if key in histories:
            histories[key] += [math.nan] * (length - len(histories[key]))


def _in_words(scores: ForegroundCalibration) -> str:
    if not scores.n_voxels:
        return "Pseudo calibration: no foreground voxel in the validation patches"
    return f"Pseudo calibration: foreground ECE {scores.ece:.4f}, confidence - accuracy {scores.gap:+.4f}"
