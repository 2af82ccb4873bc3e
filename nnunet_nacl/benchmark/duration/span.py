"""A time or a size that is known within a range only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Span:
        """Return the range of values, of which there is one at least."""
        held = list(values)
        return cls(min(held), max(held))

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Span | float) -> Span:
        if isinstance(other, Span):  # of what is not negative
            return Span(self.low * other.low, self.high * other.high)
        return Span(self.low * other, self.high * other)

    def in_time(self) -> str:
        """Return seconds in words, such as ``9-20 min``."""
        for unit, seconds, until in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 72 * 3600), ("days", 86400, 0)):
            if self.high < until or not until:
                low, high = (_short(value / seconds) for value in (self.low, self.high))
                return f"{low} {unit}" if low == high else f"{low}-{high} {unit}"
        raise AssertionError  # the last unit takes all

    def in_numbers(self) -> str:
        """Return whole numbers in words, such as ``1000-2000``, to two digits where they are large and differ."""
        if self.low == self.high:
            return f"{self.low:.0f}"
        return "-".join(f"{float(f'{value:.2g}'):.0f}" for value in (self.low, self.high))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
