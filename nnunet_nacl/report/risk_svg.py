"""Risk-coverage curves as inline SVG, in the manner of svg.py: colours are classes of templates/style.css."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.study.failure_detection import Detection

WIDTH, HEIGHT = 420, 292
LEFT, TOP, WIDE, TALL = 46.0, 10.0, 362.0, 228.0
NUM_COLORS = 8
"""Of the style sheet; further runs begin again, with dashes."""


def risk_coverage_svg(runs: Sequence[Detection], title: str) -> Markup:
    """Return the mean risk of the accepted cases over the share accepted, a line per run, thin dashes for the best possible order.

    Args:
        runs: of one class.
        title: what a screen reader says, before the figures.
    """
    highest = _ceiling(max(float(held.curve.selective_risk.max()) for held in runs))
    said = "; ".join(f"{held.run}: AURC {held.measures['aurc']:.4f}" for held in runs)
    lines = Markup("").join(_line(held, number, highest) for number, held in enumerate(runs))
    return Markup('<svg class="risk" viewBox="0 0 {} {}" role="img" aria-label="{}. {}.">{}{}</svg>').format(
        WIDTH, HEIGHT, title, said, _axes(highest), lines
    )


def _line(held: Detection, number: int, highest: float) -> Markup:
    color = f"run-{number % NUM_COLORS}{' again' if number >= NUM_COLORS else ''}"
    text = f"{held.run}\nAURC {held.measures['aurc']:.4f}, mean risk {held.risk:.4f}"
    return Markup('<g class="{}"><title>{}</title><path class="best" d="{}"/><path class="curve" d="{}"/></g>').format(
        color, text, _path(held.best.coverage, held.best.selective_risk, highest),
        _path(held.curve.coverage, held.curve.selective_risk, highest),
    )  # fmt: skip


def _path(coverage: Float64Array, risk: Float64Array, highest: float) -> str:
    # at coverage 0 no case is accepted, and the first risk is repeated there
    points = zip(coverage, risk, strict=True)
    return "M" + "L".join(f"{_x(float(share)):.1f} {_y(float(value), highest):.1f}" for share, value in points)


def _x(share: float) -> float:
    return LEFT + WIDE * share


def _y(risk: float, highest: float) -> float:
    return TOP + TALL * (1 - risk / highest)


def _ceiling(value: float) -> float:
    """Return the end of the axis: the value rounded up to 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power * (1 + 1e-9))


def _axes(highest: float) -> Markup:
    ticks = np.linspace(0, 1, 5)
    grid = "".join(f"M{LEFT:g} {TOP + TALL * tick:g}h{WIDE:g}" for tick in ticks[1:-1])
    grid += "".join(f"M{_x(tick):g} {TOP:g}v{TALL:g}" for tick in ticks[1:-1])
    texts = [_text(LEFT - 5, _y(highest * tick, highest) + 4, f"{highest * tick:g}", "end") for tick in (0, 0.5, 1)]
    texts += [
        _text(_x(tick), TOP + TALL + 15, f"{100 * tick:g} %", anchor)
        for tick, anchor in ((0, "middle"), (0.5, "middle"), (1, "end"))
    ]
    texts.append(_text(_x(0.5), HEIGHT - 14, "cases accepted, the most confident first", "middle"))
    turned = Markup(
        '<text transform="translate(11 {:g}) rotate(-90)" text-anchor="middle">mean 1 - Dice of the accepted</text>'
    )
    return Markup('<path class="grid" d="{}"/><path class="frame" d="M{:g} {:g}v{:g}h{:g}"/>{}').format(
        grid, LEFT, TOP, TALL, WIDE, Markup("").join([*texts, turned.format(TOP + TALL / 2)])
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
