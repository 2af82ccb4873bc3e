"""What there is to train with: every trainer, its loss and its hyper-parameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.trainers import TRAINERS
from nnunet_nacl.training.variants import SETTINGS, resolve


@dataclass(frozen=True)
class Entry:
    """A trainer: its name, its loss in words, its hyper-parameters, and the settings that its name can carry."""

    name: str
    loss: str
    hyper_parameters: dict[str, Any]
    settings: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain values, for JSON."""
        return asdict(self)


def catalogue() -> list[Entry]:
    """Return the entries of all trainers of nnunet-nacl."""
    return [describe(name) for name in TRAINERS]


def describe(name: str) -> Entry:
    """Return the entry of a trainer or variant.

    Raises:
        UnknownVariantError: the name does not resolve; the message says which part is wrong.
    """
    trainer = resolve(name)
    settings = {s.example: s.meaning for s in SETTINGS if issubclass(trainer, s.base)}
    attributes = dict.fromkeys(
        s.attribute for s in SETTINGS if issubclass(trainer, s.base) and hasattr(trainer, s.attribute)
    )
    values = {attribute: getattr(trainer, attribute) for attribute in attributes}
    if issubclass(trainer, CalibratedLossMixin):
        values["with_dice"] = trainer.with_dice
    summary = (trainer.__doc__ or "no description").strip().splitlines()[0]
    return Entry(name, summary, values, settings)
