"""Table 3: each trainer before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnunet_nacl.report.prepare_scores import foreground
from nnunet_nacl.results_page.comparison_tables import comparison_section
from nnunet_nacl.results_page.markdown import NOTHING, code, number, table, wrapped
from nnunet_nacl.results_page.marks import Marks
from nnunet_nacl.results_page.scores import of_cases
from nnunet_nacl.results_page.task_results import TaskResults, TrainerResults
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.verdict import PRIMARY_SETS

SCORES = ("ECE", "NLL", "Brier")


def scaling_section(results: TaskResults, marks: Marks) -> Iterator[str]:
    """Yield the paragraphs and tables, or a sentence for what is missing."""
    scaled = [each for each in results.trainers if each.tempered is not None]
    if not scaled:
        yield wrapped(f"No trainer has results after temperature scaling{_why(results)}.")
        return
    yield wrapped(
        "One temperature per trainer and fold, fitted on the validation cases of the other folds, so that no case is scored with a "
        "temperature that it had a part in. A temperature above 1 makes the probabilities less sharp."
    )
    missing = [each.trainer for each in results.trainers if each.tempered is None]
    if missing:
        yield wrapped(f"Without results after scaling: {', '.join(map(code, missing))}.")
    yield "### 3a. Temperature of each fold"
    yield _temperatures(results, marks)
    yield wrapped(_segmentation_is_kept(scaled))
    for letter, voxel_set in zip("bc", PRIMARY_SETS, strict=True):
        yield f"### 3{letter}. Before → after, mean of cases, voxel set {code(voxel_set)}"
        rows = [
            [
                marks.name(each.trainer),
                *(_before_and_after(each.merged, each.tempered, voxel_set, score) for score in SCORES),
            ]
            for each in scaled
            if each.tempered is not None
        ]
        yield table(["trainer", *SCORES], rows)
        yield from marks.footnotes(each.trainer for each in scaled)
    yield "### 3d. Against the baseline after temperature scaling"
    if results.comparison_tempered is None:
        yield wrapped("There is no comparison with the baseline after temperature scaling.")
    else:
        yield from comparison_section(results.comparison_tempered, marks, "####")


def _why(results: TaskResults) -> str:
    if not results.study.recalibrate:
        return ": `recalibrate: false`"
    if len(results.study.folds) < 2:
        return ": it needs two folds, one to fit on and one to score"
    return ""


def _temperatures(results: TaskResults, marks: Marks) -> str:
    folds = results.study.folds
    rows = [[marks.name(each.trainer), *(_temperature(each, fold) for fold in folds)] for each in results.trainers]
    return table(["trainer", *(f"fold {fold}" for fold in folds)], rows)


def _temperature(trainer: TrainerResults, fold: int) -> str:
    """Return the temperature that the cases of a fold are scaled with: the part of the fit that holds out these cases."""
    summary = trainer.folds.get(fold)
    parts: list[dict[str, Any]] = ((trainer.temperature or {}).get("cross_fit") or {}).get("parts") or []
    if summary is None:
        return NOTHING
    cases = {case["case"] for case in summary["metric_per_case"]}
    held = next((part["temperatures"] for part in parts if set(part["cases"]) == cases), None)
    if not held:
        return NOTHING
    low, high = number(min(held), 3), number(max(held), 3)
    return low if low == high else f"{low} to {high}"


def _segmentation_is_kept(scaled: list[TrainerResults]) -> str:
    changes = []
    for each in scaled:
        assert each.tempered is not None
        labels = foreground(each.merged)
        before, after = (of_cases(run.summary, labels, "Dice") for run in (each.merged, each.tempered))
        changes += [abs(before[case] - after[case]) for case in before.keys() & after.keys()]
    largest = max((change for change in changes if change == change), default=0.0)
    return f"Scaling keeps the predicted class: the largest change of the Dice of any case is {number(largest)}."


def _before_and_after(before: Run, after: Run, voxel_set: str, score: str) -> str:
    values = [run.summary["per_case"][voxel_set][score] for run in (before, after)]
    return " → ".join(map(number, values))
