"""Reading JSON files so that whatever is wrong with one is a ValueError, or one line to its user."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn, SupportsFloat

from nnunet_nacl.errors import InputError, first_line


def loads(text: str, finite: bool = True) -> Any:
    """Return what a JSON text says.

    Args:
        text: JSON.
        finite: refuse NaN and numbers beyond float64, which we never write; nnU-Net's plans may hold them.

    Raises:
        ValueError: no JSON, nested too deeply for Python, or a number that is refused.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite) if finite else json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read(path: Path, finite: bool = True) -> Any:
    """Return what a JSON file says; see :func:`loads`.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no JSON in UTF-8, or as for :func:`loads`.
    """
    return loads(path.read_text(encoding="utf-8"), finite)


def read_mapping(path: Path, hint: str) -> dict[str, Any]:
    """Return what a JSON file of nnU-Net's that holds a mapping says: dataset.json, plans.

    Args:
        path: the file.
        hint: what to do where it is missing.

    Raises:
        InputError: it is missing, cannot be read, or holds no mapping.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. {hint}")
    try:
        content = read(path, finite=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error, path)}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON mapping, but got a {type(content).__name__}.")
    return content


def mapping_if_any(path: Path) -> dict[str, Any]:
    """Return what a JSON file that holds a mapping says; empty where there is none, for records that may be missing."""
    try:
        content = read(path, finite=False)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def finite_or_none(value: SupportsFloat) -> float | None:
    """Return a number as strict JSON has it (RFC 8259, section 6): null where it is NaN or infinite, which our files have no word for."""
    return float(value) if math.isfinite(value) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds a number out of range, {text[:20]}")
    return value
