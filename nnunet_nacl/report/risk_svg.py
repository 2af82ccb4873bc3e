"""Risk-coverage curves as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from nnunet_nacl.report.curve_frame import Frame, ceiling, color_of
from nnunet_nacl.study.failure_detection import Detection


def risk_coverage_svg(runs: Sequence[Detection], title: str) -> Markup:
    """Return the mean risk of the accepted cases over the share accepted, a line per run, thin dashes for the best possible order.

    Args:
        runs: of one class.
        title: what a screen reader says, before the figures.
    """
    highest = ceiling(max(float(held.curve.selective_risk.max()) for held in runs))
    frame = Frame(
        1.0, highest, "cases accepted, the most confident first", "mean 1 - Dice of the accepted", percent=True
    )
    said = "; ".join(f"{held.run}: AURC {held.measures['aurc']:.4f}" for held in runs)
    lines = Markup("").join(_line(held, number, frame) for number, held in enumerate(runs))
    return frame.svg(lines, f"{title}. {said}.")


def _line(held: Detection, number: int, frame: Frame) -> Markup:
    text = f"{held.run}\nAURC {held.measures['aurc']:.4f}, mean risk {held.risk:.4f}"
    # at coverage 0 no case is accepted, and the first risk is repeated there
    best, curve = (frame.path(zip(each.coverage, each.selective_risk, strict=True)) for each in (held.best, held.curve))
    return Markup('<g class="{}"><title>{}</title><path class="best" d="{}"/><path class="curve" d="{}"/></g>').format(
        color_of(number), text, best, curve
    )
