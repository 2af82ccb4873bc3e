"""What was probably meant by a name that no trainer has, or by a setting in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

PREFIX = "nnUNetTrainer"
_NUMBER = re.compile(r"\d+(?:[p.,]\d+)?")


def closest_setting(part: str, patterns: Mapping[str, str]) -> str | None:
    """Return the setting that a part of a name is nearest to, with the part's own number, or None where none is near.

    Args:
        part: e.g. ``wieght0p2``, ``weight0.2``, ``epochs100``.
        patterns: of each setting of the trainer, by an example of it: ``{"weight0p2": "weight(...)"}``.
    """
    by_shape = {_shape(example): example for example in patterns}
    near = difflib.get_close_matches(_shape(part), list(by_shape), n=1, cutoff=0.6)
    if not near:
        return None
    example = by_shape[near[0]]
    number = _NUMBER.search(part)
    if number is not None:
        meant = _NUMBER.sub(re.sub("[.,]", "p", number[0]), example)
        if re.fullmatch(patterns[example], meant):
            return meant
    return example


def closest_trainer(name: str, known: Iterable[str]) -> str | None:
    """Return the known trainer that a name is nearest to, or None where none is near.

    All begin alike, so only what follows is compared, in small letters.
    """
    by_rest = {_rest(other): other for other in known}
    near = difflib.get_close_matches(_rest(name), list(by_rest), n=1, cutoff=0.6)
    return by_rest[near[0]] if near else None


def _shape(text: str) -> str:
    return _NUMBER.sub("#", text.casefold())


def _rest(name: str) -> str:
    return name.casefold().removeprefix(PREFIX.casefold())
