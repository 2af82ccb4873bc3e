"""Region-based models: sigmoid channels, one binary problem per region, nnU-Net's own order of regions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.special import expit, logit

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.recalibration.fit import Options, fit_cases
from nnunet_nacl.recalibration.heads import SigmoidHeads
from nnunet_nacl.recalibration.temperature_content import content_of
from nnunet_nacl.recalibration.temperature_file import load

HEADS = SigmoidHeads(channels=("whole", "core"), regions=((1, 2), (2,)), region_labels=(1, 2))
DATASET = Dataset("Dataset098_Regions", {"(1, 2)": "whole", "(2,)": "core"}, HEADS.regions, 3, ".nii.gz", "SimpleITKIO")
TEMPERATURES = np.array([2.0, 0.5])
SHAPE = (24, 40, 40)


@pytest.fixture
def cases(tmp_path):
    """Four cases of independent voxels; the core is drawn inside the whole; one slice is outside of nnU-Net's crop, one ignored."""
    found = []
    for number in range(4):
        rng = np.random.default_rng(number)
        whole = expit(2 * rng.normal(size=SHAPE))
        core = whole * expit(2 * rng.normal(size=SHAPE))
        uniform = rng.random(SHAPE)
        labels = (uniform < whole).astype(np.uint8) + (uniform < core)
        posterior = np.stack([whole, core])
        given = expit(logit(posterior) * TEMPERATURES.reshape(2, 1, 1, 1)).astype(np.float32)
        given[:, 0], labels[0] = 0, 0
        given[:, 1], labels[1] = 0.9, 3
        name = f"case_{number}"
        np.savez_compressed(tmp_path / f"{name}.npz", probabilities=given)
        (tmp_path / "labels").mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "labels" / f"{name}.nii.gz"))
        found.append((Case(name, tmp_path / f"{name}.npz", tmp_path / "labels" / f"{name}.nii.gz"), "fold_0"))
    return found


def temperatures_of(result):
    return [1 / each.factor for each in result.fitted.maps]


@pytest.mark.parametrize("memory", [2**30, 1])
def test_known_temperature_of_each_region_is_found(cases, memory, tmp_path):
    options = Options(method="per-class", voxel_set="all", memory=memory, parts=2)
    result = fit_cases(cases, DATASET, HEADS, options, tmp_path, {})
    np.testing.assert_allclose(temperatures_of(result), TEMPERATURES, rtol=0.02)
    assert result.counts.ignored == 4 * 40 * 40
    np.testing.assert_array_equal(result.counts.exact, [4 * 40 * 40] * 2)
    np.testing.assert_array_equal(result.counts.exact_wrong, [0, 0])
    scores = content_of(result)["scores"]
    for region in HEADS.channels:
        assert scores["before"][region]["pooled"]["all"]["ECE"] > 0.05
        assert scores["after"][region]["pooled"]["all"]["ECE"] < 0.01
        assert scores["after"][region]["Dice"] == scores["before"][region]["Dice"] > 0.3


def test_predicted_is_inside_by_the_threshold(cases, tmp_path):
    result = fit_cases(cases, DATASET, HEADS, Options(method="per-class"), tmp_path, {})
    inside = [np.load(case.probabilities)["probabilities"][:, 2:] > 0.5 for case, _ in cases]
    np.testing.assert_array_equal(result.counts.selected, sum(case.sum((1, 2, 3)) for case in inside))
    np.testing.assert_allclose(temperatures_of(result), TEMPERATURES, rtol=0.04)


def test_dice_is_that_of_the_label_map_that_nnunet_writes(cases, tmp_path):
    """The order gives each region the label of the other: nnU-Net's Dice is far from that of the channels, which are right."""
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    manager = PlansManager({"label_manager": "LabelManager"}).get_label_manager(
        {"labels": labels, "regions_class_order": [2, 1]}
    )
    heads = replace(HEADS, region_labels=(2, 1))
    result = fit_cases(cases, DATASET, heads, Options(method="per-class", voxel_set="all", parts=2), tmp_path, {})
    metrics = []
    for case, _ in cases:
        written = manager.convert_probabilities_to_segmentation(np.load(case.probabilities)["probabilities"])
        sitk.WriteImage(sitk.GetImageFromArray(written.astype(np.uint8)), str(tmp_path / "written.nii.gz"))
        files = str(case.labels), str(tmp_path / "written.nii.gz")
        metrics.append(
            compute_metrics(*files, SimpleITKIO(), manager.foreground_regions, manager.ignore_label)["metrics"]
        )
    scores = content_of(result)["scores"]
    for name, region in zip(HEADS.channels, manager.foreground_regions, strict=True):
        dice = np.mean([of_case[region]["Dice"] for of_case in metrics])
        assert scores["before"][name]["Dice"] == pytest.approx(dice, abs=1e-9)
        assert scores["after"][name]["Dice"] == pytest.approx(dice, abs=1e-9)  # a temperature moves no voxel over 0.5
    assert result.before.totals[1].dice()[1] > scores["before"]["core"]["Dice"] + 0.2


def test_one_temperature_lies_between(cases, tmp_path):
    result = fit_cases(cases, DATASET, HEADS, Options(method="temperature", voxel_set="all"), tmp_path, {})
    one, other = temperatures_of(result)
    assert 0.5 < one == other < 2.0
    assert result.fitted.fits[0].n_voxels == result.counts.selected.sum()


def test_command(cases, tmp_path, capsys):
    """The written segmentation is that of nnU-Net's label manager, which no temperature of a region changes."""
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    dataset = {
        "labels": labels,
        "regions_class_order": [1, 2],
        "channel_names": {"0": "image"},
        "file_ending": ".nii.gz",
    }
    plans = {"dataset_name": DATASET.name, "plans_name": "p", "image_reader_writer": "SimpleITKIO"}
    plans |= {"label_manager": "LabelManager", "configurations": {}}
    label_manager = PlansManager(plans).get_label_manager(dataset)
    predictions, given, expected = tmp_path / "predictions", {}, {}
    predictions.mkdir()
    (predictions / "dataset.json").write_text(json.dumps(dataset))
    (predictions / "plans.json").write_text(json.dumps(plans))
    for case, _ in cases:
        case.probabilities.rename(predictions / case.probabilities.name)
        given[case.name] = np.load(predictions / case.probabilities.name)["probabilities"]
        expected[case.name] = label_manager.convert_probabilities_to_segmentation(given[case.name])
        assert set(np.unique(expected[case.name])) == {0, 1, 2}
        image = sitk.GetImageFromArray(expected[case.name].astype(np.uint8))
        sitk.WriteImage(image, str(predictions / f"{case.name}.nii.gz"))
    files = ["-djfile", predictions / "dataset.json", "-pfile", predictions / "plans.json"]
    fit = ["recalibrate", "fit", predictions, "-gt", tmp_path / "labels", *files, "-o", tmp_path / "temperature.json"]
    assert main([str(part) for part in [*fit, "--per-class", "--voxel-set", "all"]]) == 0
    assert "per-class, fitted on all cases: temperatures whole " in capsys.readouterr().out
    fitted = load(tmp_path / "temperature.json")
    assert (fitted.kind, fitted.channels) == ("sigmoid", ("whole", "core"))
    factors = np.array([each.factor for each in fitted.maps])
    np.testing.assert_allclose(1 / factors, TEMPERATURES, rtol=0.02)
    apply = ["recalibrate", "apply", tmp_path / "temperature.json", predictions, "-o", tmp_path / "out", "-np", 1]
    assert main([str(part) for part in apply]) == 0
    assert "4 cases; the recalibration changed the label of 0 voxels." in capsys.readouterr().out
    for name, probabilities in given.items():
        written = np.load(tmp_path / "out" / f"{name}.npz")["probabilities"]
        assert not written[probabilities == 0].any()
        # a probability that was rounded to 1 has lost its logit: it is taken as 17.3, and 1 - 2e-4 is what remains of it
        with np.errstate(divide="ignore"):
            tempered = expit(logit(probabilities.astype(float)) * factors.reshape(2, 1, 1, 1))
        np.testing.assert_allclose(written, tempered, atol=3e-4)
        np.testing.assert_allclose(written[probabilities < 1], tempered[probabilities < 1], atol=1e-6)
        segmentation = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")))
        np.testing.assert_array_equal(segmentation, expected[name])
    apply = [*apply[:-3], tmp_path / "held_out", "--held-out", "-np", 1]
    assert main([str(part) for part in apply]) == 0
    folder = tmp_path / "held_out"
    files = ["-djfile", folder / "dataset.json", "-pfile", folder / "plans.json", "-np", 1]
    assert main([str(part) for part in ["evaluate", folder, "-gt", tmp_path / "labels", *files]]) == 0
    scored = json.loads((folder / "calibration" / "calibration.json").read_text())
    announced = fitted.content["scores"]["after"]
    for voxel_set in ("all", "predicted", "boundary"):
        of_regions = [announced[region]["per_case"][voxel_set]["ECE"] for region in HEADS.channels]
        assert scored["per_case"][voxel_set]["ECE"] == pytest.approx(np.mean(of_regions), abs=1e-6)
