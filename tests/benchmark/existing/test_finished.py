"""What is taken over and what is not: folds, checkpoints that were being written, plans."""

import json
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from studies import write_study

from nnunet_nacl.benchmark.existing.finished import (
    is_finished,
    is_fold_finished,
    is_readable,
    set_broken_checkpoints_aside,
)
from nnunet_nacl.benchmark.plan.jobs import find_job
from nnunet_nacl.errors import InputError


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": torch.randn(1000, generator=torch.Generator().manual_seed(seed)), "epoch": 3}, path)
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_half_a_checkpoint_is_not_readable(share, tmp_path):
    path = save(tmp_path / "checkpoint_latest.pth")
    assert is_readable(path)
    cut(path, share)
    assert not is_readable(path)


def test_changed_bytes_are_noticed(tmp_path):
    path = save(tmp_path / "checkpoint_latest.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert not is_readable(path)


def test_killed_in_torch_save(tmp_path):
    """SIGKILL while torch.save writes leaves a file that nnU-Net's --c would die of, and that is noticed here."""
    path = tmp_path / "checkpoint_latest.pth"
    program = f"import torch; x = torch.zeros(200_000_000); print('go', flush=True); torch.save(x, {str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    process.stdout.readline()
    while not (path.is_file() and path.stat().st_size > 1_000_000):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with pytest.raises(Exception, match=r"(?i)zip|central directory|truncated|eof"):
        torch.load(path, weights_only=True)
    assert not is_readable(path)


def test_fall_back_to_the_next_checkpoint(tmp_path):
    for name in ("final", "latest", "best"):
        save(tmp_path / f"checkpoint_{name}.pth")
    assert set_broken_checkpoints_aside(tmp_path) == []
    cut(tmp_path / "checkpoint_final.pth", 0.5)
    cut(tmp_path / "checkpoint_latest.pth", 0.5)
    said = set_broken_checkpoints_aside(tmp_path)
    assert len(said) == 3
    assert said[-1] == "going on from checkpoint_best.pth"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint_best.pth", "checkpoint_final.pth.broken", "checkpoint_latest.pth.broken",
    ]  # fmt: skip
    cut(tmp_path / "checkpoint_best.pth", 0.5)
    assert set_broken_checkpoints_aside(tmp_path)[-1] == "no checkpoint is left: starting over"


@pytest.fixture
def trained(tmp_path):
    """A finished fold and its preprocessed folder, as nnU-Net leaves them."""
    fold, preprocessed = tmp_path / "fold_1", tmp_path / "preprocessed"
    save(fold / "checkpoint_final.pth")
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").write_text("{}")
    for case in ("b", "c"):
        np.savez_compressed(fold / "validation" / f"{case}.npz", probabilities=np.zeros((2, 3)))
    preprocessed.mkdir()
    splits = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return fold, preprocessed


def test_finished_fold(trained):
    assert is_fold_finished(*trained, 1)
    assert not is_fold_finished(*trained, 0), "another fold's cases"


@pytest.mark.parametrize("missing", ["checkpoint_final.pth", "validation/summary.json", "validation/c.npz"])
def test_unfinished_folds(missing, trained):
    (trained[0] / missing).unlink()
    assert not is_fold_finished(*trained, 1)


def test_half_a_softmax_file_is_unfinished(trained):
    path = trained[0] / "validation" / "c.npz"
    cut(path, 0.9)
    assert not zipfile.is_zipfile(path)
    assert not is_fold_finished(*trained, 1)


def test_plans_with_other_patches_are_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    study = write_study(tmp_path, patch_size=[16, 16, 16])
    job = find_job(study, "cpu_plans/Dataset099_Phantom")
    assert not is_finished(study, job)
    plans = tmp_path / "preprocessed" / "Dataset099_Phantom" / "nnUNetPlansCPU.json"
    plans.parent.mkdir(parents=True)
    plans.write_text(json.dumps({"configurations": {"3d_fullres": {"patch_size": [16, 16, 16]}}}))
    assert is_finished(study, job)
    with pytest.raises(InputError, match=r"has patches of \[16, 16, 16\], but `patch_size` asks for \[8, 8, 8\]"):
        is_finished(write_study(tmp_path, patch_size=[8, 8, 8]), job)


def test_preprocessed_only_with_all_cases(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    folder = tmp_path / "preprocessed" / "Dataset099_Phantom"
    tasks = [{"name": "Task99_Phantom", "from": str(folder)}]  # whatever lies there
    study = write_study(tmp_path, tasks=tasks)
    (folder / "gt_segmentations").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "dataset.json").write_text(json.dumps({"numTraining": 2, "file_ending": ".nii.gz"}))
    plans = {"configurations": {"3d_fullres": {"data_identifier": "data"}, "2d": {"data_identifier": "other"}}}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    jobs = [find_job(study, f"{rule}/Dataset099_Phantom") for rule in ("import", "plan")]
    for case in ("a", "b"):
        assert not any(is_finished(study, job) for job in jobs)
        (folder / "data" / f"{case}.pkl").touch()
        (folder / "gt_segmentations" / f"{case}.nii.gz").touch()
    assert all(is_finished(study, job) for job in jobs)
    assert not is_finished(write_study(tmp_path, tasks=tasks, configuration="2d"), jobs[1])
