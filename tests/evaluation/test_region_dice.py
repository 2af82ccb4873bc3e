"""Dice of regions is nnU-Net's: of the label map that it writes, not of channels above 0.5."""

import json
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from nnunetv2.evaluation import evaluate_predictions
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_nacl.calibration.mask_confidence import soft_dice_confidence
from nnunet_nacl.calibration.overlap import dice_of_overlap
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.summary import summarize

SHAPE = (3, 6, 7)
PLANS = {
    "dataset_name": "Dataset900_Regions",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "configurations": {},
}
PROPERTIES = {"sitk_stuff": {"spacing": (1.0, 1.0, 2.0), "origin": (0, 0, 0), "direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}}


def write_files(folder, dataset):
    for name in ("gt", "pred"):
        (folder / name).mkdir(parents=True)
    dataset = {"channel_names": {"0": "T1"}, "numTraining": 2, "file_ending": ".nrrd"} | dataset
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(PLANS))
    return PlansManager(PLANS).get_label_manager(dataset)


def write_case(folder, name, label_manager, labels, probabilities):
    """Write what nnU-Net writes: the probabilities and the label map that it makes of them."""
    segmentation = label_manager.convert_probabilities_to_segmentation(probabilities)
    SimpleITKIO().write_seg(labels, str(folder / "gt" / f"{name}.nrrd"), PROPERTIES)
    SimpleITKIO().write_seg(segmentation, str(folder / "pred" / f"{name}.nrrd"), PROPERTIES)
    np.savez_compressed(folder / "pred" / f"{name}.npz", probabilities=probabilities)


def random_dataset(rng):
    """Return dataset.json's labels and order of random regions: overlapping, nested or apart, in any order of any labels."""
    n_labels = int(rng.integers(2, 5))
    regions = [sorted(rng.choice(np.arange(1, n_labels + 1), int(rng.integers(1, n_labels + 1)), replace=False).tolist())
               for _ in range(int(rng.integers(1, 5)))]  # fmt: skip
    regions = [*{tuple(region): region for region in regions if tuple(region) != (1, 2)}.values(), [1, 2]]
    order = rng.permutation(regions_order(regions, rng)).tolist()
    labels = {"background": 0} | {
        f"region_{number}": region if len(region) > 1 or rng.random() < 0.5 else region[0]
        for number, region in enumerate(regions)
    }
    if rng.random() < 0.5:
        labels["ignore"] = max(max(region) for region in regions) + 1
    return {"labels": labels, "regions_class_order": order}


def regions_order(regions, rng):
    """Return a label for each region: mostly one of its own, sometimes any."""
    highest = max(max(region) for region in regions)
    return [int(rng.choice(region)) if rng.random() < 0.8 else int(rng.integers(0, highest + 1)) for region in regions]


def random_case(rng, dataset):
    members = [value for name, value in dataset["labels"].items() if name not in ("background", "ignore")]
    highest = max(int(np.max(value)) for value in members)
    labels = rng.integers(0, highest + 1 + ("ignore" in dataset["labels"]), SHAPE).astype(np.uint8)
    labels[rng.random(SHAPE) < 0.3] = 0
    inside = np.stack([np.isin(labels, value) for value in members])
    likely = np.where(inside == (rng.random(inside.shape) < 0.7), 0.75, 0.25)
    return labels, np.clip(likely + rng.normal(0, 0.2, inside.shape), 0, 1).astype(np.float32)


@pytest.fixture
def in_this_process(monkeypatch):
    """nnU-Net's function with threads in place of the processes that it starts anew each time."""
    context = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(evaluate_predictions, "multiprocessing", context)


def assert_confidences_of_the_label_map(case, label_manager):
    """Sums over the voxels where nnU-Net's own label map has one of the region's labels; ignored voxels are left out."""
    probabilities = np.load(case.case.probabilities)["probabilities"]
    segmentation = label_manager.convert_probabilities_to_segmentation(probabilities)
    labels = SimpleITKIO().read_seg(str(case.case.labels))[0][0]
    counted = labels != label_manager.ignore_label if label_manager.has_ignore_label else np.ones(labels.shape, bool)
    for channel, region in enumerate(label_manager.foreground_regions):
        p, mask = probabilities[channel][counted].astype(float), np.isin(segmentation, region)[counted]
        inside = p[mask]
        entropy = scipy.stats.entropy([inside, 1 - inside]).sum() if inside.size else 0.0
        assert case.mask_sums[channel] == pytest.approx([inside.sum(), entropy], rel=1e-6, abs=1e-7 * inside.size)
        assert case.spread[channel] == pytest.approx((p * (1 - p)).sum(), rel=1e-6)
        confidence = soft_dice_confidence(case.mask_sums[channel, 0], case.soft_volumes[channel], mask.sum())
        assert confidence == pytest.approx(2 * inside.sum() / (p.sum() + mask.sum()), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_equals_nnunets_on_random_region_data_sets(in_this_process, tmp_path):
    of_channels = 0
    for seed in range(200):
        rng, folder = np.random.default_rng(seed), tmp_path / str(seed)
        dataset = random_dataset(rng)
        label_manager = write_files(folder, dataset)
        for name in "ab":
            write_case(folder, name, label_manager, *random_case(rng, dataset))
        result = evaluate_folder(folder / "gt", folder / "pred", folder / "dataset.json", folder / "plans.json")
        theirs = evaluate_predictions.compute_metrics_on_folder(
            str(folder / "gt"), str(folder / "pred"), None, SimpleITKIO(), ".nrrd", label_manager.foreground_regions,
            label_manager.ignore_label, 1,
        )  # fmt: skip
        assert not any(case.remarks for case in result.cases)
        for case, entry in zip(result.cases, theirs["metric_per_case"], strict=True):
            for (both, labelled, predicted), dice, metrics in zip(
                case.overlap, dice_of_overlap(case.overlap), entry["metrics"].values(), strict=True
            ):
                assert (both, labelled, predicted) == (metrics["TP"], metrics["n_ref"], metrics["n_pred"])
                assert dice == pytest.approx(metrics["Dice"], abs=1e-9, nan_ok=True)
            assert_confidences_of_the_label_map(case, label_manager)
            channels = [problem.dice()[1] for problem in case.problems]
            of_channels += not np.allclose(channels, dice_of_overlap(case.overlap), equal_nan=True)
    assert of_channels > 200  # that of channels above 0.5 is another one in most of these 400 cases


LABELS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.fixture
def wrong_order(tmp_path):
    """An order that gives the whole tumour the label of the core (MIC-DKFZ/nnUNet#3042), and probabilities that are right."""
    label_manager = write_files(tmp_path, {"labels": LABELS, "regions_class_order": [2, 3, 1]})
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 1:, 1:], labels[:, 2:4, 2:5], labels[1, 3, 3:5] = 1, 2, 3
    members = list(LABELS.values())[1:]
    for name in "ab":
        inside = np.stack([np.isin(labels, value) for value in members])
        write_case(tmp_path, name, label_manager, labels, np.where(inside, 0.9, 0.1).astype(np.float32))
    return tmp_path


def evaluate(folder, *extra):
    command = ["evaluate", folder / "gt", folder / "pred", "-djfile", folder / "dataset.json"]
    assert main([*map(str, [*command, "-pfile", folder / "plans.json", "-np", 1, "-o", folder / "out", *extra])]) == 0
    return json.loads((folder / "out" / "calibration.json").read_text())


def test_summary_has_the_figures_of_the_label_map(wrong_order):
    """All of a class's figures: Dice, voxels, volume and HD95; the calibration scores are those of the channels, which are right."""
    summary = evaluate(wrong_order, "--hd95")
    whole, core, enhancing = (summary["mean"][key] for key in ("(1, 2, 3)", "(2, 3)", "3"))
    assert whole["Dice"] == 1 and core["Dice"] < 1 and enhancing["Dice"] < 0.1
    assert core["HD95"] > 0
    entry = summary["metric_per_case"][0]["metrics"]["(2, 3)"]
    assert entry["n_pred"] > entry["n_ref"]
    assert entry["volume_ml"]["predicted"] == pytest.approx(entry["n_pred"] * 2 / 1000)
    assert summary["per_case"]["all"]["accuracy"] == 1
    assert summary["protocol"]["regions_class_order"] == [2, 3, 1]
    assert "remarks" in summary and not summary["remarks"]


def test_a_segmentation_that_is_not_of_its_probabilities_is_named(wrong_order, capsys):
    saved = wrong_order / "pred" / "b.nrrd"
    values, _ = SimpleITKIO().read_seg(str(saved))
    values[0, 0, :2] = 0
    values[0, 0, 1, 1] = 3
    SimpleITKIO().write_seg(values[0], str(saved), PROPERTIES)
    summary = evaluate(wrong_order)
    changed = int((values[0] != SimpleITKIO().read_seg(str(wrong_order / "pred" / "a.nrrd"))[0][0]).sum())
    assert summary["remarks"]["segmentation_differs"]["cases"] == {"b": f"{changed} voxels"}
    printed = capsys.readouterr().err
    assert "1 of 2 cases: the saved segmentation differs from that of its probabilities" in printed
    assert f"b ({changed} voxels)" in printed
    # another saved segmentation is another finding
    (wrong_order / "pred" / "b.nrrd").write_bytes((wrong_order / "pred" / "a.nrrd").read_bytes())
    assert not evaluate(wrong_order)["remarks"]


def test_a_segmentation_that_cannot_be_compared_is_named(wrong_order):
    SimpleITKIO().write_seg(np.zeros((2, 6, 7), np.uint8), str(wrong_order / "pred" / "a.nrrd"), PROPERTIES)
    (wrong_order / "pred" / "b.nrrd").write_text("nothing")
    named = evaluate(wrong_order)["remarks"]["segmentation_differs"]["cases"]
    assert "has shape (2, 6, 7)" in named["a"] and "cannot be read" in named["b"]


def test_remarks_survive_merging(wrong_order, tmp_path):
    (wrong_order / "pred" / "b.nrrd").write_text("nothing")
    evaluate(wrong_order)
    assert main(["merge", str(wrong_order / "out"), "-o", str(tmp_path / "merged")]) == 0
    merged = json.loads((tmp_path / "merged" / "calibration.json").read_text())
    assert list(merged["remarks"]["segmentation_differs"]["cases"]) == ["b"]
    assert merged["mean"]["(2, 3)"]["Dice"] < 1


def test_other_orders_are_not_compared(wrong_order, tmp_path, capsys):
    evaluate(wrong_order)
    (wrong_order / "out").rename(tmp_path / "first")
    dataset = json.loads((wrong_order / "dataset.json").read_text()) | {"regions_class_order": [1, 2, 3]}
    (wrong_order / "dataset.json").write_text(json.dumps(dataset))
    summary = evaluate(wrong_order)
    assert [summary["mean"][key]["Dice"] for key in ("(1, 2, 3)", "(2, 3)", "3")] == [1, 1, 1]
    assert "segmentation_differs" in summary["remarks"]  # those saved were written in the other order
    assert main(["compare", str(tmp_path / "first"), str(wrong_order / "out"), "-o", str(tmp_path / "c")]) == 1
    assert "regions_class_order [2, 3, 1] against [1, 2, 3]" in capsys.readouterr().err


def test_order_that_no_file_can_hold(tmp_path, capsys):
    write_files(tmp_path, {"labels": {"background": 0, "a": [1, 2]}, "regions_class_order": [70000]})
    (tmp_path / "pred" / "a.npz").touch()
    command = ["evaluate", tmp_path / "pred", "-gt", tmp_path / "gt", "-djfile", tmp_path / "dataset.json"]
    assert main([*map(str, command), "-pfile", str(tmp_path / "plans.json")]) == 1
    assert "expected regions_class_order to hold labels below 65536, but got [70000]" in capsys.readouterr().err


def test_label_models_have_the_argmax(tmp_path):
    label_manager = write_files(tmp_path, {"labels": {"background": 0, "one": 1}})
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:4] = 1
    p = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    for name in "ab":
        write_case(tmp_path, name, label_manager, labels, np.stack([1 - p, p]))
    files = (tmp_path / "gt", tmp_path / "pred", tmp_path / "dataset.json", tmp_path / "plans.json")
    summary = summarize(evaluate_folder(*files))
    assert not summary["remarks"] and "regions_class_order" not in summary["protocol"]
