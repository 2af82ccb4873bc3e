"""Markdown that also reads well as plain text, and into which no name can put markup.

What is not known to be harmless becomes a numeric character reference (``&#60;``), which every renderer shows as the character
itself and none takes for markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 120
NOTHING = "-"
"""In place of a number that is not there."""

_CODE = re.compile(r"[\w.,+:;/()=~@-]([\w .,+:;/()=~@-]*[\w.,+:;/()=~@-])?")
_MARKUP = re.compile(r"[\\`*<>&|\[\]{}#~$^]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.")
_BLOCK_START = re.compile(r"([-+*=#>|:]|\d+[.)])")
"""What would begin a list, a heading or a quotation at the start of a line."""


def text(value: object) -> str:
    """Return any text as one line without markup."""
    return _MARKUP.sub(_reference, _one_line(str(value)).strip())


def _one_line(value: str) -> str:
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", value)


def _reference(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def code(name: object) -> str:
    """Return a name in code letters; as text where it holds a character that could end them or a table's cell."""
    shown = str(name)
    return f"`{shown}`" if _CODE.fullmatch(shown) else text(shown)


def sentence(value: object) -> str:
    """Return a text in which names stand between backticks, as in our messages, as one line with these in code letters."""
    parts = str(value).split("`")
    if len(parts) % 2 == 0 or not all(map(_CODE.fullmatch, parts[1::2])):
        return text(value)
    # cut at the backticks, each piece would lose the space at its ends
    shown = [code(part) if place % 2 else _MARKUP.sub(_reference, _one_line(part)) for place, part in enumerate(parts)]
    return "".join(shown).strip()


def number(value: Any, digits: int = 4) -> str:
    """Return a number with fixed decimals, a dash for anything else (None, NaN)."""
    return f"{value:.{digits}f}" if _is_number(value) else NOTHING


def signed(value: Any, digits: int = 4) -> str:
    """Return a number with fixed decimals and its sign, a dash for anything else."""
    return f"{value:+.{digits}f}" if _is_number(value) else NOTHING


def between(ends: Sequence[Any] | None, digits: int = 4) -> str:
    """Return an interval of numbers that are not negative, in parentheses; nothing where an end is missing."""
    if ends is None or not all(map(_is_number, ends)):
        return ""
    return f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def wrapped(paragraph: str, first: str = "", rest: str = "") -> str:
    """Return a paragraph broken into lines of at most :data:`WIDTH` characters, where words allow it.

    Args:
        paragraph: words that are Markdown already.
        first, rest: what the first and every other line begins with.
    """
    lines, line = [], first
    for word in paragraph.split():
        # a word that would begin a list or a heading at the start of a line stays on its line
        if len(line) + len(word) + 1 > WIDTH and line.strip() and not _BLOCK_START.match(word):
            lines.append(line)
            line = rest
        line += word if line in (first, rest) else f" {word}"
    return "\n".join([*lines, line])


def item(paragraph: str) -> str:
    """Return a list item."""
    return wrapped(paragraph, "- ", "  ")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table with padded columns; the first ``left`` columns are flushed left, the others right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width if column < left else "-" * (width - 1) + ":") for column, width in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def block(content: str, language: str = "") -> str:
    """Return a code block, with a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"
