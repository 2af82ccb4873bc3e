"""`volumes` and `triage` as a user runs them, on small cases whose errors are drawn."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_up_cases import (
    CLASSES,
    DATASET,
    PLANS,
    SPACING,
    evaluated,
    run,
    write,
    write_cases,
)

from nnunet_nacl.calibration.mask_confidence import soft_dice_confidence
from nnunet_nacl.commands import volumes
from nnunet_nacl.decisions import VolumeInterval, risk_coverage
from nnunet_nacl.decisions.case_table import read_evaluated
from nnunet_nacl.decisions.volume_fit import VolumeFit


def confidently_missed(folder, name, structures=(2,)):
    """Give the probability of structures to the class below, so that they are predicted nowhere and have probabilities of exactly 0."""
    p = np.load(folder / f"{name}.npz")["probabilities"]
    for structure in sorted(structures, reverse=True):
        p[structure - 1] += p[structure]
        p[structure] = 0
    np.savez_compressed(folder / f"{name}.npz", probabilities=p)
    write(folder / f"{name}.nii.gz", p.argmax(0))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Two folds that are evaluated, and new cases: 13, 13 and 10 of them."""
    root = tmp_path_factory.mktemp("decisions")
    for name, first, n_cases in (("fold_0", 0, 13), ("fold_1", 13, 13), ("new", 26, 10)):
        write_cases(root / name, [f"case_{number:02d}" for number in range(first, first + n_cases)], seed=first)
    evaluated(root / "fold_0"), evaluated(root / "fold_1")
    (root / "labels").mkdir()
    return root


@pytest.fixture(scope="module")
def fits(task):
    results = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    assert run("volumes", "fit", *results, "-o", task / "fits" / "volumes.json", "--level", 0.8) == 0
    assert run("triage", "fit", *results, "-o", task / "fits" / "triage.json", "--level", 0.8) == 0
    return task / "fits"


def test_volumes_of_new_cases(task, fits, tmp_path, capsys):
    new = task / "new" / "predictions"
    assert run("volumes", "apply", fits / "volumes.json", new, "-o", tmp_path / "v.csv", "-np", 1) == 0
    rows = rows_of(tmp_path / "v.csv")
    assert len(rows) == 20
    fit = VolumeFit(fits / "volumes.json")
    voxel = np.prod(SPACING) / 1000
    inside = 0
    for row in rows:
        p = np.load(new / f"{row['case']}.npz")["probabilities"]
        low, high = float(row["lower_ml"]), float(row["upper_ml"])
        assert 0 <= low <= high
        assert low / voxel == pytest.approx(round(low / voxel), abs=1e-6)
        hard, soft = (p.argmax(0) == int(row["class"])).sum() * voxel, p[int(row["class"])].sum() * voxel
        expected = soft if row["way"].startswith("soft") else hard
        assert float(row["predicted_ml"]) == pytest.approx(expected, rel=1e-5)
        assert low <= float(row["volume_ml"]) <= high
        assert all(len(row[column]) <= 11 for column in ("volume_ml", "lower_ml", "upper_ml", "predicted_ml"))
        assert row["way"] == fit.interval(row["class"]).chosen
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(task / "new" / "labels" / f"{row['case']}.nii.gz")))
        inside += low - 1e-9 <= (truth == int(row["class"])).sum() * voxel <= high + 1e-9
    assert inside >= 12  # of 20 at 0.8
    printed = capsys.readouterr()
    assert any(line.startswith("case_26: liver ") and line.endswith(", 80 %)") for line in printed.out.splitlines())
    assert "liver: predicted volumes are " in printed.out and "too large in the fit (95 % interval +" in printed.out
    assert "Traceback" not in printed.err


def test_segmentations_alone_have_the_hard_interval(task, fits, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in (task / "new" / "predictions").iterdir():
        if not path.name.endswith(".npz"):
            (alone / path.name).write_bytes(path.read_bytes())
    assert run("volumes", "apply", fits / "volumes.json", alone, "-o", tmp_path / "v.csv", "-np", 1) == 0
    assert "those of segmentations alone" in capsys.readouterr().err
    fit = VolumeFit(fits / "volumes.json")
    for row in rows_of(tmp_path / "v.csv"):
        assert row["way"] == "hard"
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(alone / f"{row['case']}.nii.gz")))
        hard = (values == int(row["class"])).sum() * np.prod(SPACING) / 1000
        assert float(row["predicted_ml"]) == pytest.approx(hard)
        low, _, high = fit.interval(row["class"]).bounds["hard"]
        floor = 10 * np.prod(SPACING) / 1000
        assert float(row["lower_ml"]) <= (hard + floor) * np.exp(low) - floor + 1e-9 or float(row["lower_ml"]) == 0
        assert float(row["upper_ml"]) >= (hard + floor) * np.exp(high) - floor - 1e-9
    # what needs probabilities says so
    assert run("triage", "apply", fits / "triage.json", alone, "-o", tmp_path / "t.csv", "-np", 1) == 1
    assert "needs a softmax file (.npz) of every case" in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()
    command = ["triage", "apply", fits / "triage.json", alone, "-o", tmp_path / "t.csv", "-np", 1, "--score", "volume"]
    assert run(*command) == 0


def test_volumes_json_says_bias_coverage_and_both_variants(fits):
    content = json.loads((fits / "volumes.json").read_text())
    assert (content["level"], content["smallest_number"], content["n_units"]) == (0.8, 9, 26)
    liver = content["structures"]["1"]
    assert set(liver["ways"]) == {"hard", "soft", "hard_adaptive", "soft_adaptive"}
    for found in liver["ways"].values():
        low, high = found["leave_one_out"]["coverage_interval"]
        assert low <= found["leave_one_out"]["coverage"] <= high
    bias = liver["bias"]["hard"]
    assert bias["share_low"] < bias["share"] < bias["share_high"]
    assert content["n_units_for_choice"] == 8
    assert liver["chosen_bounds"]["log_ratio"] != liver["ways"][liver["chosen"]]["log_ratio"]


def test_networks_that_differ_are_named(task, tmp_path, capsys):
    """Cases left out one by one have company from their own fold; a whole fold left out has not."""
    write_cases(tmp_path / "other", [f"other_{number}" for number in range(13)], seed=7, bias=1.5)
    folds = [task / "fold_0" / "predictions", evaluated(tmp_path / "other")]
    capsys.readouterr()
    assert run("volumes", "fit", *folds, "-o", tmp_path / "v.json", "--level", 0.8) == 0
    printed, said = capsys.readouterr()
    assert "so nothing is guaranteed for another network" in printed and "the intervals hold for" not in printed
    assert run("triage", "fit", *folds, "-o", tmp_path / "t.json", "--level", 0.8) == 0
    bound = json.loads((tmp_path / "t.json").read_text())["all_structures"]["across_results"]
    assert ("these networks differ" in capsys.readouterr().err) == bool(bound["below_the_level"])
    assert set(bound["of_each"]) == set(
        json.loads((tmp_path / "v.json").read_text())["structures"]["1"]["across_results"]["of_each"]
    )
    assert (
        "liver: fitted on the other results, the intervals held in 0." in said
        and ", where 0.8 is expected: " in said
        and "these networks differ" in said
    )
    liver = json.loads((tmp_path / "v.json").read_text())["structures"]["1"]
    assert liver["across_results"]["coverage"] < 0.5
    assert liver["ways"][liver["chosen"]]["leave_one_out"]["coverage"] > 0.7
    new = task / "new" / "predictions"
    assert run("volumes", "apply", tmp_path / "v.json", new, "-o", tmp_path / "v.csv", "-np", 1) == 0
    assert "these networks differ" in capsys.readouterr().err
    folds = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    assert run("volumes", "fit", *folds, "-o", tmp_path / "v.json", "--level", 0.8) == 0
    printed, said = capsys.readouterr()
    assert (
        "these networks differ" not in said and "(marginal)" in printed and "says nothing about the network" in printed
    )


def test_predictions_unlike_those_of_the_fit_are_named(fits, tmp_path, capsys):
    write_cases(tmp_path, ["tiny"], seed=1, sizes=(0.3, 0.4), spacing=(4.0, 2.0, 2.0))
    command = ["volumes", "apply", fits / "volumes.json", tmp_path / "predictions", "-o", tmp_path / "v.csv", "-np", 1]
    assert run(*command) == 0
    assert "are outside of the range of the fit" in capsys.readouterr().err
    warning = rows_of(tmp_path / "v.csv")[0]["warning"]
    hard = (np.load(tmp_path / "predictions" / "tiny.npz")["probabilities"].argmax(0) == 1).sum() * 0.016
    assert f"segmentation of {hard:.4g} ml, the fit saw" in warning
    assert "the fit saw" in warning and "voxels of 16 mm3, in the fit 2 to 2" in warning


def test_a_way_named_beforehand(task, fits, tmp_path, capsys):
    command = [
        "volumes",
        "apply",
        fits / "volumes.json",
        task / "new" / "predictions",
        "-o",
        tmp_path / "v.csv",
        "-np",
        1,
    ]
    assert run(*command, "--way", "soft") == 0
    low, high = json.loads((fits / "volumes.json").read_text())["structures"]["1"]["ways"]["soft"]["log_ratio"]
    row = next(row for row in rows_of(tmp_path / "v.csv") if row["class"] == "1")
    assert row["way"] == "soft"
    voxel, floor = np.prod(SPACING) / 1000, 10 * np.prod(SPACING) / 1000
    for end, column in ((low, "lower_ml"), (high, "upper_ml")):
        expected = (float(row["predicted_ml"]) + floor) * np.exp(end) - floor
        assert float(row[column]) == pytest.approx(expected, abs=1.01 * voxel)


def test_postprocessed_segmentations_are_named(fits, tmp_path, capsys):
    """Volumes are those of the probabilities, which postprocessing does not change."""
    write_cases(tmp_path, ["a", "b"], seed=3)
    path = tmp_path / "predictions" / "a.nii.gz"
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    write(path, np.where(values == 2, 1, values))
    command = ["apply", fits / "volumes.json", tmp_path / "predictions", "-o", tmp_path / "v.csv", "-np", 1]
    assert run("volumes", *command) == 0
    assert "1 of 2 cases: the saved segmentation differs from that of its probabilities" in capsys.readouterr().err
    warnings = {row["case"]: row["warning"] for row in rows_of(tmp_path / "v.csv")}
    assert "the saved segmentation is not that of the probabilities" in warnings["a"] and "saved" not in warnings["b"]


def test_a_structure_that_no_case_has_and_an_ignore_label_are_named(task, tmp_path, capsys):
    names = [f"case_{number:02d}" for number in range(12)]
    write_cases(tmp_path, names, seed=5)
    for name in names:
        path = tmp_path / "labels" / f"{name}.nii.gz"
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        values[values == 2] = 1
        values[:, 0] = 3
        write(path, values)
    described = tmp_path / "predictions" / "dataset.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"labels": CLASSES | {"ignore": 3}}))
    assert run("volumes", "fit", evaluated(tmp_path), "-o", tmp_path / "v.json", "--level", 0.8) == 0
    said = capsys.readouterr().err
    assert "cyst: none of the 12 cases of the fit has it" in said and "liver: none" not in said
    assert "have an ignore label" in said
    described.write_text(json.dumps(DATASET | {"labels": CLASSES}))
    new = task / "new" / "predictions"
    assert run("volumes", "apply", tmp_path / "v.json", new, "-o", tmp_path / "v.csv", "-np", 1) == 0
    assert "cyst: none of the 12 cases" in capsys.readouterr().err
    assert {row["name"] for row in rows_of(tmp_path / "v.csv") if "no case of the fit has it" in row["warning"]} == {
        "cyst"
    }


@pytest.mark.parametrize("command", ["volumes", "triage"])
def test_inputs_are_not_written_over(command, task, fits, tmp_path, capsys):
    new, result = task / "new" / "predictions", tmp_path / "result"
    shutil.copytree(task / "fold_0" / "predictions" / "calibration", result)
    fit = shutil.copy(fits / f"{command}.json", tmp_path / "fit.json")
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\n" + "".join(f"case_{number:02d},{number}\n" for number in range(13)))
    cases = [
        (["apply", fit, new], fit),
        (["apply", fit, new], new / "case_26.npz"),
        (["apply", fit, new], new / "case_26.nii.gz"),
        (["apply", fit, new], new / "plans.json"),
        (["apply", fit, new, "-djfile", fits / "volumes.json"], fits / "volumes.json"),
        (["fit", result, "--level", 0.8], result / "calibration_bins.npz"),
        (["fit", result, "--level", 0.8], result / "calibration.json"),
        (["fit", result, "--level", 0.8, "--groups", groups], groups),
    ]
    for arguments, out in cases:
        before = Path(out).read_bytes()
        assert run(command, *arguments, "-o", out) == 1
        said = capsys.readouterr().err
        assert "is an input of this command" in said and len(said.strip().splitlines()) == 1, said
        assert Path(out).read_bytes() == before
    for _ in range(2):  # what it wrote there before is no input
        assert run(command, "fit", result, "--level", 0.8, "-o", result / "mine.json") == 0


def test_triage_sorts_and_marks_the_budget(task, fits, tmp_path, capsys):
    new = task / "new" / "predictions"
    members = ["--members", new, task / "new" / "labels"]
    command = ["triage", "apply", fits / "triage.json", new, "-o", tmp_path / "t.csv", "-np", 1, "--budget", 0.25]
    assert run(*command, *members) == 0
    rows = rows_of(tmp_path / "t.csv")
    assert [row["check"] for row in rows] == ["check"] * 3 + [""] * 7
    confidence = [float(row["soft_Dice"]) for row in rows]
    assert confidence == sorted(confidence)
    content = json.loads((fits / "triage.json").read_text())["all_structures"]["estimate"]
    for row in rows:
        p = np.load(new / f"{row['case']}.npz")["probabilities"].astype(float)
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(task / "new" / "labels" / f"{row['case']}.nii.gz")))
        masks = [p.argmax(0) == label for label in (1, 2)]
        each = [
            soft_dice_confidence(p[label][mask].sum(), p[label].sum(), mask.sum())
            for label, mask in zip((1, 2), masks, strict=True)
        ]
        present = [value for value, mask in zip(each, masks, strict=True) if mask.any()]
        assert float(row["soft_Dice"]) == pytest.approx(np.mean(present), rel=1e-6)
        expected = np.clip(np.mean(present) + content["median"], 0, 1)
        assert float(row["estimated_Dice"]) == pytest.approx(expected, rel=1e-6)
        assert float(row["lower_Dice"]) <= float(row["estimated_Dice"])
        pairs = [2 * (mask & (labels == label)).sum() / (mask.sum() + (labels == label).sum())
                 for label, mask in zip((1, 2), masks, strict=True) if mask.any()]  # fmt: skip
        assert float(row["agreement"]) == pytest.approx(np.mean(pairs))
    assert "3 of 10 cases to check" in capsys.readouterr().out
    assert run(*command, "--score", "agreement") == 1
    assert "--score agreement needs --members" in capsys.readouterr().err


def test_triage_json_has_the_curve_of_each_confidence(task, fits):
    content = json.loads((fits / "triage.json").read_text())
    known = read_evaluated([task / name / "predictions" for name in ("fold_0", "fold_1")])
    liver = content["structures"]["1"]["scores"]["soft_Dice"]
    curve = risk_coverage(known.table.soft_dice[:, 0], 1 - known.dice[:, 0])
    assert (liver["AURC"], liver["AUGRC"]) == pytest.approx((curve.aurc, curve.augrc))
    assert liver["curve"]["generalized_risk"] == pytest.approx(curve.generalized_risk)
    for found in content["all_structures"]["scores"].values():
        low, high = found["AUGRC_interval"]
        assert low <= found["AUGRC"] <= high


def test_regions(task, tmp_path):
    names = [f"case_{number:02d}" for number in range(12)]
    write_cases(tmp_path / "known", names, seed=5, regions=True)
    result = evaluated(tmp_path / "known")
    write_cases(tmp_path / "new", ["a", "b"], seed=6, regions=True)
    for command, column in (("volumes", "name"), ("triage", "soft_Dice_(1, 2)")):
        file, table = tmp_path / f"{command}.json", tmp_path / f"{command}.csv"
        assert run(command, "fit", result, "-o", file, "--level", 0.8) == 0
        assert run(command, "apply", file, tmp_path / "new" / "predictions", "-o", table, "-np", 1) == 0
        assert rows_of(table)[0][column] not in ("", None)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "new" / "predictions" / "a.nii.gz")))
    whole = next(row for row in rows_of(tmp_path / "volumes.csv") if (row["case"], row["name"]) == ("a", "whole"))
    assert whole["way"] == "hard"
    assert float(whole["predicted_ml"]) == pytest.approx((values > 0).sum() * np.prod(SPACING) / 1000)


def test_too_few_cases_patients_count_as_one(task, tmp_path, capsys):
    results = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\n" + "".join(f"case_{number:02d},{number // 2}\n" for number in range(26)))
    command = ["volumes", "fit", *results, "-o", tmp_path / "v.json", "--groups", groups]
    assert run(*command) == 1
    assert "level 0.9 needs at least 19 patients, but got 13" in capsys.readouterr().err
    assert not (tmp_path / "v.json").exists()
    assert run(*command, "--level", 0.8) == 0
    assert "on average over patients (with equal weights" in capsys.readouterr().out.replace("\n", " ")
    content = json.loads((tmp_path / "v.json").read_text())
    assert (content["unit"], content["n_units"]) == ("group of cases", 13)
    assert run("volumes", "fit", results[0], "-o", tmp_path / "w.json", "--level", 0.95) == 1
    assert "needs at least 39 cases, but got 13" in capsys.readouterr().err


def test_results_without_confidences_are_told_in_one_line(task, tmp_path, capsys):
    old = tmp_path / "old"
    old.mkdir()
    with np.load(task / "fold_0" / "predictions" / "calibration" / "calibration_bins.npz") as stored:
        kept = {name: values for name, values in stored.items() if name not in ("spread", "mask_sums")}
    np.savez(old / "calibration_bins.npz", **kept)
    assert run("volumes", "fit", old, "-o", tmp_path / "v.json", "--level", 0.8) == 0
    assert "of an older version and do not say how uncertain each voxel is" in capsys.readouterr().err
    assert set(json.loads((tmp_path / "v.json").read_text())["structures"]["1"]["ways"]) == {"hard", "soft"}
    assert run("triage", "fit", old, "-o", tmp_path / "t.json", "--level", 0.8) == 1
    assert "Run `nnunet-nacl evaluate` on their folders again" in capsys.readouterr().err


def test_a_confident_miss_is_the_first_to_check(tmp_path, capsys):
    """In the fit, in use, and whole cases: a structure that is always there, with probabilities of exactly 0."""
    for part, first, n_cases in (("fit", 0, 14), ("new", 20, 4)):
        write_cases(tmp_path / part, [f"case_{n:02d}" for n in range(first, first + n_cases)], first, sizes=(4.0, 5.0))
    known, new = tmp_path / "fit" / "predictions", tmp_path / "new" / "predictions"
    for name in ("case_03", "case_07"):
        confidently_missed(known, name)
    confidently_missed(new, "case_22")
    confidently_missed(new, "case_21", (1, 2))
    evaluated(tmp_path / "fit")
    file, table = tmp_path / "t.json", tmp_path / "t.csv"
    assert run("triage", "fit", known, "-o", file, "--level", 0.8) == 0
    content, result = json.loads(file.read_text()), read_evaluated([known])
    for part, dice in (
        (content["all_structures"], result.dice.mean(1)),
        (content["structures"]["2"], result.dice[:, 1]),
    ):
        assert {found["n_cases"] for found in part["scores"].values()} == {14}
        assert [found["mean_risk"] for found in part["scores"].values()] == [pytest.approx(1 - dice.mean())] * 4
    sure, estimate = result.table.soft_dice, content["all_structures"]["estimate"]
    above = result.dice.mean(1) - np.nan_to_num(sure).mean(1)
    assert estimate["n_units"] == 14 and estimate["median"] == pytest.approx(np.median(above))
    assert content["structures"]["2"]["estimate"]["n_units"] == 12
    capsys.readouterr()
    for score in ("soft_Dice", "mean_probability", "mean_entropy", "volume"):
        command = ["triage", "apply", file, new, "-o", table, "-np", 1, "--budget", 0.5, "--score", score]
        assert run(*command) == 0
        assert "in 1 of 4 cases nothing is predicted; they come first: case_21" in capsys.readouterr().err
        rows = rows_of(table)
        assert [row["check"] for row in rows] == ["check", "check", "", ""]
        assert [row["note"] for row in rows] == ["nothing predicted", "", "", ""]
        assert (rows[0]["case"], float(rows[0]["estimated_Dice"]), float(rows[0]["lower_Dice"])) == ("case_21", 0, 0)
        if score == "soft_Dice":
            assert rows[1]["case"] == "case_22"
            assert {float(rows[1][f"{name}_2"]) for name in ("soft_Dice", "estimated_Dice", "lower_Dice")} == {0}


def test_the_dice_of_an_empty_mask_is_not_invented(task, fits, tmp_path):
    """Of a structure that some cases lack: 0 or none, so it has no estimate; a case without any mask comes first all the same."""
    content = json.loads((fits / "triage.json").read_text())
    assert [entry["always"] for entry in content["structures"].values()] == [True, False]
    write_cases(tmp_path, ["a", "b", "c"], 3, sizes=(4.0, 5.0))
    new = tmp_path / "predictions"
    confidently_missed(new, "b")
    confidently_missed(new, "c", (1, 2))
    for always, expected in ((True, "0.0"), (False, "")):
        content["structures"]["1"]["always"] = always
        (tmp_path / "t.json").write_text(json.dumps(content))
        assert (
            run("triage", "apply", tmp_path / "t.json", new, "-o", tmp_path / "t.csv", "-np", 1, "--budget", 0.3) == 0
        )
        rows = rows_of(tmp_path / "t.csv")
        assert (rows[0]["case"], rows[0]["check"], rows[0]["estimated_Dice"], rows[0]["lower_Dice_1"]) == (
            "c",
            "check",
            expected,
            expected,
        )
        row = next(row for row in rows if row["case"] == "b")
        assert (row["soft_Dice_2"], row["estimated_Dice_2"], row["lower_Dice_2"]) == ("", "", "")
        assert float(row["soft_Dice"]) == pytest.approx(float(row["soft_Dice_1"]))


def test_structures_are_found_by_their_key(task, fits, tmp_path, capsys):
    """Sorted again in the file, they keep their volumes; regions in another order have other label maps, and are refused."""
    new = task / "new" / "predictions"
    for command in ("volumes", "triage"):
        content = json.loads((fits / f"{command}.json").read_text())
        backwards = content | {"structures": dict(reversed(content["structures"].items()))}
        (tmp_path / "backwards.json").write_text(json.dumps(backwards))
        for file, table in ((fits / f"{command}.json", "a.csv"), (tmp_path / "backwards.json", "b.csv")):
            assert run(command, "apply", file, new, "-o", tmp_path / table, "-np", 1) == 0
        assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_regions_in_another_order_are_refused(tmp_path, capsys):
    write_cases(tmp_path / "known", [f"case_{number:02d}" for number in range(12)], seed=5, regions=True)
    write_cases(tmp_path / "new", ["a"], seed=6, regions=True)
    result, new = evaluated(tmp_path / "known"), tmp_path / "new" / "predictions"
    described = json.loads((new / "dataset.json").read_text())
    described["labels"] = {"background": 0, "cyst": 2, "whole": [1, 2]}
    (new / "dataset.json").write_text(json.dumps(described))
    for command in ("volumes", "triage"):
        file, table = tmp_path / f"{command}.json", tmp_path / f"{command}.csv"
        assert run(command, "fit", result, "-o", file, "--level", 0.8) == 0
        capsys.readouterr()
        assert run(command, "apply", file, new, "-o", table, "-np", 1) == 1
        said = capsys.readouterr().err
        assert "in the order whole (1, 2), cyst (2), but" in said and "in the order cyst (2), whole (1, 2)" in said
        assert len(said.strip().splitlines()) == 1 and not table.exists()


DAMAGES = {
    "no protocol": lambda content: content.pop("protocol"),
    "no cases": lambda content: content.pop("cases"),
    "protocol null": lambda content: content.update(protocol=None),
    "protocol a list": lambda content: content.update(protocol=[1]),
    "labels a list": lambda content: content["protocol"].update(labels=["a"]),
    "regions a text": lambda content: content["protocol"].update(regions="no"),
    "a label that is no name": lambda content: content["protocol"]["labels"].update({"1": 7}),
    "a label without a number": lambda content: content["protocol"]["labels"].update({"x": "more"}),
    "cases that are no names": lambda content: content.update(cases=[[1]]),
    "a structure less": lambda content: content["structures"].pop("1"),
    "another name": lambda content: content["structures"]["1"].update(name="cyst"),
    "structures a list": lambda content: content.update(structures=[1]),
    "a level of true": lambda content: content.update(level=True),
    "a level of 1": lambda content: content.update(level=1),
}
DAMAGES_OF = {
    "volumes": DAMAGES
    | {
        "no log ratio": lambda content: content["structures"]["1"]["ways"]["hard"].update(log_ratio=[-1, 1e5]),
        "no adaptive one": lambda content: content["structures"]["1"]["ways"]["soft_adaptive"].update(log_ratio=[-1, 1e5]),
        "three ends": lambda content: content["structures"]["1"]["ways"]["hard"].update(log_ratio=[-1, 0, 1]),
        "ends the wrong way round": lambda content: content["structures"]["1"]["ways"]["hard"].update(log_ratio=[1, -1]),
        "another way": lambda content: content["structures"]["1"].update(chosen="best"),
        "a way more": lambda content: content["structures"]["1"]["ways"].update(best={"log_ratio": [0, 1]}),
        "no voxels": lambda content: content.update(voxel_mm3=[0, 1]),
        "shares above 1": lambda content: content["structures"]["1"]["across_results"]["of_each"].update(x=2),
    },
    "triage": DAMAGES
    | {
        "a bound above the estimate": lambda content: content["all_structures"]["estimate"].update(median=-0.1, lower=0.1),
        "a bound below -1": lambda content: content["structures"]["1"]["estimate"].update(lower=-2),
        "no estimate": lambda content: content["all_structures"].update(estimate=None),
        "always a number": lambda content: content["structures"]["1"].update(always=1),
        "below by nobody": lambda content: content["all_structures"]["across_results"].update(below_the_level=["x"]),
    },
}  # fmt: skip


@pytest.mark.parametrize("command", ["volumes", "triage"])
def test_a_fit_edited_by_hand_is_told_in_one_line(command, task, fits, tmp_path, capsys):
    whole, damaged = (fits / f"{command}.json").read_text(), tmp_path / "damaged.json"
    for name, damage in DAMAGES_OF[command].items():
        content = json.loads(whole)
        damage(content)
        damaged.write_text(json.dumps(content))
        assert run(command, "apply", damaged, task / "new" / "predictions", "-o", tmp_path / "x.csv", "-np", 1) == 1, (
            name
        )
        said = capsys.readouterr().err
        assert f"{damaged}: is damaged (" in said and len(said.strip().splitlines()) == 1, (name, said)
        assert not (tmp_path / "x.csv").exists()


def test_arguments_that_help_nobody_are_refused(task, fits, tmp_path, capsys):
    new, result, out = task / "new" / "predictions", task / "fold_0" / "predictions", tmp_path / "x"
    refused = [
        (
            ["apply", fits / "triage.json", new, "--budget", "abc"],
            "expected a share of the cases from 0 to 1, got 'abc'",
        ),
        (
            ["apply", fits / "triage.json", new, "--budget", "nan"],
            "expected a share of the cases from 0 to 1, got 'nan'",
        ),
        (["fit", result, "--level", "1e-9"], "expected a level from 0.5 to 0.999, got '1e-9'"),
        (["fit", result, "--level", "high"], "expected a level from 0.5 to 0.999, got 'high'"),
    ]
    for arguments, message in refused:
        with pytest.raises(SystemExit):
            run("triage", *arguments, "-o", out)
        assert message in capsys.readouterr().err
    assert (
        run(
            "triage",
            "apply",
            fits / "triage.json",
            new,
            "-o",
            out,
            "-np",
            1,
            "--members",
            new,
            new.parent / "labels" / ".." / "predictions",
        )
        == 1
    )
    assert "comes twice under --members, and agrees with itself" in capsys.readouterr().err
    assert run("triage", "fit", result, "-o", out, "--level", 0.95) == 1
    assert "needs at least 19 cases with a segmentation and a Dice, but got 13" in capsys.readouterr().err
    assert not out.exists()


def test_the_bound_is_promised_only_where_results_left_out_hold_it(task, fits, tmp_path, capsys):
    write_cases(tmp_path / "other", [f"other_{number}" for number in range(13)], seed=7, bias=1.5)
    same = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    promise, warning = (
        "on average over all cases like those of the fit (marginal)",
        "Dice: fitted on the other results, the lower bound held",
    )
    for folds, holds in ((same, True), ([same[0], evaluated(tmp_path / "other")], False)):
        capsys.readouterr()
        assert run("triage", "fit", *folds, "-o", tmp_path / "t.json", "--level", 0.8) == 0
        said = capsys.readouterr()
        assert (promise in said.out, "nothing is guaranteed for another network" in said.out) == (holds, not holds)
        assert "mean_probability" in said.out and "mean_entropy" in said.out
        assert (warning in said.err) is not holds
        assert (
            run(
                "triage", "apply", tmp_path / "t.json", task / "new" / "predictions", "-o", tmp_path / "t.csv", "-np", 1
            )
            == 0
        )
        assert (warning in capsys.readouterr().err) is not holds


@pytest.mark.parametrize("command", ["volumes", "triage"])
def test_what_cannot_be_used_is_one_line(command, task, fits, tmp_path, capsys):
    new, fit = task / "new" / "predictions", fits / f"{command}.json"
    other = "triage" if command == "volumes" else "volumes"
    content = json.loads(fit.read_text())
    damaged, later, of_others = (tmp_path / f"{name}.json" for name in ("damaged", "later", "others"))
    damaged.write_text(json.dumps(content | {"structures": {"1": 3}}))
    later.write_text(json.dumps(content | {"schema_version": 9}))
    of_others.write_text(fit.read_text().replace('"liver"', '"spleen"'))
    out = tmp_path / "x.csv"
    cases = [
        (["apply", fits / f"{other}.json", new, "-o", out], "is no file of"),
        (["apply", damaged, new, "-o", out], "is damaged"),
        (["apply", later, new, "-o", out], "expected schema version 1, but got 9"),
        (["apply", of_others, new, "-o", out], "was fitted for"),
        (["apply", fit, new, "-o", tmp_path], "is a folder"),
        (["apply", fit, tmp_path / "nowhere", "-o", out], "no such folder"),
        (["apply", fit, task / "labels", "-o", out], "found no dataset.json"),
        (["fit", new, "-o", tmp_path / "f.json"], "cannot be read"),
        (["fit", task / "fold_0" / "predictions", task / "fold_0" / "predictions", "-o", tmp_path / "f.json"], "twice"),
    ]
    for arguments, message in cases:
        assert run(command, *arguments) == 1
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1, said
        assert not out.exists() and not (tmp_path / "f.json").exists()


def test_cases_of_the_fit_are_named(task, fits, tmp_path, capsys):
    known = task / "fold_0" / "predictions"
    assert run("triage", "apply", fits / "triage.json", known, "-o", tmp_path / "t.csv", "-np", 1) == 0
    assert "13 of 13 cases have the name of a case of the fit" in capsys.readouterr().err


def test_areas_have_no_volume(fits, tmp_path, capsys):
    folder = tmp_path / "flat"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(DATASET | {"labels": CLASSES, "file_ending": ".png"}))
    plans = PLANS | {"plans_name": "nnUNetPlans", "image_reader_writer": "NaturalImage2DIO"}
    (folder / "plans.json").write_text(json.dumps(plans))
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((8, 8), np.uint8)), str(folder / "a.png"))
    assert run("volumes", "apply", fits / "volumes.json", folder, "-o", tmp_path / "v.csv", "-np", 1) == 1
    assert "a: is 2D, and an area has no volume" in capsys.readouterr().err
    assert isinstance(VolumeFit(fits / "volumes.json").interval("1"), VolumeInterval) and isinstance(tmp_path, Path)


@pytest.fixture(scope="module")
def sharpened(task, tmp_path_factory):
    """The two folds and the new cases recalibrated by one file: what `recalibrate apply` leaves, with probabilities that are other ones."""
    root = tmp_path_factory.mktemp("sharpened")
    for name in ("fold_0", "fold_1", "new"):
        shutil.copytree(task / name, root / f"RECAL_{name}")
        folder = root / f"RECAL_{name}" / "predictions"
        shutil.rmtree(folder / "calibration", ignore_errors=True)
        record = {
            "held_out": name != "new",
            "temperature": {"temperatures": [0.5]},
            "provenance": {"files": {"predictions": str(task / name / "predictions")}},
        }
        (folder / "recalibration.json").write_text(json.dumps(record))
        if name != "new":
            evaluated(root / f"RECAL_{name}")
    return root


@pytest.mark.parametrize("command", ["volumes", "triage", "thresholds"])
def test_recalibrated_probabilities_against_those_of_the_fit(command, task, sharpened, tmp_path, capsys):
    """A fit of the network's own probabilities was applied to recalibrated ones, and the reverse, without a word."""
    own = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    recalibrated = [sharpened / f"RECAL_{name}" / "predictions" for name in ("fold_0", "fold_1")]
    level = ["--miss", 0.3] if command == "thresholds" else ["--level", 0.8]
    new = {"own": task / "new" / "predictions", "recalibrated": sharpened / "RECAL_new" / "predictions"}
    for fitted, results in (("own", own), ("recalibrated", recalibrated)):
        assert run(command, "fit", *results, "-o", tmp_path / f"{fitted}.json", *level) == 0
        assert "different probabilities" not in capsys.readouterr().err
        for kind, folder in new.items():
            output = tmp_path / f"{fitted}_{kind}"
            assert run(command, "apply", tmp_path / f"{fitted}.json", folder, "-o", output, "-np", 1) == 0
            said = "was fitted on probabilities that were" in capsys.readouterr().err
            assert said is (kind != fitted), (fitted, kind)
    content = json.loads((tmp_path / "recalibrated.json").read_text())
    (kind,) = content["probabilities"]
    assert kind.startswith("recalibrated (temperature file ")
    old = {key: value for key, value in content.items() if key != "probabilities"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert run(command, "apply", tmp_path / "old.json", new["own"], "-o", tmp_path / "of_old", "-np", 1) == 0
    assert "was fitted on" not in capsys.readouterr().err
    assert run(command, "fit", own[0], recalibrated[1], "-o", tmp_path / "mixed.json", *level) == 0
    assert "are of different probabilities" in capsys.readouterr().err


def test_the_width_of_fit_is_that_of_apply_and_compare(task, fits, tmp_path, capsys):
    results = [task / name / "predictions" for name in ("fold_0", "fold_1")]
    assert run("volumes", "fit", *results, "-o", tmp_path / "v.json", "--level", 0.8) == 0
    printed = " ".join(capsys.readouterr().out.split())
    structures = json.loads((tmp_path / "v.json").read_text())["structures"].values()
    used = [f"{each['name']} {each['chosen_bounds']['median_relative_width']:.0%}" for each in structures]
    assert f"as in compare and report: {', '.join(used)}." in printed
    assert "A width is a share of the predicted volume." in printed


def test_a_name_that_looks_like_markup_is_printed_as_it_is(fits, capsys):
    content = json.loads((fits / "volumes.json").read_text())
    for entry, name in zip(content["structures"].values(), ("[/red]", "[b]x[/b]"), strict=True):
        entry["name"] = name
    volumes._print_fit(content)
    printed = capsys.readouterr().out
    assert "[/red]" in printed and "[b]x[/b]" in printed
