"""What is printed: no figure is cut off, however narrow the terminal."""

import re
from pathlib import Path

import pytest

import nnunet_nacl
from nnunet_nacl.report.console import MIN_COLUMNS, plain_table, table_console


@pytest.mark.parametrize(("terminal", "columns"), [("60", MIN_COLUMNS), ("80", 80), ("200", 200)])
def test_a_narrow_terminal_wraps_lines_and_nothing_is_cut(monkeypatch, capsys, terminal, columns):
    monkeypatch.setenv("COLUMNS", terminal)
    console = table_console()
    assert console.width == columns
    table = plain_table("title")
    for number in range(7):
        table.add_column(f"column {number}", no_wrap=True)
    table.add_row(*["0.123456"] * 7)
    console.print(table)
    assert capsys.readouterr().out.count("0.123456") == 7


def test_each_command_prints_its_tables_there():
    """A console of its own would cut figures off on a narrow terminal."""
    package = Path(nnunet_nacl.__file__).parent
    own = {
        path.name
        for folder in ("commands", "report")
        for path in (package / folder).glob("*.py")
        if re.search(r"\bConsole\(", path.read_text(encoding="utf-8"))
    }
    assert own == {"console.py", "progress_bar.py"}
