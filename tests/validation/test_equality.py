"""What `validate` computes in memory is what `evaluate` computes from the files of nnU-Net's own validation."""

import json
import os
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from models import CASES, Variant, assert_same_result, validate_by_nnunet
from nnunetv2.ensembling.ensemble import average_probabilities
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.remarks import TRAINED_ON
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.training.trainers import nnUNetTrainerDiceSVLS
from nnunet_nacl.validation.cross_validation import Options, validate_folds
from nnunet_nacl.validation.disagreement import Members
from nnunet_nacl.validation.model import open_model
from nnunet_nacl.validation.test_set import validate_test_set

pytestmark = pytest.mark.nnunet

SETTINGS = Settings(hd95=True)
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
IGNORE = {"labels": {"background": 0, "body": 1, "cap": 2, "ignore": 3}}


def with_ignored_slab(labels):
    labels[:5] = 3
    return labels


VARIANTS = {
    "labels": {"margin": 3},
    "regions": {"dataset": REGIONS, "margin": 3},
    "ignore": {"dataset": IGNORE, "labels": with_ignored_slab},
    "2d": {"configuration": "2d"},
    # the coarse axis is x, which nnU-Net puts first; it is resampled by itself
    "anisotropic": {
        "spacing": (4, 1, 1.25), "margin": 2, "planned": {"spacing": [5.0, 1.0, 1.0]},
        "plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
    },
}  # fmt: skip


@pytest.fixture
def variant(nnunet, tmp_path):
    def make(**options):
        made = Variant(nnunet, tmp_path, **options)
        patched = made.variables()
        patched.__enter__()
        entered.append(patched)
        return made

    entered = []
    yield make
    for patched in entered:
        patched.__exit__(None, None, None)


def evaluated(made, fold):
    return evaluate_folder(made.preprocessed / "gt_segmentations", fold, made.model / "dataset.json", made.model / "plans.json",
                           settings=SETTINGS)  # fmt: skip


def validated(made, output, folds=("0",), **options):
    model = open_model(made.model, folds, "checkpoint_final.pth")
    return validate_folds(model, made.preprocessed / "gt_segmentations", output, Options(SETTINGS, "cpu", **options))


@pytest.mark.parametrize("kind", VARIANTS)
def test_equals_the_evaluation_of_nnunets_files(kind, variant, tmp_path):
    made = variant(**VARIANTS[kind])
    expected = evaluated(made, validate_by_nnunet(made.trainer()))
    found = validated(made, tmp_path / "out")
    assert_same_result(found, expected)
    assert len(found.pooled_problems) == (2 if kind == "regions" else 1)
    assert found.cases[0].problems[0].top_count.sum() > 1000
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [
        f"{found.cases[0].fingerprint}.npz"
    ]


def test_raw_images_give_the_same(variant, tmp_path):
    """Where nothing is preprocessed, and where that was done with other plans."""
    made = variant(**VARIANTS["anisotropic"])
    made.trainer()
    expected = validated(made, tmp_path / "preprocessed")
    other = made.plans | {"transpose_forward": [0, 1, 2]}
    (made.preprocessed / "nnUNetPlansCPU.json").write_text(json.dumps(other))
    (
        made.preprocessed / made.plans["configurations"]["3d_fullres"]["data_identifier"] / f"{CASES[0]}.b2nd"
    ).write_bytes(b"")
    assert_same_result(validated(made, tmp_path / "raw"), expected)


def test_several_folds_are_told_apart_and_other_trainers_are_found(variant, tmp_path):
    made = variant()
    folds = []
    for fold in range(2):
        folds.append(validate_by_nnunet(made.trainer(fold, nnUNetTrainerDiceSVLS)))
    found = validated(made, tmp_path / "out", folds=None, num_processes=2)
    assert [result.part for result in found.cases] == ["fold_0", "fold_1"]
    for number, folder in enumerate(folds):
        expected = evaluated(made, folder)
        for mine, other in zip(found.cases[number].problems, expected.cases[0].problems, strict=True):
            np.testing.assert_array_equal(mine.class_count, other.class_count)


def test_fold_all_predicts_every_case_and_says_that_it_was_trained_on_them(variant, tmp_path, capsys):
    """It is taken where it is asked for or alone; beside another fold it would count that fold's cases twice."""
    made = variant()
    expected = evaluated(made, validate_by_nnunet(made.trainer("all")))
    found = validated(made, tmp_path / "out", folds=None)
    assert_same_result(found, expected)
    assert [(result.case.name, list(result.remarks), result.part) for result in found.cases] == [
        (case, [TRAINED_ON], "") for case in CASES
    ]
    made.trainer(0)
    assert len(validated(made, tmp_path / "of_fold", folds=None).cases) == 1
    command = ["validate", str(made.model), "-device", "cpu"]
    assert main([*command, "-f", "0", "all"]) == 1
    assert f"{CASES[0]} is a validation case of fold_0 and of fold_all." in capsys.readouterr().err
    assert main([*command, "-f", "all"]) == 0
    assert "the network of fold_all was trained on the cases in its validation folder" in capsys.readouterr().err
    assert (made.model / "fold_all" / "calibration" / "calibration.json").is_file()


def test_mirroring_of_the_checkpoint_counts(variant, tmp_path):
    """Another checkpoint is another network, of which nothing is known yet."""
    made = variant()
    trainer = made.trainer()
    first = validated(made, tmp_path / "out")
    path = made.model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1, 2)
    torch.save(checkpoint | {"inference_allowed_mirroring_axes": None}, path)
    trainer.inference_allowed_mirroring_axes = None
    found = validated(made, tmp_path / "out")
    assert found.recalled == 0
    assert_same_result(found, evaluated(made, validate_by_nnunet(trainer)))
    assert not np.array_equal(found.cases[0].problems[0].nll, first.cases[0].problems[0].nll)


def test_test_set_with_ensembles(variant, tmp_path):
    """Folds and both ensembles are those of nnU-Net: of `nnUNetv2_predict` with several folds, and of `nnUNetv2_ensemble`."""
    made = variant(**VARIANTS["anisotropic"])
    folders = {f"fold_{fold}": tmp_path / f"predicted_{fold}" for fold in range(2)} | {
        "mean_of_logits": tmp_path / "predicted_both"
    }
    for fold in range(2):
        made.trainer(fold)
    torch.set_num_threads(os.cpu_count())  # as `nnUNetv2_predict -device cpu`
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    for folder, folds in zip(folders.values(), ((0,), (1,), (0, 1)), strict=True):
        folder.mkdir()
        predictor.initialize_from_trained_model_folder(str(made.model), folds)
        images = [[str(made.raw / "imagesTr" / f"{case}_0000.nii.gz")] for case in CASES]
        predictor.predict_from_files_sequential(images, str(folder), True, True)
    folders["mean_of_softmax"] = tmp_path / "averaged"
    folders["mean_of_softmax"].mkdir()
    for case in CASES:
        files = [str(folders[f"fold_{fold}"] / f"{case}.npz") for fold in range(2)]
        np.savez(folders["mean_of_softmax"] / case, probabilities=average_probabilities(files))
    model = open_model(made.model, None, "checkpoint_final.pth")
    arguments = (model, made.raw / "imagesTr", made.raw / "labelsTr", tmp_path / "out", Options(SETTINGS, "cpu"))
    found = validate_test_set(*arguments)
    assert list(found.members) == list(folders)
    for name, folder in folders.items():
        assert_same_result(found.members[name], evaluated(made, folder))
    assert validate_test_set(*arguments).recalled == 2
    for case, disagreement in found.disagreement.items():
        both = [np.load(folders[f"fold_{fold}"] / f"{case}.npz")["probabilities"] for fold in range(2)]
        members = Members(None, (), ["0", "1", "2"])
        for each in both:
            members.add(each)
        expected = members.disagreement(members.mean())
        assert disagreement.mutual_information == pytest.approx(expected.mutual_information, rel=1e-6)
        assert disagreement.pairwise_dice == pytest.approx(expected.pairwise_dice)
        assert disagreement.mutual_information > 1e-3


def test_kept_in_half_precision(variant, tmp_path):
    """Files that the evaluator and nnU-Net's ensembling read; nnU-Net's own in single precision are left alone."""
    made = variant(**VARIANTS["labels"])
    made.trainer()
    in_memory = validated(made, tmp_path / "out", keep=True)
    validation, name = made.model / "fold_0" / "validation", CASES[0]
    assert sorted(path.name for path in validation.iterdir()) == [f"{name}.nii.gz", f"{name}.npz", f"{name}.pkl"]
    assert np.load(validation / f"{name}.npz")["probabilities"].dtype == np.float16
    for mine, other in zip(evaluated(made, validation).cases[0].problems, in_memory.cases[0].problems, strict=True):
        assert np.trace(mine.confusion) == pytest.approx(np.trace(other.confusion), abs=3)  # ties of the rounded
        np.testing.assert_allclose(mine.nll, other.nll, rtol=2e-3)
    assert average_probabilities([str(validation / f"{name}.npz")] * 2).dtype == np.float32
    assert validated(made, tmp_path / "out", keep=True).recalled == 1
    (validation / f"{name}.npz").unlink()
    assert validated(made, tmp_path / "out").recalled == 1
    assert validated(made, tmp_path / "out", keep=True).recalled == 0
    np.savez_compressed(validation / f"{name}.npz", probabilities=np.zeros((3, 2, 2, 2), np.float32))
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        validated(made, tmp_path / "elsewhere", keep=True)


def test_cascade(variant, tmp_path):
    """Refused where the previous stage has left nothing, and equal where it has."""
    made = variant(configuration="3d_cascade_fullres", planned={"previous_stage": "3d_lowres"})
    trainer = made.trainer()
    with pytest.raises(
        InputError, match=r"takes the segmentation of the stage 3d_lowres as input.*--val` of that stage writes it"
    ):
        validated(made, tmp_path / "out")
    folder = Path(trainer.folder_with_segs_from_previous_stage)
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{CASES[0]}: the network takes the segmentation"):
        validated(made, tmp_path / "out")
    shape = blosc2.open(str(Path(trainer.preprocessed_dataset_folder) / f"{CASES[0]}.b2nd")).shape[1:]
    previous = np.random.default_rng(0).integers(0, 3, shape, np.uint8)
    nnUNetDatasetBlosc2.save_seg(previous, str(folder / CASES[0]))
    found = validated(made, tmp_path / "out")
    assert_same_result(found, evaluated(made, validate_by_nnunet(trainer)))
    nnUNetDatasetBlosc2.save_seg(2 - previous, str(folder / CASES[0]))
    other = validated(made, tmp_path / "out")
    assert other.recalled == 0 and not np.array_equal(other.cases[0].problems[0].nll, found.cases[0].problems[0].nll)
    model = open_model(made.model, None, "checkpoint_final.pth")
    with pytest.raises(InputError, match="Pass the folder of its predictions with -prev_stage_predictions"):
        validate_test_set(
            model, made.raw / "imagesTr", made.raw / "labelsTr", tmp_path / "test", Options(SETTINGS, "cpu")
        )
