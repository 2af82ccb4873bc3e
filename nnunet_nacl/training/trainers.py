"""The trainers that ``nnUNetv2_train -tr`` finds by name.

Class names are public API: checkpoints and result folders carry them, and nnU-Net looks them up again at inference.
Hyper-parameters are class attributes, since nnU-Net builds trainers with a fixed ``__init__`` signature. A value other
than the default belongs in a subclass or in a name such as ``nnUNetTrainerNACL_weight0p2``
(:mod:`nnunet_nacl.training.variants`), so that the result folder says what was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_nacl.losses import ECPLoss, FocalLoss, L1ACELoss, LabelSmoothingLoss, MbLSLoss, NACLLoss, SVLSLoss
from nnunet_nacl.losses.l1ace import Binning
from nnunet_nacl.losses.nacl import ClassReduction, Norm
from nnunet_nacl.losses.neighborhood import Kernel
from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.crac import CRaCMixin
from nnunet_nacl.training.raters import RaterMixin
from nnunet_nacl.training.window import in_plane_sides, sigma_in_voxels


class NACLMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.NACLLoss`; the class attributes are its arguments.

    Where the spacing is anisotropic, the neighbourhood stays in-plane. ``nacl_sigma_mm`` gives the Gaussian's sigma in mm, at full
    resolution: the coarser outputs of deep supervision have the same window in voxels.
    """

    nacl_weight: float = 0.1
    nacl_kernel_size: int = 3
    nacl_kernel: Kernel = "mean"
    nacl_sigma: float = 1.0
    nacl_sigma_mm: float | None = None
    nacl_norm: Norm = "l1"
    nacl_class_reduction: ClassReduction = "mean"

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the NACL loss with this trainer's hyper-parameters."""
        return NACLLoss(
            weight=cls.nacl_weight,
            kernel_size=in_plane_sides(cls.nacl_kernel_size, spacing),
            kernel=cls.nacl_kernel,
            sigma=sigma_in_voxels(cls.nacl_sigma, cls.nacl_sigma_mm, spacing),
            norm=cls.nacl_norm,
            class_reduction=cls.nacl_class_reduction,
            ignore_label=ignore_label,
            regions=regions,
        )


class SVLSMixin(RaterMixin):
    """Train with :class:`~nnunet_nacl.losses.SVLSLoss`; the class attributes are its arguments.

    Where the spacing is anisotropic, the neighbourhood stays in-plane. ``svls_sigma_mm`` gives the Gaussian's sigma in mm, at full
    resolution: the coarser outputs of deep supervision have the same window in voxels.
    With ``raters = True`` the targets are those of several raters (:mod:`nnunet_nacl.training.raters`).
    """

    svls_kernel_size: int = 3
    svls_sigma: float = 1.0
    svls_sigma_mm: float | None = None

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the SVLS loss with this trainer's hyper-parameters."""
        return SVLSLoss(**cls._svls_window(spacing), ignore_label=ignore_label, regions=regions)

    @classmethod
    def make_rater_loss(cls, spacing: Sequence[float], ignore_label: int | None, n_raters: int) -> nn.Module:
        """Return the SVLS loss on several raters with this trainer's hyper-parameters."""
        return SVLSLoss(**cls._svls_window(spacing), ignore_label=ignore_label, raters=n_raters)

    @classmethod
    def _svls_window(cls, spacing: Sequence[float]) -> dict[str, Any]:
        return {
            "kernel_size": in_plane_sides(cls.svls_kernel_size, spacing),
            "sigma": sigma_in_voxels(cls.svls_sigma, cls.svls_sigma_mm, spacing),
        }


class MbLSMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.MbLSLoss`; the class attributes are its arguments."""

    mbls_weight: float = 0.1
    mbls_margin: float = 10.0

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the MbLS loss with this trainer's hyper-parameters."""
        return MbLSLoss(cls.mbls_weight, cls.mbls_margin, ignore_label, regions)


class LSMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.LabelSmoothingLoss`; the class attribute is its argument."""

    ls_smoothing: float = 0.1

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the label smoothing loss with this trainer's hyper-parameter."""
        return LabelSmoothingLoss(cls.ls_smoothing, ignore_label, regions)


class FocalMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.FocalLoss`; the class attribute is its argument."""

    focal_gamma: float = 3.0

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the focal loss with this trainer's hyper-parameter."""
        return FocalLoss(cls.focal_gamma, ignore_label, regions)


class ECPMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.ECPLoss`; the class attribute is its argument."""

    ecp_weight: float = 0.1

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the confidence penalty loss with this trainer's hyper-parameter."""
        return ECPLoss(cls.ecp_weight, ignore_label, regions)


class L1ACEMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.L1ACELoss`; the class attributes are its arguments."""

    l1ace_weight: float = 1.0
    l1ace_bins: int = 20
    l1ace_binning: Binning = "hard"

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the mL1-ACE loss with this trainer's hyper-parameters."""
        return L1ACELoss(cls.l1ace_weight, cls.l1ace_bins, cls.l1ace_binning, ignore_label, regions)


class nnUNetTrainerNACL(NACLMixin, nnUNetTrainer):
    """CE + 0.1 * mean |soft class proportions - logits|."""


class nnUNetTrainerDiceNACL(NACLMixin, nnUNetTrainer):
    """NACL + soft Dice."""

    with_dice = True


class nnUNetTrainerSVLS(SVLSMixin, nnUNetTrainer):
    """CE against spatially smoothed labels."""


class nnUNetTrainerDiceSVLS(SVLSMixin, nnUNetTrainer):
    """SVLS + soft Dice."""

    with_dice = True


class nnUNetTrainerMbLS(MbLSMixin, nnUNetTrainer):
    """CE + 0.1 * mean max(0, largest logit - logit - 10)."""


class nnUNetTrainerDiceMbLS(MbLSMixin, nnUNetTrainer):
    """MbLS + soft Dice."""

    with_dice = True


class nnUNetTrainerLS(LSMixin, nnUNetTrainer):
    """CE against labels mixed with 0.1 of the uniform distribution."""


class nnUNetTrainerDiceLS(LSMixin, nnUNetTrainer):
    """LS + soft Dice."""

    with_dice = True


class nnUNetTrainerFocal(FocalMixin, nnUNetTrainer):
    """CE * (1 - probability of the label) ^ 3."""


class nnUNetTrainerDiceFocal(FocalMixin, nnUNetTrainer):
    """Focal + soft Dice."""

    with_dice = True


class nnUNetTrainerECP(ECPMixin, nnUNetTrainer):
    """CE - 0.1 * entropy of the prediction."""


class nnUNetTrainerDiceECP(ECPMixin, nnUNetTrainer):
    """ECP + soft Dice."""

    with_dice = True


class nnUNetTrainerDiceL1ACE(L1ACEMixin, nnUNetTrainer):
    """CE + 1.0 * average calibration error of each class in each patch (mL1-ACE) + soft Dice."""

    with_dice = True


class nnUNetTrainerCRaC(CRaCMixin, nnUNetTrainer):
    """CE + NACL's constraints, weighted by class and region with multipliers learned from validation patches."""


class nnUNetTrainerDiceCRaC(CRaCMixin, nnUNetTrainer):
    """CRaC + soft Dice."""

    with_dice = True


TRAINERS: dict[str, type[nnUNetTrainer]] = {
    trainer.__name__: trainer
    for trainer in (
        nnUNetTrainerNACL,
        nnUNetTrainerDiceNACL,
        nnUNetTrainerSVLS,
        nnUNetTrainerDiceSVLS,
        nnUNetTrainerMbLS,
        nnUNetTrainerDiceMbLS,
        nnUNetTrainerLS,
        nnUNetTrainerDiceLS,
        nnUNetTrainerFocal,
        nnUNetTrainerDiceFocal,
        nnUNetTrainerECP,
        nnUNetTrainerDiceECP,
        nnUNetTrainerDiceL1ACE,
        nnUNetTrainerCRaC,
        nnUNetTrainerDiceCRaC,
    )
}
