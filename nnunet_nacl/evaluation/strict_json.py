"""JSON of our own files, read so that whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


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


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds a number out of range, {text[:20]}")
    return value
