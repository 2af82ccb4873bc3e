"""The frame that curves are drawn into as inline SVG: axes from 0 with ticks, in the manner of svg.py. Colours are classes of templates/style.css."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 420, 292
LEFT, TOP, WIDE, TALL = 46.0, 10.0, 362.0, 228.0
NUM_COLORS = 8
"""Of the style sheet; further runs begin again, with dashes."""


@dataclass(frozen=True)
class Frame:
    """Two axes.

    Attributes:
        right, top: where they end.
        below, beside: what they are.
        percent: whether the lower one is in per cent.
    """

    right: float
    top: float
    below: str
    beside: str
    percent: bool = False

    def x(self, value: float) -> float:
        """Return where a value of the lower axis lies."""
        return LEFT + WIDE * value / self.right

    def y(self, value: float) -> float:
        """Return where a value of the upright axis lies."""
        return TOP + TALL * (1 - value / self.top)

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """Return a line through points as an SVG path."""
        return "M" + "L".join(f"{self.x(float(x)):.1f} {self.y(float(y)):.1f}" for x, y in points)

    def svg(self, drawn: Markup, title: str) -> Markup:
        """Return the whole picture; ``title`` is what a screen reader says."""
        return Markup('<svg class="risk" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
            WIDTH, HEIGHT, title, self._axes(), drawn
        )

    def _axes(self) -> Markup:
        ticks = np.linspace(0, 1, 5)
        grid = "".join(f"M{LEFT:g} {TOP + TALL * tick:g}h{WIDE:g}" for tick in ticks[1:-1])
        grid += "".join(f"M{LEFT + WIDE * tick:g} {TOP:g}v{TALL:g}" for tick in ticks[1:-1])
        texts = [_text(LEFT - 5, self.y(self.top * tick) + 4, f"{self.top * tick:g}", "end") for tick in (0, 0.5, 1)]
        texts += [
            _text(LEFT + WIDE * tick, TOP + TALL + 15, self._tick(tick), anchor)
            for tick, anchor in ((0, "middle"), (0.5, "middle"), (1, "end"))
        ]
        texts.append(_text(LEFT + WIDE / 2, HEIGHT - 14, self.below, "middle"))
        turned = Markup('<text transform="translate(11 {:g}) rotate(-90)" text-anchor="middle">{}</text>')
        return Markup('<path class="grid" d="{}"/><path class="frame" d="M{:g} {:g}v{:g}h{:g}"/>{}').format(
            grid, LEFT, TOP, TALL, WIDE, Markup("").join([*texts, turned.format(TOP + TALL / 2, self.beside)])
        )

    def _tick(self, share: float) -> str:
        return f"{100 * share:g} %" if self.percent else f"{self.right * share:g}"


def ceiling(value: float) -> float:
    """Return the end of an axis: the value rounded up to 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power * (1 + 1e-9))


def color_of(number: int) -> str:
    """Return the class of the style sheet that a run has, by its place."""
    return f"run-{number % NUM_COLORS}{' again' if number >= NUM_COLORS else ''}"


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
