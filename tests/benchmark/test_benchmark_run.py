"""A study on the phantom with real nnU-Net: a failing job, a killed training, a broken checkpoint, and the end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from studies import write_study

from nnunet_nacl.benchmark.curves.learning_curves import read_curve
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.errors import InputError
from nnunet_nacl.training.share import read_checkpoint

pytestmark = pytest.mark.nnunet
LENGTH = "3epochs_30iterations_1valiterations"
BASE, NACL = f"nnUNetTrainer_{LENGTH}", f"nnUNetTrainerNACL_{LENGTH}"
DATA = "Dataset099_Phantom"


@pytest.fixture(scope="module")
def nnunet(new_nnunet):
    """Folders of its own: a study takes over what another test has trained under the same name."""
    return new_nnunet()


@pytest.fixture(scope="module")
def study(nnunet, phantom_task, tmp_path_factory):
    """Two trainers, one fold, on the data set that the fixture has imported and planned already."""
    pytest.importorskip("snakemake", reason="needs the extra `benchmark`")
    folder = tmp_path_factory.mktemp("study") / "phantom"
    return write_study(folder, tasks=[{"name": "Task99_Phantom", "from": str(phantom_task)}], folds=[0], length=LENGTH)


def benchmark(nnunet, study, action, check=True):
    return nnunet.run("nnunet-nacl", "benchmark", action, study.folder, check=check)


def plan_row(nnunet, study, step):
    """Return a row of the plan: jobs, to run, there already, hours."""
    rows = [line.replace("│", " ").split() for line in benchmark(nnunet, study, "plan").stdout.splitlines()]
    return next(row[1:] for row in rows if row[:1] == [step])


def marker(study, name):
    path = Places(study).marker(name)
    return json.loads(path.read_text()) if path.is_file() else None


def newest_log(fold):
    return max(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime).read_text()


def test_from_data_to_report(nnunet, study):
    blocked = nnunet.fold(NACL)
    run_with_a_training_that_cannot_start(nnunet, study, blocked)
    trained = marker(study, f"train/{DATA}/{BASE}/fold_0")
    kill_in_the_second_epoch(nnunet, study, blocked)
    half_a_checkpoint(blocked)
    benchmark(nnunet, study, "run")

    log = newest_log(blocked)
    assert "Epoch 0" not in log, "it went on where the last checkpoint was"
    assert "Epoch 2" in log
    said = Places(study).log(f"train/{DATA}/{NACL}/fold_0").read_text()
    assert "checkpoint_latest.pth cannot be read" in said
    assert "going on from checkpoint_best.pth" in said
    assert marker(study, f"train/{DATA}/{BASE}/fold_0") == trained, "what is done is not done again"
    assert_results(study)
    assert_learning_curves(study, blocked)
    assert benchmark(nnunet, study, "status").returncode == 0
    assert plan_row(nnunet, study, "all")[:2] == ["14", "0"]


def run_with_a_training_that_cannot_start(nnunet, study, blocked):
    """The other trainer is trained, evaluated and merged all the same; status shows why this one was not."""
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    finished = benchmark(nnunet, study, "run", check=False)
    blocked.unlink()
    assert finished.returncode == 1
    for rule in ("import", "plan", "cpu_plans"):
        assert marker(study, f"{rule}/{DATA}")["taken_over"], rule
    assert not marker(study, f"train/{DATA}/{BASE}/fold_0")["taken_over"]
    assert marker(study, f"merge/{DATA}/{BASE}")
    assert marker(study, f"train/{DATA}/{NACL}/fold_0") is None
    status = benchmark(nnunet, study, "status", check=False)
    assert status.returncode == 1
    assert f"failed: train/{DATA}/{NACL}/fold_0" in status.stdout
    assert "FileExistsError" in status.stdout


def kill_in_the_second_epoch(nnunet, study, fold):
    """SIGKILL to the run, Snakemake and the step at once; the training, in a group of its own, goes with them."""
    program = Path(sys.executable).with_name("nnunet-nacl")
    process = subprocess.Popen(
        [program, "benchmark", "run", study.folder], env=nnunet.environment, cwd=nnunet.root, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 400
    while not (fold / "checkpoint_best.pth").is_file() or "Epoch 1" not in newest_log(fold):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no second epoch"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    size = len(newest_log(fold))
    time.sleep(2)
    assert len(newest_log(fold)) == size, "the training goes on without its parent"
    assert processes_in(nnunet.root) == [], "nnU-Net's workers wait for it"
    assert not (fold / "checkpoint_final.pth").exists()
    assert (fold / "checkpoint_latest.pth").is_file()
    interrupted = benchmark(nnunet, study, "status").stdout
    assert f"interrupted: train/{DATA}/{NACL}/fold_0" in interrupted


def processes_in(root):
    """Return the processes that run with nnU-Net's folders in a place, but for this one; on Linux."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"nnUNet_results={root}/".encode() in held and process.name != str(os.getpid()):
            found.append(process.name)
    return found


def half_a_checkpoint(fold):
    content = (fold / "checkpoint_best.pth").read_bytes()
    (fold / "checkpoint_latest.pth").write_bytes(content[: len(content) // 2])


def assert_results(study):
    results = Places(study).output(DATA)
    comparison = json.loads((results / "comparison" / "comparison.json").read_text())
    assert BASE in json.dumps(comparison)
    assert NACL in json.dumps(comparison)
    assert (results / "comparison" / "comparison.csv").is_file()
    page = (results / "report.html").read_text()
    assert NACL in page
    assert NACL in (Places(study).pages / f"{DATA}.md").read_text()
    train = marker(study, f"train/{DATA}/{NACL}/fold_0")
    assert train["command"].endswith("-device cpu --npz --c")
    assert train["shortened"] is True


def assert_learning_curves(study, killed):
    """Of both trainers; that of the killed and continued training is the same from its checkpoint and from its logs."""
    results = Places(study).output(DATA)
    runs = json.loads((results / "learning_curves.json").read_text())["runs"]
    for trainer in (BASE, NACL):
        entry = runs[Places(study).run_name(trainer)]["0"]
        assert (entry["iterations"], entry["finished"], entry["source"]) == (90, True, ["checkpoint_final.pth"])
        assert entry["classes"] == ["body", "cap"]
        assert entry["why_not"][0] == "90 of 3000 iterations"
    assert (results / "learning_curves.csv").is_file()
    assert (results / "learning_curves.svg").is_file()
    kept, written = read_curve(killed, read_checkpoint), read_curve(killed, refuse)
    assert len(written.source) > 1
    for name in ("class_dice", "dice", "train_loss", "val_loss", "ece", "gap"):
        np.testing.assert_allclose(getattr(written, name), getattr(kept, name), atol=5.1e-5, err_msg=name)


def refuse(path):
    raise InputError(f"{path}: not now")


def test_finished_folds_of_elsewhere_are_taken_over(nnunet, study, phantom_task, tmp_path):
    """A second study of the same trainers, in another folder, trains nothing; the report of a part comes at once."""
    second = write_study(
        tmp_path / "second", tasks=[{"name": "Task99_Phantom", "id": 99, "from": str(phantom_task)}], folds=[0], length=LENGTH,
        trainers=["nnUNetTrainer", "nnUNetTrainerNACL", "nnUNetTrainerDiceNACL"],
    )  # fmt: skip
    assert plan_row(nnunet, second, "train")[:3] == ["3", "3", "2"]
    for trainer in (BASE, NACL):
        for rule in ("train", "evaluate"):
            nnunet.run("nnunet-nacl", "benchmark", "step", second.folder, f"{rule}/{DATA}/{trainer}/fold_0")
        assert marker(second, f"train/{DATA}/{trainer}/fold_0")["taken_over"]
    said = benchmark(nnunet, second, "report").stdout
    assert "has 0 of 1 folds" in said
    assert (Places(second).output(DATA, "so_far") / "report.html").is_file()
    assert (Places(second).output(DATA, "so_far") / "comparison.csv").is_file()


def test_each_fold_trained_again(nnunet, study, phantom_task, tmp_path):
    """nnU-Net trains a fold a second time under the same name; killed, it goes on; compared, it is the same fold."""
    again = write_study(
        tmp_path / "again", tasks=[{"name": "Task99_Phantom", "id": 99, "from": str(phantom_task)}], folds=[0], length=LENGTH,
        trainings=2,
    )  # fmt: skip
    assert plan_row(nnunet, again, "train")[:3] == ["4", "4", "2"], "the first trainings are there"
    job = f"train/{DATA}/{BASE}/training_2/fold_0"
    first = nnunet.fold(BASE)
    second = nnunet.root / "results" / "training_2" / DATA / first.parent.name / "fold_0"
    kill_a_step_in_the_second_epoch(nnunet, again, job, second)
    for name in (f"train/{DATA}/{BASE}/fold_0", job, f"train/{DATA}/{NACL}/fold_0"):
        nnunet.run("nnunet-nacl", "benchmark", "step", again.folder, name)
        nnunet.run("nnunet-nacl", "benchmark", "step", again.folder, name.replace("train", "evaluate", 1))
    assert "Epoch 0" not in newest_log(second), "it went on where it was"
    assert [marker(again, f"train/{DATA}/{BASE}{part}/fold_0")["taken_over"] for part in ("", "/training_2")] == [
        True,
        False,
    ]
    weights, others = (read_checkpoint(fold / "checkpoint_final.pth")["network_weights"] for fold in (first, second))
    assert any(not torch.equal(weights[name], others[name]) for name in weights)
    said = benchmark(nnunet, again, "report").stdout
    assert f"{NACL}, training_2 has 0 of 1 folds" in said
    held = json.loads((Places(again).output(DATA, "so_far") / "comparison.json").read_text())
    assert [Path(folder).name for folder in held["repeats"][BASE]] == ["training_2"]
    assert set(held["tests"][0]["parts"]) == {"fold_0"}, "another training of the same fold"
    ece = next(test for test in held["tests"] if (test["score"], test["voxel_set"]) == ("ECE", "all"))
    means = [
        json.loads((Places(again).result(DATA, BASE, "fold_0", training) / "calibration.json").read_text())["per_case"][
            "all"
        ]["ECE"]
        for training in (1, 2)
    ]
    assert ece["base_mean"] == pytest.approx(np.mean(means))


def kill_a_step_in_the_second_epoch(nnunet, study, job, fold):
    program = Path(sys.executable).with_name("nnunet-nacl")
    process = subprocess.Popen(
        [program, "benchmark", "step", study.folder, job],
        env=nnunet.environment,
        cwd=nnunet.root,
        start_new_session=True,
    )
    deadline = time.monotonic() + 400
    while not (fold / "checkpoint_latest.pth").is_file() or "Epoch 1" not in newest_log(fold):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no second epoch"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
