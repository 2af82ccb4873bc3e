"""`thresholds` as a user runs it, on small cases whose errors are drawn."""

import csv
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from made_up_cases import evaluated, run, write, write_cases

from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions.case_table import read_evaluated
from nnunet_nacl.decisions.threshold_cases import StructureCases, structure_cases
from nnunet_nacl.decisions.threshold_fit import _left_out
from nnunet_nacl.decisions.threshold_trade import trade_of
from nnunet_nacl.evaluation.bins_file import read_result, write_bins


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    for number in range(2):
        names = [f"case_{number}{row:02}" for row in range(8)]
        write_cases(root / f"fold_{number}", names, number)
        evaluated(root / f"fold_{number}")
    return root


@pytest.fixture(scope="module")
def results(folds):
    return [folds / f"fold_{number}" / "predictions" for number in range(2)]


def fitted(results, path, *options):
    code = run("thresholds", "fit", *results, "-o", path, *options)
    return code, json.loads(path.read_text()) if path.is_file() else None


def masks_by_hand(folder, threshold, channel):
    """The masks and labels of a folder of predictions, straight from its files."""
    for path in sorted((folder / "predictions").glob("*.npz")):
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{path.stem}.nii.gz")))
        yield path.stem, np.load(path)["probabilities"][channel] >= threshold, labels


def test_fit_is_the_inequality_on_the_files_themselves(folds, results, tmp_path, capsys):
    code, content = fitted(results, tmp_path / "thresholds.json", "--miss", "0.2", "--trade")
    assert code == 0
    for key, channel in (("1", 1), ("2", 2)):
        entry = content["structures"][key]
        place = int(np.flatnonzero(thresholds() == entry["threshold"])[0])

        def risk(threshold, channel=channel):
            missed = [
                1 - (mask & (labels == channel)).sum() / (labels == channel).sum()
                for fold in range(2)
                for _, mask, labels in masks_by_hand(folds / f"fold_{fold}", threshold, channel)
                if (labels == channel).any()
            ]
            return np.mean(missed), len(missed)

        (at, n), (beyond, _) = risk(thresholds()[place]), risk(thresholds()[place + 1])
        assert (entry["n_units"], entry["miss_rate"]) == (n, pytest.approx(at))
        assert (n * at + 1) / (n + 1) <= 0.2 < (n * beyond + 1) / (n + 1)
        assert entry["price"]["volume_ratio"] > 0 and entry["left_out"]["miss_rate"] <= 0.2
        assert set(entry["across_results"]["of_each"]) <= {"fold_0", "fold_1"}
        shown = {row["threshold"]: row for row in entry["trade"]["table"]}
        dice = [
            2 * (mask & (labels == channel)).sum() / (mask.sum() + (labels == channel).sum())
            for fold in range(2)
            for _, mask, labels in masks_by_hand(folds / f"fold_{fold}", 0.5, channel)
            if (labels == channel).any()
        ]
        assert shown[0.5]["Dice"] == pytest.approx(np.mean(dice))
        assert entry["trade"]["cross_fitted_over"] == "results"
    assert "on average over cases that have it" in capsys.readouterr().out


def test_units_that_agree_have_no_interval():
    """Ten cases in which a threshold misses nothing and gains nothing over the label map: not 0 to 0."""
    t, ten = len(thresholds()), np.ones(10)
    found = np.full((10, t), 50.0)
    argmax = np.stack([50 * ten, 0 * ten], 1)
    cases = StructureCases(np.zeros((10, t)), found, np.zeros((10, t)), 50 * ten, argmax, ten)
    trade = trade_of(cases, ["a"] * 10, None)
    assert (trade["difference"], trade["difference_interval"]) == (0, [None, None])
    assert _left_out(np.zeros(10))["miss_rate_interval"] == [None, None]
    assert _left_out(np.array([0.0, 0.1] * 3))["miss_rate_interval"][1] > 0.1


def test_apply_writes_the_masks_that_were_counted(folds, results, tmp_path, capsys):
    fitted(results, tmp_path / "thresholds.json", "--miss", "0.2")
    fit = json.loads((tmp_path / "thresholds.json").read_text())
    write_cases(tmp_path / "new", ["new_0", "new_1"], 7)
    assert run("thresholds", "apply", tmp_path / "thresholds.json", tmp_path / "new" / "predictions", "-o", tmp_path / "out", "-np", 1) == 0  # fmt: skip
    rows = {(row["case"], row["class"]): row for row in csv.DictReader((tmp_path / "out" / "thresholds.csv").open())}
    for channel, folder in ((1, "1_liver"), (2, "2_cyst")):
        threshold = fit["structures"][str(channel)]["threshold"]
        for name, mask, _ in masks_by_hand(tmp_path / "new", threshold, channel):
            image = sitk.ReadImage(str(tmp_path / "out" / folder / f"{name}.nii.gz"))
            assert np.array_equal(sitk.GetArrayFromImage(image), mask.astype(np.uint8))
            assert image.GetSpacing() == (1.0, 1.0, 2.0)
            row = rows[name, str(channel)]
            assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 2 / 1000)
            assert int(row["findings"]) >= mask.any()
    assert len(rows) == 4 and (tmp_path / "out" / "thresholds.json").is_file()
    assert "findings a case" in capsys.readouterr().out


def test_regions_merged_and_an_ignore_label(tmp_path, capsys):
    write_cases(tmp_path / "fold_0", [f"case_{row:02}" for row in range(10)], 3, regions=True)
    folder = tmp_path / "fold_0"
    description = json.loads((folder / "predictions" / "dataset.json").read_text())
    description["labels"]["ignore"] = 3
    (folder / "predictions" / "dataset.json").write_text(json.dumps(description))
    path = folder / "labels" / "case_00.nii.gz"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    labels[:, :, :4] = 3
    write(path, labels)
    result = evaluated(folder)
    counts = read_result(result / "calibration" / "calibration_bins.npz").cases[0].threshold_counts
    p = np.load(result / "case_00.npz")["probabilities"]
    half = int(np.flatnonzero(thresholds() == 0.5)[0])
    for number, members in enumerate([(1, 2), (2,)]):
        inside = np.isin(labels, members)
        assert counts[number, 1].sum() == inside.sum()
        for row, where in ((1, inside), (0, ~inside & (labels != 3))):
            assert counts[number, row, half:].sum() == ((p[number] >= 0.5) & where).sum()
    assert run("merge", result, "-o", tmp_path / "merged") == 0
    one, two = (fitted([each], tmp_path / f"{each.name}.json")[1] for each in (result, tmp_path / "merged"))
    assert one["structures"].keys() == two["structures"].keys() == {"(1, 2)", "2"}
    assert [entry["threshold"] for entry in one["structures"].values()] == [
        entry["threshold"] for entry in two["structures"].values()
    ]
    assert "nobody annotated" in capsys.readouterr().err
    assert run("thresholds", "apply", tmp_path / "merged.json", result, "-o", tmp_path / "out", "-np", 1) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["1_whole", "2_cyst"]


def test_a_class_that_too_few_cases_have_is_refused_and_the_others_go_on(results, tmp_path, capsys):
    small = tmp_path / "small" / "calibration_bins.npz"
    small.parent.mkdir()
    result = read_result(results[0] / "calibration" / "calibration_bins.npz")
    write_bins(result, small)
    code, content = fitted([small.parent, results[1]], tmp_path / "few.json", "--miss", "0.06")
    held = {key: entry["n_units"] for key, entry in content["structures"].items()} if content else {}
    assert code == 0 and content["structures"]["1"]["threshold"] is not None and held["2"] < 16
    line = [line for line in capsys.readouterr().err.splitlines() if "cyst" in line]
    assert line and "needs at least 16 cases that have it" in line[0]
    assert content["structures"]["2"]["threshold"] is None
    assert fitted([small.parent], tmp_path / "none.json", "--miss", "0.05") == (1, None)


def test_results_of_before_say_what_to_do(results, tmp_path, capsys):
    folder = tmp_path / "old"
    shutil.copytree(results[0] / "calibration", folder)
    with np.load(folder / "calibration_bins.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if "threshold_counts" not in name}
    np.savez_compressed(folder / "calibration_bins.npz", **arrays)
    assert fitted([folder], tmp_path / "thresholds.json") == (1, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "were evaluated before probabilities were counted by threshold. Run `nnunet-nacl evaluate`" in line


def test_counts_that_no_voxels_give_are_refused(results, tmp_path, capsys):
    with np.load(results[0] / "calibration" / "calibration_bins.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    for row in (0, 1):
        changed = arrays["threshold_counts"].copy()
        changed[0, 0, row, 300] += 10**6
        np.savez_compressed(tmp_path / "calibration_bins.npz", **arrays | {"threshold_counts": changed})
        assert fitted([tmp_path], tmp_path / "thresholds.json") == (1, None)
        assert "`threshold_counts`" in capsys.readouterr().err


def test_patients_in_every_result(results, tmp_path, capsys):
    """As with repeated scans, of which one is in each fold: nothing is left to choose the trade on, and a file is written all the same."""
    path = tmp_path / "groups.csv"
    path.write_text("case,group\n" + "".join(f"case_{fold}{row:02},P{row}\n" for fold in range(2) for row in range(8)))
    code, content = fitted(results, tmp_path / "t.json", "--miss", "0.2", "--trade", "--groups", path)
    said = capsys.readouterr()
    assert code == 0 and content["structures"]["1"]["trade"]["difference"] is None
    assert "gain over argmax is unknown (-)" in said.out and "means over patients that have it; false ml" in said.out
    assert "on average over patients that have it (each with the mean of their cases" in said.out
    (line,) = [line for line in said.err.splitlines() if "liver: whether" in line]
    assert "could not be checked in fold_0 (0 patients have it that are only in other results, 4 are needed)" in line


def test_figures_are_whole_on_80_columns_and_of_the_fits_own_cases_only_with_a_mark(
    results, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    _, content = fitted(results, tmp_path / "t.json", "--miss", "0.06")
    out = capsys.readouterr().out
    entry = content["structures"]["1"]
    assert entry["left_out"] is None and "* measured on the cases of the fit themselves" in out
    (row,) = [line for line in out.splitlines() if "liver" in line]
    assert f"{entry['argmax_miss_rate']:.3f} to {entry['miss_rate']:.3f} *" in row
    assert f"(x {entry['price']['volume_ratio']:.2f})" in row and len(row) <= 80
    fitted(results, tmp_path / "t.json", "--miss", "0.2")
    assert "measured on the cases of the fit themselves" not in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["labels", "kind", "logits", "damaged", "tiny", "between", "none", "full"])
def test_mistakes_of_apply_are_one_line(wrong, results, tmp_path, capsys):
    path, out = tmp_path / "thresholds.json", tmp_path / "out"
    _, content = fitted(results, path, "--miss", "0.2")
    write_cases(tmp_path / "new", ["new_0"], 7)
    predicted = tmp_path / "new" / "predictions"
    if wrong == "labels":
        description = json.loads((predicted / "dataset.json").read_text())
        description["labels"] = {"background": 0, "spleen": 1, "cyst": 2}
        (predicted / "dataset.json").write_text(json.dumps(description))
    elif wrong == "kind":
        path.write_text(json.dumps(content | {"file_type": "nnunet-nacl volumes"}))
    elif wrong == "logits":
        np.savez_compressed(
            predicted / "new_0.npz", probabilities=np.load(predicted / "new_0.npz")["probabilities"] * 9
        )
    elif wrong == "none":
        for entry in content["structures"].values():
            entry["threshold"] = None
        path.write_text(json.dumps(content))
    elif wrong in ("damaged", "tiny", "between"):
        content["structures"]["1"]["threshold"] = {"damaged": 1.5, "tiny": 1e-60, "between": 0.123}[wrong]
        path.write_text(json.dumps(content))
    else:
        out.mkdir()
        (out / "something").write_text("")
    capsys.readouterr()
    assert run("thresholds", "apply", path, predicted, "-o", out, "-np", 1) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nnunet-nacl: error")]
    expected = {"labels": "was fitted for", "kind": "is no file of", "logits": "Are these logits?", "damaged": "is damaged", "tiny": "is damaged", "between": "is damaged", "none": "no class has a threshold. ", "full": "is not empty"}  # fmt: skip
    assert len(said) == 1 and expected[wrong] in said[0]
    assert not list(out.glob("*/*.nii.gz"))


def test_a_case_without_the_structure_pays_but_does_not_miss(results):
    liver, cyst = structure_cases(read_evaluated(list(results)))
    without = cyst.labelled == 0
    assert not (liver.labelled == 0).any()
    assert without.sum() == 2
    assert np.isnan(cyst.missed[without]).all() and np.isfinite(cyst.false[without, 1:]).all()


def test_channels_that_are_read_twice_are_counted_once(tmp_path):
    """Of seven classes the file is read a second time for voxels that the first pass leaves open."""
    rng = np.random.default_rng(0)
    write_cases(tmp_path, ["case"], 0)
    folder = tmp_path / "predictions"
    logits = rng.normal(0, 1, (7, 6, 12, 12))
    probabilities = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    labels = rng.integers(0, 7, (6, 12, 12))
    np.savez_compressed(folder / "case.npz", probabilities=probabilities)
    write(folder / "case.nii.gz", probabilities.argmax(0))
    write(tmp_path / "labels" / "case.nii.gz", labels)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"] = {"background": 0} | {f"class {label}": label for label in range(1, 7)}
    (folder / "dataset.json").write_text(json.dumps(description))
    (case,) = read_result(evaluated(tmp_path) / "calibration" / "calibration_bins.npz").cases
    for label in range(1, 7):
        for place in (1, 200, 241):
            mask = probabilities[label] >= np.float32(thresholds()[place])
            for row, where in enumerate((labels != label, labels == label)):
                assert case.threshold_counts[label - 1, row, place:].sum() == (mask & where).sum()
