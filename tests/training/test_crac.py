"""CRaC's multipliers in real trainers: what they adapt to, and that checkpoints carry them."""

import os
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
from real_trainers import (
    IGNORE,
    LABELS,
    REGIONS,
    as_regions,
    build,
    full_resolution,
    in_two_processes,
    make_batch,
    train,
)
from real_trainers import validate as validate_epoch
from torch import distributed

from nnunet_nacl.losses import CRaCLoss
from nnunet_nacl.training.calibration_logging import ECE_KEY
from nnunet_nacl.training.crac import HISTORY_KEY, CRaCMixin
from nnunet_nacl.training.trainers import nnUNetTrainerDiceCRaC

pytestmark = pytest.mark.nnunet


class nnUNetTrainerAdaptive(nnUNetTrainerDiceCRaC):
    """A name of its own, so that no other test writes into its result folder."""


class nnUNetTrainerAdaptiveNoDeepSupervision(CRaCMixin, nnUNetTrainerNoDeepSupervision):
    pass


def multiplier_history(trainer):
    return trainer.logger.local_logger.my_fantastic_logging[HISTORY_KEY]


def validate(trainer, *batches):
    """One epoch's validation; returns the multipliers after it."""
    validate_epoch(trainer, *batches)
    return multiplier_history(trainer)[-1]


def mean_constraint(trainer, *batches, **options):
    """Of the full resolution alone, by the loss itself, which its own tests look at."""
    loss = CRaCLoss(kernel_size=3, **options)
    first, *others = (loss.constraint_sums(*full_resolution(trainer, batch)) for batch in batches)
    return sum(others, first).mean()


def assert_adapted_once(state, mean):
    assert state["updates"] == 1
    torch.testing.assert_close(torch.tensor(state["constraint"], dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(state["lambdas"], dtype=torch.float64), 1e-6 + 0.1 * mean)
    assert (mean > 0).all(), "boundary and inner voxels are both there"


def test_adapts_to_the_full_resolution_of_all_validation_batches(make):
    trainer = make(nnUNetTrainerAdaptive)
    batches = make_batch(seed=0), make_batch(seed=1)
    assert_adapted_once(validate(trainer, *batches), mean_constraint(trainer, *batches))
    assert trainer._calibrated_loss.multipliers.state() == multiplier_history(trainer)[-1]
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
    history = train(trainer, epochs=2)[HISTORY_KEY]
    assert [state["updates"] for state in history] == [1, 2]
    log = Path(trainer.log_file).read_text()
    assert log.count("CRaC multipliers over the classes: lambda boundary ") == 2
    assert "Training with CRaCLoss(margin=5.0, rho=0.1, kernel_size=(3, 3, 3), max_lambda=1000000.0" in log


def test_resumed_training_goes_on_with_its_multipliers(make):
    class nnUNetTrainerAdaptiveResumed(nnUNetTrainerAdaptive):
        pass

    first = make(nnUNetTrainerAdaptiveResumed)
    history = deepcopy(train(first, epochs=2)[HISTORY_KEY])
    resumed = make(nnUNetTrainerAdaptiveResumed)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    assert resumed._calibrated_loss.multipliers.state() == history[-1]
    batch = make_batch()
    with torch.no_grad():
        logits = resumed.network(batch["data"])
        torch.testing.assert_close(resumed.loss(logits, batch["target"]), first.loss(logits, batch["target"]))
    longer = train(resumed, epochs=3)[HISTORY_KEY]
    assert longer[:2] == history
    assert longer[2]["updates"] == 3
    assert (torch.tensor(longer[2]["lambdas"]) > torch.tensor(history[1]["lambdas"])).all()


def test_a_warm_up_leaves_the_multipliers_alone(make):
    """Lambda can only grow, so what another loss leaves of the constraints must not be in it at the hand-over."""

    class nnUNetTrainerAdaptiveWarm(nnUNetTrainerAdaptive):
        warm_up_epochs = 2

    warm = make(nnUNetTrainerAdaptiveWarm)
    assert train(warm, epochs=2)[HISTORY_KEY] == [None, None]
    resumed = make(nnUNetTrainerAdaptiveWarm)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    history = train(resumed, epochs=3)[HISTORY_KEY]
    assert history[:2] == [None, None]
    assert_adapted_once(history[2], torch.tensor(history[2]["constraint"], dtype=torch.float64))
    assert "start anew" not in Path(resumed.log_file).read_text()


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
    resumed.load_checkpoint(filename_or_checkpoint=str(path))  # by whatever name nnU-Net has for it
    assert Path(resumed.log_file).read_text().count("has no multipliers of CRaC, so they start anew") == 1
    history = train(resumed, epochs=3)[HISTORY_KEY]
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
    environment = nnunet.environment | {"nnUNet_n_proc_DA": "0"}
    together = in_two_processes(validate_as_rank, nnunet.preprocessed, environment)
    torch.manual_seed(0)
    trainer = make(nnUNetTrainerAdaptive)
    alone = validate(trainer, make_batch(seed=0), make_batch(seed=1))
    assert together[0] == together[1]
    for name in ("lambdas", "rhos", "constraint"):
        torch.testing.assert_close(torch.tensor(together[0][name]), torch.tensor(alone[name]))
