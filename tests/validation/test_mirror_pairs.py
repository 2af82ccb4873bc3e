"""Mirror images two at a time are those that nnU-Net predicts one by one, added up in its order."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models import CASES, Variant
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result
from nnunet_nacl.study.run import load_run
from nnunet_nacl.validation.mirror_pairs import MirrorPairsPredictor, slow_alone
from nnunet_nacl.validation.network import FoldPredictor
from nnunet_nacl.validation.predict_again import predict_again


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2), None])
def test_is_nnunets_mean_over_mirror_images(axes):
    """In double precision, where the order of convolutions does not matter; of a network that no mirror image leaves alone."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3), torch.nn.Tanh(), torch.nn.ConvTranspose3d(4, 3, 3)).double()
    batches = []
    network.register_forward_pre_hook(lambda module, arguments: batches.append(len(arguments[0])))
    tile = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64)
    found = []
    for predictor_class in (nnUNetPredictor, MirrorPairsPredictor):
        predictor = predictor_class(device=torch.device("cpu"), perform_everything_on_device=False)
        predictor.network, predictor.allowed_mirroring_axes = network, axes
        found.append(predictor._internal_maybe_mirror_and_predict(tile))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    images = 2 ** len(axes or ())
    assert batches == [1] * images + ([2] * (images // 2) if axes else [1])


def test_on_a_gpu_it_is_refused_before_anything_is_read():
    with pytest.raises(InputError, match="--batch-mirrors is for -device cpu, and this is cuda. Leave it out."):
        FoldPredictor(None, torch.device("cuda"), batch_mirrors=True)


@pytest.mark.nnunet
def test_the_result_is_that_of_single_images_up_to_rounding(nnunet, tmp_path, capsys):
    """A run goes on with its own cases, not with those of the other way; a picture is predicted in the way of its result."""
    made = Variant(nnunet, tmp_path)
    plain, pairs = tmp_path / "plain", tmp_path / "pairs"

    def recalled(folder, *options):
        capsys.readouterr()
        assert main(["validate", str(made.model), "-f", "0", "-device", "cpu", "-o", str(folder), *options]) == 0
        return "cases had not changed" in capsys.readouterr().out

    with made.variables():
        made.trainer()
        assert not recalled(plain)
        shutil.copytree(plain, pairs)
        assert not recalled(pairs, "--batch-mirrors")
        assert recalled(pairs, "--batch-mirrors")
        again = predict_again(load_run(pairs))(CASES[0])
    torch.set_num_threads(1)
    files = [json.loads((folder / "calibration.json").read_text())["provenance"]["files"] for folder in (plain, pairs)]
    assert files[1] == files[0] | {"batch_mirrors": True}
    (one,), (two,) = (read_result(folder / BINS_FILE).cases for folder in (plain, pairs))
    assert one.fingerprint != two.fingerprint
    for ours, theirs in zip(two.problems, one.problems, strict=True):
        np.testing.assert_allclose(ours.nll, theirs.nll, rtol=1e-3)
        assert np.abs(ours.top_count.astype(int) - theirs.top_count).sum() < 0.01 * theirs.top_count.sum()
        counted, plain_sum = (np.array([each.class_probability.sum((0, 2))]) for each in (ours, theirs))
        np.testing.assert_allclose(again.reshape(len(again), -1).sum(1, dtype=float), counted[0], rtol=1e-7)
        assert not np.array_equal(counted, plain_sum)


def test_small_networks_are_told_apart_by_their_plans(tmp_path):
    """32 features of a patch of 40 x 56 x 40, nnU-Net's own of the hippocampus, gain nothing; 8 of them do."""

    def model(features, patch=(40, 56, 40), trainer="nnUNetTrainer"):
        architecture = {"arch_kwargs": {"features_per_stage": [features]}, "_kw_requires_import": []}
        plans = {"configurations": {"3d_fullres": {"patch_size": patch, "architecture": architecture}}}
        return SimpleNamespace(folder=tmp_path / f"{trainer}__nnUNetPlans__3d_fullres", plans=plans)

    assert slow_alone(model(8)) and not slow_alone(model(32))
    assert not slow_alone(model(8, (40, 56))), "2D"
    assert not slow_alone(model(8, trainer="nnUNetTrainerNoMirroring"))
    assert not slow_alone(model("many")) and not slow_alone(SimpleNamespace(folder=tmp_path, plans={}))
