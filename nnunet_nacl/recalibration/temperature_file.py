"""temperature.json, read without trusting it. What it says is in :mod:`temperature_content`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from nnunet_nacl.errors import InputError
from nnunet_nacl.files import fit_files
from nnunet_nacl.recalibration.heads import Heads
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.base import Kind, Map, Method

SCHEMA_VERSION = 2
OLD_VERSION = 1  # knew one temperature and one per class, and no harm
FILE_TYPE = "nnunet-nacl temperature"


@dataclass(frozen=True)
class TemperatureFile:
    """What ``apply`` and ``share`` need of a temperature file.

    Attributes:
        method: name of the method.
        kind: ``softmax`` or ``sigmoid``.
        channels: name of each channel.
        maps: of each problem, fitted on all cases.
        fitted_on: names of the cases that were fitted on.
        held_out: per case the maps that it had no part in; empty after a fit on a single case.
        harm: sentences on what got worse on cases that were not fitted on; empty in files of the first version too.
        content: the file itself.
    """

    method: str
    kind: Kind
    channels: tuple[str, ...]
    maps: tuple[Map, ...]
    fitted_on: frozenset[str]
    held_out: dict[str, tuple[Map, ...]]
    harm: tuple[str, ...]
    content: dict[str, Any]

    def check_heads(self, heads: Heads, path: Path, dataset_json: Path) -> None:
        """Raise InputError unless the channels are those that the map was fitted for."""
        if (self.kind, self.channels) != (heads.kind, heads.channels):
            raise InputError(
                f"{path} was fitted for the {self.kind} channels {', '.join(self.channels)}, but {dataset_json} has the "
                f"{heads.kind} channels {', '.join(heads.channels)}."
            )


def load(path: Path) -> TemperatureFile:
    """Read a temperature file, of this version or the one before.

    Raises:
        InputError: it is missing, damaged, of another schema version, or no temperature file.
    """
    return fit_files.load(path, FILE_TYPE, (OLD_VERSION, SCHEMA_VERSION), "nnunet-nacl recalibrate fit", _parse)


def _parse(content: dict[str, Any]) -> TemperatureFile:
    channels, kind, method = tuple(str(name) for name in content["channels"]), content["kind"], _method(content)
    if kind not in get_args(Kind):
        raise ValueError(f"expected the kind {' or '.join(get_args(Kind))}, got {kind!r:.200}")
    parts = (content["cross_fit"] or {"parts": []})["parts"]
    held_out = {}
    for part in parts:
        maps = method.from_json(part, kind, len(channels))
        held_out.update({str(name): maps for name in part["cases"]})
    return TemperatureFile(
        method=method.name,
        kind=kind,
        channels=channels,
        maps=method.from_json(content, kind, len(channels)),
        fitted_on=frozenset(str(case["case"]) for case in content["cases"]),
        held_out=held_out,
        harm=() if content["schema_version"] == OLD_VERSION else tuple(map(str, content["harm"]["in_words"])),
        content=content,
    )


def _method(content: dict[str, Any]) -> Method:
    if content["schema_version"] == OLD_VERSION:
        return METHODS["per-class" if content["per_class"] else "temperature"]
    return METHODS[content["method"]]
