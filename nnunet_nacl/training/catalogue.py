"""What there is to train with: every trainer, its loss and its hyper-parameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.name_suggestions import closest_trainer
from nnunet_nacl.training.trainer_search import ext_folders, find_trainer, source_of, trainers_in
from nnunet_nacl.training.trainers import TRAINERS
from nnunet_nacl.training.variants import SETTINGS, RefusedVariantError, UnknownVariantError, resolve

OURS = "nnunet-nacl"


@dataclass(frozen=True)
class Entry:
    """A trainer: its name, its loss in words, its hyper-parameters, the settings that its name can carry, and whose it is."""

    name: str
    loss: str
    hyper_parameters: dict[str, Any]
    settings: dict[str, str]
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain values, for JSON."""
        return asdict(self)


def catalogue() -> list[Entry]:
    """Return the entries of all trainers of nnunet-nacl."""
    return [_entry(name, trainer, OURS) for name, trainer in TRAINERS.items()]


def describe(name: str) -> Entry:
    """Return the entry of a trainer or variant: of that which nnU-Net takes, one on ``nnUNet_extTrainer`` included.

    Raises:
        UnknownVariantError: there is none; the message says which part of the name is wrong.
        Exception: whatever a module on ``nnUNet_extTrainer`` raises when it is imported.
    """
    found = find_trainer(name) if ext_folders() else None
    if found is None or not _is_of_others(found):  # a refused name is found, and ends a training with the reason
        found = _resolved(name)
    return _entry(name, found, source_of(name) if _is_of_others(found) else OURS)


def _resolved(name: str) -> type[nnUNetTrainer]:
    """Return what a name describes; where it describes nothing, trainers on ``nnUNet_extTrainer`` may have been meant."""
    try:
        return resolve(name)
    except RefusedVariantError:
        raise
    except UnknownVariantError as error:
        own = {other: folder for folder in ext_folders() if folder.is_dir() for other in trainers_in(folder)}
        base = next((other for other in own if name.startswith(f"{other}_")), None)
        if base is not None:
            raise UnknownVariantError(
                f"{base} in {own[base]} takes no settings in its name ({name.removeprefix(base)}): only trainers of nnunet-nacl and "
                "nnU-Net do. Set them in a subclass."
            ) from error
        meant = closest_trainer(name, own)
        if meant is not None and "Did you mean" not in str(error):
            raise UnknownVariantError(f"{error} Did you mean {meant}, in {own[meant]}?") from error
        raise


def _is_of_others(trainer: type) -> bool:
    return trainer.__module__.partition(".")[0] != "nnunet_nacl"


def _entry(name: str, trainer: type[nnUNetTrainer], source: str) -> Entry:
    # only what this package or nnU-Net defines takes settings in its name
    takes_settings = source in (OURS, "nnU-Net")
    settings = {s.example: s.meaning for s in SETTINGS if takes_settings and issubclass(trainer, s.base)}
    attributes = dict.fromkeys(
        s.attribute for s in SETTINGS if issubclass(trainer, s.base) and hasattr(trainer, s.attribute)
    )
    values = {attribute: getattr(trainer, attribute) for attribute in attributes}
    if issubclass(trainer, CalibratedLossMixin):
        values["with_dice"] = trainer.with_dice
    summary = (trainer.__doc__ or "no description").strip().splitlines()[0]
    return Entry(name, summary, values, settings, source)
