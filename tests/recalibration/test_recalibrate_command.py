"""`nnunet-nacl recalibrate` on the phantom's sharpened posterior: repaired, nothing leaks, whole files, one line where input is bad."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.special import softmax

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.cli import main
from nnunet_nacl.commands.recalibrate import VOXEL_SETS as NAMED_SETS
from nnunet_nacl.recalibration.fit import Options, fit_folders
from nnunet_nacl.recalibration.heads import Problem
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.selection import FIT_SETS, select

ORIGIN, SPACING, DIRECTION = (-12.5, 33.0, 7.25), (0.5, 0.75, 2.0), (0, 1, 0, -1, 0, 0, 0, 0, 1)


@pytest.fixture(scope="module")
def larger_task(tmp_path_factory):
    """Twenty phantoms of 32 voxels a side: enough voxels to see a temperature within a percent."""
    folder = tmp_path_factory.mktemp("phantom") / "Task98_Larger"
    write_task(folder, n_cases=20, size=32)
    return folder


def sharpen(source, target, temperature):
    """Write softmax files of a sharpened posterior, and segmentations with a geometry of their own."""
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.npz")):
        with np.load(path) as stored:
            probabilities = stored["probabilities"].astype(float)
        probabilities = softmax(np.log(np.maximum(probabilities, 1e-38)) / temperature, axis=0).astype(np.float32)
        np.savez_compressed(target / path.name, probabilities=probabilities)
        write_segmentation(probabilities.argmax(0), target / path.name.replace(".npz", ".nii.gz"))
    return target


def write_segmentation(values, path):
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.SetOrigin(ORIGIN)
    image.SetSpacing(SPACING)
    image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def predictions(phantom_task, tmp_path):
    return sharpen(phantom_task / "posteriorTr", tmp_path / "predictions", 0.5)


@pytest.fixture
def fit(phantom_task, predictions, dataset_files, tmp_path):
    def run(*extra, folders=(predictions,), labels=phantom_task / "labelsTr", output=tmp_path / "temperature.json"):
        dataset, plans = dataset_files
        command = ["recalibrate", "fit", *folders, "-gt", labels, "-djfile", dataset, "-pfile", plans, "-o", output]
        method = [] if {"--method", "--per-class"} & set(extra) else ["--method", "temperature"]
        status = main([str(part) for part in [*command, *method, *extra]])
        return json.loads(output.read_text()) if status == 0 else status

    return run


@pytest.fixture
def apply(predictions, dataset_files, tmp_path):
    def run(*extra, predictions=predictions, temperature=tmp_path / "temperature.json", output=tmp_path / "out"):
        dataset, plans = dataset_files
        command = ["recalibrate", "apply", temperature, predictions, "-o", output, "-djfile", dataset, "-pfile", plans]
        return main([str(part) for part in [*command, "-np", 1, *extra]])

    return run


def evaluated(labels, folder, output):
    """Evaluate with nothing but what lies in the folder itself."""
    files = ["-djfile", folder / "dataset.json", "-pfile", folder / "plans.json", "-np", 1, "-o", output]
    assert main([str(part) for part in ["evaluate", folder, "-gt", labels, *files]]) == 0
    return json.loads((output / "calibration.json").read_text())


def labels_of(content):
    return [case["case"] for case in content["cases"]]


@pytest.mark.parametrize("voxel_set", ["predicted", "all"])
def test_sharpened_phantom_is_repaired(voxel_set, larger_task, fit, apply, tmp_path):
    sharp = sharpen(larger_task / "posteriorTr", tmp_path / "sharp", 0.5)
    content = fit("--voxel-set", voxel_set, folders=[sharp], labels=larger_task / "labelsTr")
    assert content["temperatures"] == pytest.approx([2.0] * 3, rel=0.01)
    scores = content["scores"]
    assert scores["before"]["classes"]["pooled"]["predicted"]["ECE"] > 0.05
    assert apply("--held-out", predictions=sharp) == 0
    repaired = evaluated(larger_task / "labelsTr", tmp_path / "out", tmp_path / "evaluated")
    assert repaired["pooled"]["predicted"]["ECE"] < 0.01
    assert repaired["pooled"]["all"]["ECE"] < 0.001
    for name in VOXEL_SETS:
        for part in ("pooled", "per_case"):
            announced = scores["after"]["classes"][part][name]
            for score in ("ECE", "NLL", "Brier", "class_wise_ECE"):
                assert repaired[part][name][score] == pytest.approx(announced[score], abs=1e-6), (name, part, score)


def test_only_sets_chosen_without_the_label_leave_the_truth_alone(larger_task, fit):
    """The evidence behind the default voxel set; the figures are in docs/recalibrating.md."""
    fitted = {
        name: fit("--voxel-set", name, folders=[larger_task / "posteriorTr"], labels=larger_task / "labelsTr")
        for name in FIT_SETS
    }
    temperature = {name: content["temperatures"][0] for name, content in fitted.items()}
    assert temperature["predicted"] == pytest.approx(1, abs=0.01)
    assert temperature["all"] == pytest.approx(1, abs=0.01)
    assert temperature["foreground"] > 1.3
    assert temperature["union"] > 1.5
    ece = fitted["union"]["scores"]
    assert (
        ece["after"]["classes"]["pooled"]["predicted"]["ECE"]
        > 5 * ece["before"]["classes"]["pooled"]["predicted"]["ECE"]
    )


def test_sets_are_the_same_in_command_and_library():
    assert tuple(FIT_SETS) == NAMED_SETS


def test_fit_sets_are_the_evaluator_s(phantom_task):
    path = phantom_task / "posteriorTr" / "phantom_001.npz"
    probabilities = np.load(path)["probabilities"].reshape(3, -1)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(phantom_task / "labelsTr" / "phantom_001.nii.gz"))).reshape(-1)
    statistics = CalibrationStatistics.empty(3)
    statistics.update(probabilities, labels)
    problem = Problem(probabilities, labels, np.zeros(labels.size, bool))
    for name in FIT_SETS:
        selected = select(problem, name)
        assert selected.labels.size + selected.n_exact == statistics.scores(name).n_voxels > 0


def test_each_part_is_fitted_on_the_others_alone(fit, predictions, tmp_path):
    content = fit("--cross-fit", "--cross-fit-parts", 3)
    parts = content["cross_fit"]["parts"]
    assert sorted(name for part in parts for name in part["cases"]) == sorted(labels_of(content))
    assert [len(part["cases"]) for part in parts] == [2, 2, 2]
    for number, part in enumerate(parts):
        others = tmp_path / f"others{number}"
        others.mkdir()
        for name in labels_of(content):
            if name not in part["cases"]:
                shutil.copy(predictions / f"{name}.npz", others)
        alone = fit(folders=[others], output=tmp_path / f"others{number}.json")
        assert part["temperatures"] == pytest.approx(alone["temperatures"], rel=1e-6)
    assert len({part["temperatures"][0] for part in parts}) == 3
    assert fit("--cross-fit", "--cross-fit-parts", 3)["cross_fit"] == content["cross_fit"]
    assert fit("--cross-fit", "--cross-fit-parts", 3, "--seed", 1)["cross_fit"]["parts"] != parts


def test_folders_are_the_parts(fit, predictions, tmp_path, apply):
    folders = [tmp_path / "fold_0", tmp_path / "fold_1"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for path in sorted(predictions.iterdir())[number * 6 : number * 6 + 6]:
            shutil.copy(path, folder)
    content = fit("--cross-fit", folders=folders)
    assert [part["name"] for part in content["cross_fit"]["parts"]] == [str(folder) for folder in folders]
    alone = [fit(folders=[folder], output=tmp_path / "alone.json")["temperatures"] for folder in folders]
    crossed = [part["temperatures"] for part in content["cross_fit"]["parts"]]
    np.testing.assert_allclose(crossed, alone[::-1], rtol=1e-6)
    np.testing.assert_allclose(content["temperatures"], fit(output=tmp_path / "all.json")["temperatures"], rtol=1e-6)
    # --held-out gives each case the temperature of the other folder
    assert apply("--held-out", predictions=folders[0]) == 0
    with np.load(next(folders[0].glob("*.npz"))) as given, np.load(next((tmp_path / "out").glob("*.npz"))) as written:
        logits = np.log(np.maximum(given["probabilities"], 2.0**-126, dtype=float))
        expected = softmax(logits / alone[1][0], axis=0)
        np.testing.assert_allclose(written["probabilities"], expected, atol=1e-6)
    record = json.loads((tmp_path / "out" / "recalibration.json").read_text())
    assert record["held_out"]
    assert not any(case["fitted_on"] for case in record["cases"])


def test_after_scores_are_held_out(fit):
    """Temperature of a case, from the file, gives the pooled NLL that is announced."""
    content = fit("--cross-fit", "--cross-fit-parts", 2)
    own = {name: part["temperatures"][0] for part in content["cross_fit"]["parts"] for name in part["cases"]}
    nats, voxels = 0.0, 0
    for case in content["cases"]:
        with np.load(case["prediction_file"]) as stored:
            logits = np.log(np.maximum(stored["probabilities"].reshape(3, -1), 2.0**-126, dtype=float))
        labels = sitk.GetArrayFromImage(sitk.ReadImage(case["reference_file"])).reshape(-1)
        tempered = softmax(logits / own[case["case"]], axis=0)
        nats -= np.log(np.maximum(tempered[labels, np.arange(labels.size)], 1e-12)).sum()
        voxels += labels.size
    assert content["scores"]["held_out"]
    assert content["scores"]["after"]["classes"]["pooled"]["all"]["NLL"] == pytest.approx(nats / voxels, rel=1e-5)


@pytest.mark.parametrize("max_voxels", [None, 700])
@pytest.mark.parametrize("method", METHODS)
def test_files_beyond_the_memory_give_the_same(max_voxels, method, phantom_task, predictions, dataset_files, tmp_path):
    results = [
        fit_folders(
            [predictions],
            phantom_task / "labelsTr",
            *dataset_files,
            Options(memory=memory, max_voxels=max_voxels, method=method),
            tmp_path,
        )
        for memory in (2**30, 1)
    ]
    assert [result.n_kept_in_memory for result in results] == [6, 0]
    one, two = (METHODS[method].to_json(result.fitted.maps, "softmax", 3) for result in results)
    for name in {"temperatures", "slopes", "offsets"} & one.keys():
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-4)
    assert results[0].fitted.fits[0].n_voxels == results[1].fitted.fits[0].n_voxels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions"]  # no scratch file is left


def test_subsampling_is_asked_for_and_said(fit, capsys):
    everything = fit()
    assert everything["counts"]["subsampled"] is None
    assert everything["counts"]["n_fitted"] == everything["fits"][0]["n_voxels"]
    capsys.readouterr()
    content = fit("--max-voxels", 500)
    assert content["fits"][0]["n_voxels"] == content["counts"]["n_fitted"] == 500
    assert content["counts"]["subsampled"]["of"] == everything["counts"]["n_fitted"]
    assert "fitted on 500 voxels of the set `predicted`, drawn from" in capsys.readouterr().out
    assert content["temperatures"] != everything["temperatures"]
    assert fit("--max-voxels", 500)["temperatures"] == content["temperatures"]
    assert fit("--max-voxels", 10**9)["temperatures"] == everything["temperatures"]


def test_ignored_voxels_have_no_part(fit, phantom_task, predictions, dataset_files, tmp_path):
    """Half of each label map is ignored, and nonsense is predicted there."""
    labels, cropped, dataset = tmp_path / "labels", tmp_path / "cropped", json.loads(dataset_files[0].read_text())
    labels.mkdir()
    cropped.mkdir()
    (cropped / "labels").mkdir()
    for path in (phantom_task / "labelsTr").iterdir():
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        sitk.WriteImage(sitk.GetImageFromArray(values[8:]), str(cropped / "labels" / path.name))
        values[:8] = 3
        sitk.WriteImage(sitk.GetImageFromArray(values), str(labels / path.name))
        prediction = predictions / path.name.replace(".nii.gz", ".npz")
        with np.load(prediction) as stored:
            probabilities = stored["probabilities"]
        probabilities[:, :8] = np.array([0.1, 0.2, 0.7]).reshape(3, 1, 1, 1)
        np.savez_compressed(prediction, probabilities=probabilities)
        np.savez_compressed(cropped / prediction.name, probabilities=probabilities[:, 8:])
    dataset["labels"]["ignore"] = 3
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    ignoring = fit("-djfile", tmp_path / "dataset.json", labels=labels)
    assert ignoring["counts"]["n_ignored"] == 6 * 8 * 16 * 16
    half = fit(folders=[cropped], labels=cropped / "labels")
    assert ignoring["temperatures"] == pytest.approx(half["temperatures"], rel=1e-6)
    assert ignoring["scores"]["after"] == half["scores"]["after"]


def test_exact_voxels_are_left_out_and_counted(fit, predictions, capsys):
    """nnU-Net writes [1, 0, 0] outside its crop, and a probability of 0 where a float32 has underflown."""
    before = fit("--voxel-set", "all")
    path = predictions / "phantom_000.npz"
    with np.load(path) as stored:
        probabilities = stored["probabilities"]
    probabilities[:, 0] = np.array([1, 0, 0]).reshape(3, 1, 1)
    probabilities[:, 15, 15, :5] = np.array([0.75, 0.25, 0]).reshape(3, 1)
    np.savez_compressed(path, probabilities=probabilities)
    capsys.readouterr()
    content = fit("--voxel-set", "all")
    counts, counts_before = (found["counts"]["problems"]["classes"] for found in (content, before))
    assert counts["n_exact_left_out"] == counts_before["n_exact_left_out"] + 16 * 16
    assert counts["n_selected"] == counts_before["n_selected"] - 16 * 16
    assert counts["n_floored"] == counts_before["n_floored"] + 5
    case = content["cases"][0]["reference_file"]
    wrong = np.count_nonzero(sitk.GetArrayFromImage(sitk.ReadImage(case))[0])
    assert counts["n_exact_and_wrong"] == wrong + counts_before["n_exact_and_wrong"]
    assert "256 voxels with all probability on one class left out" in capsys.readouterr().out


@pytest.mark.parametrize("extra", [(), ("--memory-bytes",)])
def test_apply_writes_what_nnunet_writes(extra, fit, apply, predictions, dataset_files, tmp_path, capsys, monkeypatch):
    if extra:
        from nnunet_nacl.recalibration import volumes

        monkeypatch.setattr(volumes, "BLOCK_VALUES", 1000)
    temperature = fit()["temperatures"][0]
    capsys.readouterr()
    assert apply() == 0
    assert "6 cases; the recalibration changed the label of 0 voxels." in (printed := capsys.readouterr().out)
    assert "6 of these cases were used for the fit, so their scores will be too good." in printed
    assert "postprocessed" not in printed
    out = tmp_path / "out"
    names = {path.name for path in predictions.iterdir()} | {"dataset.json", "plans.json", "recalibration.json"}
    assert {path.name for path in out.iterdir()} == names
    for path in predictions.glob("*.npz"):
        with np.load(path) as given, np.load(out / path.name, allow_pickle=False) as written:
            assert written.files == ["probabilities"]
            assert written["probabilities"].dtype == np.float32
            logits = np.log(np.maximum(given["probabilities"], 2.0**-126, dtype=float))
            np.testing.assert_allclose(written["probabilities"], softmax(logits / temperature, axis=0), atol=1e-6)
        one, two = (sitk.ReadImage(str(folder / path.name.replace("npz", "nii.gz"))) for folder in (predictions, out))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
        for geometry in ("GetOrigin", "GetSpacing", "GetDirection", "GetPixelID"):
            assert getattr(one, geometry)() == getattr(two, geometry)()
    assert (out / "dataset.json").read_text() == dataset_files[0].read_text()


def test_factors_per_class_say_what_they_change(fit, apply, predictions, tmp_path, capsys):
    content = fit("--per-class")
    assert len(set(content["temperatures"])) == 3
    content |= {"factors": [0.2, 1.0, 1.0], "temperatures": [5.0, 1.0, 1.0]}
    (tmp_path / "temperature.json").write_text(json.dumps(content))
    capsys.readouterr()
    assert apply("--rewrite-segmentations") == 0
    assert apply(output=tmp_path / "kept") == 0
    changed = 0
    for path in predictions.glob("*.nii.gz"):
        one, two = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / path.name))) for f in (predictions, tmp_path / "out"))
        changed += np.count_nonzero(one != two)
        assert (tmp_path / "kept" / path.name).read_bytes() == path.read_bytes()
    assert changed > 0
    printed = capsys.readouterr().out
    assert printed.count(f"the recalibration changed the label of {changed} voxels.") == 2
    assert printed.count("without these changes; --rewrite-segmentations computes them again") == 1


def test_postprocessed_segmentations_stay(fit, apply, predictions, tmp_path, capsys):
    fit()
    path = predictions / "phantom_003.nii.gz"
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    n_removed = int(np.count_nonzero(values == 2))
    assert n_removed > 0
    values[values == 2] = 0
    write_segmentation(values, path)
    capsys.readouterr()
    assert apply() == 0
    said = f"{n_removed} voxels of 1 given segmentations were not those of their own probabilities (postprocessed?); "
    assert said + "they were copied unchanged." in capsys.readouterr().out
    for given in predictions.glob("*.nii.gz"):
        assert (tmp_path / "out" / given.name).read_bytes() == given.read_bytes()
    assert apply("--rewrite-segmentations", output=tmp_path / "anew") == 0
    assert said + "the new ones are, so any postprocessing is lost." in capsys.readouterr().out
    anew = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "anew" / path.name)))
    assert np.count_nonzero(anew == 2) == n_removed


class Opened:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_lies_beside_a_case_is_carried_over_unopened(fit, apply, predictions, tmp_path):
    """nnU-Net's .pkl and Tiff3DIO's .json; not the files of a case whose name only begins like that."""
    fit()
    (predictions / "phantom_000.pkl").write_bytes(pickle.dumps(Opened(tmp_path / "opened")))
    (predictions / "phantom_001.json").write_text('{"spacing": [6, 2, 2]}')
    (predictions / "phantom_0001.pkl").touch()
    assert apply("-np", 2) == 0
    for name in ("phantom_000.pkl", "phantom_001.json"):
        assert (tmp_path / "out" / name).read_bytes() == (predictions / name).read_bytes()
    assert not (tmp_path / "out" / "phantom_0001.pkl").exists()
    assert not (tmp_path / "opened").exists()


def test_nnunet_ensembles_the_new_folder(fit, apply, predictions, dataset_files, tmp_path):
    fit()
    for path in predictions.glob("*.nii.gz"):
        properties = SimpleITKIO().read_seg(str(path))[1]
        (predictions / path.name.replace(".nii.gz", ".pkl")).write_bytes(pickle.dumps(properties))
    assert apply() == 0
    manager = PlansManager(str(dataset_files[1])).get_label_manager(json.loads(dataset_files[0].read_text()))
    files = [str(folder / "phantom_002.npz") for folder in (predictions, tmp_path / "out")]
    merge_files(files, str(tmp_path / "ensemble"), ".nii.gz", SimpleITKIO(), manager)
    one, two = (
        sitk.ReadImage(str(path)) for path in (tmp_path / "ensemble.nii.gz", predictions / "phantom_002.nii.gz")
    )
    assert one.GetSpacing() == pytest.approx(two.GetSpacing())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))


def test_two_processes_write_the_same(fit, apply, predictions, tmp_path):
    fit()
    assert apply(output=tmp_path / "one") == 0
    assert apply("-np", 2, output=tmp_path / "two") == 0
    for path in predictions.iterdir():
        assert (tmp_path / "one" / path.name).stat().st_size == (tmp_path / "two" / path.name).stat().st_size
        if path.suffix == ".npz":
            one, two = (np.load(tmp_path / name / path.name)["probabilities"] for name in ("one", "two"))
            np.testing.assert_array_equal(one, two)


def test_cases_are_those_of_the_evaluator(fit, apply, predictions, tmp_path):
    """A case may be called calibration_1, and hidden files are none."""
    fit()
    for path in predictions.glob("phantom_000*"):
        path.rename(path.with_name(path.name.replace("phantom_000", "calibration_1")))
    (predictions / "._phantom_001.nii.gz").touch()
    assert apply() == 0
    assert (tmp_path / "out" / "calibration_1.npz").is_file()


def test_table_and_lines(fit, capsys):
    fit("--cross-fit", "--cross-fit-parts", 2)
    printed = capsys.readouterr().out
    for word in (
        "each case with what was fitted without it",
        "before",
        "after",
        "without part 2",
        "wrote",
        *VOXEL_SETS,
    ):
        assert word in " ".join(printed.split())


def damage_json(change):
    def apply(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


BAD_TEMPERATURES = {
    "missing": (lambda path: path.unlink(), "temperature.json: cannot be read (No such file"),
    "half": (lambda path: path.write_text(path.read_text()[:500]), "temperature.json: is not JSON"),
    "other file": (lambda path: path.write_text("{}"), "is no file of `nnunet-nacl recalibrate fit`"),
    "version": (
        damage_json(lambda content: content.update(schema_version=7)),
        "expected schema version 1 or 2, but got 7",
    ),
    "other labels": (
        damage_json(lambda content: content.update(channels=["background", "liver", "cap"])),
        "was fitted for the softmax channels background, liver, cap, but",
    ),
    "other K": (
        damage_json(
            lambda content: content.update(
                channels=["background", "body"], factors=[1, 1], temperatures=[1, 1], cross_fit=None
            )
        ),
        "was fitted for the softmax channels background, body, but",
    ),
    "factors": (damage_json(lambda content: content.update(factors=[1, 0, 1])), "is damaged (expected"),
    "number": (damage_json(lambda content: content.update(factors=[1, 1])), "is damaged (expected"),
    "lacking": (damage_json(lambda content: content.pop("cases")), "is damaged (KeyError"),
}


@pytest.mark.parametrize("name", BAD_TEMPERATURES)
def test_bad_temperature_files(name, fit, apply, tmp_path, capsys):
    fit()
    damage, message = BAD_TEMPERATURES[name]
    damage(tmp_path / "temperature.json")
    assert apply() == 1
    assert_one_line(capsys.readouterr().err, message)
    assert not (tmp_path / "out").exists()


def rewrite(change):
    def apply(folder):
        path = folder / "phantom_002.npz"
        with np.load(path) as stored:
            probabilities = stored["probabilities"]
        np.savez_compressed(path, probabilities=change(probabilities))

    return apply


BAD_PREDICTIONS = {
    "truncated": (
        lambda folder: (folder / "phantom_002.npz").write_bytes((folder / "phantom_002.npz").read_bytes()[:-2000]),
        "phantom_002.npz: is truncated or no npz file",
    ),
    "channels": (rewrite(lambda p: p[:2]), "phantom_002.npz: expected 3 channels"),
    "shape": (rewrite(lambda p: p[:, 1:]), "phantom_002.npz: expected shape"),
    "logits": (rewrite(lambda p: p * 9 - 4), "Are these logits?"),
    "NaN": (rewrite(lambda p: p * np.float32(np.nan)), "phantom_002.npz: expected probabilities from 0 to 1"),
    "sum": (rewrite(lambda p: p * np.float32(0.9)), "to sum to 1"),
    "no npz": (lambda folder: (folder / "phantom_002.npz").unlink(), "no softmax file (.npz) for phantom_002"),
    "no segmentation": (
        lambda folder: (folder / "phantom_002.nii.gz").unlink(),
        "no segmentation (.nii.gz), which gives the geometry, for phantom_002",
    ),
    "no image": (
        lambda folder: (folder / "phantom_002.nii.gz").write_text("x"),
        "phantom_002.nii.gz: SimpleITKIO cannot read this segmentation",
    ),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "no softmax file (.npz)"),
}


@pytest.mark.parametrize("name", BAD_PREDICTIONS)
def test_bad_predictions(name, fit, apply, predictions, tmp_path, capsys):
    fit()
    damage, message = BAD_PREDICTIONS[name]
    damage(predictions)
    before = {path.name: path.read_bytes() for path in predictions.iterdir()}
    assert apply() == 1
    assert_one_line(capsys.readouterr().err, message)
    assert {path.name: path.read_bytes() for path in predictions.iterdir()} == before
    out = tmp_path / "out"
    assert not any(path.name.startswith((".", "phantom_002")) for path in (out.iterdir() if out.exists() else ()))


def test_bad_predictions_in_fit(fit, predictions, tmp_path, capsys):
    rewrite(lambda p: p * 9 - 4)(predictions)
    assert fit() == 1
    assert_one_line(capsys.readouterr().err, "Are these logits?")
    assert not (tmp_path / "temperature.json").exists()


def test_output_folders_that_are_refused(fit, apply, predictions, tmp_path, capsys):
    fit()
    before = {path.name: path.read_bytes() for path in predictions.iterdir()}
    assert apply(output=predictions / ".." / "predictions") == 1
    assert_one_line(capsys.readouterr().err, "is the folder of the predictions")
    assert {path.name: path.read_bytes() for path in predictions.iterdir()} == before
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.npz").touch()
    assert apply() == 1
    assert_one_line(capsys.readouterr().err, "is not empty")
    (tmp_path / "taken").touch()
    assert apply(output=tmp_path / "taken") == 1
    assert_one_line(capsys.readouterr().err, "taken: cannot be written to")


def test_json_files_come_from_the_folder(fit, predictions, dataset_files, tmp_path, capsys):
    fit()
    command = ["recalibrate", "apply", tmp_path / "temperature.json", predictions, "-o", tmp_path / "out", "-np", 1]
    assert main([str(part) for part in command]) == 1
    assert_one_line(capsys.readouterr().err, "found no dataset.json in")
    shutil.copy(dataset_files[0], predictions / "dataset.json")
    shutil.copy(dataset_files[1], predictions / "plans.json")
    assert main([str(part) for part in command]) == 0


def test_held_out_needs_more_than_one_case_and_known_ones(fit, apply, predictions, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(predictions / "phantom_001.npz", alone)
    fit(folders=[alone])
    assert "a single case: whether scores got worse cannot be checked on other cases" in capsys.readouterr().out
    assert apply("--held-out") == 1
    assert_one_line(capsys.readouterr().err, "since there was but one case")
    fit()
    for path in predictions.glob("phantom_002*"):
        path.rename(path.with_name(path.name.replace("002", "777")))
    assert apply("--held-out") == 1
    assert_one_line(capsys.readouterr().err, "has no held-out map for phantom_777")


def test_bad_fits(fit, predictions, phantom_task, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(predictions / "phantom_001.npz", other)
    for extra, folders, message in (
        ((), (predictions, other), "phantom_001 is in"),
        (
            ("--cross-fit", "--cross-fit-parts", 7),
            (predictions,),
            "expected --cross-fit-parts to be 2 to 6, the number of cases, got 7",
        ),
        (("--cross-fit-parts", 1), (predictions,), "expected --cross-fit-parts to be 2 to 6"),
        (("--cross-fit-parts", 2), (predictions, other), "--cross-fit-parts is for a single folder"),
        (
            ("--per-class", "--method", "margins"),
            (predictions,),
            "--per-class is the old name of --method per-class; got",
        ),
        ((), (tmp_path / "nowhere",), "no such folder"),
        (("-o", other), (predictions,), "is a folder. Give -o the name of a file"),
    ):
        assert fit(*extra, folders=folders) == 1
        assert_one_line(capsys.readouterr().err, message)


def test_nothing_predicted(fit, predictions, capsys):
    for path in predictions.glob("*.npz"):
        probabilities = np.full((3, 16, 16, 16), 0.1, np.float32)
        probabilities[0] = 0.8
        np.savez_compressed(path, probabilities=probabilities)
    assert fit() == 1
    assert_one_line(capsys.readouterr().err, "no voxel of the set 'predicted' to fit on")


@pytest.mark.parametrize("method", METHODS)
def test_where_no_voxel_is_wrong_nothing_changes(method, fit, apply, predictions, tmp_path, capsys):
    """The likelihood grows without end there: a bound of it would make the first error on new cases a certain one."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in predictions.glob("*.nii.gz"):
        shutil.copy(path, labels)
    content = fit("--method", method, labels=labels)
    assert "separable" in {remark["what"] for remark in content["fits"][0]["remarks"]}
    assert "warning: no voxel is wrong (" in capsys.readouterr().out
    assert apply() == 0
    for path in predictions.glob("*.npz"):
        given, new = (np.load(folder / path.name)["probabilities"] for folder in (predictions, tmp_path / "out"))
        np.testing.assert_allclose(new, given, atol=1e-6)


def test_help_is_instant():
    """No heavy import stands between the user and the help."""
    code = "import sys; from nnunet_nacl.cli import main\ntry: main(['recalibrate', 'fit', '--help'])\nexcept SystemExit: pass\n"
    code += "print({'numpy', 'torch', 'scipy'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert finished.stdout.rstrip().endswith("set()")


def assert_one_line(printed, message):
    errors = [line for line in printed.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in printed
