"""Real trainers on the phantom, built and validated in this process: what several test files do with them."""

import json
import socket
from copy import deepcopy

import pytest
import torch
from torch import multiprocessing

LABELS = {"background": 0, "body": 1, "cap": 2}
IGNORE = {"ignore": 3}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}


def build(trainer, preprocessed, dataset=None, **plans):
    """Return an initialized trainer of the preprocessed data, whose dataset.json and plans may be changed."""
    plans = plans | json.loads((preprocessed / "nnUNetPlansCPU.json").read_text())
    content = json.loads((preprocessed / "dataset.json").read_text()) | (dataset or {})
    built = trainer(plans | {"continue_training": False}, "3d_fullres", 0, content, torch.device("cpu"))
    built.initialize()
    return built


def train(trainer, epochs):
    """Train up to that many epochs through nnU-Net's own loop; returns the local logger's lists."""
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, 2, 2
    trainer.run_training()
    return trainer.logger.local_logger.my_fantastic_logging


def make_batch(highest=2, seed=0):
    """Images and targets as nnU-Net's loader gives them: labels in blocks of 4 voxels, at each resolution."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, highest + 1, (2, 1, 4, 4, 4), generator=generator).float()
    labels = torch.nn.functional.interpolate(coarse, scale_factor=4)
    data = torch.randn(2, 1, 16, 16, 16, generator=generator) + labels
    return {"data": data, "target": [labels[:, :, ::step, ::step, ::step] for step in (1, 2, 4)]}


def as_regions(batch, ignore):
    """The same batch with a mask per region, and one of the ignored voxels."""
    kinds = [[(item == 1) | (item == 2), item == 2, *([item == 3] if ignore else [])] for item in batch["target"]]
    return batch | {"target": [torch.cat(item, dim=1) for item in kinds]}


def validate(trainer, *batches):
    """One epoch's validation as nnU-Net's loop does it; returns the last outputs."""
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        outputs = [trainer.validation_step(deepcopy(batch)) for batch in batches]
        trainer.on_validation_epoch_end(outputs)
    return outputs


def full_resolution(trainer, batch):
    """What the network predicts of a batch, and its target."""
    trainer.network.eval()
    with torch.no_grad():
        logits, target = trainer.network(batch["data"]), batch["target"]
    return tuple(item[0] if isinstance(item, list | tuple) else item for item in (logits, target))


def in_two_processes(function, *arguments):
    """Run ``function(rank, port, *arguments, results)`` in two processes; returns what each has put under its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(function, (port, *arguments, results), nprocs=2)
        return results[0], results[1]


def train_by_command(nnunet, trainer, *extra, configuration="3d_fullres"):
    """Train and validate with nnU-Net's command, saving softmax files."""
    arguments = (99, configuration, 0, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu", "--npz", *extra)
    return nnunet.run("nnUNetv2_train", *arguments)


def newest_log(fold):
    return max(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime).read_text()


def assert_dice_of_nnunet(folder):
    ours = json.loads((folder / "calibration.json").read_text())
    theirs = json.loads((folder / "summary.json").read_text())
    for label in ("1", "2"):
        assert ours["mean"][label]["Dice"] == pytest.approx(theirs["mean"][label]["Dice"])
    assert ours["foreground_mean"]["Dice"] == pytest.approx(theirs["foreground_mean"]["Dice"])
