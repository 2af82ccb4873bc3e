"""The switch between Triton kernels and PyTorch's operations, and the kernels beside nnU-Net's own Dice."""

from pathlib import Path

import pytest
import torch
from interpreted import skip_without_interpreter
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1
from real_trainers import IGNORE, LABELS, make_batch

from nnunet_nacl.losses import CRaCLoss, FocalLoss, NACLLoss, fused
from nnunet_nacl.losses.fused import FusedLoss
from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.trainers import nnUNetTrainerDiceNACL
from nnunet_nacl.training.triton_switch import VARIABLE, as_it_runs, is_wanted, soft_dice

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def dice_of(dice_class=MemoryEfficientSoftDiceLoss, activation=softmax_helper_dim1, **settings):
    return dice_class(activation, **{"batch_dice": False, "do_bg": False, "smooth": 1e-5, "ddp": False} | settings)


@pytest.mark.parametrize(
    ("said", "by_trainer", "wanted"),
    [
        (None, False, False),
        (None, True, True),
        ("t", False, True),
        ("True", False, True),
        ("1", False, True),
        ("f", True, False),
        ("0", True, False),
        ("", True, False),
    ],
)
def test_the_variable_rules_over_the_trainer(monkeypatch, said, by_trainer, wanted):
    monkeypatch.delenv(VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(VARIABLE, said)
    assert is_wanted(by_trainer) is wanted


def test_off_by_default_and_said_so_on_a_gpu(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    loss, lines = NACLLoss(), []
    assert as_it_runs(loss, False, CPU, lines.append) is loss
    assert lines == []
    assert as_it_runs(loss, False, CUDA, lines.append) is loss
    assert "NNUNET_NACL_TRITON=t" in lines.pop()
    assert as_it_runs(FocalLoss(), False, CUDA, lines.append)
    assert lines == [], "there is nothing to switch on"


@pytest.mark.parametrize("loss", [FocalLoss(), CRaCLoss()])
def test_a_loss_without_kernels_says_so(loss):
    lines = []
    assert as_it_runs(loss, True, CUDA, lines.append) is loss
    assert "no Triton kernels for" in lines[0]
    lines.clear()
    assert isinstance(as_it_runs(LossPlusDice(loss, dice_of(), None, False), True, CUDA, lines.append), LossPlusDice)
    assert len(lines) == 1


@pytest.mark.parametrize(
    "dice",
    [dice_of(SoftDiceLoss), dice_of(activation=torch.sigmoid), dice_of(batch_dice=True, ddp=True)],
    ids=["another class", "sigmoid", "over processes"],
)
def test_beside_another_dice_the_loss_alone_runs_as_kernels(dice):
    assert soft_dice(dice) is None
    plain = LossPlusDice(NACLLoss(), dice, None, False)
    found = as_it_runs(plain, True, CUDA, print)
    assert isinstance(found, LossPlusDice)
    assert isinstance(found.loss, FusedLoss)
    assert found.dice is dice


@pytest.mark.parametrize("settings", [{}, {"batch_dice": True}, {"do_bg": True}, {"ddp": True}])
@pytest.mark.parametrize("ignore_label", [None, 7])
def test_equals_nnunets_dice(monkeypatch, settings, ignore_label):
    skip_without_interpreter()
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    plain = LossPlusDice(NACLLoss(ignore_label=ignore_label), torch.compile(dice_of(**settings)), ignore_label, False)
    lines, generator = [], torch.Generator().manual_seed(0)
    loss = as_it_runs(plain, True, CPU, lines.append)
    logits = torch.randn(2, 3, 9, generator=generator)
    target = torch.randint(0, 3, (2, 1, 9), generator=generator).float()
    if ignore_label:
        target[:, :, 2:5] = ignore_label
    values = []
    for one in (loss, LossPlusDice(plain.loss, dice_of(**settings), ignore_label, False)):
        leaf = logits.clone().requires_grad_()
        value = one(leaf, target)
        value.backward()
        values.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*values)
    assert "agreed with PyTorch's operations" in lines[0]


@pytest.mark.nnunet
def test_a_trainer_runs_them_and_says_so(make, monkeypatch):
    """In Triton's interpreter, with deep supervision: the loss of a batch, and the training log."""
    skip_without_interpreter()
    batch = make_batch()
    monkeypatch.setenv(VARIABLE, "f")
    outputs = [torch.randn(2, 3, *[16 // 2**index] * 3) for index in range(2)]
    expected = make(nnUNetTrainerDiceNACL).loss(outputs, batch["target"][:2])
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    monkeypatch.setenv(VARIABLE, "t")
    trainer = make(nnUNetTrainerDiceNACL)
    torch.testing.assert_close(trainer.loss(outputs, batch["target"][:2]), expected)
    assert "The loss runs as Triton kernels on cpu, float32; they agreed" in Path(trainer.log_file).read_text()


@pytest.mark.nnunet
def test_ignored_voxels_of_a_trainer(make, monkeypatch):
    monkeypatch.setenv(VARIABLE, "t")
    trainer = make(nnUNetTrainerDiceNACL, {"labels": LABELS | IGNORE})
    assert trainer.loss.loss._terms.ignore_label == 3
    assert not trainer.loss.loss._terms.dice.do_bg
