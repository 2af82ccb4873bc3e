"""`nnunet-nacl compare` on evaluated folders: the table, the files, refused input, figures."""

import json
import shutil

import numpy as np
import pytest

from nnunet_nacl.calibration import VOXEL_SETS
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION


@pytest.fixture
def runs(phantom_task, dataset_files, tmp_path):
    """The true posterior, and its first four cases squared and normalised (overconfident)."""
    dataset, plans = dataset_files
    sharp = tmp_path / "sharp" / "predictions"
    sharp.mkdir(parents=True)
    for path in sorted((phantom_task / "posteriorTr").iterdir())[:4]:
        squared = np.load(path)["probabilities"].astype(float) ** 2
        np.savez_compressed(sharp / path.name, probabilities=squared / squared.sum(0))
    outputs = []
    for name, folder in (("truth", phantom_task / "posteriorTr"), ("sharp", sharp)):
        outputs.append(
            tmp_path / name / "nnUNetTrainerX__plans__3d_fullres" / "fold_0" if name == "sharp" else tmp_path / name
        )
        command = ["evaluate", folder, "-gt", phantom_task / "labelsTr", "-djfile", dataset, "-pfile", plans, "-np", 1]
        assert main([str(part) for part in [*command, "-o", outputs[-1]]]) == 0
    return outputs


def test_compare(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = tmp_path / "new" / "comparison"
    assert main(["compare", *map(str, runs), "--figure", str(tmp_path / "both.svg"), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "nnUNetTrainerX\nagainst truth, 4 cases" in printed
    assert "left out of truth, since not every run has them: phantom_004, phantom_005" in printed
    means = []
    for run in runs:
        cases = json.loads((run / "calibration.json").read_text())["metric_per_case"][:4]
        means.append(np.mean([case["voxel_sets"]["union"]["NLL"] for case in cases]))
    line = next(line for line in printed.splitlines() if line.lstrip().startswith("NLL") and "union*" in line)
    assert line.split()[2:5] == [f"{means[0]:.4f}", f"{means[1]:.4f}", f"{means[1] - means[0]:+.4f}"]
    said = " ".join(printed.split())
    assert (
        "this trainer, trained again: no answer, since neither base nor run knows which fold its cases are of" in said
    )
    assert "not judged" not in said, "said once"
    assert "no test" in printed  # four cases cannot give p < 0.05
    content = json.loads((output / "comparison.json").read_text())
    assert content["cases"] == [f"phantom_{number:03d}" for number in range(4)]
    assert content["left_out"] == {"truth": ["phantom_004", "phantom_005"], "nnUNetTrainerX": []}
    assert (output / "comparison.csv").read_text().startswith("run,score,voxel_set,class,class_name,")
    found = content["decisions"]["failure_detection"]
    assert [(held["run"], held["class"]) for held in found["runs"][:2]] == [
        ("truth", "mean"),
        ("nnUNetTrainerX", "mean"),
    ]
    assert found["differences"][0]["in_words"] == "not told: too few cases"
    assert "Which cases should be looked at?" in said and "How large, and how sure?" in said
    assert (output / "comparison_decisions.csv").read_text().startswith("run,class,quantity,n_cases,value,")
    assert (tmp_path / "both.svg").read_text().startswith("<?xml")


def test_sharpened_probabilities_are_worse_calibrated(phantom_task, dataset_files, tmp_path, capsys):
    """The true posterior against itself squared and normalised, over six cases and one test: p = 2 / 2**6."""
    dataset, plans = dataset_files
    for name, power in (("truth", 1), ("sharp", 3)):
        (tmp_path / name).mkdir()
        for path in sorted((phantom_task / "posteriorTr").glob("*.npz")):
            raised = np.load(path)["probabilities"].astype(float) ** power
            np.savez_compressed(tmp_path / name / path.name, probabilities=raised / raised.sum(0))
        command = [
            "evaluate",
            tmp_path / name,
            "-gt",
            phantom_task / "labelsTr",
            "-djfile",
            dataset,
            "-pfile",
            plans,
            "-np",
            1,
        ]
        assert main([str(part) for part in command]) == 0
    command = [
        "compare",
        tmp_path / "truth",
        tmp_path / "sharp",
        "-o",
        tmp_path,
        "--scores",
        "NLL",
        "--voxel-sets",
        "all",
    ]
    assert main([str(part) for part in command]) == 0
    (test,) = json.loads((tmp_path / "comparison.json").read_text())["tests"]
    assert (test["p"], test["p_holm"], test["method"], test["n_higher"]) == (2 / 64, 2 / 64, "exact", 6)
    assert test["verdict"] == "worse"
    assert test["in_words"].startswith("worse probabilities: NLL higher by ")
    # what was sharpened has the same most probable class, so the same segmentation
    main(
        [
            "compare",
            str(tmp_path / "truth"),
            str(tmp_path / "sharp"),
            "-o",
            str(tmp_path),
            "--scores",
            "Dice",
            "--per-class",
        ]
    )
    tests = json.loads((tmp_path / "comparison.json").read_text())["tests"]
    assert {test["in_words"] for test in tests} == {"not tested: equal in all 6 cases"}
    assert [test["class_name"] for test in tests] == [None, "body", "cap"]


def test_merged_folds_are_one_run(phantom_task, dataset_files, tmp_path, capsys):
    """Two folds of three cases each, merged for each of two trainers: six pairs."""
    dataset, plans = dataset_files
    files = sorted((phantom_task / "posteriorTr").glob("*.npz"))
    merged = []
    for trainer, power in (("truth", 1), ("sharp", 2)):
        folds = []
        for fold in (0, 1):
            folds.append(tmp_path / f"{trainer}__P__3d_fullres" / f"fold_{fold}")
            folds[-1].mkdir(parents=True)
            for path in files[fold::2]:
                raised = np.load(path)["probabilities"].astype(float) ** power
                np.savez_compressed(folds[-1] / path.name, probabilities=raised / raised.sum(0))
            command = [
                "evaluate",
                folds[-1],
                "-gt",
                phantom_task / "labelsTr",
                "-djfile",
                dataset,
                "-pfile",
                plans,
                "-np",
                1,
            ]
            assert main([str(part) for part in command]) == 0
        merged.append(tmp_path / "merged" / trainer)
        assert main(["merge", *map(str, folds), "-o", str(merged[-1])]) == 0
    assert main(["compare", *map(str, merged), "-o", str(tmp_path), "--scores", "NLL", "--voxel-sets", "all"]) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert (content["base"], content["runs"], len(content["cases"])) == ("truth", ["sharp"], 6)
    assert content["tests"][0]["p"] == 2 / 64
    folds = content["tests"][0]["parts"]
    assert [(name, fold["n_pairs"]) for name, fold in folds.items()] == [("fold_0", 3), ("fold_1", 3)]
    assert content["tests"][0]["same_sign"] is True
    assert content["verdicts"][0]["in_words"] == "not judged: Dice, ECE predicted, ECE all not compared"
    assert "fold_0  fold_1" in capsys.readouterr().out
    command = ["compare", *map(str, merged), "-o", str(tmp_path), "--scores", "NLL", "--voxel-sets", "all"]
    assert main([*command, "--parts", "fold_1"]) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["cases"] == ["phantom_001", "phantom_003", "phantom_005"]
    assert content["tests"][0]["difference"] == folds["fold_1"]["difference"]
    assert main([*command, "--parts", "fold_2"]) == 1
    assert "has no part fold_2; it has fold_0, fold_1" in capsys.readouterr().err


def test_every_voxel_set_is_compared(runs, tmp_path):
    assert main(["compare", *map(str, runs), "-o", str(tmp_path), "--scores", "ECE"]) == 0
    tests = json.loads((tmp_path / "comparison.json").read_text())["tests"]
    assert [test["voxel_set"] for test in tests] == list(VOXEL_SETS)


def test_groups(runs, tmp_path, capsys):
    """Four cases of three patients; a file without one of them is refused, and so is one that is not there."""
    table = tmp_path / "cases.csv"
    table.write_text("case,group\n" + "".join(f"phantom_{n:03d},patient {n // 2 if n < 2 else n}\n" for n in range(4)))
    command = ["compare", *map(str, runs), "-o", str(tmp_path), "--scores", "ECE", "--voxel-sets", "all", "--groups"]
    assert main([*command, str(table)]) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["protocol"]["unit"] == "group of cases"
    assert content["groups"] == {f"phantom_{n:03d}": f"patient {n // 2 if n < 2 else n}" for n in range(4)}
    assert [(test["n_pairs"], test["n_units"]) for test in content["tests"]] == [(4, 3)]
    table.write_text("case,group\nphantom_000,a\n")
    assert main([*command, str(table)]) == 1
    assert "cases.csv: has no group for phantom_001, phantom_002, phantom_003" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "missing.csv")]) == 1
    assert "missing.csv: cannot be read" in capsys.readouterr().err


def test_the_same_folder_twice(runs, capsys):
    assert main(["compare", str(runs[0]), str(runs[0])]) == 1
    assert "expected at least one run beside the base" in capsys.readouterr().err


def test_former_options_of_the_bootstrap(runs, capsys):
    assert main(["compare", *map(str, runs), "--seed", "3", "--replicates", "100"]) == 0
    error = capsys.readouterr().err
    assert error.count("has no effect, since intervals no longer use random numbers") == 2
    assert "Traceback" not in error


def test_a_run_is_demanded(runs, capsys):
    with pytest.raises(SystemExit):
        main(["compare", str(runs[0])])
    assert "required: RUN" in capsys.readouterr().err


def test_folder_that_cannot_be_written_to(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["compare", *map(str, runs), "-o", str(tmp_path / "file")]) == 1
    assert "cannot be written to" in capsys.readouterr().err


def test_other_protocol_is_refused(runs, capsys):
    path = runs[1] / "calibration.json"
    summary = json.loads(path.read_text())
    summary["protocol"]["n_bins"] = 10
    path.write_text(json.dumps(summary))
    assert main(["compare", *map(str, runs)]) == 1
    assert "was evaluated differently from" in (error := capsys.readouterr().err)
    assert "n_bins 15 against 10" in error


@pytest.mark.parametrize("name", ["calibration.json", "calibration_bins.npz"])
@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_missing_or_broken_files(runs, name, damage, capsys):
    (runs[1] / name).unlink()
    if damage == "broken":
        (runs[1] / name).write_text("{")
    assert main(["compare", *map(str, runs)]) == 1
    assert f"{name}: cannot be read" in (error := capsys.readouterr().err)
    assert "Traceback" not in error


def test_other_schema(runs, capsys):
    path = runs[1] / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    assert main(["compare", *map(str, runs)]) == 1
    assert f"expected schema version {SCHEMA_VERSION}, but got 99" in capsys.readouterr().err


def test_no_common_case(runs, phantom_task, dataset_files, tmp_path, capsys):
    dataset, plans = dataset_files
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(phantom_task / "posteriorTr" / "phantom_005.npz", only)
    assert (
        main(
            [
                str(p)
                for p in [
                    "evaluate",
                    only,
                    "-gt",
                    phantom_task / "labelsTr",
                    "-djfile",
                    dataset,
                    "-pfile",
                    plans,
                    "-np",
                    1,
                ]
            ]
        )
        == 0
    )
    assert main(["compare", str(runs[1]), str(only)]) == 1
    assert "have no case in common" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["picture.xyz", "no/such/folder/picture.png"])
def test_figure_that_cannot_be_written(figure, runs, tmp_path, capsys):
    assert main(["compare", *map(str, runs), "--figure", str(tmp_path / figure)]) == 1
    assert "cannot be written" in capsys.readouterr().err
