"""Trainers by name."""

import inspect

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerCELoss import nnUNetTrainerCELoss

from nnunet_nacl.losses import CRaCLoss, ECPLoss, FocalLoss, L1ACELoss, LabelSmoothingLoss, MbLSLoss, NACLLoss, SVLSLoss
from nnunet_nacl.training import variants
from nnunet_nacl.training.trainers import TRAINERS, nnUNetTrainerNACL
from nnunet_nacl.training.variants import SETTINGS, UnknownVariantError, resolve


@pytest.mark.parametrize("name", TRAINERS)
def test_plain_names(name):
    assert resolve(name) is TRAINERS[name]


def test_settings_reach_the_loss():
    trainer = resolve("nnUNetTrainerDiceNACL_weight0p25_kernel5_gaussian_sigma2_l2_sum")
    assert trainer.__name__ == "nnUNetTrainerDiceNACL_weight0p25_kernel5_gaussian_sigma2_l2_sum"
    assert trainer.with_dice
    expected = NACLLoss(0.25, (5, 5, 5), "gaussian", (2.0, 2.0, 2.0), "l2", "sum", ignore_label=4)
    assert repr(trainer.make_loss((1.0, 1.0, 1.0), ignore_label=4, regions=False)) == repr(expected)
    svls = resolve("nnUNetTrainerSVLS_kernel5_sigma0p5").make_loss((1.0, 1.0), None, False)
    assert repr(svls) == repr(SVLSLoss((5, 5), (0.5, 0.5)))
    l1ace = resolve("nnUNetTrainerDiceL1ACE_weight0p5_bins10_soft").make_loss((1.0, 1.0), None, False)
    assert repr(l1ace) == repr(L1ACELoss(0.5, 10, "soft"))
    crac = resolve("nnUNetTrainerDiceCRaC_margin1_rho0p5_kernel5_maxlambda2p5").make_loss((1.0, 1.0), 4, False)
    assert repr(crac) == repr(CRaCLoss(1.0, 0.5, (5, 5), 2.5, ignore_label=4))


def test_raters_by_name():
    trainer = resolve("nnUNetTrainerDiceSVLS_raters_kernel5")
    assert trainer.raters
    assert trainer.with_dice
    assert not resolve("nnUNetTrainerDiceSVLS").raters
    expected = SVLSLoss((5, 5), (1.0, 1.0), ignore_label=2, raters=7)
    assert repr(trainer.make_rater_loss((1.0, 1.0), 2, 7)) == repr(expected)


def test_length_on_a_trainer_of_nnunet():
    assert issubclass(resolve("nnUNetTrainerCELoss_12epochs"), nnUNetTrainerCELoss)
    assert resolve("nnUNetTrainer_250epochs_NoMirroring").__name__ == "nnUNetTrainer_250epochs_NoMirroring"


def test_signature_is_the_one_that_nnunet_reads():
    expected = list(inspect.signature(nnUNetTrainer.__init__).parameters)
    assert list(inspect.signature(resolve("nnUNetTrainerNACL_3epochs").__init__).parameters) == expected


def test_every_example_is_understood(monkeypatch):
    monkeypatch.setattr(variants, "refusal", lambda *_: None)  # of a sigma without its kernel
    for setting in SETTINGS:
        base = next(name for name, trainer in TRAINERS.items() if issubclass(trainer, setting.base))
        assert setting.attribute in resolve(f"{base}_{setting.example}").__doc__


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nnUNetTrainerNACL_wieght0p2", "'wieght0p2' .*is no setting of nnUNetTrainerNACL. Did you mean weight0p2[?]"),
        ("nnUNetTrainerNACL_wieght0p35_100epochs", "Did you mean weight0p35[?]"),
        ("nnUNetTrainerNACL_weight0.2", "Did you mean weight0p2[?]"),
        ("nnUNetTrainerNACL_epochs20_gaussian", "'epochs20' .*Did you mean 20epochs[?]"),
        ("nnUNetTrainerNACL_sigm2mm", "Did you mean sigma2mm[?]"),
        ("nnUNetTrainerNACL_zzz", "'zzz' .*no setting of nnUNetTrainerNACL. Settings are written like 100epochs"),
        ("nnUNetTrainer_wieght0p2", "no setting of nnUNetTrainer. Settings are written like 100epochs"),
        ("nnUNetTrainerNALC_weight0p2", "'nnUNetTrainerNALC' is no .*Did you mean nnUNetTrainerNACL_weight0p2[?]"),
        ("nnUNetTrainerNACLDice", "Did you mean nnUNetTrainer(Dice)?NACL[?]"),
        ("nnUNetTrainernacl", "Did you mean nnUNetTrainerNACL[?]"),
        ("nnUNetTrainerNoMiroring", "Did you mean nnUNetTrainerNoMirroring[?]"),
        ("DiceNACL", "no trainer name: .*Did you mean nnUNetTrainerDiceNACL[?]"),
        ("nnUNetTrainerNACL_weight0p2_weight0p3", "sets nacl_weight a second time"),
        ("nnUNetTrainerNACL_gaussian_svls", "sets nacl_kernel a second time"),
        ("nnUNetTrainerDiceL1ACE_hard_soft", "sets l1ace_binning a second time"),
        ("nnUNetTrainerDiceL1ACE_bins0", "cannot be made.*whole number >= 1"),
        ("nnUNetTrainerNACL_kernel4", "cannot be made.*odd number of voxels"),
        ("nnUNetTrainerNACL_gaussian_sigma0", "cannot be made.*positive"),
        ("nnUNetTrainerCRaC_rho0", "cannot be made.*above 0"),
        ("nnUNetTrainerCRaC_weight0p2", "'weight0p2' .*has no meaning for nnUNetTrainerCRaC"),
        ("nnUNetTrainerSVLS_weight0p2", "'weight0p2' .*has no meaning for nnUNetTrainerSVLS"),
        ("nnUNetTrainerNACL_raters", "'raters' .*has no meaning for nnUNetTrainerNACL"),
        ("nnUNetTrainerNACL_weight" + "9" * 400, "cannot be made.*finite number"),
        ("nnUNetTrainerSVLS_sigma0mm", "cannot be made.*positive"),
        ("nnUNetTrainer_250epochs_NoMirroring_10epochs", "'10epochs' .* sets num_epochs a second time"),
        ("nnUNetTrainer_l2", "'l2' .*has no meaning for nnUNetTrainer"),
        ("nnUNetTrainerNACL__100epochs", "no trainer name"),
        ("nnUNetTrainerNACL_0epochs", "'0epochs' .*is no setting of nnUNetTrainerNACL. Did you mean 100epochs"),
        (
            "nnUNetTrainerMissing_100epochs",
            "'nnUNetTrainerMissing' is no trainer of nnunet-nacl or nnU-Net. `nnunet-nacl trainers` lists",
        ),
        ("torch", "no trainer name"),
        ("__path__", "no trainer name"),
    ],
)
def test_says_which_part_is_wrong(name, message):
    with pytest.raises(UnknownVariantError, match=message):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("NACL", NACLLoss(kernel_size=(3, 3), sigma=(1.0, 1.0), ignore_label=3, regions=True)),
        ("SVLS", SVLSLoss(kernel_size=(3, 3), sigma=(1.0, 1.0), ignore_label=3, regions=True)),
        ("MbLS", MbLSLoss(ignore_label=3, regions=True)),
        ("LS", LabelSmoothingLoss(ignore_label=3, regions=True)),
        ("Focal", FocalLoss(ignore_label=3, regions=True)),
        ("ECP", ECPLoss(ignore_label=3, regions=True)),
        ("CRaC", CRaCLoss(kernel_size=(3, 3), ignore_label=3, regions=True)),
    ],
)
def test_defaults_are_those_of_the_loss(name, loss):
    for trainer in (TRAINERS[f"nnUNetTrainer{name}"], TRAINERS[f"nnUNetTrainerDice{name}"]):
        assert repr(trainer.make_loss((1.0, 1.0), 3, True)) == repr(loss)


def test_defaults_of_dice_l1ace():
    trainer = TRAINERS["nnUNetTrainerDiceL1ACE"]
    assert trainer.with_dice
    assert repr(trainer.make_loss((1.0, 1.0), 3, True)) == repr(L1ACELoss(ignore_label=3, regions=True))


def test_anisotropic_window_stays_in_plane():
    loss = resolve("nnUNetTrainerNACL_gaussian_sigma1p5mm_kernel5").make_loss((5.0, 0.75, 0.75), None, False)
    assert (loss.kernel_size, loss.sigma) == ((1, 5, 5), (0.3, 2.0, 2.0))
    assert nnUNetTrainerNACL.make_loss((3.0, 1.0, 1.0), None, False).kernel_size == (3, 3, 3)
