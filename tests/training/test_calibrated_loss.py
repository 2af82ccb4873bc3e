"""What the mixin builds around the loss, on real trainers with the phantom's plans."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss import nnUNetTrainerDiceLoss
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)

from nnunet_nacl.losses import NACLLoss, SVLSLoss
from nnunet_nacl.training.trainers import TRAINERS, NACLMixin, nnUNetTrainerNACL

pytestmark = pytest.mark.nnunet


@pytest.fixture
def make(nnunet):
    def build(trainer, labels=None, configuration="3d_fullres"):
        plans = json.loads((nnunet.preprocessed / "nnUNetPlansCPU.json").read_text())
        dataset = json.loads((nnunet.preprocessed / "dataset.json").read_text())
        dataset |= labels or {}
        with mock.patch.dict(os.environ, nnunet.environment):
            built = trainer(plans | {"continue_training": False}, configuration, 0, dataset, torch.device("cpu"))
            built.initialize()
        return built

    return build


@pytest.mark.parametrize("name", TRAINERS)
def test_deep_supervision_weights_are_those_of_nnunet(name, make):
    ours, stock = make(TRAINERS[name]).loss, make(nnUNetTrainer).loss
    assert isinstance(ours, DeepSupervisionWrapper)
    assert ours.weight_factors == stock.weight_factors
    assert isinstance(ours.loss, DC_and_CE_loss) == ("Dice" in name)


@pytest.mark.parametrize("name", ["nnUNetTrainerDiceNACL", "nnUNetTrainerDiceSVLS"])
def test_dice_form_is_the_loss_plus_the_dice_of_nnunet(name, make):
    logits, target = torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 1, 8, 8, 8))
    compound = make(TRAINERS[name]).loss.loss
    loss = NACLLoss() if "NACL" in name else SVLSLoss()
    expected = loss(logits, target) + make(nnUNetTrainer).loss.loss.dc(logits, target)
    torch.testing.assert_close(compound(logits, target.float()), expected)


def test_ignore_label_reaches_the_loss(make):
    labels = {"labels": {"background": 0, "body": 1, "cap": 2, "ignore": 3}}
    assert make(nnUNetTrainerNACL, labels).loss.loss.ignore_label == 3
    dice = make(TRAINERS["nnUNetTrainerDiceNACL"], labels).loss.loss
    assert (dice.ignore_label, dice.ce.ignore_label) == (3, 3)
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    dice(logits, torch.full((1, 1, 4, 4, 4), 3.0)).backward()
    assert torch.isfinite(logits.grad).all()


def test_two_dimensional_configuration(make):
    trainer = make(nnUNetTrainerNACL, configuration="2d")
    logits = [torch.randn(2, 3, *shape) for shape in ((16, 16), (8, 8), (4, 4))]
    target = [torch.randint(0, 3, (2, 1, *item.shape[2:])).float() for item in logits]
    weights = trainer.loss.weight_factors
    expected = sum(w * NACLLoss()(x, y) for w, x, y in zip(weights, logits, target, strict=False))
    torch.testing.assert_close(trainer.loss(logits[: len(weights)], target[: len(weights)]), expected)


def test_other_base_trainer_without_deep_supervision(make):
    class NACLWithoutDeepSupervision(NACLMixin, nnUNetTrainerNoDeepSupervision):
        pass

    assert isinstance(make(NACLWithoutDeepSupervision).loss, NACLLoss)


def test_regions_are_refused(make):
    labels = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
    with pytest.raises(NotImplementedError, match="nnUNetTrainerNACL does not support region-based training yet"):
        make(nnUNetTrainerNACL, labels)


def test_base_trainer_with_a_loss_of_its_own_is_refused(make):
    class NACLOnDice(NACLMixin, nnUNetTrainerDiceLoss):
        pass

    with pytest.raises(
        TypeError, match="NACLOnDice expected its base trainer to build nnU-Net's DC_and_CE_loss, but got"
    ):
        make(NACLOnDice)


def test_log_says_what_is_trained(make):
    trainer = make(TRAINERS["nnUNetTrainerDiceNACL"])
    log = Path(trainer.log_file).read_text()
    assert "Training with NACLLoss(weight=0.1, kernel_size=3, kernel='mean'" in log
    assert "+ soft Dice" in log
