"""Trainers made from their name, so that a result folder says exactly what was trained.

A variant is the name of a trainer followed by settings, each after one underscore::

    nnUNetTrainerNACL_weight0p2_kernel5_100epochs
    nnUNetTrainerDiceNACL_gaussian_sigma1p5
    nnUNetTrainerCELoss_20epochs                    (length settings work on nnU-Net's own trainers too)

Numbers are written with ``p`` for the decimal point. nnU-Net looks the same name up again for prediction, so nothing but
the name has to be kept. Two underscores never occur: nnU-Net splits folder names at them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.crac import CRaCMixin
from nnunet_nacl.training.name_suggestions import PREFIX, closest_setting, closest_trainer
from nnunet_nacl.training.raters import RaterMixin
from nnunet_nacl.training.trainer_search import find_in_nnunet, stock_trainers
from nnunet_nacl.training.trainers import (
    TRAINERS,
    ECPMixin,
    FocalMixin,
    L1ACEMixin,
    LSMixin,
    MbLSMixin,
    NACLMixin,
    SVLSMixin,
)
from nnunet_nacl.training.variant_effects import refusal

SAVINGS = 10
"""Of checkpoint_latest in a training of N epochs by name; nnU-Net saves it every 50, which a short one may never reach."""
_NUMBER = r"\d+(?:p\d+)?"


class UnknownVariantError(ValueError):
    """The name is no variant of a known trainer; the message says which part is wrong."""


class RefusedVariantError(UnknownVariantError):
    """All parts of the name are known, but together they describe no training, or another one than they seem to."""


@dataclass(frozen=True)
class Setting:
    """One part of a variant's name: how it is written, what it sets, and on which trainers."""

    pattern: str
    example: str
    meaning: str
    attribute: str
    value: Callable[[str], Any]
    base: type = nnUNetTrainer


def _number(text: str) -> float:
    return float(text.replace("p", "."))


def _constant(value: Any) -> Callable[[str], Any]:
    return lambda _: value


def _settings(base: type, *rows: tuple[str, str, str, str, Callable[[str], Any]]) -> tuple[Setting, ...]:
    return tuple(Setting(*row, base=base) for row in rows)


SETTINGS = (
    *_settings(
        nnUNetTrainer,
        (r"([1-9]\d*)epochs?", "100epochs", "number of epochs", "num_epochs", int),
        (r"([1-9]\d*)iterations", "50iterations", "training iterations per epoch", "num_iterations_per_epoch", int),
        (
            r"([1-9]\d*)valiterations",
            "10valiterations",
            "validation iterations per epoch",
            "num_val_iterations_per_epoch",
            int,
        ),
    ),
    *_settings(
        CalibratedLossMixin,
        (r"warmup([1-9]\d*)", "warmup8", "epochs of Dice + CE before the trainer's own loss", "warm_up_epochs", int),
    ),
    *_settings(
        NACLMixin,
        (rf"weight({_NUMBER})", "weight0p2", "weight of the penalty", "nacl_weight", _number),
        (r"kernel(\d+)", "kernel5", "side of the neighbourhood in voxels", "nacl_kernel_size", int),
        ("(gaussian)", "gaussian", "Gaussian neighbourhood", "nacl_kernel", _constant("gaussian")),
        ("(svls)", "svls", "SVLS neighbourhood", "nacl_kernel", _constant("svls")),
        (rf"sigma({_NUMBER})", "sigma1p5", "sigma of the neighbourhood in voxels", "nacl_sigma", _number),
        (rf"sigma({_NUMBER})mm", "sigma1p5mm", "sigma of the neighbourhood in mm", "nacl_sigma_mm", _number),
        ("(l2)", "l2", "squared difference", "nacl_norm", _constant("l2")),
        ("(sum)", "sum", "sum over the classes", "nacl_class_reduction", _constant("sum")),
    ),
    *_settings(
        SVLSMixin,
        (r"kernel(\d+)", "kernel5", "side of the neighbourhood in voxels", "svls_kernel_size", int),
        (rf"sigma({_NUMBER})", "sigma1p5", "sigma of the Gaussian in voxels", "svls_sigma", _number),
        (rf"sigma({_NUMBER})mm", "sigma1p5mm", "sigma of the Gaussian in mm", "svls_sigma_mm", _number),
    ),
    *_settings(RaterMixin, ("(raters)", "raters", "targets of several raters", "raters", _constant(True))),
    *_settings(
        MbLSMixin,
        (rf"weight({_NUMBER})", "weight0p2", "weight of the penalty", "mbls_weight", _number),
        (rf"margin({_NUMBER})", "margin5", "margin between the logits", "mbls_margin", _number),
    ),
    *_settings(LSMixin, (rf"smoothing({_NUMBER})", "smoothing0p05", "share of the uniform", "ls_smoothing", _number)),
    *_settings(FocalMixin, (rf"gamma({_NUMBER})", "gamma2", "exponent", "focal_gamma", _number)),
    *_settings(ECPMixin, (rf"weight({_NUMBER})", "weight0p2", "weight of the entropy", "ecp_weight", _number)),
    *_settings(
        L1ACEMixin,
        (rf"weight({_NUMBER})", "weight0p5", "weight of the calibration error", "l1ace_weight", _number),
        (r"bins(\d+)", "bins10", "number of confidence bins", "l1ace_bins", int),
        ("(hard)", "hard", "each voxel in one bin", "l1ace_binning", _constant("hard")),
        ("(soft)", "soft", "each voxel shared between two bins", "l1ace_binning", _constant("soft")),
    ),
    *_settings(
        CRaCMixin,
        (rf"margin({_NUMBER})", "margin1", "logit of the label in the interior", "crac_margin", _number),
        (rf"rho({_NUMBER})", "rho1", "initial weight of the squared constraint", "crac_rho", _number),
        (r"kernel(\d+)", "kernel5", "side of the neighbourhood in voxels", "crac_kernel_size", int),
        (rf"maxlambda({_NUMBER})", "maxlambda2", "largest weight of the constraint", "crac_max_lambda", _number),
    ),
)


def resolve(name: str) -> type[nnUNetTrainer]:
    """Return the trainer class that a variant's name describes.

    Args:
        name: e.g. ``nnUNetTrainerNACL_weight0p2_100epochs``.

    Raises:
        UnknownVariantError: unknown trainer or setting.
        RefusedVariantError: a setting that is repeated, has no effect beside the others, or has a value that the loss refuses.
    """
    base_name, *parts = _split(name)
    base = _find_base(base_name, parts)
    if not parts:
        return base
    values: dict[str, Any] = {}
    by_attribute: dict[str, str] = {}
    for part in parts:
        attribute, value = _read(part, base, name)
        # nnU-Net's own names have lengths, too: nnUNetTrainer_250epochs_NoMirroring
        if attribute in values or attribute in _lengths_in(base_name):
            raise RefusedVariantError(f"'{part}' in {name} sets {attribute} a second time.")
        values[attribute] = value
        by_attribute[attribute] = part
    trainer = _subclass(name, base, values)
    if issubclass(trainer, CalibratedLossMixin):
        _check_loss(trainer)
        reason = refusal(trainer, by_attribute)
        if reason:
            raise RefusedVariantError(f"{name} cannot be trained. {reason}")
    return trainer


def cannot_be_trained(name: str, reason: str) -> type[nnUNetTrainer]:
    """Return a class for a refused name that ends a training with the reason in one line, before anything is prepared.

    For nnU-Net, which would otherwise go on searching and say that there is no such trainer. It builds no trainer to predict,
    so a model that was trained before its name was refused is still found.
    """
    base_name, *settings = _split(name)
    base = _find_base(base_name, settings)

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise SystemExit(reason)

    return type(name, (base,), {"__init__": refuse, "__doc__": reason})


def _lengths_in(base_name: str) -> set[str]:
    parts = base_name.split("_")[1:]
    return {setting.attribute for part in parts for setting, _ in _matches(part) if setting.base is nnUNetTrainer}


def _split(name: str) -> list[str]:
    """Split a name into its trainer and its settings; trailing parts that look like a setting are settings."""
    if "__" in name or not name.startswith(PREFIX):
        meant = closest_trainer(name.split("_")[0], TRAINERS) if not name.startswith(("_", PREFIX)) else None
        hint = f" Did you mean {meant}?" if meant is not None else ""
        raise UnknownVariantError(
            f"'{name}' is no trainer name: expected nnUNetTrainer..., without two underscores.{hint}"
        )
    parts = name.split("_")
    first = len(parts)
    while first > 1 and _matches(parts[first - 1]):
        first -= 1
    return ["_".join(parts[:first]), *parts[first:]]


def _matches(part: str) -> list[tuple[Setting, str]]:
    found = ((setting, re.fullmatch(setting.pattern, part)) for setting in SETTINGS)
    return [(setting, match.group(1)) for setting, match in found if match]


def _find_base(name: str, settings: Sequence[str]) -> type[nnUNetTrainer]:
    trainer = _known(name)
    if trainer is None:
        raise UnknownVariantError(_what_is_wrong(name, settings))
    return trainer


def _known(name: str) -> type[nnUNetTrainer] | None:
    return TRAINERS.get(name) or find_in_nnunet(name)


def _what_is_wrong(name: str, settings: Sequence[str]) -> str:
    """Return in words which part of a name that no trainer has is wrong, and what was probably meant.

    Args:
        name: with all parts before the last wrong one.
        settings: the parts after it.
    """
    parts = name.split("_")
    for length in range(len(parts) - 1, 0, -1):
        base = _known("_".join(parts[:length]))
        if base is not None:
            return _no_setting(parts[length], base, "_".join([name, *settings]))
    meant = closest_trainer(parts[0], [*TRAINERS, *stock_trainers()])
    whole = "_".join([meant, *settings]) if meant is not None and len(parts) == 1 else meant
    hint = f"Did you mean {whole}?" if meant is not None else "`nnunet-nacl trainers` lists ours."
    return f"'{name}' is no trainer of nnunet-nacl or nnU-Net. {hint}"


def _no_setting(part: str, base: type, name: str) -> str:
    patterns = {setting.example: setting.pattern for setting in SETTINGS if issubclass(base, setting.base)}
    meant = closest_setting(part, patterns)
    hint = f"Did you mean {meant}?" if meant is not None else f"Settings are written like {', '.join(patterns)}."
    return f"'{part}' in {name} is no setting of {base.__name__}. {hint}"


def _read(part: str, base: type, name: str) -> tuple[str, Any]:
    candidates = _matches(part)
    for setting, text in candidates:
        if issubclass(base, setting.base):
            return setting.attribute, setting.value(text)
    if candidates:
        # with a trainer of nnU-Net before it, it may well be somebody else's class
        kind = RefusedVariantError if base.__name__ in TRAINERS else UnknownVariantError
        known = ", ".join(setting.example for setting in SETTINGS if issubclass(base, setting.base))
        raise kind(f"'{part}' in {name} has no meaning for {base.__name__}, whose settings are {known}.")
    raise UnknownVariantError(f"'{part}' in {name} is no setting.")


def _subclass(name: str, base: type[nnUNetTrainer], values: dict[str, Any]) -> type[nnUNetTrainer]:
    class Variant(base):
        save_every: int

        # nnU-Net reads this signature to rebuild the trainer, and sets the training length inside __init__.
        def __init__(
            self,
            plans: dict[str, Any],
            configuration: str,
            fold: int,
            dataset_json: dict[str, Any],
            device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's signature)
        ) -> None:
            super().__init__(plans, configuration, fold, dataset_json, device)
            for attribute, value in values.items():
                setattr(self, attribute, value)
            if "num_epochs" in values:
                # never more rarely than the base does
                self.save_every = min(self.save_every, max(1, self.num_epochs // SAVINGS))

    Variant.__name__ = Variant.__qualname__ = name
    Variant.__doc__ = f"{base.__name__} with {', '.join(f'{key}={value!r}' for key, value in values.items())}."
    for attribute, value in values.items():
        setattr(Variant, attribute, value)
    return Variant


def _check_loss(trainer: type[CalibratedLossMixin]) -> None:
    """Let the loss look at its values now, so that a bad name fails before nnU-Net prepares anything."""
    # what a sigma in mm is in voxels is not known before there are data, so it is taken to be 1
    in_mm = (getattr(trainer, setting.attribute, None) for setting in SETTINGS if setting.attribute.endswith("_mm"))
    spacing = next((extent for extent in in_mm if extent), 1.0)
    try:
        trainer.make_loss(spacing=(spacing,) * 3, ignore_label=None, regions=False)
    except ValueError as error:
        raise RefusedVariantError(f"{trainer.__name__} cannot be made. {error}") from None
