"""Where tables are printed: none of their figures is cut off."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

MIN_COLUMNS = 80
"""Columns that every table has. Rich would cut figures off in fewer, even in the middle of a number; a terminal wraps the line."""


def table_console() -> Console:
    """Return a console on standard output as wide as the terminal, or as ``COLUMNS`` says, but at least :data:`MIN_COLUMNS`."""
    found = Console()
    return found if found.width >= MIN_COLUMNS else Console(width=MIN_COLUMNS)


def plain_table(title: str | Text | None = None, padding: int = 1) -> Table:
    """Return an empty table as all commands print it, with a line below the headings and none elsewhere.

    Args:
        title: above it.
        padding: columns between two columns of the table beside the one that is always there.
    """
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, padding))
