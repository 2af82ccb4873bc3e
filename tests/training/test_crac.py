"""CRaC's multipliers in real trainers: what they adapt to, and that checkpoints carry them."""

import json
import os
import socket
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
from torch import distributed, multiprocessing

from nnunet_nacl.losses import CRaCLoss
from nnunet_nacl.training.calibration_logging import ECE_KEY
from nnunet_nacl.training.crac import HISTORY_KEY, CRaCMixin
from nnunet_nacl.training.trainers import nnUNetTrainerDiceCRaC

pytestmark = pytest.mark.nnunet

LABELS = {"background": 0, "body": 1, "cap": 2}
IGNORE = {"ignore": 3}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
SIDES = (16, 8, 4)


class nnUNetTrainerAdaptive(nnUNetTrainerDiceCRaC):
    """A name of its own, so that no other test writes into its result folder."""


class nnUNetTrainerAdaptiveNoDeepSupervision(CRaCMixin, nnUNetTrainerNoDeepSupervision):
    pass


def build(trainer, preprocessed, dataset=None):
    plans = json.loads((preprocessed / "nnUNetPlansCPU.json").read_text())
    content = json.loads((preprocessed / "dataset.json").read_text()) | (dataset or {})
    built = trainer(plans | {"continue_training": False}, "3d_fullres", 0, content, torch.device("cpu"))
    built.initialize()
    return built


@pytest.fixture
def make(nnunet):
    with mock.patch.dict(os.environ, nnunet.environment | {"nnUNet_n_proc_DA": "0"}):
        yield lambda trainer, dataset=None: build(trainer, nnunet.preprocessed, dataset)


def train(trainer, epochs):
    """Train up to that many epochs through nnU-Net's own loop; returns the history of the multipliers."""
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, 2, 2
    trainer.run_training()
    return trainer.logger.local_logger.my_fantastic_logging[HISTORY_KEY]


def make_batch(highest=2, seed=0):
    """Images and targets as nnU-Net's loader gives them: labels in blocks of 4 voxels, at each resolution."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, highest + 1, (2, 1, 4, 4, 4), generator=generator).float()
    labels = torch.nn.functional.interpolate(coarse, scale_factor=4)
    data = torch.randn(2, 1, 16, 16, 16, generator=generator) + labels
    return {"data": data, "target": [labels[:, :, :: 16 // s, :: 16 // s, :: 16 // s] for s in SIDES]}


def as_regions(batch, ignore):
    kinds = [[(item == 1) | (item == 2), item == 2, *([item == 3] if ignore else [])] for item in batch["target"]]
    return batch | {"target": [torch.cat(item, dim=1) for item in kinds]}


def validate(trainer, *batches):
    """One epoch's validation as nnU-Net's loop does it; returns the multipliers after it."""
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        outputs = [trainer.validation_step(deepcopy(batch)) for batch in batches]
        trainer.on_validation_epoch_end(outputs)
    return trainer.logger.get_value(HISTORY_KEY, step=-1)


@torch.no_grad()
def mean_constraint(trainer, *batches, **options):
    """Of the full resolution alone, by the loss itself, which its own tests look at."""
    loss = CRaCLoss(kernel_size=3, **options)
    trainer.network.eval()
    sums = None
    for batch in batches:
        logits, target = trainer.network(batch["data"]), batch["target"]
        if isinstance(target, list):
            logits, target = logits[0], target[0]
        more = loss.constraint_sums(logits, target)
        sums = more if sums is None else sums + more
    return sums.mean()


def assert_adapted_once(state, mean):
    assert state["updates"] == 1
    torch.testing.assert_close(torch.tensor(state["constraint"], dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(state["lambdas"], dtype=torch.float64), 1e-6 + 0.1 * mean)
    assert (mean > 0).all(), "boundary and inner voxels are both there"


def test_adapts_to_the_full_resolution_of_all_validation_batches(make):
    trainer = make(nnUNetTrainerAdaptive)
    batches = make_batch(seed=0), make_batch(seed=1)
    assert_adapted_once(validate(trainer, *batches), mean_constraint(trainer, *batches))
    assert trainer._calibrated_loss.multipliers.state() == trainer.logger.get_value(HISTORY_KEY, step=-1)
    assert not trainer.loss._forward_hooks
    assert len(trainer.logger.get_value(ECE_KEY, step=None)) == 1, "calibration is logged beside it"


def test_without_deep_supervision(make):
    trainer, batch = make(nnUNetTrainerAdaptiveNoDeepSupervision), make_batch()
    batch["target"] = batch["target"][0]
    assert_adapted_once(validate(trainer, batch), mean_constraint(trainer, batch))


def test_without_calibration_logging(make):
    trainer, batch = make(nnUNetTrainerAdaptive), make_batch()
    trainer.log_calibration = False
    assert_adapted_once(validate(trainer, batch), mean_constraint(trainer, batch))


def test_ignored_voxels(make):
    trainer, batch = make(nnUNetTrainerAdaptive, {"labels": LABELS | IGNORE}), make_batch(highest=3)
    assert_adapted_once(validate(trainer, batch), mean_constraint(trainer, batch, ignore_label=3))


@pytest.mark.parametrize("ignore", [False, True])
def test_regions(ignore, make):
    trainer = make(nnUNetTrainerAdaptive, REGIONS | {"labels": REGIONS["labels"] | (IGNORE if ignore else {})})
    batch = as_regions(make_batch(highest=3 if ignore else 2), ignore)
    assert_adapted_once(validate(trainer, batch), mean_constraint(trainer, batch, regions=True))


def test_training_steps_change_no_multiplier_but_use_them(make):
    trainer, batch = make(nnUNetTrainerAdaptive), make_batch()
    trainer.network.eval()
    logits = trainer.network(batch["data"])
    before = trainer.loss(logits, batch["target"]).item()
    state = validate(trainer, batch)
    assert trainer.loss(logits, batch["target"]).item() > before
    trainer.train_step(deepcopy(batch))
    assert trainer._calibrated_loss.multipliers.state() == state


def test_each_epoch_is_kept_and_logged(make):
    class nnUNetTrainerAdaptiveLogged(nnUNetTrainerAdaptive):  # trainings of one name in one second share a log file
        pass

    trainer = make(nnUNetTrainerAdaptiveLogged)
    history = train(trainer, epochs=2)
    assert [state["updates"] for state in history] == [1, 2]
    log = Path(trainer.log_file).read_text()
    assert log.count("CRaC multipliers over the classes: lambda boundary ") == 2
    assert "Training with CRaCLoss(margin=5.0, rho=0.1, kernel_size=(3, 3, 3), max_lambda=1000000.0" in log


def test_resumed_training_goes_on_with_its_multipliers(make):
    class nnUNetTrainerAdaptiveResumed(nnUNetTrainerAdaptive):
        pass

    first = make(nnUNetTrainerAdaptiveResumed)
    history = deepcopy(train(first, epochs=2))
    resumed = make(nnUNetTrainerAdaptiveResumed)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    assert resumed._calibrated_loss.multipliers.state() == history[-1]
    batch = make_batch()
    with torch.no_grad():
        logits = resumed.network(batch["data"])
        torch.testing.assert_close(resumed.loss(logits, batch["target"]), first.loss(logits, batch["target"]))
    longer = train(resumed, epochs=3)
    assert longer[:2] == history
    assert longer[2]["updates"] == 3
    assert (torch.tensor(longer[2]["lambdas"]) > torch.tensor(history[1]["lambdas"])).all()


def test_checkpoint_without_multipliers_is_taken(make):
    class nnUNetTrainerAdaptiveLater(nnUNetTrainerAdaptive):
        pass

    first = make(nnUNetTrainerAdaptiveLater)
    train(first, epochs=2)
    path = Path(first.output_folder) / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["logging"][HISTORY_KEY]
    torch.save(checkpoint, path)
    resumed = make(nnUNetTrainerAdaptiveLater)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    assert Path(resumed.log_file).read_text().count("has no multipliers of CRaC, so they start anew") == 1
    history = train(resumed, epochs=3)
    assert history[:2] == [None, None]
    assert history[2]["updates"] == 1


def validate_as_rank(rank, port, preprocessed, environment, results):
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, environment):
        torch.manual_seed(0)
        trainer = build(nnUNetTrainerAdaptive, preprocessed)
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
        # nnU-Net takes a DDP training to be on GPUs, so the trainer is told of the other process once it is built
        trainer.is_ddp, trainer.local_rank = True, rank
        results[rank] = validate(trainer, make_batch(seed=rank))
        distributed.destroy_process_group()


def test_two_processes_adapt_as_one_does(nnunet, make):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        arguments = (port, nnunet.preprocessed, nnunet.environment | {"nnUNet_n_proc_DA": "0"}, results)
        multiprocessing.spawn(validate_as_rank, arguments, nprocs=2)
        together = results[0], results[1]
    torch.manual_seed(0)
    trainer = make(nnUNetTrainerAdaptive)
    alone = validate(trainer, make_batch(seed=0), make_batch(seed=1))
    assert together[0] == together[1]
    for name in ("lambdas", "rhos", "constraint"):
        torch.testing.assert_close(torch.tensor(together[0][name]), torch.tensor(alone[name]))
