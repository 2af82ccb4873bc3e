"""What the files of volumes, triage and thresholds have in common, read without trusting it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nnunet_nacl.decisions.case_table import structures_of
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.files.fit_files import load


class FitFile:
    """A file of a fit that was read; each kind of file adds what it reads of the structures.

    Attributes:
        level: of what was fitted.
        structures: name of each structure by its key.
        content: the file.
    """

    file_type: str
    version: int

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            InputError: it is missing, damaged, or another kind of file.
        """
        self.path = path
        command = f"nnunet-nacl {self.file_type.split()[-1]} fit"
        self.content = load(path, self.file_type, (self.version,), command, self._parse)

    def _parse(self, content: dict[str, Any]) -> dict[str, Any]:
        entries = read_structures(content)
        self.level = float(content["level"])
        self.structures = {key: str(entry["name"]) for key, entry in entries.items()}
        self._read(content, entries)
        return content

    def _read(self, content: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
        raise NotImplementedError


def check_structures(path: Path, content: dict[str, Any], dataset: Dataset, dataset_json: Path) -> None:
    """Raise InputError unless the predictions have the labels that were fitted.

    Regions must come in the same order too: their channels do, and the label map that nnU-Net writes depends on it.
    """
    fitted, regions = content["protocol"]["labels"], dataset.regions is not None
    if content["protocol"]["regions"] is not regions:
        kinds = ("labels", "regions") if regions else ("regions", "labels")
        raise InputError(f"{path} was fitted for {kinds[0]}, but {dataset_json} has {kinds[1]}.")
    if fitted != dataset.target_names:
        raise InputError(
            f"{path} was fitted for {_in_words(fitted)}, but {dataset_json} has {_in_words(dataset.target_names)}."
        )
    if regions and list(fitted) != list(dataset.target_names):
        raise InputError(
            f"{path} was fitted for regions in the order {_in_words(fitted)}, but {dataset_json} has them in the order "
            f"{_in_words(dataset.target_names)}. The label maps of nnU-Net depend on the order; fit on predictions with the same one."
        )


def _in_words(labels: dict[str, str]) -> str:
    return ", ".join(f"{name} ({key.strip('()')})" for key, name in labels.items())


def read_structures(content: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of each structure by its key, in the order of the channels, whatever their order in the file.

    Raises:
        ValueError: the level, the labels, the names of the cases or the structures are not such as a fit writes.
    """
    if not 0 < number(content.get("level")) < 1:
        raise ValueError(f"expected a level above 0 and below 1, but got {content['level']}")
    cases = content.get("cases")
    expect(isinstance(cases, list) and all(map(_is_name, cases)), "cases", "names", cases)
    protocol = mapping(content.get("protocol"), "protocol")
    labels, regions = mapping(protocol.get("labels"), "protocol.labels"), protocol.get("regions") is True
    expect(isinstance(protocol.get("regions"), bool), "protocol.regions", "true or false", protocol.get("regions"))
    for key, name in labels.items():
        expect(_is_name(key) and _is_name(name), f"protocol.labels.{key!r}", "a name", name)
    if not regions:
        expect(
            all(key.isdecimal() and key.isascii() and len(key) < 6 for key in labels),
            "protocol.labels",
            "label values",
            list(labels),
        )
    entries = mapping(content.get("structures"), "structures")
    wanted = structures_of(labels, regions)
    if not wanted or set(entries) != set(wanted):
        raise ValueError(f"expected structures {', '.join(wanted)}, but got {', '.join(entries)}")
    for key, name in wanted.items():
        found = mapping(entries[key], f"structures.{key}").get("name")
        expect(found == name, f"structures.{key}.name", repr(name), found)
    return {key: entries[key] for key in (wanted if regions else sorted(wanted, key=int))}


def read_across(entry: Any, place: str) -> dict[str, Any] | None:
    """Return what :func:`~nnunet_nacl.decisions.across.across_results` found, None with a single result; ValueError if it is damaged."""
    if entry is None:
        return None
    below = mapping(entry, place).get("below_the_level")
    shares = mapping(entry.get("of_each"), f"{place}.of_each")
    for part, share in shares.items():
        expect(0 <= number(share) <= 1, f"{place}.of_each.{part}", "a share", share)
    expect(
        isinstance(below, list) and all(isinstance(part, str) and part in shares for part in below),
        f"{place}.below_the_level",
        "results of of_each",
        below,
    )
    unknown = mapping(entry.get("not_checked", {}), f"{place}.not_checked")
    for part, why in unknown.items():
        expect(_is_name(part) and _is_name(why), f"{place}.not_checked.{part!r}", "a reason", why)
    return dict(entry)


def _is_name(value: Any) -> bool:
    """Return whether a value is a text that can be written; a lone surrogate cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def expect(holds: bool, place: str, what: str, value: Any) -> None:
    """Raise ValueError, naming the place in the file, unless what is expected there holds."""
    if not holds:
        raise ValueError(f"expected {place} to be {what}, but got {value!r:.80}")


def mapping(value: Any, place: str) -> dict[str, Any]:
    """Return a mapping; ValueError if it is none."""
    expect(isinstance(value, dict), place, "a mapping", value)
    return dict(value)


def pair(value: Any) -> tuple[float, float]:
    """Return two finite numbers, the lower first; ValueError if they are not."""
    expect(isinstance(value, list) and len(value) == 2, "a pair", "two numbers", value)
    low, high = (number(each) for each in value)
    if low > high:
        raise ValueError(f"{low} above {high}")
    return low, high


def number(value: Any) -> float:
    """Return a finite number; ValueError if it is none."""
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e300:
        raise ValueError(f"expected a number, but got {value!r:.80}")
    return float(value)
