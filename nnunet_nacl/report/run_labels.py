"""Short names of runs, for a column of a table on the terminal; files have the full ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_nacl.evaluation.part_names import common_length

_WORD_BEGINS = re.compile(r"(?<!_)(?=_)|(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class RunLabels:
    """What each run is called in a table, and what these words mean.

    Attributes:
        of: label by the name of the run.
        legend: lines to print with the table; none where labels are the names.
    """

    of: dict[str, str]
    legend: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        """Return what a run is called, or one of its trainings, ``<run> (training 2)``."""
        begin = max((run for run in self.of if name.startswith(run)), key=len)
        return self.of[begin] + name.removeprefix(begin)


def run_labels(names: Sequence[str], columns: int) -> RunLabels:
    """Return labels of at most so many columns, the same for the same names: the first that fit of

    1. the names;
    2. the names without what all have in common at their beginning and end, in whole words: ``DiceL1ACE`` and ``DiceSVLS`` of
       ``nnUNetTrainerDiceL1ACE_36epochs`` and ``nnUNetTrainerDiceSVLS_36epochs``;
    3. ``base``, ``run 1``, ``run 2``, or ``run`` of a single one.

    Args:
        names: of the runs, distinct, the base first.
        columns: at most; labels of the third kind fit into eight.
    """
    if _fit(names, columns):
        return RunLabels({name: name for name in names})
    begin, end, rest = _without_common(names)
    if rest and _fit(rest, columns):
        return RunLabels(
            dict(zip(names, rest, strict=True)), (f"Names of runs without what they have in common: {begin}...{end}",)
        )
    numbered = ["base", *(["run"] if len(names) == 2 else [f"run {number}" for number in range(1, len(names))])]
    labels = dict(zip(names, numbered, strict=True))
    return RunLabels(labels, tuple(f"{label}: {name}" for name, label in labels.items()))


def _fit(labels: Sequence[str], columns: int) -> bool:
    return len(set(labels)) == len(labels) and all(len(label) <= columns for label in labels)


def _without_common(names: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the words that all names begin with, those that they end with, and the rest of each; nothing where words are unclear.

    A name that has no other words keeps the first ones: ``nnUNetTrainer`` beside ``DiceSVLS``.
    """
    if any(set(name) & set(" (/") for name in names) or len(names) < 2:
        return "", "", []
    words = [_WORD_BEGINS.split(name) for name in names]
    n_begin = common_length(words)
    n_end = common_length([list(reversed(each[n_begin:])) for each in words])
    begin = "".join(words[0][:n_begin])
    end = "".join(words[0][len(words[0]) - n_end :]) if n_end else ""
    rest = ["".join(each[n_begin : len(each) - n_end]).strip("_") for each in words]
    return begin, end, [each or begin.strip("_") for each in rest]
