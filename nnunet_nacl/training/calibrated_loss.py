"""The mixin that puts a calibrated loss into any nnU-Net trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn

from nnunet_nacl.errors import InputError
from nnunet_nacl.training.calibration_evaluation import CalibrationEvaluationMixin
from nnunet_nacl.training.calibration_logging import CalibrationLoggingMixin
from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.triton_switch import as_it_runs
from nnunet_nacl.training.warm_up import WarmUp
from nnunet_nacl.training.weight import Weighted, cross_entropy_weight


class CalibratedLossMixin(CalibrationLoggingMixin, CalibrationEvaluationMixin):
    """Swap the cross-entropy of an nnU-Net trainer for a calibrated loss, with or without nnU-Net's Dice term.

    The trainer's own ``_build_loss`` still makes everything around the loss: the deep supervision weights (and their
    exception for DDP), the Dice term and its compilation, and the weight of its cross-entropy is that of the calibrated loss. So the mixin fits each trainer that keeps nnU-Net's Dice and
    cross-entropy loss, whatever it changes besides::

        class nnUNetTrainerNACLNoMirroring(NACLMixin, nnUNetTrainerNoMirroring):
            pass

    A loss of your own comes in through ``make_loss``::

        class nnUNetTrainerMine(CalibratedLossMixin, nnUNetTrainer):
            @classmethod
            def make_loss(cls, spacing, ignore_label, regions):
                return MyLoss(ignore_label)

    Class attributes:
        with_dice: add nnU-Net's soft Dice loss (weight 1) to the calibrated loss.
        warm_up_epochs: number of epochs at the start that train with the base trainer's own loss, Dice and cross-entropy.
            Without Dice a short training can sit through all of its epochs before two similar structures are told
            apart (docs/training.md).
        triton: run the loss as Triton kernels on a CUDA device, where there are some for it (docs/training.md). The variable
            ``NNUNET_NACL_TRITON`` rules over it.
    """

    with_dice: bool = False
    warm_up_epochs: int = 0
    triton: bool = False
    # nnUNetTrainer's own attribute
    num_epochs: int
    _loss_weight: int = 1
    # None without a warm-up, and before the loss is built
    _warm_up: WarmUp | None = None

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the loss, which serves all resolutions of deep supervision.

        Args:
            spacing: of the network's input in mm, one per axis of the patch; coarser outputs have larger voxels.
            ignore_label: value of voxels without annotation, or None.
            regions: one sigmoid per region; the target is ``(B, R, *spatial)``, with a further last channel that is 1 at
                ignored voxels where the data set has an ignore label.

        Returns:
            A module that takes logits ``(B, K, *spatial)`` and target ``(B, 1, *spatial)`` and gives a scalar.
        """
        raise NotImplementedError(f"{cls.__name__} does not say which loss it trains with.")

    def initialize(self) -> None:
        """Initialize as nnU-Net does, then write the loss and its hyper-parameters into the log and the logger.

        Raises:
            InputError: the warm-up leaves no epoch for the trainer's own loss.
        """
        if self.warm_up_epochs >= self.num_epochs:
            raise InputError(
                f"{type(self).__name__}: expected a warm-up shorter than the training of {self.num_epochs} epochs, got "
                f"{self.warm_up_epochs}."
            )
        super().initialize()
        description = repr(self._calibrated_loss) + (" + soft Dice" if self.with_dice else "")
        if self._loss_weight != 1:
            description += (
                f", times {self._loss_weight}: nnU-Net sums the cross-entropy over so many regions where a data set has an "
                "ignore label"
            )
        if self.warm_up_epochs:
            description += f", after {self.warm_up_epochs} epochs of the base trainer's loss"
        self.print_to_log_file(f"Training with {description}")
        self.logger.update_config({"calibrated_loss": description})

    @property
    def is_warming_up(self) -> bool:
        """Whether the epoch trains with the base trainer's loss."""
        return self._warm_up is not None and not self._warm_up.is_over

    def on_train_epoch_start(self) -> None:
        """Start the epoch, with the loss that it is trained with."""
        super().on_train_epoch_start()
        if self._warm_up is not None:
            self._warm_up.is_over = self.current_epoch >= self.warm_up_epochs

    def _build_loss(self) -> nn.Module:
        stock = super()._build_loss()
        deep = isinstance(stock, DeepSupervisionWrapper)
        compound = stock.loss if deep else stock
        if not isinstance(compound, (DC_and_CE_loss, DC_and_BCE_loss)):
            raise TypeError(
                f"{type(self).__name__} expected its base trainer to build nnU-Net's Dice and cross-entropy loss, but got "
                f"{type(compound).__name__}. Combine CalibratedLossMixin with a trainer that keeps nnU-Net's loss."
            )
        # a 2d configuration has a spacing of two axes or three, depending on where it was planned
        spacing = self.configuration_manager.spacing[-len(self.configuration_manager.patch_size) :]
        loss = self._build_single_loss(spacing, compound)
        self._warm_up = WarmUp(compound, loss) if self.warm_up_epochs else None
        loss = self._warm_up or loss
        if not deep:
            return loss
        stock.loss = loss
        wrapped: nn.Module = stock
        return wrapped

    def _build_single_loss(self, spacing: Sequence[float], compound: Any) -> nn.Module:
        """Return the loss of one resolution with the weights of nnU-Net's own, ``compound``; keep the calibrated loss."""
        ignore_label, regions = self.label_manager.ignore_label, self.label_manager.has_regions
        self._calibrated_loss = self.make_loss(spacing, ignore_label, regions)
        self._loss_weight = cross_entropy_weight(compound, self.label_manager.num_segmentation_heads)
        loss = self._calibrated_loss if self._loss_weight == 1 else Weighted(self._calibrated_loss, self._loss_weight)
        whole = LossPlusDice(loss, compound.dc, ignore_label, regions) if self.with_dice else loss
        return as_it_runs(whole, self.triton, self.device, self.print_to_log_file)
