"""ensemble.json: how far the folds disagree on each case, beside the results of the members; and its parts, which survive a kill."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.files import json_files
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.validation.disagreement import Disagreement, mean_or_nan

ENSEMBLE_FILE = "ensemble.json"
STORE_FOLDER = ".disagreement_cases"
SCHEMA_VERSION = 1
SCORES = ("ECE", "NLL", "Brier")
VOXEL_SETS = ("all", "predicted")


class DisagreementStore:
    """The disagreement on finished cases of an output folder, by fingerprint."""

    def __init__(self, output: Path) -> None:
        self._folder = output / STORE_FOLDER
        cases = json_files.mapping_if_any(output / ENSEMBLE_FILE).get("disagreement", {})
        listed = cases.get("per_case", []) if isinstance(cases, dict) else []
        self._of_last_run = {entry.get("fingerprint"): entry for entry in listed if isinstance(entry, dict)}

    def load(self, fingerprint: str) -> Disagreement | None:
        """Return what was found of this case; None where there is nothing, or it is damaged."""
        if not fingerprint:
            return None
        found = self._of_last_run.get(fingerprint) or json_files.mapping_if_any(self._path(fingerprint))
        try:
            return Disagreement(
                _number(found["mutual_information"]),
                _number(found["mutual_information_foreground"]),
                {str(name): _number(value) for name, value in found["pairwise_dice"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def save(self, fingerprint: str, found: Disagreement) -> None:
        """Keep what was found of a case; at once and whole, or not at all.

        Raises:
            InputError: the output folder cannot be written to.
        """
        if not fingerprint:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._path(fingerprint)) as temporary:
                temporary.write_text(json.dumps(_plain(found)), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written ({error.strerror}).") from error

    def clear(self) -> None:
        """Remove the finished cases, once ensemble.json holds them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint}.json"


def ensemble_content(
    summaries: Mapping[str, dict[str, Any]], disagreement: Mapping[str, Disagreement], prints: Mapping[str, str]
) -> dict[str, Any]:
    """Return the content of ensemble.json.

    Args:
        summaries: content of each member's calibration.json.
        disagreement: by case.
        prints: fingerprint of each case.
    """
    any_summary = next(iter(summaries.values()))
    targets = list(next(iter(disagreement.values())).pairwise_dice)
    return {
        "schema_version": SCHEMA_VERSION,
        "members": {
            name: {
                "Dice": summary["foreground_mean"]["Dice"],
                **{voxels: {score: summary["per_case"][voxels][score] for score in SCORES} for voxels in VOXEL_SETS},
            }
            for name, summary in summaries.items()
        },
        "disagreement": {
            "mutual_information": _mean([each.mutual_information for each in disagreement.values()]),
            "mutual_information_foreground": _mean(
                [each.mutual_information_foreground for each in disagreement.values()]
            ),
            "pairwise_dice": {
                target: _mean([each.pairwise_dice[target] for each in disagreement.values()]) for target in targets
            },
            "labels": {target: any_summary["protocol"]["labels"][target] for target in targets},
            "per_case": [
                {"case": name, "fingerprint": prints[name], **_plain(each)} for name, each in disagreement.items()
            ],
        },
        "provenance": any_summary["provenance"],
    }


def write_ensemble(content: dict[str, Any], output: Path) -> Path:
    """Write ensemble.json whole and return its path."""
    path = output / ENSEMBLE_FILE
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _mean(values: list[float]) -> float | None:
    return finite_or_none(mean_or_nan(values))


def _plain(found: Disagreement) -> dict[str, Any]:
    values = asdict(found)
    return {key: finite_or_none(value) for key, value in values.items() if key != "pairwise_dice"} | {
        "pairwise_dice": {name: finite_or_none(value) for name, value in found.pairwise_dice.items()}
    }


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"expected a number from 0, got {value!r:.80}")
    return float(value)
