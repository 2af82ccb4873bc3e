"""Calibration while training, on real trainers: what is logged, drawn, kept in checkpoints, and what it leaves alone."""

import os
import time
from copy import deepcopy
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
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
    validate,
)
from torch import distributed

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.training.calibration_logging import ECE_KEY, GAP_KEY, CalibrationLoggingMixin
from nnunet_nacl.training.online_calibration import OnlineCalibration
from nnunet_nacl.training.trainers import TRAINERS, nnUNetTrainerDiceNACL

pytestmark = pytest.mark.nnunet


class nnUNetTrainerFollowed(nnUNetTrainerDiceNACL):
    """A name of its own, so that no other test writes into its result folder."""


class nnUNetTrainerStockFollowed(CalibrationLoggingMixin, nnUNetTrainer):
    pass


class nnUNetTrainerFollowedNoDeepSupervision(CalibrationLoggingMixin, nnUNetTrainerNoDeepSupervision):
    pass


def logged(trainer):
    return [trainer.logger.get_value(key, step=-1) for key in (ECE_KEY, GAP_KEY)]


def expected_of(trainer, *batches, ignore_label=None):
    statistics = CalibrationStatistics.empty(3)
    for batch in batches:
        logits, target = full_resolution(trainer, batch)
        probabilities = torch.softmax(logits, 1).movedim(1, 0).flatten(1)
        statistics.update(probabilities.numpy(), target.flatten().numpy(), ignore_label)
    scores = statistics.scores("foreground")
    return pytest.approx([scores.ece, scores.gap], abs=1e-6)


@pytest.mark.parametrize("trainer", [nnUNetTrainerFollowed, nnUNetTrainerStockFollowed])
def test_training_logs_and_draws(trainer, make):
    trainer = make(trainer)
    histories = train(trainer, epochs=2)
    for key in (ECE_KEY, GAP_KEY):
        assert len(histories[key]) == 2
        assert np.isfinite(histories[key]).all()
    log = Path(trainer.log_file).read_text()
    assert log.count("Pseudo calibration: foreground ECE ") == 2
    assert f"foreground ECE {histories[ECE_KEY][1]:.4f}, confidence - accuracy {histories[GAP_KEY][1]:+.4f}" in log
    folder = Path(trainer.output_folder)
    assert (folder / "calibration_progress.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "progress.png").is_file()


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_has_it(name):
    assert issubclass(TRAINERS[name], CalibrationLoggingMixin)
    assert TRAINERS[name].log_calibration


def test_agrees_with_the_evaluator(make):
    trainer = make(nnUNetTrainerFollowed)
    batches = make_batch(seed=0), make_batch(seed=1)
    validate(trainer, *batches)
    assert logged(trainer) == expected_of(trainer, *batches)


def test_without_deep_supervision(make):
    trainer = make(nnUNetTrainerFollowedNoDeepSupervision)
    batch = make_batch()
    batch["target"] = batch["target"][0]
    validate(trainer, batch)
    assert logged(trainer) == expected_of(trainer, batch)


def test_ignored_voxels(make):
    trainer = make(nnUNetTrainerFollowed, {"labels": LABELS | IGNORE})
    batch = make_batch(highest=3)
    validate(trainer, batch)
    assert logged(trainer) == expected_of(trainer, batch, ignore_label=3)


@pytest.mark.parametrize("ignore", [False, True])
def test_regions(ignore, make):
    trainer = make(nnUNetTrainerFollowed, REGIONS | {"labels": REGIONS["labels"] | (IGNORE if ignore else {})})
    batch = as_regions(make_batch(highest=3 if ignore else 2), ignore)
    validate(trainer, batch)
    logits, target = full_resolution(trainer, batch)
    counted = target[:, :2].any(1)
    statistics = CalibrationStatistics.empty(2)
    for region, probability in enumerate(torch.sigmoid(logits).movedim(1, 0)):
        inside = probability[counted]
        statistics.update(torch.stack([1 - inside, inside]).numpy(), target[:, region][counted].numpy())
    scores = statistics.scores("all")
    assert logged(trainer) == pytest.approx([scores.ece, scores.gap], abs=1e-6)


def test_leaves_validation_as_it_is(make):
    """The network runs once a step, nnU-Net gets the same results, and nothing stays behind."""
    trainer = make(nnUNetTrainerFollowed, {"labels": LABELS | IGNORE})
    batch, runs = make_batch(highest=3), []
    trainer.network.register_forward_hook(lambda *_: runs.append(1))
    (ours,) = validate(trainer, batch)
    assert len(runs) == 1
    stock = nnUNetTrainer.validation_step(trainer, deepcopy(batch))
    assert ours.keys() == stock.keys()
    for key, value in stock.items():
        np.testing.assert_array_equal(ours[key], value)
    assert not trainer.loss._forward_hooks


def test_training_steps_do_not_count(make):
    trainer, batch = make(nnUNetTrainerFollowed), make_batch()
    with torch.no_grad():
        trainer.on_validation_epoch_start()
    trainer.train_step(deepcopy(batch))
    trainer.network.eval()
    expected = expected_of(trainer, batch)
    with torch.no_grad():
        trainer.on_validation_epoch_end([trainer.validation_step(deepcopy(batch))])
    assert logged(trainer) == expected


def test_hook_is_gone_after_a_failed_step(make):
    trainer = make(nnUNetTrainerFollowed)
    trainer.on_validation_epoch_start()
    with pytest.raises(KeyError):
        trainer.validation_step({"data": make_batch()["data"]})
    assert not trainer.loss._forward_hooks


def test_no_foreground(make):
    trainer, batch = make(nnUNetTrainerFollowed), make_batch(highest=0)
    validate(trainer, batch)
    assert np.isnan(logged(trainer)).all()
    assert "no foreground voxel in the validation patches" in Path(trainer.log_file).read_text()


def test_other_loggers_get_the_values(make):
    """nnU-Net hands each value on to its further loggers, of which Weights & Biases is one."""

    class Recorder:
        def __init__(self):
            self.values = {}

        def log(self, key, value, step):
            self.values[key, step] = value

    trainer, recorder = make(nnUNetTrainerFollowed), Recorder()
    trainer.logger.loggers.append(recorder)
    trainer.current_epoch = 4
    for key, history in trainer.logger.local_logger.my_fantastic_logging.items():
        history.extend([[0.5, 0.5] if key == "dice_per_class_or_region" else 0.5] * 4)
    validate(trainer, make_batch())
    assert [recorder.values[key, 4] for key in (ECE_KEY, GAP_KEY)] == logged(trainer)
    assert np.isnan(trainer.logger.get_value(ECE_KEY, step=None)[:4]).all()


def test_resumed_training_keeps_the_history(make):
    class nnUNetTrainerResumed(nnUNetTrainerFollowed):
        pass

    first = deepcopy(train(make(nnUNetTrainerResumed), epochs=2))
    resumed = make(nnUNetTrainerResumed)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    histories = train(resumed, epochs=3)
    for key in (ECE_KEY, GAP_KEY):
        assert histories[key][:2] == first[key]
        assert len(histories[key]) == 3
        assert np.isfinite(histories[key]).all()


def test_switched_on_and_off_between_resumes(make):
    """Epoch 0 without (as an older version leaves its checkpoint), 1 with, 2 without, 3 with."""

    class nnUNetTrainerSwitched(nnUNetTrainerFollowed):
        pass

    figure = None
    for epoch, switch in enumerate([False, True, False, True]):
        nnUNetTrainerSwitched.log_calibration = switch
        trainer = make(nnUNetTrainerSwitched)
        maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
        assert trainer.current_epoch == epoch
        histories = train(trainer, epochs=epoch + 1)
        assert (ECE_KEY in histories) == (epoch > 0)
        # the shortest list is the length of progress.png
        assert {len(history) for history in histories.values()} == {epoch + 1}
        figure = Path(trainer.output_folder) / "calibration_progress.png"
        assert figure.is_file() == (epoch > 0)
    for key in (ECE_KEY, GAP_KEY):
        assert np.isnan(histories[key]).tolist() == [True, False, True, False]


def test_cost(make):
    """Far below a validation step, of which an epoch has few: the bar is generous, for machines that do other work."""
    trainer, batch = make(nnUNetTrainerFollowed), make_batch()
    (logits, target), sums = full_resolution(trainer, batch), OnlineCalibration(trainer.device, None, regions=False)

    def fastest(function):
        durations = []
        for _ in range(10):
            start = time.perf_counter()
            function()
            durations.append(time.perf_counter() - start)
        return min(durations)

    with torch.no_grad():
        step = fastest(lambda: nnUNetTrainer.validation_step(trainer, batch))
        ours = fastest(lambda: sums.add(logits, target))
    print(f"accumulator {1000 * ours:.2f} ms, validation step {1000 * step:.2f} ms, ratio {ours / step:.4f}")
    assert ours < 0.3 * step


def validate_as_rank(rank, port, preprocessed, environment, results):
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, environment):
        torch.manual_seed(0)
        trainer = build(nnUNetTrainerFollowed, preprocessed)
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
        # nnU-Net takes a DDP training to be on GPUs, so the trainer is told of the other process once it is built
        trainer.is_ddp, trainer.local_rank = True, rank
        validate(trainer, make_batch(seed=rank))
        results[rank] = logged(trainer)
        distributed.destroy_process_group()


def test_two_processes_log_what_one_does(nnunet, make):
    environment = nnunet.environment | {"nnUNet_n_proc_DA": "0"}
    together = in_two_processes(validate_as_rank, nnunet.preprocessed, environment)
    torch.manual_seed(0)
    trainer = make(nnUNetTrainerFollowed)
    validate(trainer, make_batch(seed=0), make_batch(seed=1))
    assert together[0] == together[1]
    assert together[0] == pytest.approx(logged(trainer), abs=1e-6)
