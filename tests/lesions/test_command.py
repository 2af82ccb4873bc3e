"""``nnunet-nacl lesions`` on files, and the mistakes that are made first."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_nacl.cli import main
from nnunet_nacl.lesions import find_lesions


@pytest.fixture
def predicted(phantom_task, dataset_files, tmp_path):
    """The phantom's true posterior, as nnUNetv2_predict leaves it."""
    folder = tmp_path / "predicted"
    shutil.copytree(phantom_task / "posteriorTr", folder)
    for file in dataset_files:
        shutil.copy(file, folder)
    return folder


@pytest.fixture
def command(predicted, phantom_task):
    def run(*options):
        words = ["lesions", predicted, "-gt", phantom_task / "labelsTr", "-np", 1, *options]
        return main([str(word) for word in words])

    return run


def one_line(capsys):
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, printed
    return printed.removeprefix("nnunet-nacl: error: ").rstrip()


def read(folder):
    with (folder / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "lesions.json").read_text(), parse_constant=pytest.fail)


def test_files_hold_what_arrays_give(command, predicted, phantom_task, capsys):
    assert command() == 0
    rows, content = read(predicted / "lesions")
    assert sorted(path.name for path in (predicted / "lesions").iterdir()) == ["lesions.csv", "lesions.json"]
    assert list(content["classes"]) == ["body", "cap"] and len(content["cases"]) == 6
    for case in content["cases"]:
        p = np.load(predicted / f"{case}.npz")["probabilities"]
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(phantom_task / "labelsTr" / f"{case}.nii.gz")))
        found = find_lesions(p, labels)
        its = [row for row in rows if row["case"] == case]
        assert [row["outcome"] for row in its] == [*found.findings.outcome, *found.lesions.outcome]
        assert [float(row["size_mm3"]) for row in its] == [*found.findings.voxels, *found.lesions.voxels]
        # SimpleITK's x and y point the other way than NIfTI's
        assert float(its[0]["x_mm"]) == pytest.approx(-found.findings.centroid_mm[0, 0], abs=1e-6)
        assert float(its[0]["z_mm"]) == pytest.approx(found.findings.centroid_mm[0, 2], abs=1e-6)
    printed = capsys.readouterr().out
    assert "A finding is true if it shares a voxel with a lesion" in printed and "body" in printed


def test_a_name_that_looks_like_markup_is_printed_as_it_is(command, predicted, capsys):
    content = json.loads((predicted / "dataset.json").read_text())
    content["labels"] = {"background": 0, "[/red]": 1, "[b]cap[/b]": 2}
    (predicted / "dataset.json").write_text(json.dumps(content))
    assert command() == 0
    printed = capsys.readouterr().out
    assert "[/red]" in printed and "[b]cap[/b]" in printed


def test_processes_groups_and_classes(command, predicted, tmp_path):
    groups = tmp_path / "groups.csv"
    names = sorted(path.stem for path in predicted.glob("*.npz"))
    groups.write_text("case,group\n" + "".join(f"{name},p{number // 2}\n" for number, name in enumerate(names)))
    assert command("-o", tmp_path / "one") == 0
    assert command("-o", tmp_path / "two", "-np", 2, "--groups", groups, "--class", "cap") == 0
    (rows, content), (grouped, of_groups) = read(tmp_path / "one"), read(tmp_path / "two")
    assert list(of_groups["classes"]) == ["cap"] and of_groups["classes"]["cap"]["n_patients"] == 3
    assert content["classes"]["cap"]["n_findings"] == of_groups["classes"]["cap"]["n_findings"]
    assert [{**row, "group": ""} for row in grouped] == [row for row in rows if row["class"] == "cap"]
    assert {row["group"] for row in grouped} == {"p0", "p1", "p2"}
    assert of_groups["unit_of_intervals"] == "group"


def test_2d_has_no_mm3(tmp_path):
    folder, labels = tmp_path / "predicted", tmp_path / "labels"
    folder.mkdir(), labels.mkdir()
    dataset = {
        "labels": {"background": 0, "spot": 1},
        "channel_names": {"0": "x"},
        "file_ending": ".png",
        "numTraining": 1,
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = {"dataset_name": "Dataset001_Spots", "image_reader_writer": "NaturalImage2DIO", "configurations": {}}
    (folder / "plans.json").write_text(json.dumps(plans))
    image = np.zeros((8, 9), np.uint8)
    image[2:4, 3:6] = 1
    sitk.WriteImage(sitk.GetImageFromArray(image), str(labels / "a.png"))
    p = 0.9 * image[None].astype(np.float32)
    np.savez_compressed(folder / "a.npz", probabilities=np.stack([1 - p, p]))
    assert main(["lesions", str(folder), "-gt", str(labels), "-np", "1"]) == 0
    rows, content = read(folder / "lesions")
    assert content["unit_of_sizes"] == "pixels"
    # a png has no position in the world: voxels, and no mm
    assert [tuple(row[name] for name in ("x", "y", "z", "x_mm", "y_mm", "z_mm")) for row in rows] == [
        ("4", "2.5", "0", "", "", "")
    ] * 2
    assert [(row["voxels"], row["size_mm3"], row["outcome"]) for row in rows] == [("6", "", "true"), ("6", "", "found")]


@pytest.mark.parametrize("known", [True, False])
def test_tiff(known, tmp_path, capsys):
    """Without a spacing sizes are in voxels and the note says so, with one they are in mm3; there is a position in neither."""
    folder, labels = tmp_path / "predicted", tmp_path / "labels"
    folder.mkdir(), labels.mkdir()
    dataset = {
        "labels": {"background": 0, "spot": 1},
        "channel_names": {"0": "x"},
        "file_ending": ".tif",
        "numTraining": 1,
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = {"dataset_name": "Dataset001_Spots", "image_reader_writer": "Tiff3DIO", "configurations": {}}
    (folder / "plans.json").write_text(json.dumps(plans))
    image = np.zeros((4, 8, 9), np.uint8)
    image[1, 2:4, 3:6] = 1
    tifffile.imwrite(labels / "a.tif", image)
    tifffile.imwrite(folder / "a.tif", np.zeros_like(image))
    if known:
        (labels / "a.json").write_text(json.dumps({"spacing": [2, 1, 1]}))
    p = 0.9 * image[None].astype(np.float32)
    np.savez_compressed(folder / "a.npz", probabilities=np.concatenate([1 - p, p]))
    assert main(["lesions", str(folder), "-gt", str(labels), "-np", "1"]) == 0
    rows, content = read(folder / "lesions")
    assert content["unit_of_sizes"] == ("mm3" if known else "voxels")
    assert {(row["size_mm3"], row["x"], row["x_mm"]) for row in rows} == {("12" if known else "", "4", "")}
    printed = capsys.readouterr()
    assert "Dice" not in printed.err and "HD95" not in printed.err
    assert "findings and their confidence are those of the probabilities" in printed.err
    assert ("sizes, also those of --sizes, are in voxels" in printed.err) is not known
    assert "1 case; 95 %" in printed.out


def test_an_interruption_leaves_nothing_behind(command, predicted, monkeypatch):
    import nnunet_nacl.lesions.output as output

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "_short", interrupt)
    assert command() == 130
    assert not (predicted / "lesions").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "liver"], "has no class 'liver' for --class. There are body, cap."),
        (["--sizes", "100", "10"], "Expected --sizes to be ascending sizes, but got 100 10."),
        (["--iou", "0.5"], "--iou is only used with --overlap iou, but --overlap is any."),
        (["--iou", "0.1", "--overlap", "centroid"], "--iou is only used with --overlap iou"),
    ],
)
def test_choices_that_there_are_not(options, message, command, predicted, capsys):
    assert command(*options) == 1
    assert message in one_line(capsys)
    assert not (predicted / "lesions").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--iou", "abc"], "argument --iou: expected a number, got 'abc'"),
        (["--sizes", "1", "x"], "argument --sizes: expected a number, got 'x'"),
        (["--sizes", "nan"], "argument --sizes: expected a size above 0, got nan"),
    ],
)
def test_words_that_are_no_numbers(options, message, command, capsys):
    with pytest.raises(SystemExit):
        command(*options)
    assert message in capsys.readouterr().err


def test_a_folder_where_the_file_should_go_is_named(command, predicted, capsys):
    (predicted / "lesions" / "lesions.csv").mkdir(parents=True)
    assert command() == 1
    assert f"error: {predicted / 'lesions' / 'lesions.csv'}: Is a directory" in capsys.readouterr().err


def test_the_table_has_whole_headings_on_80_columns(command, predicted, monkeypatch, capsys):
    from nnunet_nacl.commands import lesions

    assert command() == 0
    _, content = read(predicted / "lesions")
    content["classes"] = {"posterior part": content["classes"]["body"] | {"n_lesions": 160}}
    content["classes"]["posterior part"]["false_findings_per_patient"] = {"value": 13.02, "low": 12.65, "high": 13.42}
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    lesions._print(content)
    printed = capsys.readouterr().out
    assert "…" not in printed and all(word in printed for word in ("sensitivity", "precision", "findings", "6 cases"))


def test_little_memory_is_not_nothing(command, capsys):
    assert command("--max-memory", "1M") == 0
    assert "more than the 1 MiB there are" in capsys.readouterr().err


def test_no_softmax_files(command, predicted, capsys):
    for file in predicted.glob("*.npz"):
        file.unlink()
    assert command() == 1
    assert "no softmax file (.npz)" in one_line(capsys)


def test_folds(predicted, phantom_task, tmp_path, capsys):
    """Two folders give what one of all cases gives; a case that is in both is refused, and so is no place to write to."""
    other, labels = tmp_path / "other", ["-gt", str(phantom_task / "labelsTr"), "-np", "1"]
    assert main(["lesions", str(predicted), *labels, "-o", str(tmp_path / "one")]) == 0
    shutil.copytree(predicted, other)
    for number in range(3):
        (predicted / f"phantom_00{number}.npz").unlink()
        (other / f"phantom_00{number + 3}.npz").unlink()
    assert main(["lesions", str(predicted), str(other), *labels, "-o", str(tmp_path / "two")]) == 0
    (rows, content), (of_two, both) = read(tmp_path / "one"), read(tmp_path / "two")
    assert rows == of_two and content["classes"] == both["classes"]
    capsys.readouterr()
    assert main(["lesions", str(predicted), str(other), *labels]) == 1
    assert "Pass one with -o" in one_line(capsys)
    shutil.copy(other / "phantom_000.npz", predicted)
    assert main(["lesions", str(predicted), str(other), *labels, "-o", str(tmp_path / "three")]) == 1
    assert one_line(capsys).startswith(f"phantom_000: is in {predicted} and in {other}.")


def test_swapped_folders(predicted, phantom_task, capsys):
    assert main(["lesions", str(phantom_task / "labelsTr"), "-gt", str(predicted)]) == 1
    assert "are they swapped? Predictions come first" in one_line(capsys)


def test_another_geometry(command, predicted, phantom_task, tmp_path, capsys):
    labels = tmp_path / "labels"
    shutil.copytree(phantom_task / "labelsTr", labels)
    path = str(labels / "phantom_000.nii.gz")
    sitk.WriteImage(sitk.ReadImage(path)[:, :, :8], path)
    assert main(["lesions", str(predicted), "-gt", str(labels), "-np", "1"]) == 1
    assert "phantom_000.npz: expected shape (3, 8, 16, 16) to match the label file" in one_line(capsys)
    assert not (predicted / "lesions").exists()


def test_a_case_without_group_is_said_before_anything_is_read(command, predicted, tmp_path, capsys):
    (predicted / "phantom_000.npz").write_bytes(b"damaged")
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\nphantom_000,a\n")
    assert command("--groups", groups) == 1
    assert f"{groups}: has no group for phantom_001" in one_line(capsys)


def test_logits_and_damaged_files(command, predicted, capsys):
    path = predicted / "phantom_003.npz"
    p = np.load(path)["probabilities"]
    np.savez_compressed(path, probabilities=np.log(p + 1e-6))
    assert command() == 1
    assert "phantom_003.npz with" in (line := one_line(capsys)) and "Are these logits?" in line
    path.write_bytes(path.read_bytes()[:-40])
    assert command() == 1
    assert "phantom_003.npz" in one_line(capsys)


def test_the_defaults_of_the_command_are_those_of_the_library():
    from nnunet_nacl.commands import lesions
    from nnunet_nacl.lesions import rules

    assert rules.Overlap.__args__ == lesions.OVERLAPS and rules.Confidence.__args__ == lesions.CONFIDENCES
    assert rules.Duplicates.__args__ == lesions.DUPLICATES and lesions.SIZES == rules.DEFAULT_SIZES
    assert math.isclose(rules.DEFAULT_IOU, lesions.IOU)
