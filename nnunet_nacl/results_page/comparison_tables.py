"""Paired differences, as comparison.json has them.

The differences of each fold (``parts``) and the verdict on a whole run (``verdicts``) are shown where they are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.number import p_value
from nnunet_nacl.results_page.markdown import NOTHING, code, item, sentence, signed, table, text, wrapped
from nnunet_nacl.results_page.marks import Marks
from nnunet_nacl.results_page.task_results import TEMPERED
from nnunet_nacl.study.direction import chosen_by_label
from nnunet_nacl.study.trained_again import METHOD, THESE_NETWORKS, TRAINED_AGAIN


def comparison_section(content: dict[str, Any], marks: Marks, level: str) -> Iterator[str]:
    """Yield the paragraphs and tables of a comparison.

    Args:
        content: of comparison.json.
        marks: of the trainers.
        level: what the headings of the runs begin with, e.g. ``###``.
    """
    runs = _runs(content)
    base = runs.get(str(content.get("base")), (str(content.get("base")), ""))
    yield _explanation(content, base)
    for name, (trainer, part) in runs.items():
        tests = [test for test in content["tests"] if test.get("run") == name]
        if not tests:
            continue
        yield f"{level} {code(trainer)}{part}"
        yield from _verdict(content, name, tests)
        yield _tests(tests)
        yield from _trained_again(tests)
        yield from marks.footnotes([trainer])
    yield from _left_out(content)
    cautions = content.get("cautions") or []
    if cautions:
        yield "What `nnunet-nacl compare` warns of:"
        yield "\n".join(item(sentence(caution)) for caution in cautions)


def _runs(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return trainer and stage (before or after scaling, where both are compared) by the name of a run."""
    files = (content.get("provenance") or {}).get("files") or {}
    names = [str(name) for name in (content.get("base"), *(content.get("runs") or []))]
    tempered = {name for name in names if Path(str(files.get(name, ""))).name == TEMPERED}
    found = {}
    for name in names:
        # `nnunet-nacl compare` puts what tells namesakes apart behind the name
        trainer = re.sub(r" \(.*\)$", "", name)
        part = (" after recalibration" if name in tempered else " as trained") if tempered else ""
        found[name] = (trainer, part)
    return found


def _explanation(content: dict[str, Any], base: tuple[str, str]) -> str:
    protocol = content.get("protocol") or {}
    interval, alpha = protocol.get("interval") or {}, protocol.get("alpha", 0.05)
    return wrapped(
        f"*{THESE_NETWORKS.capitalize()}*: differences from {code(base[0])}{base[1]}, paired over {len(content.get('cases') or [])} cases: run - baseline, mean "
        f"over cases. Interval: 95 %, {text(interval.get('method', '?'))}. p: Wilcoxon signed-rank, adjusted (Holm) for all {text(content.get('n_tests', '?'))} tests "
        f"of this comparison; better and worse: below {text(alpha)}. Voxel sets with * are chosen by the label, where better is "
        "better by the papers' convention only."
    )


def _tests(tests: list[dict[str, Any]]) -> str:
    per_fold = [_folds(test) for test in tests]
    folds = sorted({fold for of_test in per_fold for fold in of_test}, key=_fold_order)
    header = [
        "score",
        "voxels",
        "difference",
        "95 % interval",
        "p (Holm)",
        *(f"fold {text(fold)}" for fold in folds),
        "verdict",
    ]
    rows = [
        [
            _score(test),
            _voxels(test),
            signed(test.get("difference")),
            _interval(test),
            _p(test.get("p_holm")),
            *(signed(of_test.get(fold)) for fold in folds),
            text(test.get("verdict") or NOTHING),
        ]
        for test, of_test in zip(tests, per_fold, strict=True)
    ]
    return table(header, rows, left=2)


def _trained_again(tests: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the differences over trainings, or why there is no answer; nothing for files of before they were there."""
    held = [(test, test["trained_again"]) for test in tests if isinstance(test.get("trained_again"), dict)]
    answered = [(test, again) for test, again in held if not again.get("reason")]
    if held and not answered:
        yield wrapped(f"*{TRAINED_AGAIN.capitalize()}*: {sentence(held[0][1]['reason'])}.")
    if answered:
        number = len(answered[0][1].get("trainings") or [])
        yield wrapped(f"*{TRAINED_AGAIN.capitalize()}*, over {number} trainings ({METHOD}; p of each test alone):")
        rows = [
            [_score(test), _voxels(test), signed(again.get("difference")), _interval(again), _p(again.get("p"))]
            for test, again in answered
        ]
        yield table(["score", "voxels", "difference", "95 % interval", "p"], rows, left=2)


def _score(test: dict[str, Any]) -> str:
    key = str(test.get("score"))
    short = "class-wise ECE" if key == "class_wise_ECE" else score_name(key).short
    name = text(short)
    label = test.get("class_name")
    absolute = f"absolute {name}" if test.get("absolute") else name
    return absolute if label is None else f"{absolute}, {text(label)}"


def _voxels(test: dict[str, Any]) -> str:
    voxel_set = test.get("voxel_set")
    if voxel_set is None:
        return NOTHING
    # one asterisk in a cell, behind a word, is no markup
    return f"{text(voxel_set)}{'*' if chosen_by_label(str(voxel_set)) else ''}"


def _interval(test: dict[str, Any]) -> str:
    low, high = signed(test.get("low")), signed(test.get("high"))
    return NOTHING if NOTHING in (low, high) else f"{low} to {high}"


def _p(value: Any) -> str:
    shown = p_value(value) if isinstance(value, float) else "-"
    return NOTHING if shown == "-" else shown


def _folds(test: dict[str, Any]) -> dict[str, Any]:
    """Return the difference in each fold by its number; empty where the folds were not told apart."""
    parts = test.get("parts")
    if not isinstance(parts, dict):
        return {}
    return {str(part).removeprefix("fold_"): entry.get("difference") for part, entry in parts.items()}


def _fold_order(fold: str) -> tuple[int, str]:
    return (int(fold), fold) if fold.isdigit() else (99, fold)


def _verdict(content: dict[str, Any], run: str, tests: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the protocol's verdict on a run with its reasons; nothing where none was made or it says only that there is no answer."""
    held = next((entry for entry in content.get("verdicts") or [] if entry.get("run") == run), None)
    again = [test["trained_again"] for test in tests if isinstance(test.get("trained_again"), dict)]
    without = bool(again) and all(each.get("reason") for each in again)
    if held is not None and not (held.get("kind") == "not judged" and without and not held.get("greyed_out")):
        yield wrapped(f"**Verdict by the protocol: {sentence(held['in_words'])}.**")
        reasons = held.get("reasons") or []
        if reasons:
            yield "\n".join(item(sentence(reason)) for reason in reasons)


def _left_out(content: dict[str, Any]) -> Iterator[str]:
    for name, cases in (content.get("left_out") or {}).items():
        if cases:
            yield wrapped(
                f"Left out of {text(name)}, since not every run has them: {text(', '.join(map(str, cases)))}."
            )
