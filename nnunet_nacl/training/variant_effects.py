"""Which parts of a variant's name would change nothing about the training: the name would say what was not trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_EPOCHS = 1000
"""Of a training whose name does not say, as nnUNetTrainer's ``__init__`` sets it."""
_FLOAT32_RESOLUTION = 2.0**-24


@dataclass(frozen=True)
class Rule:
    """When some settings are refused.

    Attributes:
        attributes: what the settings set; the first that the name has is named in the message.
        applies: takes the trainer class with all the name's settings.
        reason: follows the setting in the message, may be a function of the class.
    """

    attributes: tuple[str, ...]
    applies: Callable[[Any], bool]
    reason: str | Callable[[Any], str]


def refusal(trainer: type, parts: Mapping[str, str]) -> str | None:
    """Return why a name's settings cannot all be in the training that it describes, or None where they are.

    Args:
        trainer: the class with the settings as class attributes.
        parts: attribute -> how the name sets it.
    """
    for rule in RULES:
        named = [attribute for attribute in rule.attributes if attribute in parts]
        if named and rule.applies(trainer):
            reason = rule.reason if isinstance(rule.reason, str) else rule.reason(trainer)
            return f"'{parts[named[0]]}' {reason}"
    return None


def _epochs(trainer: Any) -> int:
    return int(getattr(trainer, "num_epochs", DEFAULT_EPOCHS))


def _outermost_voxels_count_nothing(kernel: str, side: int, sigma: float) -> bool:
    """Whether the window's last voxel along an axis weighs less, next to the heaviest one, than float32 resolves."""
    reach = side // 2
    # the svls kernel has the direct neighbours for its heaviest, as the centre is their sum
    heaviest = 1 if kernel == "svls" else 0
    return math.exp(-(reach**2 - heaviest**2) / (2 * sigma**2)) < _FLOAT32_RESOLUTION


def _box(trainer: Any) -> bool:
    return bool(trainer.nacl_kernel == "mean")


RULES = (
    Rule(
        ("warm_up_epochs", "num_epochs"),
        lambda t: getattr(t, "warm_up_epochs", 0) >= _epochs(t),
        lambda t: (
            f"leaves no epoch for the trainer's own loss: {_epochs(t)} epochs, of which {t.warm_up_epochs} are warm-up."
        ),
    ),
    Rule(
        ("warm_up_epochs",),
        lambda t: getattr(t, "raters", False),
        "does not go with raters: nnU-Net's loss, which a warm-up trains with, knows one label map.",
    ),
    Rule(
        ("nacl_kernel_size", "nacl_kernel", "nacl_sigma", "nacl_sigma_mm", "nacl_norm", "nacl_class_reduction"),
        lambda t: t.nacl_weight == 0,
        "has no effect on a penalty of weight 0.",
    ),
    Rule(
        ("nacl_sigma", "nacl_sigma_mm"),
        _box,
        "has no effect on a box: add gaussian or svls, whose neighbours have weights.",
    ),
    Rule(("nacl_sigma",), lambda t: t.nacl_sigma_mm is not None, "has no effect beside a sigma in mm."),
    Rule(
        ("nacl_kernel", "nacl_sigma", "nacl_sigma_mm"),
        lambda t: t.nacl_kernel_size == 1,
        "has no effect on a window of one voxel, which has no neighbours.",
    ),
    Rule(
        ("nacl_kernel_size",),
        lambda t: (
            not _box(t)
            and t.nacl_sigma_mm is None
            and _outermost_voxels_count_nothing(t.nacl_kernel, t.nacl_kernel_size, t.nacl_sigma)
        ),
        lambda t: _too_narrow(t.nacl_kernel_size, t.nacl_sigma),
    ),
    Rule(("svls_sigma",), lambda t: t.svls_sigma_mm is not None, "has no effect beside a sigma in mm."),
    Rule(
        ("svls_kernel_size",),
        lambda t: t.svls_sigma_mm is None and _outermost_voxels_count_nothing("svls", t.svls_kernel_size, t.svls_sigma),
        lambda t: _too_narrow(t.svls_kernel_size, t.svls_sigma),
    ),
    Rule(("mbls_margin",), lambda t: t.mbls_weight == 0, "has no effect on a penalty of weight 0."),
    Rule(("l1ace_bins", "l1ace_binning"), lambda t: t.l1ace_weight == 0, "has no effect on a penalty of weight 0."),
    Rule(("l1ace_binning",), lambda t: t.l1ace_bins == 1, "has no effect: with one bin, hard and soft are the same."),
    Rule(
        ("crac_max_lambda",),
        lambda t: _epochs(t) - t.warm_up_epochs < 2,
        "has no effect: lambda is 1e-6 in the first epoch with CRaC, and there is no second.",
    ),
)


def _too_narrow(side: int, sigma: float) -> str:
    return (
        f"has no effect: at a sigma of {sigma:g} voxels the outermost voxels of a window of {side} weigh less than float32 "
        "resolves."
    )
