"""Odd but valid input to `fit` and `apply`: types, dimensions, many classes, networks that say the same everywhere, or the truth."""

import json

import numpy as np
import pytest
from made_up_task import drawn, task
from scipy.special import expit, logit, softmax

from nnunet_nacl.cli import main
from nnunet_nacl.recalibration.heads import SoftmaxHeads
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.base import Remark

SHAPE = (6, 24, 24)


def fit(predicted, reference, output, *extra):
    files = [predicted, "-gt", reference, "-o", output]
    assert main([str(part) for part in ["recalibrate", "fit", *files, *extra]]) == 0
    return json.loads(output.read_text())


def apply(temperature, predicted, output):
    assert main([str(part) for part in ["recalibrate", "apply", temperature, predicted, "-o", output, "-np", 1]]) == 0
    with np.load(output / "case_0.npz") as stored:
        return stored["probabilities"]


NAMES = {"background": 0, "body": 1, "cap": 2}


@pytest.mark.parametrize("method", METHODS)
def test_float16(method, tmp_path):
    """Small probabilities are 0 in float16, and the sums are off by a few of its steps: the map is still about that of float32."""
    cases = [drawn(SHAPE, 3, number, power=1.7) for number in range(3)]
    fitted = {}
    for dtype in (np.float32, np.float16):
        folder = task(tmp_path / np.dtype(dtype).name, [(p.astype(dtype), labels) for p, labels in cases], NAMES)
        path = tmp_path / f"{np.dtype(dtype).name}.json"
        fit(*folder, path, "--method", method)
        fitted[dtype] = apply(path, folder[0], tmp_path / f"out_{np.dtype(dtype).name}")
        assert fitted[dtype].dtype == np.float32
        if method != "per-class":
            assert np.array_equal(fitted[dtype].argmax(0), cases[0][0].astype(dtype).argmax(0))
    np.testing.assert_allclose(fitted[np.float16], fitted[np.float32], atol=0.02)


@pytest.mark.parametrize("axis_of_slices", [True, False])
def test_two_dimensions(axis_of_slices, tmp_path):
    shape = (1, 40, 50) if axis_of_slices else (40, 50)
    folder = task(tmp_path, [drawn(shape, 3, number, power=2.0) for number in range(4)], NAMES)
    content = fit(*folder, tmp_path / "t.json")
    assert content["temperatures"] == pytest.approx([2, 2, 2], rel=0.25)
    assert apply(tmp_path / "t.json", folder[0], tmp_path / "out").shape == (3, *shape)


@pytest.mark.parametrize("method", METHODS)
def test_105_classes_of_which_many_are_never_predicted_or_labelled(method, tmp_path, capsys):
    cases = [drawn((4, 30, 30), 105, number, power=1.5, background=6.0) for number in range(2)]
    folder = task(tmp_path, cases, {"background": 0} | {f"structure {k}": k for k in range(1, 105)})
    content = fit(*folder, tmp_path / "t.json", "--method", method)
    assert (
        max(map(len, capsys.readouterr().out.splitlines())) < 105 * 40
    )  # the temperatures take a line, thousands of pairs none
    assert all(one["converged"] for one in content["fits"])
    new = apply(tmp_path / "t.json", folder[0], tmp_path / "out")
    if method != "per-class":
        assert np.array_equal(new.argmax(0), cases[0][0].argmax(0))
    assert np.isfinite(new).all()


@pytest.mark.parametrize("method", ["by-prediction", "margins", "temperature"])
def test_regions_with_ignored_voxels(method, tmp_path):
    """What stands in ignored voxels changes nothing; one region is never labelled."""
    found = []
    for ignored_value in (0.5, 0.99):
        cases = []
        for number in range(3):
            rng = np.random.default_rng(number)
            posterior = expit(2 * rng.normal(size=(2, *SHAPE)) - 1)
            labels = (rng.random(SHAPE) < posterior[0]).astype(int)
            given = expit(2 * logit(posterior)).astype(np.float32)
            given[:, 0], labels[0] = ignored_value, 3
            cases.append((given, labels))
        names = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
        folder = task(tmp_path / str(ignored_value), cases, names, regions_class_order=[1, 2])
        content = fit(*folder, tmp_path / f"{ignored_value}.json", "--method", method, "--voxel-set", "all")
        new = apply(tmp_path / f"{ignored_value}.json", folder[0], tmp_path / f"out {ignored_value}")
        assert np.array_equal(new > 0.5, cases[0][0] > 0.5)
        assert content["counts"]["n_ignored"] == 3 * 24 * 24
        found.append(content)
    for key in ("temperatures", "slopes", "harm"):
        assert found[0].get(key) == found[1].get(key)
    if method == "by-prediction":
        assert found[0]["temperatures"][0] == pytest.approx([2, 2], rel=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_case(method, tmp_path, capsys):
    folder = task(tmp_path, [drawn(SHAPE, 3, 0, power=2.0)], NAMES)
    content = fit(*folder, tmp_path / "t.json", "--method", method)
    assert content["cross_fit"] is None
    assert not content["harm"]["in_words"]
    assert "a single case: whether scores got worse cannot be checked on other cases" in capsys.readouterr().out


def recalibrated(probabilities, fitted):
    return SoftmaxHeads(tuple(map(str, range(len(probabilities))))).recalibrate(probabilities, (fitted,))


@pytest.mark.parametrize("method", METHODS)
def test_the_truth_is_left_alone(method):
    posterior, labels = drawn((400_000,), 3, 0)
    result = METHODS[method].fit(lambda: [(np.log(posterior), labels)], 3, "softmax")
    assert np.abs(recalibrated(posterior, result.map) - posterior).max() < 0.02


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_network_that_says_nothing_is_not_called_never_wrong(method, kind):
    """All classes equally probable everywhere, and most labels are not the first: no factor does anything."""
    classes = 3 if kind == "softmax" else 2
    probabilities = np.full((classes, 900), 1 / classes, np.float32)
    labels = np.arange(900) % classes
    result = METHODS[method].fit(lambda: [(np.log(probabilities), labels)], classes, kind)
    assert {remark.what for remark in result.remarks} <= {"flat", "no_voxel"}
    if method != "per-class" or kind == "sigmoid":
        assert "flat" in {remark.what for remark in result.remarks}
        np.testing.assert_allclose(recalibrated(probabilities, result.map), 1 / classes, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_says_the_same_everywhere(method):
    """0.8, 0.15, 0.05 in every voxel: `margins` and `per-class` can find the shares of the labels, the others their likelihood."""
    given = np.repeat(np.array([[0.8], [0.15], [0.05]], np.float32), 1000, 1)
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    result = METHODS[method].fit(lambda: [(np.log(given), labels)], 3, "softmax")
    assert result.converged
    assert result.nll_after <= result.nll_before
    new = recalibrated(given, result.map)[:, 0]
    assert new.argmax() == 0
    if method in ("margins", "per-class"):
        np.testing.assert_allclose(new, [0.6, 0.3, 0.1], atol=1e-3)
    if method == "by-prediction":
        assert Remark("no_voxel", ((1,), (2,))) in result.remarks


def test_groups_are_recorded_and_are_the_unit(tmp_path, capsys):
    """Four cases of two patients: two groups to hold out, two units for the intervals; a file without the key is read all the same."""
    folder = task(tmp_path, [drawn(SHAPE, 3, number, power=2.0) for number in range(4)], NAMES)
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\ncase_0,a\ncase_1,a\ncase_2,b\ncase_3,b\n")
    content = fit(*folder, tmp_path / "t.json", "--groups", groups)
    assert content["groups"] == {"case_0": "a", "case_1": "a", "case_2": "b", "case_3": "b"}
    assert content["provenance"]["files"]["groups"] == str(groups)
    assert content["cross_fit"]["by"] == "group"
    assert sorted(part["cases"] for part in content["cross_fit"]["parts"]) == [
        ["case_0", "case_1"],
        ["case_2", "case_3"],
    ]
    assert "4 cases in 2 groups" in capsys.readouterr().out
    alone = fit(*folder, tmp_path / "alone.json")
    assert alone["groups"] is None
    assert alone["cross_fit"]["by"] == "case"
    intervals = [[each["interval"] for each in of["harm"]["changes"]] for of in (content, alone)]
    assert intervals[0] != intervals[1]
    content.pop("groups")
    (tmp_path / "t.json").write_text(json.dumps(content))
    assert apply(tmp_path / "t.json", folder[0], tmp_path / "out").shape == (3, *SHAPE)


@pytest.mark.parametrize("method", ["by-prediction", "margins"])
@pytest.mark.parametrize("n_wrong", [0, 7])
def test_a_network_that_is_certain_everywhere(method, n_wrong):
    """A probability beside the floor in every voxel, 87 nats below: what is never wrong stays, what is wrong is found."""
    logarithm = np.repeat(np.array([[0.0], [-87.0], [-80.0]], np.float32), 1000, 1)
    labels = np.repeat([0, 2], [1000 - n_wrong, n_wrong])
    result = METHODS[method].fit(lambda: [(logarithm, labels)], 3, "softmax")
    assert result.converged
    assert {remark.what for remark in result.remarks} == {"no_voxel", "not_labelled" if n_wrong and method == "margins" else "no_voxel"} | ({"separable"} if not n_wrong else set())  # fmt: skip
    new = softmax(result.map.scores(logarithm[:, :1].astype(float), np.array([0])), axis=0)[:, 0]
    if n_wrong == 0:
        assert new[0] == 1
    elif method == "margins":
        assert new[2] == pytest.approx(0.007, rel=1e-3)
    else:  # one factor b for both: the best of a likelihood that is written anew
        factors = np.linspace(0.03, 0.09, 60_001)
        total = 1 + np.exp(-87 * factors) + np.exp(-80 * factors)
        assert result.map.factors[0] == pytest.approx(factors[(1000 * np.log(total) + n_wrong * 80 * factors).argmin()], abs=2e-6)  # fmt: skip


def test_a_method_with_nothing_to_fit_on_is_left_out_of_the_comparison(tmp_path, capsys):
    """One of two cases has no structure, so that held-out fits on `predicted` have no voxel; the default method has."""
    empty = np.broadcast_to(np.array([0.98, 0.01, 0.01], np.float32).reshape(3, 1, 1, 1), (3, *SHAPE))
    folder = task(tmp_path, [drawn(SHAPE, 3, 0), (empty, np.zeros(SHAPE, int))], NAMES)
    content = fit(*folder, tmp_path / "t.json", "--compare-methods")
    assert set(content["compared"]) == {"margins"}
    error = capsys.readouterr().err
    for method in ("temperature", "per-class"):
        assert f"note: {method} is left out: no voxel of the set 'predicted' to fit on" in error
    assert main([str(part) for part in ["recalibrate", "fit", folder[0], "-gt", folder[1], "-o", tmp_path / "t.json", "--method", "temperature"]]) == 1  # fmt: skip
