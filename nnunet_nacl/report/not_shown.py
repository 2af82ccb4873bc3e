"""What the page could not show, told once per reason: on the page, and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_nacl.errors import InputError
from nnunet_nacl.report.case_files import MissingFileError
from nnunet_nacl.report.names import listed


@dataclass(frozen=True)
class NotShown:
    """A picture that is not there.

    Attributes:
        case: name of the case.
        what: for instance ``pictures`` or ``image``.
        kind: the same for those that one sentence may tell together.
        reason: of this case, in words.
    """

    case: str
    what: str
    kind: str
    reason: str


class NoSliceError(InputError):
    """Nothing of a case can be drawn.

    Attributes:
        missing: for each run, what is missing.
    """

    def __init__(self, missing: Sequence[NotShown]) -> None:
        self.missing = tuple(missing)
        super().__init__(" ".join(held.reason for held in missing))


def not_shown(case: str, what: str, error: InputError) -> NotShown:
    """Return what an error keeps from being shown; files that are not found go together, all else by its message."""
    return NotShown(case, what, error.what if isinstance(error, MissingFileError) else str(error), str(error))


def in_words(missing: Sequence[NotShown], n_cases: int) -> list[str]:
    """Return one sentence per reason, with the cases it concerns and the reason of the first.

    Args:
        missing: what could not be shown, each case at most once with the same ``what`` and ``kind``.
        n_cases: how many cases were to be pictured.
    """
    groups: dict[tuple[str, str], list[NotShown]] = {}
    for held in missing:
        groups.setdefault((held.what, held.kind), []).append(held)
    return [
        f"No {what} for {len(group)} of {n_cases} worst cases ({listed(held.case for held in group)}): {group[0].reason}"
        for (what, _), group in groups.items()
    ]
