"""What the page says of masks at other thresholds than nnU-Net's argmax: Dice and sensitivity, and what a miss rate costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions.case_table import evaluated_of
from nnunet_nacl.decisions.miss_rate import mean_over_patients
from nnunet_nacl.decisions.threshold_cases import StructureCases, structure_cases
from nnunet_nacl.decisions.threshold_fit import fit_structure
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.report.curve_frame import Frame, color_of
from nnunet_nacl.report.number import fixed
from nnunet_nacl.study.run import Run

MISS_RATE = 0.1
DRAWN = np.searchsorted(thresholds(), np.linspace(0.01, 0.99, 99))


@dataclass(frozen=True)
class ThresholdRow:
    """A run's figures of a class as text."""

    run: str
    color: int
    dice: str
    missed: str
    threshold: str
    remark: str  # below the threshold
    left_out: str
    volume: str
    false: str


@dataclass(frozen=True)
class ThresholdGroup:
    """A class: its diagram and table."""

    name: str
    svg: Markup
    rows: list[ThresholdRow]


def thresholds_part(runs: Sequence[Run], cases: Sequence[str], units: Sequence[str] | None) -> list[ThresholdGroup]:
    """Return the section: a group per class or region; none where a run was evaluated before probabilities were counted by threshold.

    Args:
        runs: under names that tell them apart.
        cases: of all of them.
        units: the group of each case; None where each is its own.
    """
    evaluated = [_evaluated(run, cases) for run in runs]
    if any(each is None for each in evaluated):
        return []
    held = [each for each in evaluated if each is not None]
    groups = []
    for place, (_, name) in enumerate(held[0].structures.items()):
        of_runs = [structure_cases(each)[place] for each in held]
        rows = [
            _row(run.name, number, each, units) for number, (run, each) in enumerate(zip(runs, of_runs, strict=True))
        ]
        drawn = [(run.name, each) for run, each in zip(runs, of_runs, strict=True)]
        groups.append(ThresholdGroup(name, _svg(drawn, units, f"Masks of {name} over the threshold"), rows))
    return groups


def _evaluated(run: Run, cases: Sequence[str]) -> Any:
    if run.result is None:
        return None
    of_name = dict(zip(run.problems, run.result.cases, strict=True))
    chosen = tuple(of_name[name] for name in cases)
    if any(case.threshold_counts is None for case in chosen):
        return None
    return evaluated_of(replace(run.result, cases=chosen))


def _row(run: str, number: int, cases: StructureCases, units: Sequence[str] | None) -> ThresholdRow:
    fitted: Mapping[str, Any] = fit_structure(cases, MISS_RATE, [""] * len(cases.labelled), units)
    dice = fixed(finite_or_none(mean_over_patients(cases.argmax_dice, units)))
    missed = fixed(finite_or_none(mean_over_patients(cases.argmax_missed, units)))
    if fitted["threshold"] is None:
        return ThresholdRow(run, number, dice, missed, "none", fitted["why_not"], "", "", "")
    price, left_out = fitted["price"], fitted["left_out"]
    smaller = fitted["miss_rate"] > fitted["argmax_miss_rate"]
    false = price["false_positive_ml"]
    return ThresholdRow(
        run,
        number,
        dice,
        missed,
        f"{fitted['threshold']:.3g}",
        "misses more than the segmentation" if smaller else "",
        "" if left_out is None else fixed(left_out["miss_rate"]),
        "" if price["volume_ratio"] is None else f"x {price['volume_ratio']:.2f}",
        "" if false["threshold"] is None else f"{false['argmax']:.3g} to {false['threshold']:.3g}",
    )


def _svg(runs: Sequence[tuple[str, StructureCases]], units: Sequence[str] | None, title: str) -> Markup:
    frame = Frame(1.0, 1.0, "threshold", "Dice; thin dashes: sensitivity")
    lines = Markup("").join(_curves(name, cases, units, number, frame) for number, (name, cases) in enumerate(runs))
    return frame.svg(lines, title)


def _curves(name: str, cases: StructureCases, units: Sequence[str] | None, number: int, frame: Frame) -> Markup:
    dice, found = (_means(values[:, DRAWN], units) for values in (cases.dice, 1 - cases.missed))
    if np.isnan(dice).any():  # no case has it
        return Markup("")
    at = thresholds()[DRAWN]
    best = int(np.argmax(dice))
    argmax = mean_over_patients(cases.argmax_dice, units)
    text = f"{name}\nmean Dice {dice[best]:.3f} at {at[best]:.2f}, of nnU-Net's segmentation {argmax:.3f}"
    return Markup('<g class="{}"><title>{}</title><path class="best" d="{}"/><path class="curve" d="{}"/></g>').format(
        color_of(number), text, frame.path(zip(at, found, strict=True)), frame.path(zip(at, dice, strict=True))
    )


def _means(values: Float64Array, units: Sequence[str] | None) -> Float64Array:
    return np.array([mean_over_patients(column, units) for column in values.T])
