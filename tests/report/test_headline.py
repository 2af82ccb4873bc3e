"""The sentence about a run: it carries its interval, and knows what an average hides."""

import numpy as np
import pytest
from networks import run_of

from nnunet_nacl.report.number import fixed, interval, p_value, points
from nnunet_nacl.report.page_headline import headline
from nnunet_nacl.study.run import load_run


def said_of(cases):
    run = run_of(cases)
    return headline(run, list(run.statistics))


def jittered(groups, n_cases=12, spread=0.01, seed=0):
    """Return cases like each other, up to a little."""
    moves = np.random.default_rng(seed).normal(0, spread, (n_cases, len(groups)))
    return [
        [(said, min(1, max(0, right + move)), number) for (said, right, number), move in zip(groups, row, strict=True)]
        for row in moves
    ]


def test_overconfident_with_its_interval():
    found = said_of(jittered([(0.9, 0.7, 2000)]))
    gaps = [0.9 - round((0.7 + move) * 2000) / 2000 for move in np.random.default_rng(0).normal(0, 0.01, (12, 1))[:, 0]]
    assert f"overconfident by {100 * np.mean(gaps):.1f} points on average (95 % interval 19." in found.sentence
    assert "90.0 % confident" in found.sentence
    assert found.hidden == () and found.direction == "over"


def test_underconfident_has_an_interval_of_the_same_size():
    found = said_of(jittered([(0.7, 0.9, 2000)]))
    assert "underconfident by 20.0 points on average (95 % interval 19." in found.sentence
    assert "interval -" not in found.sentence and found.direction == "under"


def test_an_ece_of_40_is_not_underconfident_by_4_points():
    """Half of the voxels are far too sure, half far too unsure."""
    found = said_of(jittered([(0.95, 0.55, 1000), (0.55, 0.99, 1000)], spread=0.005))
    ece = next(figure for figure in found.figures if figure.name == "ECE predicted, mean of cases")
    assert float(ece.value) == pytest.approx(0.42, abs=0.01)
    assert found.direction == "mixed"
    assert found.hidden == (
        "The average hides both: overconfident where its confidence is 93 to 100 %, underconfident where it is 53 to 60 %.",
    )


def test_cases_that_differ():
    """No confidence is wrong over all cases together, but half of the cases are overconfident and half underconfident."""
    found = said_of([[(0.75, right, 2000)] for right in (0.45, 1.0) * 6])
    assert "no clear difference on average, +2.5 points (95 % interval -" in found.sentence
    assert found.hidden == (
        "Cases differ: overconfident by more than 5 points in 6, underconfident by more than that in 6 of 12.",
    )
    assert found.direction == "mixed"


def test_the_true_posterior_is_not_called_overconfident(evaluated):
    run = load_run(evaluated.truth)
    found = headline(run, list(run.statistics))
    assert "no clear difference on average" in found.sentence and found.direction != "over"
    assert not any(text.startswith("The average hides both") for text in found.hidden)
    sharp = load_run(evaluated.sharp)
    assert "overconfident by" in headline(sharp, list(sharp.statistics)).sentence


def test_chance_is_seldom_taken_for_a_finding():
    """Calibrated networks whose cases stray by five points in each bin, as correlated voxels do."""
    rng = np.random.default_rng(5)
    centers = (np.arange(8, 15) + 0.5) / 15
    found = 0
    for _ in range(40):
        moves = rng.normal(0, 0.05, (15, centers.size))
        cases = [
            [(p, float(np.clip(p + move, 0, 1)), 300) for p, move in zip(centers, row, strict=True)] for row in moves
        ]
        found += any(text.startswith("The average hides both") for text in said_of(cases).hidden)
    assert found <= 2


def test_one_case_has_no_interval():
    found = said_of([[(0.9, 0.7, 100)]])
    assert "(the one case): a difference of +20.0 points, without an interval." in found.sentence
    assert found.direction == ""


def test_nothing_predicted():
    run = run_of([[(0.9, 0.7, 100)]])
    for case in run.summary["metric_per_case"]:
        case["voxel_sets"]["predicted"] = dict.fromkeys(case["voxel_sets"]["predicted"])
    assert "predicts no structure" in headline(run, list(run.statistics)).sentence


def test_numbers():
    assert fixed(-0.0004) == "0.000" and fixed(0.0, signed=True, digits=4) == "0.0000"
    assert fixed(-0.0006) == "-0.001" and fixed(None) == "-" and fixed(float("nan")) == "-"
    assert points(0.01) == "1.0 point" and points(-0.123, signed=True) == "-12.3 points"


def test_p_values_and_intervals_are_written_alike_everywhere():
    assert [p_value(p) for p in (0.04567, 0.0004, float("nan"))] == ["0.046", "< 0.001", "-"]
    assert interval(-0.01234, 0.5) == "-0.0123 to +0.5000"
    assert interval(float("nan"), float("nan")) == "" and interval(float("nan"), 0.0, none="-") == "-"
