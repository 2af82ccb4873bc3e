"""A figure with its interval."""

from __future__ import annotations

from typing import NamedTuple


class Value(NamedTuple):
    """A figure with its interval, NaN where there is none."""

    value: float
    low: float
    high: float
