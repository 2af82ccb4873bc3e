"""Table 1: the scores of each trainer, mean of cases with intervals over cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnunet_nacl.calibration.intervals import METHOD
from nnunet_nacl.report.names import score_name, voxel_set_meaning
from nnunet_nacl.report.prepare_scores import Value, foreground, read_value, voxel_sets
from nnunet_nacl.results_page.markdown import between, code, number, signed, table, text, wrapped
from nnunet_nacl.results_page.marks import Marks
from nnunet_nacl.results_page.scores import of_cases, over_classes
from nnunet_nacl.results_page.task_results import TaskResults
from nnunet_nacl.study.direction import chosen_by_label
from nnunet_nacl.study.verdict import PRIMARY_SETS

SECONDARY = ("gap", "equal_mass_ECE", "ACE", "MCE")


def score_section(results: TaskResults, marks: Marks) -> Iterator[str]:
    """Yield the paragraphs and tables."""
    trainers = results.trainers
    yield wrapped(
        f"Mean of cases, with the 95 % interval in parentheses ({METHOD}). The "
        "interval tells what other cases would give, not what another training would. Lower is better but for Dice."
    )
    yield "### 1a. Segmentation"
    yield _segmentation(results, marks)
    yield wrapped("Dice: mean over the foreground classes of a case." + _hd95_words(results))
    footnotes = marks.footnotes(each.trainer for each in trainers)
    yield from footnotes
    sets = sorted(
        voxel_sets(trainers[0].merged), key=lambda name: PRIMARY_SETS.index(name) if name in PRIMARY_SETS else 9
    )
    for letter, voxel_set in zip("bcdefghij", sets, strict=False):
        yield f"### 1{letter}. Calibration in the voxel set {code(voxel_set)}"
        yield _words_of_set(results, voxel_set)
        yield _calibration(results, marks, voxel_set)
        if voxel_set in PRIMARY_SETS:
            yield _scored(results, marks, voxel_set, ("NLL", "Brier"))
            yield _secondary(results, marks, voxel_set)
        yield from footnotes
    yield f"### 1{'bcdefghijk'[len(sets)]}. Each fold by itself"
    yield from _per_fold(results, marks)
    yield from footnotes


def _segmentation(results: TaskResults, marks: Marks) -> str:
    columns = [("Dice", 4), *([("HD95", 2)] if _has_hd95(results) else [])]
    rows = [
        [
            marks.name(each.trainer, each.training),
            str(len(each.merged.statistics)),
            *(_cell(over_classes(each.merged, score), digits) for score, digits in columns),
        ]
        for each in results.trainers
    ]
    return table(["trainer", "cases", *(f"{name} (mm)" if name == "HD95" else name for name, _ in columns)], rows)


def _has_hd95(results: TaskResults) -> bool:
    return bool(results.trainers[0].merged.summary["protocol"].get("hd95"))


def _hd95_words(results: TaskResults) -> str:
    if _has_hd95(results):
        return " HD95: likewise, in mm; a class that is only labelled or only predicted counts as the diagonal of the volume."
    return " HD95 was not evaluated."


def _words_of_set(results: TaskResults, voxel_set: str) -> str:
    meaning = text(voxel_set_meaning(results.trainers[0].merged.summary, voxel_set))
    kind = (
        "Chosen by the label: a calibrated network does not score 0 here, so this serves to compare with papers and decides nothing."
        if chosen_by_label(voxel_set)
        else "Primary: chosen without the label, so that a calibrated network scores 0."
    )
    return wrapped(f"{meaning[:1].upper()}{meaning[1:]}. {kind}")


def _calibration(results: TaskResults, marks: Marks, voxel_set: str) -> str:
    rows = []
    for each in results.trainers:
        of_set, pooled = (each.merged.summary[part][voxel_set] for part in ("per_case", "pooled"))
        cells = [_cell(read_value(of_set, score)) for score in ("ECE", "class_wise_ECE")]
        rows.append([marks.name(each.trainer, each.training), *cells, number(pooled["ECE"])])
    return table(["trainer", "ECE", "class-wise ECE", "ECE, voxels pooled"], rows)


def _scored(results: TaskResults, marks: Marks, voxel_set: str, scores: tuple[str, ...]) -> str:
    rows = [
        [
            marks.name(each.trainer, each.training),
            *(_cell(read_value(each.merged.summary["per_case"][voxel_set], score)) for score in scores),
        ]
        for each in results.trainers
    ]
    return table(["trainer", *scores], rows)


def _secondary(results: TaskResults, marks: Marks, voxel_set: str) -> str:
    rows = []
    for each in results.trainers:
        held: dict[str, Any] = each.merged.summary["per_case"][voxel_set]
        cells = [signed(held[score]) if score == "gap" else number(held[score]) for score in SECONDARY]
        rows.append([marks.name(each.trainer, each.training), *cells])
    names = {"gap": "confidence - accuracy", "equal_mass_ECE": "equal-mass ECE"}
    return table(["trainer", *(names.get(score, score_name(score).short) for score in SECONDARY)], rows)


def _per_fold(results: TaskResults, marks: Marks) -> Iterator[str]:
    folds = results.study.folds
    for title, pick in (("Dice", _fold_dice), ("ECE in `predicted`", _fold_ece)):
        yield f"{title}, mean over the cases of the fold:"
        rows = []
        for each in results.trainers:
            labels = foreground(each.merged)
            held = [each.folds.get(fold) for fold in folds]
            rows.append(
                [
                    marks.name(each.trainer, each.training),
                    *(number(None if summary is None else pick(summary, labels)) for summary in held),
                ]
            )
        yield table(["trainer", *(f"fold {fold}" for fold in folds)], rows)


def _fold_dice(summary: dict[str, Any], labels: list[str]) -> float | None:
    defined = [value for value in of_cases(summary, labels, "Dice").values() if value == value]
    return sum(defined) / len(defined) if defined else None


def _fold_ece(summary: dict[str, Any], _labels: list[str]) -> Any:
    return summary["per_case"]["predicted"]["ECE"]


def _cell(value: Value, digits: int = 4) -> str:
    return f"{number(value.value, digits)}{between(value.interval, digits)}"
