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


def at_random(n_cases: int, n_parts: int, seed: int) -> list[Part]:
    """Return parts of equal size (within one case), drawn at random.

    Raises:
        InputError: fewer cases than parts, or one part.
    """
    if n_parts < 2 or n_cases < n_parts:
        raise InputError(f"expected --cross-fit-parts to be 2 to {n_cases}, the number of cases, got {n_parts}.")
    order = np.random.default_rng(seed).permutation(n_cases)
    return [
        Part(f"part {number}", tuple(sorted(int(case) for case in members)))
        for number, members in enumerate(np.array_split(order, n_parts), start=1)
    ]
