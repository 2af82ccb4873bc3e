"""The differences of the folds on the terminal: whether the sign holds from one training to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from nnunet_nacl.report.console import plain_table
from nnunet_nacl.study.parts import PartDifference, common_sign, in_order

MAX_COLUMNS = 5
"""Parts that have a column each at 80 columns; more are counted."""

WIDE_MAX_COLUMNS = 9


@dataclass(frozen=True)
class PartsRow:
    """A score, its voxels, and its differences by part."""

    score: str
    voxels: str
    parts: tuple[PartDifference, ...]


def prepare_parts_table(rows: Sequence[PartsRow], wide: bool) -> Table:
    """Return run - base of each part, one row per score, with the number of cases of each part in the heading."""
    names = in_order([part.part for row in rows for part in row.parts])
    each = len(names) <= (WIDE_MAX_COLUMNS if wide else MAX_COLUMNS)
    table = plain_table(padding=0)
    table.add_column("run - base", overflow="fold", min_width=5)
    table.add_column("voxels", overflow="fold", min_width=11)
    for heading in names if each else ["lowest", "highest", "lower in", "higher in"]:
        table.add_column(Text(heading), justify="right", overflow="fold", min_width=7)
    table.add_column("signs", overflow="fold", min_width=12)
    previous = None
    for row in rows:
        if previous is not None and row.score != previous:
            table.add_section()
        previous = row.score
        table.add_row(Text(row.score), Text(row.voxels), *(_amounts(row, names) if each else _counts(row)), _sign(row))
    return table


def signs_in_words(parts: Sequence[PartDifference]) -> str:
    """Return whether the difference has the same sign in every part, or is exactly 0 in all."""
    if parts and all(part.difference == 0 for part in parts):
        return "no difference in any"
    return "same sign" if common_sign(parts) else "signs differ"


def amount(part: PartDifference | None, digits: int = 4) -> str:
    """Return the difference of a part, a dash where there is none."""
    return "-" if part is None or math.isnan(part.difference) else f"{part.difference:+.{digits}f}"


def _amounts(row: PartsRow, names: Sequence[str]) -> Iterator[Text]:
    held = {part.part: part for part in row.parts}
    yield from (Text(amount(held.get(name))) for name in names)


def _counts(row: PartsRow) -> Iterator[Text]:
    found = [part for part in row.parts if not math.isnan(part.difference)]
    for choose in (min, max):
        yield Text(amount(choose(found, key=lambda part: part.difference, default=None)))
    for sign in (-1, 1):
        yield Text(str(sum(sign * part.difference > 0 for part in found)))


def _sign(row: PartsRow) -> Text:
    return Text(signs_in_words(row.parts), style="yellow" if signs_in_words(row.parts) == "signs differ" else "")
