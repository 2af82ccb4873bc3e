"""The protocol's verdict: each row of its table by hand-made runs, what is not judged, and the rules over all ingredients."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import pair, run_of

from nnunet_nacl.study import verdict as rules
from nnunet_nacl.study.case_scores import Quantity
from nnunet_nacl.study.comparison import Comparison, Difference, Settings, compare_runs
from nnunet_nacl.study.comparison_files import write_comparison
from nnunet_nacl.study.paired import PairedResult
from nnunet_nacl.study.parts import PartDifference
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.verdict import Kind, verdict_on, verdicts_of

QUICK = Settings()


def judged(runs, scores=("Dice", "ECE"), settings=QUICK, **options):
    return verdict_on(compare_runs(runs[0], [runs[1]], scores, settings=settings, **options), "run")


BETTER, WORSE = -0.03, 0.03


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"predicted": BETTER}, Kind.WIN, "win: better calibrated in predicted, Dice kept"),
        ({"predicted": BETTER, "in_all": BETTER}, Kind.WIN, "win: better calibrated in predicted and all, Dice kept"),
        ({"in_all": BETTER, "dice": -0.005}, Kind.WIN, "win: better calibrated in all, Dice kept"),
        ({"in_all": BETTER, "dice": 0.1}, Kind.WIN, "win: better calibrated in all, Dice kept"),
        (
            {"predicted": BETTER, "in_all": WORSE},
            Kind.WIN_IN_ONE_SET,
            "win in one set: better calibrated in predicted, worse calibrated in all, Dice kept",
        ),
        (
            {"predicted": WORSE, "in_all": BETTER},
            Kind.WIN_IN_ONE_SET,
            "win in one set: better calibrated in all, worse calibrated in predicted, Dice kept",
        ),
        ({"predicted": BETTER, "dice": -0.02}, Kind.TRADE, "trade: better calibrated in predicted, at the price of Dice (-0.0195, interval from -0.02"),
        (
            {"predicted": BETTER, "in_all": WORSE, "dice": -0.02},
            Kind.TRADE,
            "trade: better calibrated in predicted, worse calibrated in all, at the price of Dice (-0.0195, interval from -0.02",
        ),
        ({"predicted": WORSE}, Kind.LOSS, "loss: worse calibrated in predicted, Dice kept"),
        ({"predicted": WORSE, "in_all": WORSE, "dice": -0.02}, Kind.LOSS, "loss: worse calibrated in predicted and all, Dice not kept"),
        ({}, Kind.DRAW, "draw: neither better nor worse calibrated in predicted or all, Dice kept"),
        ({"dice": -0.05}, Kind.DRAW, "draw: neither better nor worse calibrated in predicted or all, Dice not kept"),
    ],
)  # fmt: skip
def test_rows_of_the_protocol(tmp_path, change, kind, sentence):
    found = judged(pair(tmp_path, **change))
    assert found.kind is kind
    assert found.in_words.startswith(sentence)
    assert not found.greyed_out and "greyed" not in found.in_words
    assert len(found.reasons) == 3


def test_the_interval_decides_whether_dice_is_kept(tmp_path):
    """The mean alone would do, at -0.005; with a wide spread the lower end is below -0.01."""
    loose = np.random.default_rng(1).normal(-0.005, 0.03, 30)
    found = judged(pair(tmp_path, predicted=BETTER, dice=loose))
    assert found.kind is Kind.TRADE
    assert "not kept (not above -0.01)" in found.reasons[0]


@pytest.mark.parametrize(("dice", "greyed"), [(-0.09, False), (-0.12, True)])
@pytest.mark.parametrize(
    ("change", "kind"), [({"predicted": BETTER}, Kind.TRADE), ({"in_all": WORSE}, Kind.LOSS), ({}, Kind.DRAW)]
)
def test_greyed_out(tmp_path, dice, greyed, change, kind):
    """A network that does not segment: whatever its calibration is called, the figures are greyed out."""
    found = judged(pair(tmp_path, dice=dice, **change))
    assert (found.kind, found.greyed_out) == (kind, greyed)
    assert ("calibration figures greyed out, since mean Dice is 0.1" in found.in_words) == greyed


@pytest.mark.parametrize("side", [-1, 1])
def test_the_sign_differs_in_one_fold(tmp_path, side):
    """Interval and p say better (worse), but one network of three is the other way: no claim."""
    change = side * np.tile([0.04, 0.04, -0.005], 10)
    runs = pair(tmp_path, predicted=change, spread=0.001)
    comparison = compare_runs(runs[0], [runs[1]], ("Dice", "ECE"), settings=QUICK)
    ece = next(one for one in comparison.differences if one.quantity == Quantity("ECE", "predicted"))
    assert ece.p_holm < 0.05 and ece.result.low * ece.result.high > 0
    found = verdict_on(comparison, "run")
    assert found.kind is Kind.DRAW
    word = "lower" if side < 0 else "higher"
    assert f"neither, since not {word} in fold_2 ({ece.parts[2].difference:+.4f})" in found.reasons[1]
    # without that fold it would be a claim if two folds were enough, and they are not
    assert judged(runs, parts=["fold_0", "fold_1"]).kind is Kind.NOT_JUDGED


def test_a_win_in_later_folds_alone(tmp_path):
    """Fold 0 was looked at before: the rest is judged by itself."""
    runs = pair(tmp_path, predicted=np.tile([0.005, -0.04, -0.04, -0.04], 10), n_folds=4, n_cases=40)
    assert judged(runs).kind is Kind.DRAW
    assert judged(runs, parts=["fold_1", "fold_2", "fold_3"]).kind is Kind.WIN
    alone = judged(runs, parts=["fold_0"])
    assert alone.in_words == "not judged: a claim needs 3 folds, and these are fold_0"


def test_a_fold_without_a_pair_has_no_sign(tmp_path):
    runs = pair(tmp_path, predicted=BETTER)
    for case in runs[1].summary["metric_per_case"][2::3]:
        case["voxel_sets"]["predicted"]["ECE"] = None
    found = judged(runs)
    assert found.kind is Kind.DRAW
    assert "not lower in fold_2 (no pair)" in found.reasons[1]


def test_holm_over_all_tests_counts(tmp_path):
    """A p that counts alone does not once everything else is tested as well."""
    change = np.random.default_rng(8).normal(-0.0126, 0.03, 30)
    runs = pair(tmp_path, predicted=change, spread=0.0)
    few = compare_runs(runs[0], [runs[1]], ("Dice", "ECE"), ("predicted", "all"), settings=QUICK)
    assert verdict_on(few, "run").kind is Kind.WIN
    others = [Run(f"other{n}", tmp_path / f"other{n}", pair(tmp_path / str(n), dice=0.001, in_all=0.001)[1].summary, {}) for n in range(6)]  # fmt: skip
    many = compare_runs(runs[0], [runs[1], *others], ("Dice", "ECE"), settings=QUICK)
    found = verdict_on(many, "run")
    assert many.n_tests > few.n_tests
    assert found.kind is Kind.DRAW
    assert "adjusted p is" in found.reasons[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scores": ("ECE",)}, "Dice not compared"),
        ({"scores": ("Dice",)}, "ECE predicted, ECE all not compared"),
        ({"scores": ("Dice", "ECE"), "voxel_sets": ("foreground", "all")}, "ECE predicted not compared"),
        ({"settings": Settings(level=0.9)}, "intervals of 90%, not 95%"),
    ],
)
def test_missing_scores(tmp_path, options, words):
    found = judged(pair(tmp_path, predicted=BETTER), **options)
    assert (found.kind, found.in_words, found.reasons) == (Kind.NOT_JUDGED, f"not judged: {words}", ())


def test_missing_folds(tmp_path):
    assert judged(pair(tmp_path, predicted=BETTER, n_folds=2)).in_words == (
        "not judged: a claim needs 3 folds, and these are fold_0, fold_1"
    )
    assert judged(pair(tmp_path, predicted=BETTER, n_folds=None)).in_words.startswith(
        "not judged: neither base nor run knows which fold its cases are of; make it with `nnunet-nacl merge`"
    )


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("left", "middle", "right"), "none, but left, middle, right"),
        (("part_0_of_3", "part_1_of_3", "part_2_of_3"), "none, but part_0_of_3, part_1_of_3, part_2_of_3"),
        (("A/fold_0", "B/fold_0", "fold_1"), "fold_0, fold_1"),
    ],
)
def test_three_parts_that_are_not_three_folds(tmp_path, names, found):
    """Parts that nnU-Net predicted on three machines are no three trainings."""
    runs = pair(tmp_path, predicted=BETTER)
    for run in runs:
        for row, case in enumerate(run.summary["metric_per_case"]):
            case["part"] = names[row % 3]
    assert judged(runs).in_words == f"not judged: a claim needs 3 folds, and these are {found}"


def test_too_few_cases(tmp_path):
    assert judged(pair(tmp_path, predicted=BETTER, n_cases=5)).in_words == (
        "not judged: fewer than 6 cases have Dice, ECE predicted, ECE all in both runs"
    )


def test_equal_runs_are_a_draw(tmp_path):
    found = judged(pair(tmp_path, spread=0.0))
    assert found.kind is Kind.DRAW
    assert found.reasons[2].endswith("holds 0, equal in all 30 cases")


def test_greyed_out_without_a_verdict(tmp_path):
    found = judged(pair(tmp_path, dice=-0.2, n_folds=1))
    assert (found.kind, found.greyed_out) == (Kind.NOT_JUDGED, True)
    assert found.in_words.endswith("fold_0; calibration figures greyed out, since mean Dice is 0.1995 lower")


def test_mean_and_ranks_that_disagree_are_no_claim(tmp_path):
    """A two-sided p is below 0.05 for the ranks, while the interval of the mean lies on the other side."""
    change = np.full(30, -0.01)
    change[:6] = [0.3, 0.31, 0.32, 0.33, 0.34, 0.35]
    ece = {name: np.full(30, 0.3) for name in ("all", "predicted", "foreground")}
    folds = [f"fold_{row % 3}" for row in range(30)]
    base = run_of(tmp_path / "base", np.full(30, 0.8), ece, folds)
    small = np.where(change < 0, -1e-3 * np.arange(1, 31), change)
    run = run_of(tmp_path / "run", np.full(30, 0.8), ece | {"all": ece["all"] + small}, folds)
    comparison = compare_runs(base, [run], ("Dice", "ECE"), settings=QUICK)
    (in_all,) = [one for one in comparison.differences if one.quantity == Quantity("ECE", "all")]
    assert in_all.result.low > 0 > in_all.result.rank_biserial
    found = verdict_on(comparison, "run")
    assert found.kind is Kind.DRAW
    assert "the ranks of the cases point the other way" in found.reasons[2]


def test_against_each_other(tmp_path):
    """Of equal Dice, what wins against the base loses the other way round."""
    base, run = pair(tmp_path, predicted=BETTER, in_all=BETTER)
    assert judged((base, run)).kind is Kind.WIN
    back = compare_runs(run, [base], ("Dice", "ECE"), settings=QUICK)
    assert verdicts_of(back)[0].kind is Kind.LOSS


def test_a_verdict_for_each_run(tmp_path):
    base, run = pair(tmp_path, predicted=BETTER)
    draw = pair(tmp_path / "x", n_cases=30)[1]
    comparison = compare_runs(base, [run, Run("draw", draw.folder, draw.summary, {})], ("Dice", "ECE"), settings=QUICK)
    assert [(each.run, each.kind) for each in verdicts_of(comparison)] == [("run", Kind.WIN), ("draw", Kind.DRAW)]


def test_in_the_file(tmp_path):
    base, run = pair(tmp_path, predicted=BETTER, dice=-0.2)
    comparison = compare_runs(base, [run], ("Dice", "ECE"), settings=QUICK)
    content = json.loads(write_comparison(comparison, tmp_path)[1].read_text())
    (found,) = verdicts_of(comparison)
    assert content["verdicts"] == [
        {"run": "run", "kind": "trade", "greyed_out": True, "in_words": found.in_words, "reasons": list(found.reasons)}
    ]
    assert content["protocol"]["verdict"]["dice_kept_above"] == rules.DICE_KEPT_ABOVE == -0.01


# The rules over all ingredients, without runs: numbers of a comparison, drawn.

NUMBERS = st.floats(-0.3, 0.3)
SIGNED = st.sampled_from([-0.02, 0.02, 0.0, math.nan])


@st.composite
def results(draw, quantity):
    """A difference with an interval around it, any p, and three to five folds of any sign."""
    difference = draw(NUMBERS)
    low, high = difference - draw(st.floats(0, 0.1)), difference + draw(st.floats(0, 0.1))
    p = draw(st.sampled_from([0.0001, 0.0499, 0.05, 0.2, math.nan]))
    sign = math.copysign(1, difference)
    parts = draw(st.lists(st.one_of(st.just(sign * 0.02), SIGNED), min_size=3, max_size=5))
    held = PairedResult(
        n_pairs=30, n_units=30, n_undefined_base=0, n_undefined_run=0, base=0.5, run=0.5 + difference, difference=difference,
        low=low, high=high, n_lower=15, n_equal=0, n_higher=15, rank_biserial=sign, p=p, method="exact", reason="",
    )  # fmt: skip
    of_folds = tuple(PartDifference(f"fold_{number}", 10, value) for number, value in enumerate(parts))
    return Difference("run", quantity, False, held, p, "", "", of_folds)


def comparison_of(*differences):
    run = Run("run", Path("run"), {}, {})
    return Comparison(run, (run,), {}, ("a",), {}, (), Settings(), differences)


DRAWN = [results(quantity) for quantity in (rules.DICE, *rules.PRIMARY)]


def with_interval(difference, low, high):
    return replace(difference, result=replace(difference.result, low=low, high=high))


@given(*DRAWN)
def test_the_table_holds_for_all_numbers(dice, predicted, in_all):
    """Each kind is given exactly where its row of the protocol says so, written here as the protocol words it."""
    found = verdict_on(comparison_of(dice, predicted, in_all), "run")

    def claimed(ece, sign):
        interval = ece.result.high < 0 if sign < 0 else ece.result.low > 0
        return interval and ece.p_holm < 0.05 and all(part.difference * sign > 0 for part in ece.parts)

    kept = dice.result.low > -0.01
    better = [claimed(ece, -1) for ece in (predicted, in_all)]
    worse = [claimed(ece, 1) for ece in (predicted, in_all)]
    assert (found.kind is Kind.WIN) == (kept and any(better) and not any(worse))
    assert (found.kind is Kind.WIN_IN_ONE_SET) == (kept and any(better) and any(worse))
    assert (found.kind is Kind.TRADE) == (not kept and any(better))
    assert (found.kind is Kind.LOSS) == (any(worse) and not any(better))
    assert (found.kind is Kind.DRAW) == (not any(worse) and not any(better))
    assert found.greyed_out == (dice.result.difference < -0.1)
    assert found.in_words.startswith(f"{found.kind.value}: ")


@given(*DRAWN, st.randoms())
def test_the_order_of_folds_and_scores_does_not_count(dice, predicted, in_all, random):
    found = verdict_on(comparison_of(dice, predicted, in_all), "run")
    shuffled = []
    for one in (in_all, dice, predicted):
        parts = list(one.parts)
        random.shuffle(parts)
        shuffled.append(replace(one, parts=tuple(parts)))
    again = verdict_on(comparison_of(*shuffled), "run")
    assert (again.kind, again.greyed_out) == (found.kind, found.greyed_out)


@given(*DRAWN)
def test_a_fold_without_a_sign_ends_every_claim(dice, predicted, in_all):
    before = verdict_on(comparison_of(dice, predicted, in_all), "run")
    new = PartDifference("fold_9", 10, math.nan)
    after = verdict_on(comparison_of(*(replace(one, parts=(*one.parts, new)) for one in (dice, predicted, in_all))), "run")  # fmt: skip
    assert after.kind is Kind.DRAW
    assert after.greyed_out == before.greyed_out


@given(*DRAWN)
def test_thresholds_are_strict(dice, predicted, in_all):
    """Exactly -0.01 is not above it, an interval that ends at 0 is not below it."""
    edge = verdict_on(comparison_of(with_interval(dice, -0.01, 0.0), predicted, in_all), "run")
    above = verdict_on(comparison_of(with_interval(dice, -0.0099, 0.0), predicted, in_all), "run")
    assert edge.kind not in (Kind.WIN, Kind.WIN_IN_ONE_SET) and above.kind is not Kind.TRADE
    touching = [with_interval(ece, -0.1, 0.0) for ece in (predicted, in_all)]
    assert verdict_on(comparison_of(dice, *touching), "run").kind is Kind.DRAW
