"""Numbers as they are shown."""

from __future__ import annotations

import math


def fixed(value: float | None, signed: bool = False, digits: int = 3) -> str:
    """Return a score with a fixed number of decimals, a dash where it is not defined; what rounds to 0 has no sign."""
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if text.strip("+-0.") else text.lstrip("+-")


def points(value: float, signed: bool = False, digits: int = 1, unit: bool = True) -> str:
    """Return a difference of two shares in percentage points."""
    text = fixed(100 * value, signed, digits)
    return f"{text} {'point' if text.lstrip('+-') in ('1', '1.0') else 'points'}" if unit else text


def p_value(p: float) -> str:
    """Return a p value with three decimals, or that it is below the last of them; a dash where no test was made."""
    if math.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float, high: float, digits: int = 4, none: str = "") -> str:
    """Return the interval of a difference, ``none`` where there is none."""
    return none if math.isnan(low) else f"{fixed(low, True, digits)} to {fixed(high, True, digits)}"
