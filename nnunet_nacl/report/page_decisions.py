"""What the page says of decisions: are bad cases found, and how sure are volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.risk_svg import risk_coverage_svg
from nnunet_nacl.study.decision_quality import DecisionQuality
from nnunet_nacl.study.failure_detection import DECIDING, MEAN, REPLICATES, Detection
from nnunet_nacl.study.volume_errors import LEVEL, WAYS_IN_WORDS, VolumeErrors

QUESTION = "Which cases should be looked at?"
QUESTION_VOLUMES = "How large, and how sure?"


@dataclass(frozen=True)
class DetectionRow:
    """A run's figures as text."""

    run: str
    color: int
    risk: str
    aurc: str
    best: str
    excess: str
    interval: str
    words: str


@dataclass(frozen=True)
class DetectionGroup:
    """The runs in one class, or the mean of the classes: a diagram and a table."""

    name: str
    n_cases: int
    svg: Markup
    rows: list[DetectionRow]


@dataclass(frozen=True)
class VolumeRow:
    """A class of a run as text."""

    run: str
    name: str
    reference: str
    hard: str
    hard_interval: str
    soft: str
    soft_interval: str
    coverage: str
    coverage_interval: str
    width: str
    way: str


@dataclass(frozen=True)
class DecisionsPart:
    """The section; groups and volumes are empty where results hold nothing of them."""

    question: str
    question_volumes: str
    groups: list[DetectionGroup]
    missing: list[str]
    method: str
    volumes: list[VolumeRow]
    reasons: list[str]
    volume_method: str


def decisions_part(quality: DecisionQuality, names: Mapping[str, str]) -> DecisionsPart:
    """Return the section, with the names of the classes by their keys."""
    found = quality.detection
    words = {(held.run, held.label): held.in_words for held in found.differences}
    groups = [_group(found.of_label(label), names, words) for label in found.labels]
    held = [errors for errors in quality.volumes if errors.bias]
    reasons = list(
        dict.fromkeys(f"{errors.reason[:1].upper()}{errors.reason[1:]}." for errors in held if errors.reason)
    )
    return DecisionsPart(
        QUESTION, QUESTION_VOLUMES, groups, list(found.missing), method_in_words(found.order), [_volume_row(errors, names) for errors in held],
        reasons, volume_method_in_words(),
    )  # fmt: skip


def method_in_words(order: str) -> str:
    """Return how to read the figures about bad cases, with what says within which folds they were put in order."""
    return (
        f"Cases are accepted from the highest soft Dice confidence to the lowest; risk is 1 - Dice. {order} AURC: mean risk of the accepted cases, over all "
        "shares accepted. A confidence without information has the mean risk as its AURC; that of the best possible order is given beside it. Excess AUGRC: "
        f"above that order, by the risks that are accepted; it decides the words, by the 95 % interval of {REPLICATES} paired bootstrap draws of cases."
    )


def volume_method_in_words() -> str:
    """Return how to read the figures about volumes."""
    return (
        "Bias: predicted minus true volume, mean over cases, and the geometric mean of predicted over true volume, less 1. "
        f"Width: of the {LEVEL:.0%} interval that nnunet-nacl volumes fit would give, over the predicted volume, median over cases; below it how the volume is "
        "measured, adaptive where the width follows the case's own uncertainty. Holds in other folds: share of a fold's cases "
        "whose true volume lies in the interval that the other folds give, mean over cases, and below it that of each fold. The intervals are conformal: "
        "they hold on average over cases like these, and another scanner or hospital is not like these."
    )


def percent(share: float) -> str:
    """Return a signed share in per cent; a dash where there is none."""
    return "-" if math.isnan(share) else f"{100 * share:+.1f} %"


def ml(volume: float, signed: bool = False) -> str:
    """Return a volume in ml with three digits."""
    digits = 0 if abs(volume) >= 100 else 1 if abs(volume) >= 10 else 2 if abs(volume) >= 1 else 3
    return f"{volume:{'+' if signed else ''}.{digits}f}"


def _group(held: Sequence[Detection], names: Mapping[str, str], words: Mapping[tuple[str, str], str]) -> DetectionGroup:
    label = held[0].label
    name = "mean of the classes" if label == MEAN else names.get(label, label)
    if label == MEAN and len(names) == 1:
        name = next(iter(names.values()))
    rows = [_row(number, each, words.get((each.run, label), "")) for number, each in enumerate(held)]
    return DetectionGroup(name, held[0].n_cases, risk_coverage_svg(held, f"Risk and coverage, {name}"), rows)


def _row(number: int, held: Detection, words: str) -> DetectionRow:
    low, high = held.intervals[DECIDING]
    return DetectionRow(
        run=held.run,
        color=number,
        risk=fixed(held.risk, digits=4),
        aurc=fixed(held.measures["aurc"], digits=4),
        best=fixed(held.measures["aurc"] - held.measures["excess_aurc"], digits=4),
        excess=fixed(held.measures[DECIDING], digits=4),
        interval="" if math.isnan(low) else f"{fixed(low, digits=4)} to {fixed(high, digits=4)}",
        words=words,
    )


def _volume_row(errors: VolumeErrors, names: Mapping[str, str]) -> VolumeRow:
    bias = {kind: f"{ml(held.ml, True)} ml, {percent(held.share)}" for kind, held in errors.bias.items()}
    ends = {
        kind: "" if math.isnan(held.low) else f"{ml(held.low, True)} to {ml(held.high, True)} ml"
        for kind, held in errors.bias.items()
    }
    coverage = "-" if errors.coverage is None else f"{errors.coverage[0]:.0%}"
    interval = ", ".join(f"{share:.0%}" for share in (errors.of_each or {}).values())
    return VolumeRow(
        errors.run, names.get(errors.label, errors.label), f"{ml(errors.reference_ml)} ml",
        bias.get("hard", "-"), ends.get("hard", ""), bias.get("soft", "-"), ends.get("soft", ""),
        coverage, interval, "-" if errors.width is None else f"{errors.width:.0%}", WAYS_IN_WORDS.get(errors.way, ""),
    )  # fmt: skip
