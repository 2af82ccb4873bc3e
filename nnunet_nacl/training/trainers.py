"""The trainers that ``nnUNetv2_train -tr`` finds by name.

Class names are public API: checkpoints and result folders carry them, and nnU-Net looks them up again at inference.
Hyper-parameters are class attributes, since nnU-Net builds trainers with a fixed ``__init__`` signature. A value other
than the default belongs in a subclass or in a name such as ``nnUNetTrainerNACL_weight0p2``
(:mod:`nnunet_nacl.training.variants`), so that the result folder says what was trained.
"""

from __future__ import annotations

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_nacl.losses import NACLLoss, SVLSLoss
from nnunet_nacl.losses.nacl import ClassReduction, Norm
from nnunet_nacl.losses.neighborhood import Kernel
from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin


class NACLMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.NACLLoss`; the class attributes are its arguments."""

    nacl_weight: float = 0.1
    nacl_kernel_size: int = 3
    nacl_kernel: Kernel = "mean"
    nacl_sigma: float = 1.0
    nacl_norm: Norm = "l1"
    nacl_class_reduction: ClassReduction = "mean"

    @classmethod
    def make_loss(cls, ignore_label: int | None) -> nn.Module:
        """Return the NACL loss with this trainer's hyper-parameters."""
        return NACLLoss(
            weight=cls.nacl_weight,
            kernel_size=cls.nacl_kernel_size,
            kernel=cls.nacl_kernel,
            sigma=cls.nacl_sigma,
            norm=cls.nacl_norm,
            class_reduction=cls.nacl_class_reduction,
            ignore_label=ignore_label,
        )


class SVLSMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.SVLSLoss`; the class attributes are its arguments."""

    svls_kernel_size: int = 3
    svls_sigma: float = 1.0

    @classmethod
    def make_loss(cls, ignore_label: int | None) -> nn.Module:
        """Return the SVLS loss with this trainer's hyper-parameters."""
        return SVLSLoss(kernel_size=cls.svls_kernel_size, sigma=cls.svls_sigma, ignore_label=ignore_label)


class nnUNetTrainerNACL(NACLMixin, nnUNetTrainer):
    """NACL: cross-entropy + 0.1 * |soft class proportions - logits|, no Dice."""


class nnUNetTrainerDiceNACL(NACLMixin, nnUNetTrainer):
    """NACL plus nnU-Net's soft Dice loss."""

    with_dice = True


class nnUNetTrainerSVLS(SVLSMixin, nnUNetTrainer):
    """SVLS: cross-entropy against spatially smoothed labels, no Dice."""


class nnUNetTrainerDiceSVLS(SVLSMixin, nnUNetTrainer):
    """SVLS plus nnU-Net's soft Dice loss."""

    with_dice = True


TRAINERS: dict[str, type[nnUNetTrainer]] = {
    trainer.__name__: trainer
    for trainer in (nnUNetTrainerNACL, nnUNetTrainerDiceNACL, nnUNetTrainerSVLS, nnUNetTrainerDiceSVLS)
}
