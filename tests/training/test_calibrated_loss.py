"""What the mixin builds around the loss, on real trainers: labels, ignored voxels, regions, other base trainers."""

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.primus.primus_trainers import nnUNet_Primus_S_Trainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerDiceLoss import nnUNetTrainerDiceLoss
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
from torch._dynamo import OptimizedModule

from nnunet_nacl.losses import NACLLoss, SVLSLoss
from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.trainers import TRAINERS, NACLMixin, nnUNetTrainerDiceNACL, nnUNetTrainerNACL
from nnunet_nacl.training.variants import resolve

pytestmark = pytest.mark.nnunet

LABELS = {"background": 0, "body": 1, "cap": 2}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
IGNORE = {"ignore": 3}


@pytest.fixture
def make(nnunet):
    def build(trainer, dataset=None, configuration="3d_fullres", preprocessed=nnunet.preprocessed):
        plans = json.loads((preprocessed / "nnUNetPlansCPU.json").read_text())
        content = json.loads((preprocessed / "dataset.json").read_text()) | (dataset or {})
        built = trainer(plans | {"continue_training": False}, configuration, 0, content, torch.device("cpu"))
        built.initialize()
        return built

    with mock.patch.dict(os.environ, nnunet.environment | {"nnUNet_n_proc_DA": "0"}):
        yield build


@pytest.mark.parametrize("name", TRAINERS)
def test_deep_supervision_weights_are_those_of_nnunet(name, make):
    ours, stock = make(TRAINERS[name]).loss, make(nnUNetTrainer).loss
    assert isinstance(ours, DeepSupervisionWrapper)
    assert ours.weight_factors == stock.weight_factors
    assert isinstance(ours.loss, LossPlusDice) == ("Dice" in name)


def test_under_ddp_every_output_has_a_weight(make):
    """A parameter without a gradient is an error of DDP's, so nnU-Net gives the coarsest output 1e-6 there."""
    trainer, stock = make(nnUNetTrainerNACL), make(nnUNetTrainer)
    trainer.is_ddp = stock.is_ddp = True
    loss = trainer._build_loss()
    assert loss.weight_factors == stock._build_loss().weight_factors
    assert 0 < loss.weight_factors[-1] < 1e-5
    loss(trainer.network(torch.randn(2, 1, 16, 16, 16)), targets((16, 16, 16))).backward()
    assert all(parameter.grad is not None for parameter in trainer.network.parameters())


@pytest.mark.parametrize("name", ["nnUNetTrainerDiceNACL", "nnUNetTrainerDiceSVLS"])
def test_dice_form_is_the_loss_plus_the_dice_of_nnunet(name, make):
    logits, target = torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 1, 8, 8, 8)).float()
    loss = NACLLoss() if "NACL" in name else SVLSLoss()
    expected = loss(logits, target) + make(nnUNetTrainer).loss.loss.dc(logits, target)
    torch.testing.assert_close(make(TRAINERS[name]).loss.loss(logits, target), expected)


def test_ignored_voxels(make):
    dataset = {"labels": LABELS | IGNORE}
    compound, stock = make(nnUNetTrainerDiceNACL, dataset).loss.loss, make(nnUNetTrainer, dataset).loss.loss
    logits, target = torch.randn(1, 3, 6, 6, 6), torch.randint(0, 4, (1, 1, 6, 6, 6)).float()
    dice = stock.dc(logits, torch.where(target != 3, target, 0), loss_mask=target != 3)
    torch.testing.assert_close(compound(logits, target), NACLLoss(ignore_label=3)(logits, target) + dice)
    leaf = logits.requires_grad_()
    compound(leaf, torch.full_like(target, 3)).backward()
    assert torch.isfinite(leaf.grad).all()


REGIONS_IGNORE = REGIONS | {"labels": REGIONS["labels"] | IGNORE}


@pytest.mark.parametrize("dataset", [None, {"labels": LABELS | IGNORE}, REGIONS, REGIONS_IGNORE])
def test_only_the_loss_differs_from_nnunet(dataset, make):
    """With a penalty of weight 0 nothing does, on any kind of labels: the weights beside the Dice are nnU-Net's."""
    stock, ours = make(nnUNetTrainer, dataset).loss, make(resolve("nnUNetTrainerDiceNACL_weight0"), dataset).loss
    regions, ignore = dataset in (REGIONS, REGIONS_IGNORE), dataset is not None and "ignore" in dataset["labels"]
    shapes = [(2, 2 if regions else 3, *(side,) * 3) for side in (16, 8, 4)[: len(stock.weight_factors)]]
    logits = [torch.randn(shape) for shape in shapes]
    target = [torch.randint(0, 4 if ignore else 3, (2, 1, *shape[2:])) for shape in shapes]
    if regions:
        kinds = [[(item == 1) | (item == 2), item == 2, *([item == 3] if ignore else [])] for item in target]
        target = [torch.cat(kind, 1) for kind in kinds]
    torch.testing.assert_close(ours(logits, target), stock(logits, target))


def test_weight_of_regions_with_an_ignore_label(make):
    """nnU-Net sums its cross-entropy over two regions, so the calibrated loss counts twice, its penalty included."""
    trainer, stock = make(nnUNetTrainerNACL, REGIONS_IGNORE), make(nnUNetTrainer, REGIONS_IGNORE).loss.loss
    logits, target = torch.randn(1, 2, 6, 6, 6), torch.rand(1, 3, 6, 6, 6) < 0.4
    expected = 2 * NACLLoss(regions=True)(logits, target)
    torch.testing.assert_close(trainer.loss.loss(logits, target), expected)
    dice = stock.dc(logits, target[:, :2], loss_mask=~target[:, 2:])
    compound = make(nnUNetTrainerDiceNACL, REGIONS_IGNORE).loss.loss
    torch.testing.assert_close(compound(logits, target), expected + dice)
    assert "times 2: nnU-Net sums the cross-entropy over so many regions" in Path(trainer.log_file).read_text()


def test_regions(make):
    plain, compound = make(nnUNetTrainerNACL, REGIONS).loss.loss, make(nnUNetTrainerDiceNACL, REGIONS).loss.loss
    stock = make(nnUNetTrainer, REGIONS).loss.loss
    assert plain.regions
    logits, target = torch.randn(1, 2, 6, 6, 6), torch.rand(1, 2, 6, 6, 6) < 0.4
    torch.testing.assert_close(compound(logits, target), plain(logits, target) + stock.dc(logits, target))


@pytest.mark.parametrize("dataset", [{"labels": LABELS | IGNORE}, REGIONS])
def test_a_warm_up_trains_with_the_stock_loss_first(dataset, make):
    trainer, stock = make(resolve("nnUNetTrainerNACL_warmup2"), dataset), make(nnUNetTrainer, dataset)
    own = make(nnUNetTrainerNACL, dataset).loss
    regions = trainer.label_manager.has_regions
    shapes = [(2, 2 if regions else 3, *(side,) * 3) for side in (16, 8, 4)[: len(own.weight_factors)]]
    logits = [torch.randn(shape) for shape in shapes]
    target = [torch.rand(shape) < 0.5 if regions else torch.randint(0, 3, (2, 1, *shape[2:])) for shape in shapes]
    for epoch, expected in ((0, stock.loss), (1, stock.loss), (2, own), (7, own)):
        trainer.current_epoch = epoch  # a continued training starts in any epoch
        trainer.on_train_epoch_start()
        torch.testing.assert_close(trainer.loss(logits, target), expected(logits, target))
    assert "after 2 epochs of the base trainer's loss" in Path(trainer.log_file).read_text()


def test_two_dimensional_configuration(make):
    loss = make(nnUNetTrainerNACL, configuration="2d").loss
    assert loss.loss.kernel_size == (3, 3)
    logits = [torch.randn(2, 3, *shape) for shape in ((16, 16), (8, 8), (4, 4))]
    target = [torch.randint(0, 3, (2, 1, *item.shape[2:])).float() for item in logits]
    weights = loss.weight_factors
    expected = sum(w * NACLLoss()(x, y) for w, x, y in zip(weights, logits, target, strict=False))
    torch.testing.assert_close(loss(logits[: len(weights)], target[: len(weights)]), expected)


def test_base_trainer_without_deep_supervision(make):
    class nnUNetTrainerNACLNoDeepSupervision(NACLMixin, nnUNetTrainerNoDeepSupervision):
        pass

    assert isinstance(make(nnUNetTrainerNACLNoDeepSupervision).loss, NACLLoss)


def test_base_trainer_with_a_loss_of_its_own_is_refused(make):
    class nnUNetTrainerNACLOnDice(NACLMixin, nnUNetTrainerDiceLoss):
        pass

    with pytest.raises(
        TypeError, match="nnUNetTrainerNACLOnDice expected its base trainer to build nnU-Net's Dice and"
    ):
        make(nnUNetTrainerNACLOnDice)


def test_log_says_what_is_trained(make):
    log = Path(make(nnUNetTrainerDiceNACL).log_file).read_text()
    assert "Training with NACLLoss(weight=0.1, kernel_size=(3, 3, 3), kernel='mean'" in log
    assert "+ soft Dice" in log


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("nnUNetTrainerNACL_20epochs", 2),
        ("nnUNetTrainerCELoss_20epochs", 2),
        ("nnUNetTrainerNACL_7epochs", 1),
        ("nnUNetTrainerNACL_499epochs", 49),
        ("nnUNetTrainerNACL_700epochs", 50),
        ("nnUNetTrainerNACL", 50),
        ("nnUNetTrainerNACL_5iterations", 50),
    ],
)
def test_a_short_training_is_saved_ten_times(name, epochs, make):
    assert make(resolve(name)).save_every == epochs


def test_a_base_that_saves_more_often_stays_so(make, monkeypatch):
    class nnUNetTrainerCareful(nnUNetTrainer):
        def __init__(self, plans, configuration, fold, dataset_json, device):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.save_every = 3

    monkeypatch.setitem(TRAINERS, "nnUNetTrainerCareful", nnUNetTrainerCareful)
    assert make(resolve("nnUNetTrainerCareful_100epochs")).save_every == 3


def train_briefly(trainer):
    """One epoch of two iterations, through nnU-Net's own loop; returns the losses."""
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
    trainer.run_training()
    logged = trainer.logger.local_logger.my_fantastic_logging
    return logged["train_losses"] + logged["val_losses"]


@pytest.mark.parametrize("name", TRAINERS)
def test_one_epoch(name, make):
    assert np.isfinite(train_briefly(make(TRAINERS[name]))).all()


def test_one_epoch_on_another_augmentation(make):
    class nnUNetTrainerNACLDA5(NACLMixin, nnUNetTrainerDA5):
        pass

    assert np.isfinite(train_briefly(make(nnUNetTrainerNACLDA5))).all()


@pytest.mark.skipif(
    torch.__version__ < (2, 4), reason="PyTorch 2.1 has no fused AdamW on CPUs, with which these are trained"
)
def test_one_epoch_on_a_transformer(make):
    class nnUNetTrainerNACLPrimus(NACLMixin, nnUNet_Primus_S_Trainer):
        pass

    assert np.isfinite(train_briefly(make(nnUNetTrainerNACLPrimus))).all()


@pytest.mark.parametrize("name", ["nnUNetTrainerNACL", "nnUNetTrainerDiceSVLS"])
def test_compiled_as_nnunet_does_it(name, make):
    """nnU-Net compiles the network and the Dice term; it does so on a GPU only, so the switch is forced here."""
    with mock.patch.object(nnUNetTrainer, "_do_i_compile", lambda self: True):
        trainer = make(TRAINERS[name])
        assert isinstance(trainer.network, OptimizedModule)
        batch = {"data": torch.randn(2, 1, 16, 16, 16), "target": targets((16, 16, 16))}
        assert np.isfinite(trainer.train_step(batch)["loss"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype, make):
    if dtype == torch.float16 and torch.__version__ < (2, 4):
        pytest.skip("PyTorch 2.1 casts to bfloat16 alone on CPUs")
    trainer = make(nnUNetTrainerDiceNACL)
    with torch.autocast("cpu", dtype=dtype):
        loss = trainer.loss(trainer.network(1000 * torch.randn(2, 1, 16, 16, 16)), targets((16, 16, 16)))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in trainer.network.parameters() if p.grad is not None)


def targets(shape):
    """A label map and its halved forms, as deep supervision takes them."""
    labels = torch.randint(0, 3, (2, 1, *shape)).float()
    return [labels[:, :, ::step, ::step, ::step] for step in (1, 2, 4)]


@pytest.fixture(scope="module")
def ignore_dataset(nnunet):
    return nnunet.prepare_variant(98, "Ignore", LABELS | IGNORE, with_ignored_slab)


@pytest.fixture(scope="module")
def region_dataset(nnunet):
    return nnunet.prepare_variant(97, "Regions", **REGIONS)


@pytest.fixture(scope="module")
def region_ignore_dataset(nnunet):
    labels = REGIONS["labels"] | IGNORE
    return nnunet.prepare_variant(96, "RegionsIgnore", labels, with_ignored_slab, regions_class_order=[1, 2])


def with_ignored_slab(values):
    values[:5] = 3
    return values


@pytest.mark.parametrize("dataset", ["ignore_dataset", "region_dataset", "region_ignore_dataset"])
def test_one_epoch_on_other_kinds_of_labels(dataset, make, request):
    preprocessed = request.getfixturevalue(dataset)
    for trainer in TRAINERS.values():
        assert np.isfinite(train_briefly(make(trainer, preprocessed=preprocessed))).all(), trainer
