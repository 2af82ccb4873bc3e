"""Run the scripts of docs/gallery and make their pages: prose, code, what it prints, and the pictures that it saves.

    python scripts/render_gallery.py [SCRIPT ...] [-o DOCS]

Without a SCRIPT all of docs/gallery. Each runs in an empty folder, so that it cannot lean on what lies in the repository. The page is
``DOCS/gallery/<script>.md``, its pictures are ``DOCS/images/<script>_<picture>.svg``. ``tests/docs/test_gallery.py`` fails where the pages
in docs/ are not what the scripts give.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).resolve().parent.parent / "docs"
_CELL = re.compile(r"^# %%(?P<markdown> \[markdown\])?\n", re.MULTILINE)
# fixed ids, so that the same figures give the same file; letters stay letters, which halves it
STYLE = {"svg.hashsalt": "nnunet-nacl", "svg.fonttype": "none"}


def cells(script: str) -> list[tuple[bool, str]]:
    """Return the cells of a script in percent format: whether each is prose, and its text without comment signs."""
    marks = list(_CELL.finditer(script))
    ends = [*(mark.start() for mark in marks[1:]), len(script)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        text = script[mark.end() : end].strip("\n")
        if mark["markdown"]:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
        found.append((bool(mark["markdown"]), text))
    return found


def render(script: Path, docs: Path) -> Path:
    """Run a script, write its page and pictures, and return the page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    parts, seen = [], set()
    (docs / "images").mkdir(parents=True, exist_ok=True)
    with _empty_folder(), mpl.rc_context(STYLE):
        for is_prose, text in cells(script.read_text(encoding="utf-8")):
            if is_prose:
                parts.append(text)
                continue
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(text, str(script), "exec"), namespace)
            parts.append(f"```python\n{text}\n```")
            if printed.getvalue():
                parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
            for picture in sorted(set(Path().rglob("*.svg")) - seen):
                seen.add(picture)
                target = docs / "images" / f"{script.stem}_{picture.name}"
                shutil.copyfile(picture, target)
                parts.append(f"![{picture.stem.replace('_', ' ').capitalize()}](../images/{target.name})")
    made_by = "`python scripts/render_gallery.py`"
    parts.append(
        f"*Made by {made_by} from [{script.name}]({script.name}), which opens as a notebook in VS Code or Jupytext.*"
    )
    page = docs / "gallery" / f"{script.stem}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


@contextmanager
def _empty_folder() -> Iterator[None]:
    """Work in a new folder, which is removed afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", type=Path, nargs="*", metavar="SCRIPT")
    parser.add_argument("-o", type=Path, default=DOCS, metavar="DOCS", help="folder to write into (default: docs)")
    parsed = parser.parse_args()
    mpl.use("Agg")
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    for script in parsed.scripts or sorted((DOCS / "gallery").glob("*.py")):
        print(f"wrote {render(script.resolve(), parsed.o.resolve())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
