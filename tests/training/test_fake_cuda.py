"""Each trainer's loss, as nnU-Net's own code builds it, and what watches validation, on a CUDA device that is not there."""

import json

import pytest
import torch
from fake_cuda import CUDA, backward, fake_cuda
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from real_trainers import IGNORE, LABELS, REGIONS
from torch._subclasses.fake_tensor import FakeTensorMode

from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.online_calibration import OnlineCalibration
from nnunet_nacl.training.raters import RaterLoss
from nnunet_nacl.training.trainers import TRAINERS, SVLSMixin
from nnunet_nacl.training.warm_up import WarmUp
from nnunet_nacl.training.watching import watching

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.skipif(
        not hasattr(FakeTensorMode, "avoid_device_init"), reason="needs PyTorch whose fake tensors do without a driver"
    ),
]
WITH_IGNORE = REGIONS | {"labels": REGIONS["labels"] | IGNORE}
DATASETS = {"labels": {}, "ignore": {"labels": LABELS | IGNORE}, "regions": REGIONS, "regions, ignore": WITH_IGNORE}
each_dataset = pytest.mark.parametrize("dataset", DATASETS)


@pytest.fixture
def built(nnunet, monkeypatch):
    """A trainer that is not initialized: its loss needs plans and labels only."""
    for name, value in nnunet.environment.items():
        monkeypatch.setenv(name, value)

    def build(trainer, dataset):
        plans = json.loads((nnunet.preprocessed / "nnUNetPlansCPU.json").read_text())
        content = json.loads((nnunet.preprocessed / "dataset.json").read_text()) | DATASETS[dataset]
        return trainer(plans | {"continue_training": False}, "3d_fullres", 0, content, torch.device("cpu"))

    return build


def outputs(trainer, raters=0):
    """Logits and targets at each resolution of the network, in half precision as autocast gives them."""
    manager, sizes = (
        trainer.label_manager,
        [8 // 2**level for level in range(len(trainer._get_deep_supervision_scales()))],
    )
    channels = manager.num_segmentation_heads + manager.has_ignore_label if manager.has_regions else 1 + raters
    heads = manager.num_segmentation_heads
    logits = [
        torch.empty(2, heads, *[size] * 3, dtype=torch.float16, device=CUDA, requires_grad=True) for size in sizes
    ]
    kind = torch.bool if manager.has_regions else torch.float32
    return logits, [torch.empty(2, channels, *[size] * 3, dtype=kind, device=CUDA) for size in sizes]


def assert_stays(loss, logits, target):
    with torch.autocast("cuda", torch.float16):
        value = loss(logits, target)
    assert value.device == CUDA
    assert all(gradient.device == CUDA for gradient in backward(value).values())


@pytest.mark.parametrize("name", TRAINERS)
@each_dataset
def test_the_loss_stays_on_the_device(name, dataset, built):
    trainer = built(TRAINERS[name], dataset)
    loss = trainer._build_loss()
    with fake_cuda() as said:
        loss(*outputs(trainer))
        said.clear()  # CRaC's multipliers, sent once
        assert_stays(loss, *outputs(trainer))
    assert said == []


@each_dataset
def test_watching_validation_waits_once_a_batch(dataset, built):
    """For the number of foreground voxels, of which alone a softmax is taken: nnU-Net waits for its Dice after each of these batches anyway."""
    trainer = built(TRAINERS["nnUNetTrainerDiceCRaC"], dataset)
    loss, manager = trainer._build_loss(), trainer.label_manager
    crac = trainer._calibrated_loss
    with fake_cuda() as said:
        sums = OnlineCalibration(CUDA, manager.ignore_label, manager.has_regions)
        with torch.no_grad(), watching(loss, crac.constraint_sums), torch.autocast("cuda", torch.float16):
            loss(*outputs(trainer))
            said.clear()
            with watching(loss, sums.add):
                loss(*outputs(trainer))
        assert said == ["nonzero, online_calibration.py: _places"]
        assert sums.counts.device == sums.confidence.device == CUDA


def test_raters_and_a_warm_up(built):
    trainer = built(nnUNetTrainer, "labels")
    dice = trainer._build_loss().loss
    of_raters = RaterLoss(SVLSMixin.make_rater_loss((1, 1, 1), 3, 2), dice.dc, None)
    ours = LossPlusDice(SVLSMixin.make_loss((1, 1, 1), None, False), dice.dc, None, False)
    warm_up = WarmUp(dice, ours)
    with fake_cuda() as said:
        logits, target = outputs(trainer, raters=2)
        assert_stays(of_raters, logits[0], target[0])
        for warm_up.is_over in (False, True):
            assert_stays(warm_up, logits[0], target[0][:, :1])
    assert said == []
