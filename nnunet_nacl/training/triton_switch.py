"""Whether a trainer's loss may run as Triton kernels, and what it is then."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1
from torch import nn

from nnunet_nacl.losses.fused import FusedLoss
from nnunet_nacl.losses.terms import SoftDice, terms_of
from nnunet_nacl.training.dice import LossPlusDice

VARIABLE = "NNUNET_NACL_TRITON"
"""Set to t, true or 1, losses run as Triton kernels where they can; set to anything else, they do not. It rules over the trainer."""


def is_wanted(by_trainer: bool) -> bool:
    """Return whether the loss is to run as Triton kernels: what the variable says, read as nnU-Net reads ``nnUNet_compile``, or the trainer."""
    said = os.environ.get(VARIABLE)
    return by_trainer if said is None else said.lower() in ("true", "1", "t")


def as_it_runs(loss: nn.Module, by_trainer: bool, device: torch.device, report: Callable[[str], object]) -> nn.Module:
    """Return a loss that runs as Triton kernels where that is wanted and possible, or the loss itself.

    Args:
        loss: of a trainer, without Dice or as :class:`~nnunet_nacl.training.dice.LossPlusDice`.
        by_trainer: whether the trainer wants it, unless :data:`VARIABLE` says otherwise.
        device: of the training.
        report: is given lines for the log.
    """
    if is_wanted(by_trainer):
        return _fused(loss, report)
    if device.type == "cuda" and terms_of(loss.loss if isinstance(loss, LossPlusDice) else loss) is not None:
        report(f"The loss runs as PyTorch's operations. {VARIABLE}=t lets it run as Triton kernels.")
    return loss


def _fused(loss: nn.Module, report: Callable[[str], object]) -> nn.Module:
    if not isinstance(loss, LossPlusDice):
        terms = terms_of(loss)
        if terms is not None:
            return FusedLoss(loss, loss, terms, report)
        report(f"The loss runs as PyTorch's operations: there are no Triton kernels for {loss}.")
        return loss
    dice = soft_dice(loss.dice)
    terms = terms_of(loss.loss, dice)
    if dice is None or terms is None:
        # the loss alone, then, beside nnU-Net's Dice
        return LossPlusDice(_fused(loss.loss, report), loss.dice, loss.ignore_label, loss.regions)
    reference = LossPlusDice(loss.loss, _uncompiled(loss.dice), loss.ignore_label, loss.regions)
    return FusedLoss(loss, reference, terms, report)


def soft_dice(term: nn.Module) -> SoftDice | None:
    """Return the settings of nnU-Net's soft Dice on a softmax, or None where it is another or adds up over processes."""
    dice: Any = _uncompiled(term)
    if type(dice) is not MemoryEfficientSoftDiceLoss or dice.apply_nonlin is not softmax_helper_dim1:
        return None
    if dice.batch_dice and dice.ddp:
        return None
    return SoftDice(bool(dice.batch_dice), bool(dice.do_bg), float(dice.smooth))


def _uncompiled(module: nn.Module) -> nn.Module:
    original: nn.Module = getattr(module, "_orig_mod", module)
    return original
