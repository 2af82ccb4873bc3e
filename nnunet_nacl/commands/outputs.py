"""Where commands may write: never over what they read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnunet_nacl.errors import InputError

FOLDER_OF_RESULTS = "calibration"
DESCRIPTIONS = ("dataset.json", "plans.json", "summary.json", "calibration.json", "calibration_cases.csv")


def check_output(path: Path, read: Iterable[Path | None]) -> None:
    """Raise InputError if a file cannot be written here, or is one of those that the command reads, before anything is computed.

    Args:
        path: the file to write.
        read: files and folders that are read, None where there is none. In a folder, and the results of ``evaluate`` in it, a table or a JSON
            file that was written there before may be written again; everything else is an input.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Give -o the name of a file.")
    if not path.exists():
        return
    for given in read:
        if given is None or not given.exists():
            continue
        if (not given.is_dir() and path.samefile(given)) or (given.is_dir() and _holds(given, path)):
            raise InputError(f"{path}: is an input of this command. Give -o the name of another file.")


def _holds(folder: Path, path: Path) -> bool:
    """Return whether a file that exists is an input by lying in a folder."""
    inside = any(place.is_dir() and path.parent.samefile(place) for place in (folder, folder / FOLDER_OF_RESULTS))
    return inside and (path.suffix not in (".json", ".csv") or path.name in DESCRIPTIONS)
