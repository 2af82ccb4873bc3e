"""Which part of a merged result a case is of: the fold, where there is one, for cases of one fold share one network."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.recalibrated import of_files

_FOLD = re.compile(r"fold_\d+")


def fold_of(part: str) -> str:
    """Return the fold that a part is, ``fold_0`` for ``fold_0`` and for ``node1/fold_0``; empty where it is none."""
    last = part.rsplit("/", 1)[-1]
    return last if _FOLD.fullmatch(last) else ""


def origin_of(folder: Path, case: CaseResult, files: Mapping[str, Any]) -> Path:
    """Return where a case of a result comes from, as a path that ends in the short name of its part. The first that there is of:

    1. the fold that an earlier merge gave it (the innermost one: a merge of merges keeps it);
    2. the fold in the path of its softmax file, where nnU-Net put it: parts of one fold, evaluated anywhere, are that fold;
    3. the fold in the path of the result, ``.../fold_0`` for ``.../fold_0/validation/calibration``;
    4. the fold in the path of the predictions that were recalibrated: a map changes no network;
    5. the part that an earlier merge gave it, other than a fold;
    6. the folder of the result.

    Args:
        folder: of the result.
        case: one of its cases.
        files: of the result.
    """
    folder = folder.absolute()
    kept = folder / case.part
    if fold_of(case.part):
        return kept
    in_path = _fold_folder(case.case.probabilities.parent) or _fold_folder(folder)
    in_path = in_path or _before_recalibration(files)
    if in_path is not None:
        return in_path
    if case.part:
        return kept
    return folder.parent if folder.name == RESULT_FOLDER else folder


def part_names(origins: Iterable[Path]) -> dict[Path, str]:
    """Return a name for each distinct origin: its last part, with what tells them apart before it where several share that.

    ``A/fold_0`` and ``A/fold_1`` are ``fold_0`` and ``fold_1``; ``A/fold_0`` and ``B/fold_0`` keep these names.
    """
    namesakes: dict[str, list[Path]] = defaultdict(list)
    for origin in dict.fromkeys(origins):
        namesakes[origin.name].append(origin)
    names: dict[Path, str] = {}
    for short, group in namesakes.items():
        if len(group) == 1:
            names[group[0]] = short
        else:
            names |= {path: f"{part}/{short}" for path, part in zip(group, differing_parts(group), strict=True)}
    return names


def differing_parts(folders: Sequence[Path]) -> list[str]:
    """Return the middle of each path: without the parts that all paths begin with and those that all end with."""
    paths = [folder.resolve().parts for folder in folders]
    begin = common_length(paths)
    rest = [path[begin:] for path in paths]
    end = common_length([tuple(reversed(path)) for path in rest])
    middles = ["/".join(path[: len(path) - end]) for path in rest]
    # one folder inside another of its own name leaves nothing of the outer one
    return [middle or str(folder) for middle, folder in zip(middles, folders, strict=True)]


def _fold_folder(path: Path) -> Path | None:
    """Return the innermost folder of a path that is a fold."""
    return next((each for each in (path, *path.parents) if fold_of(each.name)), None)


def _before_recalibration(files: Mapping[str, Any]) -> Path | None:
    """Return the fold of the predictions that a result's were recalibrated from; None where they are of several, or none is known."""
    found = [_fold_folder(Path(str((each or {}).get("predictions", "")))) for each in of_files(files)]
    return found[0] if len(set(found)) == 1 else None


def common_length(paths: Sequence[Sequence[str]]) -> int:
    """Return with how many equal parts all begin."""
    length = 0
    while all(len(path) > length for path in paths) and len({path[length] for path in paths}) == 1:
        length += 1
    return length
