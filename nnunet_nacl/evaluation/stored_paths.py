"""Paths in results: where they are written they are absolute, and where they are read they follow a result that was moved.

A result holds the folder that it was written into (``folder`` in the provenance of calibration.json, and in calibration_bins.npz). A
path relative to that folder, seen from where the result is now, is where a file lies that was moved or copied together with it.
Older results hold paths as they were typed, and no folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path from the root on, symbolic links as they are; unchanged where a folder above is not UTF-8, for JSON has no such text."""
    found = os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps `..`, Path.resolve follows links
    try:
        found.encode()
    except UnicodeEncodeError:
        return os.fspath(path)
    return found


def places_of(stored: str, written_into: str, folder: Path) -> Iterator[Path]:
    """Yield where a file of a result may be, the most trustworthy place first.

    Args:
        stored: the path that the result holds.
        written_into: the folder that the result was written into, as it says; empty where it does not.
        folder: where the result is now.
    """
    if Path(stored).is_absolute():
        if written_into and written_into != absolute(folder):
            yield Path(absolute(folder / os.path.relpath(stored, written_into)))
        yield Path(stored)
        return
    # typed in some working directory, which mostly is a folder above the result
    for above in (folder.absolute(), *folder.absolute().parents):
        yield above / stored
    yield Path(stored)


def here(stored: str, written_into: str, folder: Path) -> str:
    """Return where a file of a result is now; what the result holds where it is nowhere, or where the result was not moved."""
    if not written_into or written_into == absolute(folder):
        return stored
    return next((str(place) for place in places_of(stored, written_into, folder) if place.exists()), stored)


def files_here(files: dict[str, Any], written_into: str, folder: Path) -> dict[str, Any]:
    """Return the files of a result, or of each part of a merged one, where they are now."""
    return {
        key: here(value, written_into, folder)
        if isinstance(value, str)
        else [files_here(part, written_into, folder) if isinstance(part, dict) else part for part in value]
        if isinstance(value, list)
        else value
        for key, value in files.items()
    }
