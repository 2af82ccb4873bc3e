"""``--groups``: the cases that are one unit of the statistics, the same in all commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_nacl.evaluation.case_groups import Groups


def add_groups(parser: argparse.ArgumentParser) -> None:
    """Add ``--groups``."""
    parser.add_argument("--groups", type=Path, default=None, metavar="CASES_CSV",
                        help="CSV file with the columns case,group: all cases of one group (e.g. of one patient) are one unit of intervals "
                             "and tests (default: each case is a unit)")  # fmt: skip


def groups_of(parsed: argparse.Namespace) -> Groups | None:
    """Return the groups that were passed, if any.

    Raises:
        InputError: the file cannot be used.
    """
    from nnunet_nacl.evaluation.case_groups import read_groups

    return None if parsed.groups is None else read_groups(parsed.groups)
