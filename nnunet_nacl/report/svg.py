"""Diagrams as inline SVG. Colours are classes of templates/style.css, so that they follow light, dark and print.

Everything is put together with :meth:`markupsafe.Markup.format`, which escapes what is filled in.
"""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.report.prepare_isotonic import IsotonicCurve
from nnunet_nacl.report.prepare_reliability import BAND_PERCENTILES, ReliabilityDiagram

PALE_BELOW = 0.001
"""A bin with a smaller share of the voxels is drawn pale, so that it does not draw the eye."""

LEFT, TOP, SIDE = 40.0, 8.0, 212.0
SHARE_TOP, SHARE_HEIGHT = 230.0, 38.0
WIDTH, HEIGHT = 262, 306
STRIP_WIDTH, STRIP_HEIGHT = 180, 26


def reliability_svg(diagram: ReliabilityDiagram, title: str) -> Markup:
    """Return a reliability diagram with the share of voxels per bin below it.

    Args:
        diagram: the numbers.
        title: what a screen reader says.
    """
    bins = Markup("").join(_bin(diagram, int(number)) for number in np.flatnonzero(diagram.share > 0))
    return Markup('<svg class="reliability" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}{}</svg>').format(
        WIDTH, HEIGHT, title, _grid(), bins, _diagonal(), _isotonic(diagram.isotonic), _axes(diagram)
    )


def strip_svg(values: Float64Array, limit: float, title: str) -> Markup:
    """Return one dot per value on a line from ``-limit`` to ``limit``, with a mark at the mean and a line at 0."""
    middle, half = STRIP_WIDTH / 2, STRIP_WIDTH / 2 - 5
    scale = half / limit if limit > 0 else 0.0
    # neighbouring dots are set at several heights, in a fixed order
    heights = STRIP_HEIGHT / 2 + 3 * (np.arange(values.size) % 5 - 2)
    dots = "".join(f"M{middle + value * scale:.1f} {height:g}h0" for value, height in zip(values, heights, strict=True))
    mean = middle + (float(values.mean()) if values.size else 0.0) * scale
    return Markup(
        '<svg class="strip" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><path class="zero" d="M{m:g} 0v{h}"/>'
        '<path class="dots" d="{dots}"/><path class="mean" d="M{mean:.1f} 2v{inner}"/></svg>'
    ).format(w=STRIP_WIDTH, h=STRIP_HEIGHT, title=title, m=middle, dots=dots, mean=mean, inner=STRIP_HEIGHT - 4)


def swatch_svg(color: str) -> Markup:
    """Return a small square of a colour."""
    return Markup('<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" fill="{}"/></svg>').format(color)  # fmt: skip


def _x(value: float) -> float:
    return LEFT + SIDE * value


def _y(value: float) -> float:
    return TOP + SIDE * (1 - value)


def _grid() -> Markup:
    lines = "".join(f"M{LEFT:g} {_y(tick):g}h{SIDE:g}M{_x(tick):g} {TOP:g}v{SIDE:g}" for tick in (0.25, 0.5, 0.75))
    return Markup('<path class="grid" d="{}"/>').format(lines)


def _diagonal() -> Markup:
    return Markup('<path class="diagonal" d="M{:g} {:g}L{:g} {:g}"/>').format(_x(0), _y(0), _x(1), _y(1))


def _isotonic(curve: IsotonicCurve | None) -> Markup:
    if curve is None:
        return Markup("")

    def path(*lines: Float64Array) -> str:
        """Return the points of the first line, and back along the others."""
        there_and_back = [(curve.confidence[:: 1 - 2 * back], line[:: 1 - 2 * back]) for back, line in enumerate(lines)]
        return "M" + "L".join(
            f"{_x(x):.1f} {_y(y):.1f}" for xs, ys in there_and_back for x, y in zip(xs, ys, strict=True)
        )

    band = Markup("")
    if curve.band is not None:
        band = Markup('<path class="isotonic-band" d="{}Z"/>').format(path(*curve.band))
    return band + Markup('<path class="isotonic" d="{}"/>').format(path(curve.share))


def _bin(diagram: ReliabilityDiagram, number: int) -> Markup:
    left, right = _x(diagram.edges[number]) + 0.5, _x(diagram.edges[number + 1]) - 0.5
    accuracy, confidence = float(diagram.accuracy[number]), float(diagram.confidence[number])
    share = float(diagram.share[number])
    over = confidence >= accuracy
    upper, lower = max(accuracy, confidence), min(accuracy, confidence)
    parts = [
        _rectangle("accuracy", left, right, _y(accuracy), _y(0)),
        _rectangle("over" if over else "under", left, right, _y(upper), _y(lower)),
        _band(diagram, number, (left + right) / 2),
        _rectangle("share", left, right, SHARE_TOP + SHARE_HEIGHT * (1 - share), SHARE_TOP + SHARE_HEIGHT),
    ]
    return Markup("<g{}><title>{}</title>{}</g>").format(
        Markup(' class="pale"') if share < PALE_BELOW else "", _bin_text(diagram, number), Markup("").join(parts)
    )


def _bin_text(diagram: ReliabilityDiagram, number: int) -> str:
    """Return the numbers of a bin, shown when the pointer rests on it."""
    said = "confidence" if diagram.label is None else "probability"
    right = "right" if diagram.label is None else "with this label"
    lines = [
        f"{said} {diagram.edges[number]:.3f} to {diagram.edges[number + 1]:.3f}: mean {diagram.confidence[number]:.3f}",
        f"{100 * diagram.accuracy[number]:.1f} % {right}",
        f"{percent(float(diagram.share[number]))} of the voxels",
    ]
    if diagram.band is not None and not math.isnan(diagram.band[0, number]):
        low, high = 100 * diagram.band[:, number]
        lines.insert(2, f"middle half of the cases: {low:.1f} to {high:.1f} %")
    return "\n".join(lines)


def _band(diagram: ReliabilityDiagram, number: int, x: float) -> Markup:
    if diagram.band is None or math.isnan(diagram.band[0, number]):
        return Markup("")
    low, high = (float(end) for end in diagram.band[:, number])
    return Markup('<path class="band" d="M{x:.1f} {low:.1f}V{high:.1f}"/>').format(x=x, low=_y(low), high=_y(high))


def _rectangle(name: str, left: float, right: float, top: float, bottom: float) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        name, left, top, right - left, max(bottom - top, 0.0)
    )


def _axes(diagram: ReliabilityDiagram) -> Markup:
    frame = f"M{LEFT:g} {TOP:g}V{_y(0):g}H{_x(1):g}M{LEFT:g} {SHARE_TOP:g}v{SHARE_HEIGHT:g}H{_x(1):g}"
    texts = [_text(LEFT - 5, _y(tick) + 4, f"{tick:g}", "end") for tick in (0, 0.5, 1)]
    texts += [_text(LEFT - 5, SHARE_TOP + 7, "100 %", "end"), _text(LEFT - 5, SHARE_TOP + SHARE_HEIGHT, "0", "end")]
    texts += [_text(_x(tick), SHARE_TOP + SHARE_HEIGHT + 13, f"{tick:g}", "middle") for tick in (0, 0.5, 1)]
    said, right = ("confidence", "accuracy") if diagram.label is None else ("probability", "share with the label")
    texts.append(_text(_x(0.5), HEIGHT - 10, f"{said}; below: share of voxels", "middle"))
    turned = Markup('<text class="axis-name" transform="translate(11 {:g}) rotate(-90)" text-anchor="middle">{}</text>')
    return Markup('<path class="frame" d="{}"/>').format(frame) + Markup("").join(
        [*texts, turned.format(_y(0.5), right)]
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def percent(share: float) -> str:
    """Return a share in percent with as many digits as it takes to see it."""
    if share == 0:
        return "0 %"
    value = 100 * share
    return "under 0.01 %" if value < 0.01 else f"{value:.2f} %" if value < 1 else f"{value:.1f} %"


BAND_TEXT = f"{BAND_PERCENTILES[0]:g} to {BAND_PERCENTILES[1]:g} %"
