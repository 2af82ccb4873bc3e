"""Which cases belong together: two frames or two lesions of one patient are one unit of the statistics, not two."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.errors import InputError, first_line, printable

COLUMNS = ("case", "group")


@dataclass(frozen=True)
class Groups:
    """The group of each case by its name, and the file that says so."""

    source: Path
    of_cases: Mapping[str, str]

    def of(self, cases: Iterable[str]) -> list[str]:
        """Return the group of each case.

        Raises:
            InputError: a case has none.
        """
        wanted = list(cases)
        missing = [case for case in wanted if case not in self.of_cases]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(
                f"{self.source}: has no group for {', '.join(missing[:5])}{more}. Expected a line for every case; one by itself "
                "is a group of its own."
            )
        return [self.of_cases[case] for case in wanted]


def read_groups(path: Path) -> Groups:
    """Return the groups of a CSV file with the columns ``case`` and ``group``; others are left alone.

    Raises:
        InputError: the file cannot be read, lacks a column, has an empty entry, or puts a case into two groups.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read ({first_line(error, path)}). Expected a CSV file: case,group."
        ) from error
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise InputError(
            f"{path}: expected a CSV file whose first line names the columns case,group and a line per case."
        )
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        case, group = ((row[name] or "").strip() for name in COLUMNS)
        if not case or not group:
            raise InputError(f"{path}: line {number} has no {'case' if not case else 'group'}.")
        if groups.setdefault(case, group) != group:
            raise InputError(
                f"{path}: {printable(case)} is in two groups, {printable(groups[case])} and {printable(group)}."
            )
    return Groups(path, groups)
