"""Do no harm: what got worse on cases that were not fitted on is found, said, written, and said again by `apply`."""

import json
import pickle

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.special import softmax

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.cli import main
from nnunet_nacl.recalibration.harm import SCORES, SETS, changes_of, to_json
from nnunet_nacl.recalibration.heads import Scored, SigmoidHeads, SoftmaxHeads
from nnunet_nacl.recalibration.scored_cases import ScoredCases, scored_problem

HEADS = SoftmaxHeads(("background", "body", "cap"))


def cases(power, n_cases=8, n_voxels=4000, num_classes=3):
    """Return statistics of a posterior to a power, with labels drawn from the posterior itself; the same draws for each power."""
    found = []
    for number in range(n_cases):
        rng = np.random.default_rng(number)
        posterior = softmax(2 * rng.normal(size=(num_classes, n_voxels)), axis=0)
        labels = (rng.random(n_voxels) > np.cumsum(posterior, axis=0)[:-1]).sum(0)
        statistics = CalibrationStatistics.empty(num_classes)
        statistics.update(softmax(power * np.log(posterior), axis=0), labels)
        found.append([statistics])
    return found


def changes(before, after, heads=HEADS):
    old, new = ([tuple(map(scored_problem, case)) for case in cases] for cases in (before, after))
    return {(each.problem, each.what, each.where): each for each in changes_of(heads, old, new)}


def test_harm_is_found_and_repair_is_none():
    spoilt, honest = cases(0.4), cases(1.0)
    harmed, repaired = changes(honest, spoilt), changes(spoilt, honest)
    for voxel_set in SETS:
        for score in SCORES:
            assert harmed["classes", score, voxel_set].worse
            assert not repaired["classes", score, voxel_set].worse
    assert not any(each.worse for each in changes(honest, honest).values())


def test_numbers_are_means_over_cases_and_volumes_of_all():
    before, after = cases(1.0), cases(0.4)
    found = changes(before, after)
    ece = found["classes", "ECE", "predicted"]
    values = [[case.scores("predicted").ece for (case,) in each] for each in (before, after)]
    assert (ece.before, ece.after) == pytest.approx(tuple(np.mean(values, axis=1)))
    assert ece.difference == pytest.approx(ece.after - ece.before)
    assert ece.low < ece.difference < ece.high
    cap = found["classes", "soft volume", "cap"]
    soft = sum(case.soft_volumes()[2] for (case,) in after)
    label = sum(case.confusion[2].sum() for (case,) in after)
    assert cap.after == pytest.approx(soft / label - 1)
    assert cap.difference == pytest.approx(abs(cap.after) - abs(cap.before))
    assert set(found) == {("classes", score, of) for score in SCORES for of in SETS} | {("classes", "soft volume", name) for name in HEADS.channels[1:]}  # fmt: skip


def test_a_structure_that_nobody_has_and_a_single_case_have_no_interval():
    content = to_json(list(changes(cases(1.0, n_cases=1), cases(0.4, n_cases=1)).values()))
    assert all(each["interval"] is None and not each["worse"] for each in content["changes"])
    absent = []
    for _ in cases(1.0, num_classes=2):
        more = CalibrationStatistics.empty(3)
        probabilities = np.concatenate([np.full((2, 50), 0.5), np.zeros((1, 50))])
        more.update(probabilities, np.arange(50) % 2)
        absent.append([more])
    of_cap = changes(absent, absent)["classes", "soft volume", "cap"]
    assert np.isnan(of_cap.before)
    assert not of_cap.worse


def test_regions_are_told_apart():
    heads = SigmoidHeads(("whole", "core"), ((1, 2), (2,)), (1, 2))
    honest, spoilt = cases(1.0, num_classes=2), cases(0.4, num_classes=2)
    before = [[one[0], one[0]] for one in honest]
    after = [[one[0], other[0]] for one, other in zip(honest, spoilt, strict=True)]
    found = changes(before, after, heads)
    assert not any(each.worse for (problem, _, _), each in found.items() if problem == "whole")
    assert found["core", "NLL", "all"].worse
    assert any(text.startswith("NLL of core in `all`: ") for text in to_json(list(found.values()))["in_words"])


@pytest.fixture(scope="module")
def two_sided(tmp_path_factory, dataset_files):
    """A network too sure of structures and too unsure of background: what one temperature cannot repair."""
    task = tmp_path_factory.mktemp("phantom") / "Task97_TwoSided"
    write_task(task, n_cases=10, size=24)
    folder = task / "predicted"
    folder.mkdir()
    for path in (task / "posteriorTr").glob("*.npz"):
        posterior = np.load(path)["probabilities"].astype(float)
        power = np.where(posterior.argmax(0) == 0, 0.7, 2.0)
        new = softmax(np.log(np.maximum(posterior, 1e-38)) * power, axis=0).astype(np.float32)
        np.savez_compressed(folder / path.name, probabilities=new)
        image = sitk.GetImageFromArray(new.argmax(0).astype(np.uint8))
        sitk.WriteImage(image, str(folder / path.name.replace(".npz", ".nii.gz")))
    for path in dataset_files:
        (folder / ("plans.json" if "lans" in path.name else "dataset.json")).write_text(path.read_text())
    return task


def recalibrate(step, *arguments):
    return main(["recalibrate", step, *map(str, arguments)])


def test_the_default_repairs_both_sides_and_one_temperature_is_caught(two_sided, tmp_path, capsys):
    folder, labels = two_sided / "predicted", ("-gt", two_sided / "labelsTr")
    assert recalibrate("fit", folder, *labels, "-o", tmp_path / "default.json") == 0
    printed = capsys.readouterr().out
    assert "by-prediction, fitted on all cases: temperatures background " in printed
    assert "nothing got worse on cases that it was not fitted on" in printed
    assert "not judged" in printed, "the voxel sets that are chosen by the label"
    content = json.loads((tmp_path / "default.json").read_text())
    assert content["temperatures"] == pytest.approx([0.7, 2.0, 2.0], rel=0.15)
    assert content["harm"]["in_words"] == []
    assert recalibrate("fit", folder, *labels, "-o", tmp_path / "one.json", "--method", "temperature") == 0
    printed = capsys.readouterr().out
    assert "warning: this recalibration makes worse, on cases that it was not fitted on:" in printed
    words = json.loads((tmp_path / "one.json").read_text())["harm"]["in_words"]
    for start in ("ECE in `all`: ", "NLL in `all`: ", "the soft volume of body: "):
        (sentence,) = (text for text in words if text.startswith(start))
        assert f"  {sentence}\n" in printed
    assert "ECE, NLL, Brier, soft volume of" in " ".join(printed.split())  # in the table
    assert recalibrate("apply", tmp_path / "one.json", folder, "-o", tmp_path / "out", "-np", 1) == 0
    printed = capsys.readouterr().out
    assert all(f"  {sentence}\n" in printed for sentence in words)
    assert recalibrate("apply", tmp_path / "default.json", folder, "-o", tmp_path / "good", "-np", 1) == 0
    assert "makes worse" not in capsys.readouterr().out


def test_methods_are_compared_and_none_is_chosen(two_sided, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    folder, labels = two_sided / "predicted", ("-gt", two_sided / "labelsTr")
    options = ("-o", tmp_path / "t.json", "--method", "temperature", "--compare-methods", "--max-voxels", 20_000)
    assert recalibrate("fit", folder, *labels, *options) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith(("as given", "by-pred", "margins", "per-class", "temperature "))]  # fmt: skip
    table = {row[0]: row for row in rows[:5]}
    assert next(iter(table)) == "as"
    assert set(table) == {"as", "by-prediction", "margins", "temperature", "per-class"}
    nll = [float(row[1]) for name, row in table.items() if name != "as"]
    assert nll == sorted(nll)
    assert table["by-prediction"][-1] == "nothing"
    assert int(table["temperature"][-1]) >= 3
    assert json.loads((tmp_path / "t.json").read_text())["method"] == "temperature"


def test_little_remains_of_a_case_and_the_sums_are_those_of_all():
    """0.3 MB of statistics a case, twice, were more than the voxels of a thousand cases."""
    several = [Scored(case, np.zeros((3, 3), np.int64)) for case in cases(1.0)]
    kept = ScoredCases()
    for each in several:
        kept.add(each)
    assert len(pickle.dumps((kept.cases, kept.overlaps))) < 10_000 * len(several)
    (whole,), expected = kept.totals, total(case for (case,) in cases(1.0))
    assert all(np.array_equal(getattr(whole, name), value) for name, value in vars(expected).items())
    assert kept.cases[3][0].scores["predicted"]["ECE"] == several[3].problems[0].scores("predicted").ece
