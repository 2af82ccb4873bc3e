"""The mixin that puts a calibrated loss into any nnU-Net trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    # At run time the mixin has no base of its own, so that it can be put before any trainer class.
    Trainer = object


class CalibratedLossMixin(Trainer):
    """Swap the cross-entropy of an nnU-Net trainer for a calibrated loss, with or without nnU-Net's Dice term.

    The trainer's own ``_build_loss`` still makes everything around the loss: the deep supervision weights (and their
    exception for DDP), the Dice term and its compilation. So the mixin fits each trainer that keeps nnU-Net's Dice and
    cross-entropy loss, whatever it changes besides::

        class nnUNetTrainerNACLNoMirroring(CalibratedLossMixin, nnUNetTrainerNoMirroring):
            @classmethod
            def make_loss(cls, ignore_label):
                return NACLLoss(ignore_label=ignore_label)

    Class attributes:
        with_dice: add nnU-Net's soft Dice loss (weight 1) to the calibrated loss.
    """

    with_dice: bool = False

    @classmethod
    def make_loss(cls, ignore_label: int | None) -> nn.Module:
        """Return the loss for one resolution: logits ``(B, K, *spatial)``, target ``(B, 1, *spatial)`` -> scalar."""
        raise NotImplementedError(f"{cls.__name__} does not say which loss it trains with.")

    def initialize(self) -> None:
        """Initialize as nnU-Net does, then write the loss and its hyper-parameters into the log and the logger."""
        super().initialize()
        description = repr(self._calibrated_loss) + (" + soft Dice" if self.with_dice else "")
        self.print_to_log_file(f"Training with {description}")
        self.logger.update_config({"calibrated_loss": description})

    def _build_loss(self) -> nn.Module:
        self._refuse_regions()
        stock = super()._build_loss()
        deep = isinstance(stock, DeepSupervisionWrapper)
        compound = stock.loss if deep else stock
        if not isinstance(compound, DC_and_CE_loss):
            raise TypeError(
                f"{type(self).__name__} expected its base trainer to build nnU-Net's DC_and_CE_loss, but got "
                f"{type(compound).__name__}. Combine CalibratedLossMixin with a trainer that keeps nnU-Net's loss."
            )
        self._calibrated_loss = self.make_loss(self.label_manager.ignore_label)
        if self.with_dice:
            compound.ce = self._calibrated_loss
        loss = compound if self.with_dice else self._calibrated_loss
        if not deep:
            return loss
        stock.loss = loss
        wrapped: nn.Module = stock
        return wrapped

    def _refuse_regions(self) -> None:
        if self.label_manager.has_regions:
            raise NotImplementedError(
                f"{type(self).__name__} does not support region-based training yet: dataset.json of "
                f"{self.plans_manager.dataset_name} declares regions {self.label_manager.foreground_regions}. "
                "Train it with plain labels, or use a stock nnU-Net trainer for regions."
            )
