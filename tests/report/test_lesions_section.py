"""The report's section on lesions: what it shows, what it refuses, and where it finds the files again."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_nacl.cli import main
from nnunet_nacl.lesions.output import read_json
from nnunet_nacl.lesions.places import place_of
from nnunet_nacl.report.html import render
from nnunet_nacl.report.page_content import Options, prepare_page
from nnunet_nacl.study.run import load_run

PICTURE = "<figcaption>probability</figcaption>"


@pytest.fixture(scope="module")
def folder(phantom_task, dataset_files, tmp_path_factory):
    """Predictions with a false finding of 8 voxels in one case and a missed lesion in another, labels beside them, evaluated."""
    made = tmp_path_factory.mktemp("lesions") / "study"
    predicted, labels = made / "predicted", made / "labels"
    shutil.copytree(phantom_task / "posteriorTr", predicted)
    shutil.copytree(phantom_task / "labelsTr", labels)
    for file in dataset_files:
        shutil.copy(file, predicted)
    _change(predicted / "phantom_001.npz", lambda p: p[:, 0:2, 0:2, 0:2], (0.25, 0.0, 0.75))
    _change(predicted / "phantom_002.npz", lambda p: p, (0.4, 0.6, 0.0))
    assert main(["evaluate", str(predicted), "-gt", str(labels), "-np", "1"]) == 0
    assert main(["lesions", str(predicted), "-gt", str(labels), "-np", "1"]) == 0
    return made


def _change(path, part, values):
    p = np.load(path)["probabilities"]
    part(p)[:] = np.reshape(values, (3, 1, 1, 1))
    np.savez_compressed(path, probabilities=p)


def report(folder, tmp_path, *options):
    path = tmp_path / "report.html"
    assert main(["report", str(folder), *map(str, options), "-o", str(path)]) == 0
    return path.read_text(encoding="utf-8")


def section(page):
    return page.split('<section id="lesions">')[1].split("</section>")[0]


def test_what_is_shown(folder, tmp_path, capsys):
    shown = section(report(folder / "predicted", tmp_path))
    assert "cap: most confident false finding" in shown and "cap: largest missed lesion" in shown
    assert "8 mm³, largest probability 0.750, mean 0.750" in shown
    content = read_json(folder / "predicted" / "lesions" / "lesions.json")
    n_pictures = len(content["extremes"])
    assert n_pictures == 3 == shown.count(PICTURE) == shown.count("<figcaption>label</figcaption>")
    of_cap = content["classes"]["cap"]
    assert f"{of_cap['n_found']} of {of_cap['n_lesions']} lesions found" in shown
    assert f"{of_cap['average_precision']['value']:.3f}" in shown
    assert re.search(r"ends at sensitivity 0\.\d\d with 0\.\d\d false findings", shown)
    assert "nothing" not in capsys.readouterr().err


def test_without_lesions_there_is_no_section(evaluated, tmp_path):
    assert 'id="lesions"' not in report(evaluated.truth, tmp_path)


def test_the_component_is_found_again(folder):
    where = folder / "predicted" / "lesions"
    content = read_json(where / "lesions.json")
    kinds = {(each["kind"], each["class"]): each for each in content["extremes"]}
    false = place_of(content, where, kinds["finding", "cap"])
    assert np.argwhere(false.component).max() == 1 and false.component.sum() == 8
    missed = place_of(content, where, kinds["lesion", "cap"])
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{kinds['lesion', 'cap']['case']}.nii.gz")))
    assert (labels[missed.component] == 2).all() and missed.component.sum() == kinds["lesion", "cap"]["size"]


def test_files_that_moved_with_the_result_are_found(folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    away = folder.with_name("away")
    folder.rename(away)
    try:
        assert section(report(moved / "predicted", tmp_path)).count(PICTURE) == 3
    finally:
        away.rename(folder)


def test_what_cannot_be_pictured_is_said(folder, tmp_path, capsys):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    content = json.loads((copied / "predicted" / "lesions" / "lesions.json").read_text())
    content["provenance"]["files"]["cases"]["phantom_001"][:2] = ["gone.npz", "gone.nii.gz"]
    (copied / "predicted" / "lesions" / "lesions.json").write_text(json.dumps(content))
    page = report(copied / "predicted", tmp_path)
    assert section(page).count(PICTURE) == 2
    assert "No picture of the worst false finding" in page and "gone.npz: no such file" in capsys.readouterr().err


def test_lesions_of_other_predictions_are_left_out_and_refused(folder, tmp_path, capsys):
    """Predicted anew since: found beside the predictions they are left out, in a folder that is named they are an error."""
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    _change(copied / "predicted" / "phantom_003.npz", lambda p: p[:, 0:1, 0:1, 0:1], (0.9, 0.1, 0.0))
    page = report(copied / "predicted", tmp_path)
    line = f"is of other predictions of phantom_003 than {copied}"
    assert 'id="lesions"' not in page and line in page
    assert line in capsys.readouterr().err
    words = ["report", str(copied / "predicted"), "--lesions", str(copied / "predicted" / "lesions")]
    assert main([*words, "-o", str(tmp_path / "r.html")]) == 1
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["cases"].pop(), "has other cases than"),
        (lambda content: content["classes"]["cap"].pop("froc"), "expected froc in classes.cap"),
        (lambda content: content["classes"]["cap"]["sensitivity"].update(value=2), "number from 0 to 1"),
        (lambda content: content["classes"]["cap"]["froc"]["threshold"].append(0.1), "of one length for cap"),
        (lambda content: content.update(schema_version=9), "another version"),
        (lambda content: content.update(file_type="other"), "is no lesions.json"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(change, message, folder, tmp_path, capsys):
    content = json.loads((folder / "predicted" / "lesions" / "lesions.json").read_text())
    change(content)
    (tmp_path / "lesions.json").write_text(json.dumps(content))
    capsys.readouterr()
    words = ["report", str(folder / "predicted"), "--lesions", str(tmp_path), "-o", str(tmp_path / "r.html")]
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_one_folder_for_each_result(folder, evaluated, tmp_path, capsys):
    where = str(folder / "predicted" / "lesions")
    assert main(["report", str(evaluated.truth), "--lesions", where, where, "-o", str(tmp_path / "r.html")]) == 1
    assert "expected a folder of --lesions for each of 1 results" in capsys.readouterr().err


def test_two_runs_and_other_options(folder, tmp_path, capsys):
    predicted, labels = folder / "predicted", ["-gt", str(folder / "labels"), "-np", "1"]
    for name, option in (("alike", "26"), ("otherwise", "6")):
        assert main(["lesions", str(predicted), *labels, "--connectivity", option, "-o", str(tmp_path / name)]) == 0
    other = tmp_path / "again" / "calibration"
    shutil.copytree(predicted / "calibration", other)
    lesions = ["--lesions", predicted / "lesions"]
    shown = section(report(predicted, tmp_path, other, *lesions, tmp_path / "alike"))
    assert shown.count("lesions found") == 4
    assert main(["report", str(predicted), str(other), *map(str, [*lesions, tmp_path / "otherwise"])]) == 1
    assert "were made with other options" in capsys.readouterr().err


def test_hostile_names_stay_text(folder, tmp_path):
    hostile = "<script>window.hacked=1</script>"
    content = json.loads((folder / "predicted" / "lesions" / "lesions.json").read_text())
    content["classes"] = {hostile: content["classes"]["cap"]}
    content["rules"]["in_words"] = content["unit_of_sizes"] = content["rules"]["confidence"] = hostile
    content["extremes"] = [{**content["extremes"][0], "class": hostile, "kind": hostile}]
    (tmp_path / "lesions.json").write_text(json.dumps(content))
    page = render(prepare_page([load_run(folder / "predicted")], Options(lesions=(tmp_path,))))
    assert hostile not in page and "&lt;script&gt;window.hacked=1" in page


@pytest.mark.parametrize("region", [0, 1])
def test_regions(region, tmp_path):
    """Each region is a mask with its number; a voxel written as the core is in both."""
    folder = tmp_path / "predicted"
    (folder / "labels").mkdir(parents=True)
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    dataset = {
        "labels": labels,
        "regions_class_order": [1, 2],
        "channel_names": {"0": "x"},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    plans = {"dataset_name": "Dataset001_R", "image_reader_writer": "SimpleITKIO", "configurations": {}}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    p = np.zeros((2, 4, 6, 6), np.float32)
    p[0, 1:3, 1:4, 1:4], p[1, 1:3, 1:4, 4] = 0.9, 0.8
    np.savez_compressed(folder / "a.npz", probabilities=p)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 6, 6), np.uint8)), str(folder / "labels" / "a.nii.gz"))
    assert main(["lesions", str(folder), "-gt", str(folder / "labels"), "-np", "1"]) == 0
    content = read_json(folder / "lesions" / "lesions.json")
    place = place_of(content, folder / "lesions", content["extremes"][region])
    assert place.structure == region + 1 and set(np.unique(place.predicted)) == {0, region + 1}
    assert place.component.sum() == (24, 6)[region]
    np.testing.assert_array_equal(place.probability, p[region])
