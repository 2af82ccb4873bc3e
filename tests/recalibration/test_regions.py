"""Region-based models from files: sigmoid channels, one binary problem per region, nnU-Net's own order of regions.

`load_dataset` refuses regions for now, so the cases are given to the functions below the command.
"""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.special import expit, logit

from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.recalibration.apply import Job, apply_to_case
from nnunet_nacl.recalibration.fit import Options, fit_cases
from nnunet_nacl.recalibration.heads import SigmoidHeads
from nnunet_nacl.recalibration.temperature_file import content_of, load, write

HEADS = SigmoidHeads(channels=("whole", "core"), regions=((1, 2), (2,)))
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


@pytest.mark.parametrize("memory", [2**30, 1])
def test_known_temperature_of_each_region_is_found(cases, memory, tmp_path):
    options = Options(per_class=True, voxel_set="all", memory=memory, cross_fit=True, parts=2)
    result = fit_cases(cases, DATASET, HEADS, options, tmp_path, {})
    np.testing.assert_allclose(1 / result.factors.values, TEMPERATURES, rtol=0.02)
    assert result.counts.ignored == 4 * 40 * 40
    np.testing.assert_array_equal(result.counts.exact, [4 * 40 * 40] * 2)
    np.testing.assert_array_equal(result.counts.exact_wrong, [0, 0])
    scores = content_of(result)["scores"]
    for region in HEADS.channels:
        assert scores["before"][region]["pooled"]["all"]["ECE"] > 0.05
        assert scores["after"][region]["pooled"]["all"]["ECE"] < 0.01
        assert scores["after"][region]["Dice"] == scores["before"][region]["Dice"] > 0.3


def test_predicted_is_inside_by_the_threshold(cases, tmp_path):
    result = fit_cases(cases, DATASET, HEADS, Options(per_class=True), tmp_path, {})
    inside = [np.load(case.probabilities)["probabilities"][:, 2:] > 0.5 for case, _ in cases]
    np.testing.assert_array_equal(result.counts.selected, sum(case.sum((1, 2, 3)) for case in inside))
    np.testing.assert_allclose(1 / result.factors.values, TEMPERATURES, rtol=0.04)


def test_one_temperature_lies_between(cases, tmp_path):
    result = fit_cases(cases, DATASET, HEADS, Options(voxel_set="all"), tmp_path, {})
    assert result.factors.values.shape == (2,)
    assert 1 / 2.0 < result.factors.values[0] == result.factors.values[1] < 1 / 0.5
    assert result.factors.fits[0].n_voxels == result.counts.selected.sum()


def test_file_and_segmentation(cases, tmp_path):
    """The written segmentation is that of nnU-Net's label manager, which no temperature of a region changes."""
    result = fit_cases(cases, DATASET, HEADS, Options(per_class=True, voxel_set="all"), tmp_path, {})
    write(content_of(result), tmp_path / "temperature.json")
    fitted = load(tmp_path / "temperature.json")
    assert (fitted.kind, fitted.channels) == ("sigmoid", ("whole", "core"))
    dataset = {
        "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2],
        "channel_names": {"0": "image"},
        "file_ending": ".nii.gz",
    }
    plans = {"dataset_name": DATASET.name, "plans_name": "p", "image_reader_writer": "SimpleITKIO",
             "label_manager": "LabelManager", "configurations": {}}  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    (tmp_path / "out").mkdir()
    case = cases[0][0]
    given = np.load(case.probabilities)["probabilities"]
    expected = PlansManager(plans).get_label_manager(dataset).convert_probabilities_to_segmentation(given)
    assert set(np.unique(expected)) == {0, 1, 2}
    sitk.WriteImage(sitk.GetImageFromArray(expected.astype(np.uint8)), str(tmp_path / "case_0.nii.gz"))
    applied = apply_to_case(
        Job(
            "case_0",
            case.probabilities,
            tmp_path / "case_0.nii.gz",
            fitted.factors,
            tmp_path / "out",
            DATASET,
            HEADS,
            tmp_path / "dataset.json",
            tmp_path / "plans.json",
            1,
        )
    )
    assert (applied.n_changed, applied.n_edited) == (0, 0)
    written = np.load(tmp_path / "out" / "case_0.npz")["probabilities"]
    # a probability that was rounded to 1 has lost its logit: it is taken as 17.3, and 1 - 2e-4 is what remains of it
    with np.errstate(divide="ignore"):
        expected_probabilities = expit(logit(given.astype(float)) * fitted.factors.reshape(2, 1, 1, 1))
    np.testing.assert_allclose(written, expected_probabilities, atol=3e-4)
    np.testing.assert_allclose(written[given < 1], expected_probabilities[given < 1], atol=1e-6)
    segmentation = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "case_0.nii.gz")))
    np.testing.assert_array_equal(segmentation, expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case_0.nii.gz", "case_0.npz"]
