"""The table of licences in docs/licences.md, from pyproject.toml and the metadata of the installed packages.

python scripts/licences.py            write the table into docs/licences.md
python scripts/licences.py --deep     print what the run-time dependencies need in turn and is not under a permissive licence
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
START, END = "<!-- table: scripts/licences.py -->", "<!-- end of table -->"

PERMISSIVE = re.compile(
    r"Apache|MIT|BSD|PSF|Python Software Foundation|ISC|Zlib|HPND|Unlicense|CC0|Boost|BSL|Zope|Public Domain",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"GPL|GNU|MPL|Mozilla|EPL|CC-BY-SA", re.IGNORECASE)


def requirements() -> dict[str, list[str]]:
    """Return the names of the direct dependencies, lower case, by where they are needed; each is listed once."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"run time": project["dependencies"]} | {
        f"extra `{name}`": lines for name, lines in project["optional-dependencies"].items()
    }
    found: dict[str, list[str]] = {}
    seen = {"nnunet-nacl"}
    for group, lines in groups.items():
        names = [re.split(r"[^\w.-]", line)[0].lower() for line in lines]
        found[group] = [name for name in names if name not in seen]
        seen.update(names)
    return {group: names for group, names in found.items() if names}


def licence(name: str) -> str:
    """Return the licence that an installed package states: an SPDX expression, a classifier, or the first line of its text."""
    held = metadata.metadata(name)
    classifiers = [
        line.split(" :: ")[-1] for line in held.get_all("Classifier") or [] if line.startswith("License :: OSI")
    ]
    lines = (held.get("License") or "").strip().splitlines()
    return held.get("License-Expression") or ", ".join(classifiers) or (lines[0].strip() if lines else "not stated")


def health(name: str) -> str:
    """Return the development status that an installed package states."""
    stated = [
        line for line in metadata.metadata(name).get_all("Classifier") or [] if line.startswith("Development Status")
    ]
    return stated[0].split(" - ")[-1].lower() if stated else "not stated"


def table() -> str:
    """Return the table of the direct dependencies."""
    lines = ["| package | needed for | version | licence | status |", "|---|---|---|---|---|"]
    for group, names in requirements().items():
        for name in names:
            try:
                row = (name, group, metadata.version(name), licence(name), health(name))
            except metadata.PackageNotFoundError:
                row = (name, group, "-", "not installed here", "-")
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def closure(names: list[str]) -> set[str]:
    """Return the installed packages that these and what they need in turn ask for, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in needed if "extra ==" not in line]
    return found


def main() -> None:
    """Write the table, or print what is not permissive further down."""
    if sys.argv[1:] == ["--deep"]:
        for name in sorted(closure(requirements()["run time"])):
            stated = licence(name)
            if COPYLEFT.search(stated) or not PERMISSIVE.search(stated):
                print(f"{name} {metadata.version(name)}: {stated}")
        return
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
