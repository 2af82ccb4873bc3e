"""Joining the results of folds, parts or machines; the same as having evaluated all cases at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.part_names import origin_of, part_names
from nnunet_nacl.evaluation.parts import check_complete
from nnunet_nacl.evaluation.protocol import difference
from nnunet_nacl.evaluation.stored_paths import absolute


def merge_results(results: Mapping[Path, FolderResult]) -> FolderResult:
    """Return the cases of several results as one, sorted by name as one evaluation of all of them would be.

    Nothing is added up here: each case keeps its own statistics, so counts and sums are bit for bit those of the whole. Each
    case is told which part it is of, see :func:`~nnunet_nacl.evaluation.part_names.origin_of`.

    Args:
        results: at least one, by the folder it comes from.

    Raises:
        InputError: two were evaluated differently, or have a case in common, or a part of a whole is missing.
    """
    check_complete(results)
    (first, base), *_ = results.items()
    found_in: dict[str, Path] = {}
    twice: list[str] = []
    for folder, result in results.items():
        differing = difference(base.protocol, result.protocol)
        if differing:
            raise InputError(f"{folder} was evaluated differently from {first}: {differing}.")
        for case in result.cases:
            name = case.case.name
            if name in found_in:
                twice.append(f"{name} (in {found_in[name]} and {folder})")
            found_in.setdefault(name, folder)
    if twice:
        raise InputError(f"Expected each case once, but {len(twice)} came twice: {', '.join(twice[:5])}.")
    origins = [
        (case, origin_of(folder, case, result.files)) for folder, result in results.items() for case in result.cases
    ]
    names = part_names(origin for _, origin in origins)
    cases = sorted((replace(case, part=names[origin]) for case, origin in origins), key=lambda case: case.case.name)
    files = {"merged": [{"folder": absolute(folder), **result.files} for folder, result in results.items()]}
    return FolderResult(tuple(cases), base.protocol, files)
