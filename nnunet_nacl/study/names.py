"""Names that tell runs apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nnunet_nacl.evaluation.part_names import differing_parts
from nnunet_nacl.study.run import Run


def without_repetition(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Return the runs of distinct folders, in order, and those whose folder came before (a glob may find the base again)."""
    seen: dict[Path, Run] = {}
    repeated = []
    for run in runs:
        folder = run.folder.resolve()
        if folder in seen:
            repeated.append(run)
        else:
            seen[folder] = run
    return list(seen.values()), repeated


def distinctly_named(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with the folder parts in which they differ added to names that several of them have.

    Two folds of one trainer become ``nnUNetTrainerNACL (fold_0)`` and ``nnUNetTrainerNACL (fold_1)``. The folders must differ.
    """
    namesakes: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        namesakes[run.name].append(run)
    differing = {
        run.folder: part
        for group in namesakes.values()
        if len(group) > 1
        for run, part in zip(group, differing_parts([run.folder for run in group]), strict=True)
    }
    return [
        replace(run, name=f"{run.name} ({differing[run.folder]})") if run.folder in differing else run for run in runs
    ]
