"""Table 3: each trainer before and after recalibration, and beside it with one temperature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnunet_nacl.report.prepare_scores import foreground
from nnunet_nacl.results_page.comparison_tables import comparison_section
from nnunet_nacl.results_page.markdown import NOTHING, code, number, table, text, wrapped
from nnunet_nacl.results_page.marks import Marks
from nnunet_nacl.results_page.scores import of_cases
from nnunet_nacl.results_page.task_results import TaskResults, TrainerResults
from nnunet_nacl.study.failure_detection import MEAN, failure_detection
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.verdict import PRIMARY_SETS

SCORES = ("ECE", "NLL", "Brier")


def scaling_section(results: TaskResults, marks: Marks) -> Iterator[str]:
    """Yield the paragraphs and tables, or a sentence for what is missing."""
    scaled = [each for each in results.trainers if each.tempered is not None]
    if not scaled:
        yield wrapped(f"No trainer has results after recalibration{_why(results)}.")
        return
    yield wrapped(
        f"Method {_methods(scaled)}, fitted for each trainer and fold on the validation cases of the other folds, so that no case is "
        "scored with what it had a part in. A temperature above 1 makes the probabilities less sharp. Rows in italics: with one "
        "temperature for all voxels instead, in the same way."
    )
    missing = [each.name for each in results.trainers if each.tempered is None]
    if missing:
        yield wrapped(f"Without results after recalibration: {', '.join(map(code, missing))}.")
    yield f"### 3a. {_heading(scaled)}"
    yield _temperatures(results, marks)
    yield wrapped(_segmentation_is_kept(scaled))
    for letter, voxel_set in zip("bc", PRIMARY_SETS, strict=True):
        yield f"### 3{letter}. Before → after, mean of cases, voxel set {code(voxel_set)}"
        rows = [row for each in scaled for row in _rows(each, marks, voxel_set)]
        yield table(["trainer", *SCORES], rows)
        yield from marks.footnotes(each.trainer for each in scaled)
    yield "### 3d. Which cases should be looked at? Before → after"
    yield from _bad_cases(scaled, marks)
    yield "### 3e. Against the baseline after recalibration"
    if results.comparison_tempered is None:
        yield wrapped("There is no comparison with the baseline after recalibration.")
    else:
        yield from comparison_section(results.comparison_tempered, marks, "####")


def _bad_cases(scaled: list[TrainerResults], marks: Marks) -> Iterator[str]:
    """Yield whether the cases' soft Dice confidences tell the bad cases better after recalibration."""
    rows = []
    for each in scaled:
        assert each.tempered is not None
        cases = sorted(each.merged.statistics.keys() & each.tempered.statistics.keys())
        found = failure_detection([each.merged, each.tempered], cases)
        for difference in (held for held in found.differences if held.label == MEAN):
            before, after = found.of_label(MEAN)
            changes = [
                f"{number(before.measures[name])} → {number(after.measures[name])}" for name in ("aurc", "excess_augrc")
            ]
            rows.append([marks.name(each.trainer, each.training), *changes, difference.verdict])
    if not rows:
        yield wrapped("The results hold no soft Dice confidences: evaluated before those were summed up.")
        return
    yield table(["trainer", "AURC", "excess AUGRC", "bad cases found"], rows, left=1)
    yield wrapped(
        "Risk-coverage of the soft Dice confidence, risk 1 - Dice, mean over the classes of a case, cases in order within each fold; lower is better, and the excess is above the best possible "
        "order of the same cases. Better, worse, unclear: by the 95 % interval over cases of the difference in that excess. A recalibration leaves the segmentations alone, so only the "
        "order of the cases can change."
    )


def _why(results: TaskResults) -> str:
    if not results.study.recalibrate:
        return ": `recalibrate: false`"
    if len(results.study.folds) < 2:
        return ": it needs two folds, one to fit on and one to score"
    return ""


def _temperatures(results: TaskResults, marks: Marks) -> str:
    folds = results.study.folds
    rows = [
        [marks.name(each.trainer, each.training), *(_temperature(each, fold) for fold in folds)]
        for each in results.trainers
    ]
    return table(["trainer", *(f"fold {fold}" for fold in folds)], rows)


def _temperature(trainer: TrainerResults, fold: int) -> str:
    """Return the temperature that the cases of a fold are scaled with: the part of the fit that holds out these cases."""
    summary = trainer.folds.get(fold)
    parts: list[dict[str, Any]] = ((trainer.temperature or {}).get("cross_fit") or {}).get("parts") or []
    if summary is None:
        return NOTHING
    cases = {case["case"] for case in summary["metric_per_case"]}
    held = next((part.get("temperatures") for part in parts if set(part["cases"]) == cases), None)
    if not held:
        return NOTHING
    values = [number(value, 3) for value in np.ravel(held)]
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def _methods(scaled: list[TrainerResults]) -> str:
    """Return the method of the files; those of before there were several have one temperature."""
    found = dict.fromkeys(str((each.temperature or {}).get("method", "temperature")) for each in scaled)
    return " and ".join(map(code, found))


def _heading(scaled: list[TrainerResults]) -> str:
    """Return what the temperatures of a fold are of, if there are several."""
    content = next((each.temperature for each in scaled if each.temperature), {})
    if content.get("method", "temperature") == "temperature":
        return "Temperature of each fold"
    return f"Temperatures of each fold: {text(' / '.join(map(str, content.get('channels', []))))}"


def _rows(trainer: TrainerResults, marks: Marks, voxel_set: str) -> Iterator[list[str]]:
    """Yield the scores before and after, and with one temperature where the file has it beside another method."""
    assert trainer.tempered is not None
    before, after = trainer.merged, trainer.tempered
    yield [
        marks.name(trainer.trainer, trainer.training),
        *(_before_and_after(before, after, voxel_set, score) for score in SCORES),
    ]
    scores = ((trainer.temperature or {}).get("compared") or {}).get("temperature", {}).get("scores")
    if scores:
        problems = [problem["per_case"][voxel_set] for problem in scores["after"].values()]
        means = [np.mean([problem[score] for problem in problems if problem[score] is not None]) for score in SCORES]
        yield ["*one temperature*", *(number(float(mean)) for mean in means)]


def _segmentation_is_kept(scaled: list[TrainerResults]) -> str:
    changes = []
    for each in scaled:
        assert each.tempered is not None
        labels = foreground(each.merged)
        before, after = (of_cases(run.summary, labels, "Dice") for run in (each.merged, each.tempered))
        changes += [abs(before[case] - after[case]) for case in before.keys() & after.keys()]
    largest = max((change for change in changes if change == change), default=0.0)
    return f"Recalibration keeps the predicted class: the largest change of the Dice of any case is {number(largest)}."


def _before_and_after(before: Run, after: Run, voxel_set: str, score: str) -> str:
    values = [run.summary["per_case"][voxel_set][score] for run in (before, after)]
    return " → ".join(map(number, values))
