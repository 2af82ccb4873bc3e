"""`nnunet-nacl compare`: common cases, refused protocols, figures."""

import json
import shutil

import numpy as np
import pytest

from nnunet_nacl.cli import main


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
        command = ["evaluate", phantom_task / "labelsTr", folder, "-djfile", dataset, "-pfile", plans, "-np", 1]
        assert main([str(part) for part in [*command, "-o", outputs[-1]]]) == 0
    return outputs


def test_side_by_side(runs, tmp_path, capsys):
    assert main(["compare", *map(str, runs), "--figure", str(tmp_path / "both.svg")]) == 0
    printed = capsys.readouterr().out
    assert "Mean over 4 common cases" in printed
    assert "nnUNetTrainerX" in printed
    assert "left out of truth, since not every run has them: phantom_004, phantom_005" in printed
    truth = json.loads((runs[0] / "calibration.json").read_text())
    expected = np.mean([case["voxel_sets"]["union"]["NLL"] for case in truth["metric_per_case"][:4]])
    assert f"{expected:.4f}" in printed
    assert (tmp_path / "both.svg").read_text().startswith("<?xml")


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
    assert "expected schema version 2, but got 99" in capsys.readouterr().err


def test_no_common_case(runs, phantom_task, dataset_files, tmp_path, capsys):
    dataset, plans = dataset_files
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(phantom_task / "posteriorTr" / "phantom_005.npz", only)
    assert (
        main(
            [
                str(p)
                for p in ["evaluate", phantom_task / "labelsTr", only, "-djfile", dataset, "-pfile", plans, "-np", 1]
            ]
        )
        == 0
    )
    assert main(["compare", str(runs[1]), str(only)]) == 1
    assert "have no case in common" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["picture.xyz", "no/such/folder/picture.png"])
def test_figure_that_cannot_be_written(figure, runs, tmp_path, capsys):
    assert main(["compare", str(runs[0]), "--figure", str(tmp_path / figure)]) == 1
    assert "cannot be written" in capsys.readouterr().err
