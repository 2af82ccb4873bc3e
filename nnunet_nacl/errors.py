"""The one exception that means: the input is at fault, and the message says how to correct it; and how others are quoted."""

from __future__ import annotations

import re
from pathlib import Path


class InputError(ValueError):
    """Unusable input. The command line prints the message on one line and exits with status 1, without a traceback."""


def printable(name: str) -> str:
    """Return a name that a file gives, for one line of a message."""
    return name if name.isprintable() else ascii(name)


_REASON_OF_ITK = re.compile(r"^(?:ITK |itk::|sitk::)ERROR: *(.*\S)", re.MULTILINE)
"""SimpleITK says in its first line where it was, and after that what was wrong."""


def first_line(error: BaseException, path: Path | None = None) -> str:
    """Return the first line of what an exception says, for SimpleITK's the first that gives a reason, or its name where it says nothing.

    Args:
        error: what was raised.
        path: a file that the message names anyway: of the system's errors about it the reason alone is returned.
    """
    if isinstance(error, OSError) and error.strerror and path is not None and str(error.filename) == str(path):
        return error.strerror
    lines = str(error).strip().splitlines() or [type(error).__name__]
    found = _REASON_OF_ITK.search(str(error))
    if found is None:
        return lines[0]
    # a reason that ends in a colon goes on, and comes to its point in the last line
    return f"{found[1]} {lines[-1]}" if found[1].endswith(":") else found[1]
