"""Parts of a whole that several machines evaluate, as ``nnUNetv2_predict -num_parts -part_id`` has them, so that none is lost."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case, select_part
from nnunet_nacl.evaluation.folder_result import FolderResult

KEY = "part"
"""In the files of a result."""


@dataclass(frozen=True)
class Part:
    """Which part of which whole a result is.

    Attributes:
        num_parts, part_id: as nnU-Net has them: every ``num_parts``-th case from number ``part_id`` on.
        n_cases: of the whole.
        whole: digest of the names of all its cases.
    """

    num_parts: int
    part_id: int
    n_cases: int
    whole: str

    @property
    def size(self) -> int:
        """Cases of the part."""
        return len(range(self.part_id, self.n_cases, self.num_parts))

    def as_files(self) -> dict[str, Any]:
        """Return the entry of a result's files; none where the part is the whole."""
        return {KEY: asdict(self)} if self.num_parts > 1 else {}


def take_part(
    cases: Sequence[Case], labelled: Collection[str], num_parts: int, part_id: int
) -> tuple[list[Case], Part]:
    """Return the cases of a part: every so many-th, or all where the folder holds what one machine predicted with the same options.

    It does where its cases are just those that nnU-Net gives to this part of the labelled ones. A part of that again would lose cases.

    Args:
        cases: of the prediction folder, sorted by name.
        labelled: names of all cases that have a label file.
        num_parts, part_id: see :func:`~nnunet_nacl.evaluation.cases.select_part`.

    Raises:
        InputError: there is no such part.
    """
    names = [case.name for case in cases]
    part = select_part(cases, num_parts, part_id)
    everything = sorted(labelled)
    if num_parts > 1 and names == everything[part_id::num_parts] and names != everything:
        return list(cases), _part(everything, num_parts, part_id)
    return part, _part(names, num_parts, part_id)


def check_complete(results: Mapping[Path, FolderResult]) -> None:
    """Raise InputError, naming what is missing, unless each part comes with all others of its whole that have a case."""
    wholes: dict[tuple[int, int, str], dict[int, Path]] = defaultdict(dict)
    for folder, result in results.items():
        part = _stored(result)
        if part is not None:
            wholes[part.num_parts, part.n_cases, part.whole][part.part_id] = folder
    for (num_parts, n_cases, whole), found in wholes.items():
        missing = [
            part
            for part in (Part(num_parts, number, n_cases, whole) for number in range(num_parts))
            if part.size and part.part_id not in found
        ]
        if missing:
            raise InputError(_message(missing, found, others=len(wholes) > 1))


def _message(missing: Sequence[Part], found: Mapping[int, Path], others: bool) -> str:
    lacking = ", ".join(f"{part.part_id} ({part.size} {'case' if part.size == 1 else 'cases'})" for part in missing)
    there = ", ".join(f"{number} ({folder})" for number, folder in sorted(found.items()))
    hint = (
        " The others were taken of folders with other cases: where each folder holds a part of the predictions already, evaluate it "
        "without -num_parts, then merge."
        if others
        else ""
    )
    return (
        f"Expected all {missing[0].num_parts} parts of {missing[0].n_cases} cases, but got part {there} and not part {lacking}."
        f"{hint or ' Evaluate what is missing, with the same -num_parts.'}"
    )


def _part(names: Sequence[str], num_parts: int, part_id: int) -> Part:
    digest = hashlib.blake2b(json.dumps(list(names)).encode(), digest_size=8).hexdigest()
    return Part(num_parts, part_id, len(names), digest)


def _stored(result: FolderResult) -> Part | None:
    """Return which part a result is, or None where it is a whole, or of a version that did not keep it."""
    held = result.files.get(KEY)
    try:
        part = Part(**held) if isinstance(held, dict) else None
        whole = part is None or part.size  # raises where these are no numbers
    except (TypeError, ValueError):
        return None
    return part if whole else None
