"""FROC curves and the reliability of findings as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from nnunet_nacl.report.curve_frame import Frame, ceiling, color_of


def froc_svg(runs: Sequence[tuple[str, Mapping[str, Any]]], title: str, unit: str) -> Markup:
    """Return sensitivity over false findings per patient, a line per run that ends where the segmentation does.

    Args:
        runs: name, and what lesions.json has of the class.
        title: what a screen reader says.
        unit: ``case`` or ``patient``.
    """
    ends = [of["false_findings_per_patient"]["value"] or 0.0 for _, of in runs]
    frame = Frame(ceiling(max(ends)), 1.0, f"false findings per {unit}", "sensitivity")
    lines = Markup("").join(_curve(name, of, number, frame) for number, (name, of) in enumerate(runs))
    return frame.svg(lines, title)


def findings_svg(runs: Sequence[tuple[str, Mapping[str, Any]]], which: str, title: str) -> Markup:
    """Return the share of true findings over their confidence, a dot per bin with its interval, and the diagonal."""
    frame = Frame(1.0, 1.0, f"confidence: {which} probability within a finding", "share of true findings")
    diagonal = Markup('<path class="diagonal" d="{}"/>').format(frame.path([(0, 0), (1, 1)]))
    dots = Markup("").join(
        _bin(name, one, number, frame)
        for number, (name, of) in enumerate(runs)
        for one in of["reliability"][which]["bins"]
        if one["true"]["n"] and one["true"]["value"] is not None and one["confidence"] is not None
    )
    return frame.svg(diagonal + dots, title)


def _curve(name: str, of: Mapping[str, Any], number: int, frame: Frame) -> Markup:
    curve = of["froc"]
    steps = [(0.0, 0.0)]
    for false, sensitivity in zip(curve["false_per_patient"], curve["sensitivity"], strict=True):
        if false is None or sensitivity is None:  # a class without lesions
            continue
        steps += [(false, steps[-1][1]), (false, sensitivity)]
    end = steps[-1]
    text = (
        f"{name}\nends at sensitivity {end[1]:.2f} with {end[0]:.2f} false findings"
        if of["n_lesions"]
        else f"{name}\nno lesions"
    )
    return Markup('<g class="{}"><title>{}</title><path class="curve" d="{}"/></g>').format(
        color_of(number), text, frame.path(steps)
    )


def _bin(name: str, one: Mapping[str, Any], number: int, frame: Frame) -> Markup:
    true, x = one["true"], min(one["confidence"], 1.0)
    text = (
        f"{name}\nconfidence {one['from']:.1f} to {one['to']:.1f}: {true['value']:.0%} of {true['n']} findings are true"
    )
    interval = ""
    if true["low"] is not None and true["high"] is not None:
        text += f" ({true['low']:.0%} to {true['high']:.0%})"
        interval = frame.path([(x, true["low"]), (x, true["high"])])
    return Markup(
        '<g class="{}"><title>{}</title><path class="curve" d="{}"/><path class="finding" d="{}h0"/></g>'
    ).format(color_of(number), text, interval, frame.path([(x, true["value"])]))
