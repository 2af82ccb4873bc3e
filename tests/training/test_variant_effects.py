"""Names whose settings cannot all be in the training that they describe."""

import os
from unittest import mock

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from real_trainers import build

from nnunet_nacl.errors import InputError
from nnunet_nacl.training import variants
from nnunet_nacl.training.trainer_path import trainer_path
from nnunet_nacl.training.trainers import nnUNetTrainerNACL
from nnunet_nacl.training.variant_effects import DEFAULT_EPOCHS
from nnunet_nacl.training.variants import RefusedVariantError, UnknownVariantError, resolve

# name, the setting that does nothing, and the reason
WITHOUT_EFFECT_ON_THE_LOSS = [
    ("NACL_sigma2", "sigma2", "add gaussian or svls"),
    ("DiceNACL_sigma2mm", "sigma2mm", "add gaussian or svls"),
    ("NACL_gaussian_sigma1p5_sigma3mm", "sigma1p5", "beside a sigma in mm"),
    ("NACL_svls_sigma3mm_sigma1p5", "sigma1p5", "beside a sigma in mm"),
    ("SVLS_sigma1p5_sigma3mm", "sigma1p5", "beside a sigma in mm"),
    ("NACL_kernel1_gaussian", "gaussian", "no neighbours"),
    ("NACL_weight0_kernel5", "kernel5", "weight 0"),
    ("NACL_weight0_svls", "svls", "weight 0"),
    ("NACL_l2_weight0", "l2", "weight 0"),
    ("NACL_sum_weight0", "sum", "weight 0"),
    ("NACL_kernel5_gaussian_sigma0p3", "kernel5", "weigh less than float32 resolves"),
    ("NACL_kernel5_svls_sigma0p28", "kernel5", "weigh less than float32 resolves"),
    ("SVLS_kernel5_sigma0p28", "kernel5", "weigh less than float32 resolves"),
    ("MbLS_weight0_margin5", "margin5", "weight 0"),
    ("DiceL1ACE_weight0_bins10", "bins10", "weight 0"),
    ("DiceL1ACE_weight0_soft", "soft", "weight 0"),
    ("DiceL1ACE_bins1_soft", "soft", "hard and soft are the same"),
]
# of two, each matters
EFFECTIVE = [
    "NACL_gaussian_sigma2", "NACL_svls_sigma2", "NACL_gaussian_sigma0p2mm", "NACL_gaussian_sigma0p15", "NACL_weight0", "NACL_kernel1", "NACL_kernel1_l2",
    "NACL_kernel5_gaussian_sigma0p5", "NACL_kernel5_svls_sigma0p5", "NACL_l2_sum", "SVLS_kernel5_sigma0p4",
    "SVLS_sigma0p2mm", "SVLS_kernel5_sigma3mm", "MbLS_weight0p2_margin0", "DiceL1ACE_bins2_soft", "DiceL1ACE_weight0",
    "DiceL1ACE_weight0p5_bins10", "LS_smoothing0", "Focal_gamma0", "ECP_weight0", "CRaC_kernel1", "CRaC_margin0_rho10",
]  # fmt: skip


def loss_and_gradient(name, spacing=0.1):
    """Of the loss that a name gives on a fixed batch."""
    generator = torch.Generator().manual_seed(0)
    logits = (6 * torch.randn(2, 3, 10, 10, 10, generator=generator).double()).requires_grad_()
    # blocks, so that windows are of one class and of several
    target = torch.randint(0, 3, (2, 1, 2, 2, 2), generator=generator).float()
    target = torch.nn.functional.interpolate(target, scale_factor=5)
    value = resolve(f"nnUNetTrainer{name}").make_loss((spacing,) * 3, None, False)(logits, target)
    value.backward()
    return value.detach(), logits.grad


def without(name, part):
    return "_".join(other for other in name.split("_") if other != part)


@pytest.mark.parametrize(("name", "part", "reason"), WITHOUT_EFFECT_ON_THE_LOSS)
def test_a_setting_without_effect_is_refused(name, part, reason, monkeypatch):
    with pytest.raises(RefusedVariantError, match=f"nnUNetTrainer{name} cannot be trained. '{part}' .*{reason}"):
        resolve(f"nnUNetTrainer{name}")
    monkeypatch.setattr(variants, "refusal", lambda *_: None)
    spacing = 1.0  # at which a sigma in mm differs from the other
    found, expected = loss_and_gradient(name, spacing), loss_and_gradient(without(name, part), spacing)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", EFFECTIVE)
def test_a_setting_with_effect_is_not(name, monkeypatch):
    with_all = loss_and_gradient(name)
    monkeypatch.setattr(variants, "refusal", lambda *_: None)  # of a sigma without its kernel
    for part in name.split("_")[1:]:
        other = loss_and_gradient(without(name, part))
        assert (with_all[0] - other[0]).abs() > 1e-8, part


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NACL_warmup20_20epochs", "'warmup20' leaves no epoch .*: 20 epochs, of which 20 are warm-up"),
        ("SVLS_10epochs_warmup30", "'warmup30' leaves no epoch .*: 10 epochs, of which 30 are warm-up"),
        ("DiceCRaC_warmup1000", "'warmup1000' leaves no epoch .*: 1000 epochs"),
        ("CRaC_maxlambda2_1epochs", "'maxlambda2' has no effect: .*no second"),
        ("CRaC_maxlambda2_warmup9_10epochs", "'maxlambda2' has no effect: .*no second"),
        ("SVLS_raters_warmup3", "'warmup3' does not go with raters"),
    ],
)
def test_a_setting_that_the_length_leaves_without_effect(name, reason):
    with pytest.raises(RefusedVariantError, match=reason):
        resolve(f"nnUNetTrainer{name}")


@pytest.mark.parametrize("name", ["NACL_warmup19_20epochs", "NACL_warmup999", "CRaC_maxlambda2_warmup8_10epochs"])
def test_lengths_that_leave_an_effect(name):
    assert resolve(f"nnUNetTrainer{name}")


def find(name):
    with mock.patch.dict(os.environ, {"nnUNet_extTrainer": str(trainer_path())}):
        return recursive_find_trainer_class_by_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nnUNetTrainerNACL_sigma2", "'sigma2' has no effect"),
        ("nnUNetTrainerNACL_kernel4", "odd number"),
        ("nnUNetTrainerCRaC_weight0p2", "has no meaning for nnUNetTrainerCRaC"),
    ],
)
def test_nnunet_says_why_and_still_predicts_with_models_of_that_name(name, reason):
    trainer = find(name)
    assert trainer.__name__ == name
    assert trainer.build_network_architecture is nnUNetTrainer.build_network_architecture
    with pytest.raises(SystemExit, match=reason):
        trainer(plans={}, configuration="2d", fold=0, dataset_json={}, device=torch.device("cpu"))


@pytest.mark.parametrize("name", ["nnUNetTrainer_l2", "nnUNetTrainerNACL_mine"])
def test_what_may_be_in_another_folder_is_left_to_nnunet(name):
    with pytest.raises(UnknownVariantError) as caught:
        resolve(name)
    assert not isinstance(caught.value, RefusedVariantError)
    with pytest.raises(RuntimeError, match="Could not find"):
        find(name)


@pytest.mark.nnunet
def test_a_training_ends_with_one_line(nnunet):
    arguments = (
        99,
        "3d_fullres",
        0,
        "-tr",
        "nnUNetTrainerNACL_warmup20_20epochs",
        "-p",
        "nnUNetPlansCPU",
        "-device",
        "cpu",
    )
    finished = nnunet.run("nnUNetv2_train", *arguments, check=False)
    assert finished.returncode == 1
    assert (
        finished.stderr.strip().splitlines()[-1].startswith("nnUNetTrainerNACL_warmup20_20epochs cannot be trained. ")
    )
    assert "Traceback" not in finished.stderr
    assert not nnunet.fold("nnUNetTrainerNACL_warmup20_20epochs").exists()


@pytest.mark.nnunet
def test_a_subclass_whose_warm_up_is_the_whole_training(nnunet):
    class nnUNetTrainerAllWarmUp(nnUNetTrainerNACL):
        warm_up_epochs = 1000

    with (
        mock.patch.dict(os.environ, nnunet.environment),
        pytest.raises(InputError, match="shorter than .* 1000 epochs"),
    ):
        build(nnUNetTrainerAllWarmUp, nnunet.preprocessed)


@pytest.mark.nnunet
def test_length_that_nnunet_takes_when_a_name_says_none(make):
    assert make(nnUNetTrainer).num_epochs == DEFAULT_EPOCHS
