"""The pages of the documentation, and what stands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

_FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def name(page):
    """Return the path of a page as pytest shows it."""
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """Return the content of a page's code blocks in these languages ('' is none)."""
    return [match[3] for match in _FENCED.finditer(page.read_text(encoding="utf-8")) if match[2] in languages]


def prose(page):
    """Return a page without its code blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))
