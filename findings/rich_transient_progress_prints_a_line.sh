#!/usr/bin/env bash
# rich 15.0.0: a transient Progress still prints an empty line where its console is no terminal.
#
# The documentation of Progress has: "transient: (bool, optional): Clear the progress on exit."
# Expected: with standard error in a file or pipe, where nothing was ever drawn, nothing is written.
# Seen (15.0.0): one newline, since Progress.stop() ends with console.print() on consoles that are not interactive, transient or
# not. A transient Live, which Progress is made of, writes nothing. A program whose errors are one line on standard error then has two.
#
# Exits with 0 while that is so.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet rich==15.0.0
"$scratch/venv/bin/python" - << 'END'
import io

from rich.console import Console
from rich.live import Live
from rich.progress import Progress

written = {}
for name, make in (("Progress", lambda console: Progress(console=console, transient=True)),
                   ("Live", lambda console: Live("drawn", console=console, transient=True))):
    file = io.StringIO()
    with make(Console(file=file)) as display:
        if name == "Progress":
            display.add_task("working", total=2)
    written[name] = file.getvalue()
    print(f"transient {name}, console no terminal: wrote {written[name]!r}")
raise SystemExit(0 if written == {"Progress": "\n", "Live": ""} else "changed: see above")
END
