"""Names that tell runs apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

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


def differing_parts(folders: Sequence[Path]) -> list[str]:
    """Return the middle of each path: without the parts that all paths begin with and those that all end with."""
    paths = [folder.resolve().parts for folder in folders]
    begin = _common_length(paths)
    rest = [path[begin:] for path in paths]
    end = _common_length([tuple(reversed(path)) for path in rest])
    middles = ["/".join(path[: len(path) - end]) for path in rest]
    # one folder inside another of its own name leaves nothing of the outer one
    return [middle or str(folder) for middle, folder in zip(middles, folders, strict=True)]


def _common_length(paths: Sequence[tuple[str, ...]]) -> int:
    length = 0
    while all(len(path) > length for path in paths) and len({path[length] for path in paths}) == 1:
        length += 1
    return length
