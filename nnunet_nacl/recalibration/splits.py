"""Parts of the cases, such that each case gets a temperature that it had no part in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.errors import InputError


@dataclass(frozen=True)
class Part:
    """Cases (their numbers) that are held out together."""

    name: str
    members: tuple[int, ...]


def by_folder(folders: Sequence[str]) -> list[Part]:
    """Return a part per folder, given the folder of each case."""
    return [
        Part(name, tuple(number for number, folder in enumerate(folders) if folder == name))
        for name in dict.fromkeys(folders)
    ]


def at_random(n_cases: int, n_parts: int, seed: int, groups: Sequence[str] | None = None) -> list[Part]:
    """Return parts of equal size (within one case or group), drawn at random; cases of one group are in one part.

    Args:
        groups: the group of each case; None where each case is its own.

    Raises:
        InputError: fewer cases or groups than parts, or one part.
    """
    names: Sequence[int | str] = range(n_cases) if groups is None else groups
    members: dict[int | str, list[int]] = {}
    for number, name in enumerate(names):
        members.setdefault(name, []).append(number)
    units = list(members.values())
    if len(units) < 2:
        raise InputError(
            "expected at least 2 cases for --cross-fit-parts, which holds out some and fits on the others, got 1."
        )
    if n_parts < 2 or len(units) < n_parts:
        unit = "cases" if groups is None else "groups"
        raise InputError(f"expected --cross-fit-parts to be 2 to {len(units)}, the number of {unit}, got {n_parts}.")
    order = np.random.default_rng(seed).permutation(len(units))
    return [
        Part(f"part {number}", tuple(sorted(case for unit in drawn for case in units[unit])))
        for number, drawn in enumerate(np.array_split(order, n_parts), start=1)
    ]


def without(part: Part, n_cases: int, groups: Sequence[str] | None = None) -> list[int]:
    """Return the cases that have nothing to do with a part: not in it, nor in one group with a case in it."""
    held = set(part.members)
    if groups is not None:
        named = {groups[case] for case in part.members}
        held |= {case for case in range(n_cases) if groups[case] in named}
    return [case for case in range(n_cases) if case not in held]
