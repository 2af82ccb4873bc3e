"""What a reader of a comparison has to know so as not to be misled by its numbers."""

from __future__ import annotations

from nnunet_nacl.evaluation.remarks import in_words
from nnunet_nacl.study.case_scores import Quantity
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.signed_rank import smallest_p

FEW_CASES = 20


def cautions(comparison: Comparison) -> list[str]:
    """Return what a reader has to know so as not to be misled by the numbers."""
    return [
        *_cautions_of_runs(comparison),
        *_cautions_of_segmentation(comparison),
        *_cautions_of_absent_classes(comparison),
        *_cautions_of_size(comparison),
        *(
            text
            for difference in comparison.differences
            for text in _cautions_of_pairs(difference, len(comparison.cases))
        ),
    ]


def describe(quantity: Quantity) -> str:
    """Return a quantity in words, with the key of its class."""
    where = [
        "class mean" if quantity.is_class_mean else "",
        f"class {quantity.label}" if quantity.label is not None else "",
        quantity.voxel_set or "",
    ]
    return " ".join([quantity.score, ", ".join(part for part in where if part)])


def _cautions_of_runs(comparison: Comparison) -> list[str]:
    """Return what the evaluation of each run remarked on its cases."""
    return [
        f"{run.name}: {sentence}."
        for run in (comparison.base, *comparison.runs)
        for sentence in in_words(run.summary.get("remarks", {}), len(run.summary["metric_per_case"]))
    ]


def _cautions_of_segmentation(comparison: Comparison) -> list[str]:
    worse = []
    for run in comparison.runs:
        differences = comparison.of_run(run.name)
        dice = next(
            (one.result for one in differences if one.quantity == Quantity("Dice") and one.verdict == "worse"), None
        )
        if dice and any(one.verdict == "better" for one in differences):
            worse.append(f"{run.name} (Dice {dice.run:.3f} against {dice.base:.3f})")
    if not worse:
        return []
    return [
        f"Segmentation is worse in {', '.join(worse)}. A network that segments badly can have a small calibration error: "
        "weigh the two together."
    ]


def _cautions_of_absent_classes(comparison: Comparison) -> list[str]:
    counts = comparison.predicted_where_absent
    of_base = counts.get(comparison.base.name, {})
    differing = [
        (run.name, label, number, of_base[label])
        for run in comparison.runs
        for label, number in counts.get(run.name, {}).items()
        if number != of_base[label]
    ]
    return [
        f"{run}: predicts {comparison.labels[label]} in {number} of {len(comparison.cases)} cases whose labels lack it, the base in "
        f"{in_base}; such a class has Dice 0 there, as nnU-Net counts it."
        for run, label, number, in_base in differing
    ]


def _cautions_of_pairs(difference: Difference, n_cases: int) -> list[str]:
    result = difference.result
    if not (result.n_undefined_base or result.n_undefined_run):
        return []
    return [
        f"{difference.run}, {describe(difference.quantity)}: compared in {result.n_pairs} of {n_cases} cases; not defined in "
        f"{result.n_undefined_base} of the base and {result.n_undefined_run} of the run."
    ]


def _cautions_of_size(comparison: Comparison) -> list[str]:
    n_units = len(comparison.cases if comparison.groups is None else set(comparison.groups))
    unit = "cases" if comparison.groups is None else "groups of cases"
    n_tests, alpha = comparison.n_tests, comparison.settings.alpha
    found = []
    if n_units < FEW_CASES:
        found.append(
            f"With {n_units} {unit} the intervals are too narrow where scores are skewed: such 95 % intervals hold the truth in some 87 "
            f"to 93 % of studies below {FEW_CASES}."
        )
    if n_tests and n_tests * smallest_p(n_units) >= alpha:
        found.append(
            f"With {n_units} {unit} and {n_tests} tests not even a score that differs the same way in all of them can reach an adjusted "
            f"p below {alpha:g}: make fewer tests (scores, voxel sets, runs)."
        )
    return found
