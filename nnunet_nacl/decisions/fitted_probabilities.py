"""Whether a fit and the predictions that it is applied to are of the same kind of probabilities: the network's own, or recalibrated by a file.

Recalibration moves soft volumes, confidences and thresholds, so a fit of the one says nothing of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_nacl.evaluation import recalibrated
from nnunet_nacl.evaluation.folder_result import FolderResult

KEY = "probabilities"
"""In the file of a fit: the kinds of probabilities that its results are of; missing where that is not known."""

OWN = "not recalibrated"


def kinds_of(result: FolderResult) -> dict[str, list[str]]:
    """Return the entry of a fit's file; nothing where one of its results does not say and its predictions are gone."""
    held = list(recalibrated.of_files(result.files))
    return {} if None in held else {KEY: sorted({_kind(each) for each in held if each is not None})}


def mixed(content: dict[str, Any]) -> list[str]:
    """Return a sentence where the results of a fit are of several kinds of probabilities, else none."""
    kinds = _kinds(content)
    if len(kinds) < 2:
        return []
    return [
        f"the results of the fit are of different probabilities ({'; '.join(kinds)}); what is fitted on them together holds for none"
    ]


def other_kind(fit: Path, content: dict[str, Any], predicted: Path) -> list[str]:
    """Return a sentence where predictions are of other probabilities than those of the fit, else none."""
    kinds, own = _kinds(content), _kind(recalibrated.recalibrated(predicted).get(recalibrated.KEY, {}))
    if not kinds or kinds == [own]:
        return []
    return [
        f"{fit} was fitted on probabilities that were {' or '.join(kinds)}; those of {predicted} were {own}. Estimates and intervals need not hold: fit on "
        "the results of predictions that were treated like these (recalibrated ones: `recalibrate apply --held-out`)"
    ]


def _kinds(content: dict[str, Any]) -> Sequence[str]:
    held = content.get(KEY)
    return held if isinstance(held, list) and all(isinstance(kind, str) for kind in held) else []


def _kind(held: dict[str, Any]) -> str:
    return f"recalibrated (temperature file {held.get('temperature') or 'unknown'})" if held else OWN
