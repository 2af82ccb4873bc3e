"""What the Triton kernels can compute, and which of the losses that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from nnunet_nacl.losses.l1ace import L1ACELoss
from nnunet_nacl.losses.nacl import NACLLoss
from nnunet_nacl.losses.neighborhood import Window
from nnunet_nacl.losses.svls import SVLSLoss

Name = Literal["cross-entropy", "nacl l1", "nacl l2", "svls"]


@dataclass(frozen=True)
class SoftDice:
    """The settings of nnU-Net's soft Dice on a softmax; in one process, or without ``batch_dice``."""

    batch_dice: bool
    do_bg: bool
    smooth: float


@dataclass(frozen=True)
class Terms:
    """The terms of a loss on label maps.

    Attributes:
        name: of the term of each voxel.
        weight: of NACL's penalty.
        mean_over_classes: NACL's class reduction.
        window: of NACL and SVLS.
        bins: of mL1-ACE with hard bins, or 0 without it.
        calibration_weight: of mL1-ACE.
        ignore_label: label of voxels without annotation, or None.
        dice: nnU-Net's soft Dice beside it, or None.
    """

    name: Name
    weight: float = 0.0
    mean_over_classes: bool = True
    window: Window | None = None
    bins: int = 0
    calibration_weight: float = 0.0
    ignore_label: int | None = None
    dice: SoftDice | None = None

    @property
    def is_box(self) -> bool:
        """Whether all weights of the window are the same."""
        return self.window is None or self.window.kernel == "mean"

    def factor(self, classes: int) -> float:
        """Return what NACL's penalty, summed over the classes, is multiplied with."""
        return self.weight / classes if self.mean_over_classes else self.weight

    def sides(self, spatial_axes: int) -> tuple[int, ...]:
        """Return the side of the window for each spatial axis."""
        return (1,) * spatial_axes if self.window is None else self.window.sides(spatial_axes)

    def weights(self, spatial_axes: int) -> list[float]:
        """Return the weights of the window in raster order; their sum does not matter, since it is divided by."""
        if self.window is None or self.window.kernel == "mean":
            return [1.0]
        weights = [1.0]
        for profile in self.window.profiles(spatial_axes):
            weights = [weight * along for weight in weights for along in profile]
        if self.window.kernel == "svls":
            weights[len(weights) // 2] = 1 - self.window.centre(spatial_axes)
        return weights


def terms_of(loss: nn.Module, dice: SoftDice | None = None) -> Terms | None:
    """Return the terms of a loss, or None where the kernels do not have it: regions, several raters, soft bins, other losses."""
    # a subclass may compute something else
    if type(loss) is NACLLoss and not loss.regions:
        name: Name = "nacl l1" if loss.norm == "l1" else "nacl l2"
        mean = loss.class_reduction == "mean"
        return Terms(name, loss.weight, mean, loss._window, ignore_label=loss.ignore_label, dice=dice)
    if type(loss) is SVLSLoss and not loss.regions and loss.raters == 1:
        return Terms("svls", window=loss._window, ignore_label=loss.ignore_label, dice=dice)
    if type(loss) is L1ACELoss and not loss.regions and loss.binning == "hard":
        return Terms(
            "cross-entropy",
            bins=loss.bins,
            calibration_weight=loss.weight,
            ignore_label=loss.ignore_label,
            dice=dice,
        )
    return None
