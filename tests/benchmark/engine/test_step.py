"""One job: marker, log, state and locks, also when it fails or is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from studies import write_study

from nnunet_nacl.benchmark.engine import locks
from nnunet_nacl.benchmark.engine.status import job_states, tail
from nnunet_nacl.benchmark.engine.step import run_step
from nnunet_nacl.benchmark.plan.jobs import find_job
from nnunet_nacl.benchmark.plan.places import Places

NAME = "merge/Dataset099_Phantom/nnUNetTrainer_20epochs"


@pytest.fixture
def study(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    return write_study(tmp_path)


def job_of(study, program, name=NAME):
    """A job of the study that runs another program."""
    return replace(find_job(study, name), command=(sys.executable, "-c", program))


def state_of(study, name=NAME):
    return next(one.state for one in job_states(study) if one.job.name == name)


def test_marker_says_how_it_was_done(study):
    assert state_of(study) == "waiting"
    assert (
        run_step(study, job_of(study, "import os; print('hello', os.environ['GIVEN'])"), os.environ | {"GIVEN": "x"})
        == 0
    )
    marker = json.loads(Places(study).marker(NAME).read_text())
    assert marker["job"] == NAME
    assert "hello" in marker["command"]
    assert (marker["taken_over"], marker["shortened"], marker["scale"]) == (False, True, "cpu")
    assert {"nnunet-nacl", "nnunetv2", "torch", "python"} <= set(marker["versions"])
    assert marker["started"] <= marker["ended"]
    assert "hello x" in (study.folder / marker["log"]).read_text()
    assert state_of(study) == "done"


def test_failure_leaves_no_marker(study):
    assert run_step(study, job_of(study, "print('the reason'); raise SystemExit(3)"), os.environ) == 3
    assert not Places(study).marker(NAME).exists()
    assert state_of(study) == "failed"
    assert "the reason" in tail(Places(study).log(NAME), 3)
    assert run_step(study, job_of(study, "print('now')"), os.environ) == 0
    log = Places(study).log(NAME).read_text()
    assert log.index("the reason") < log.index("now"), "the log of the first attempt stays"


def test_unknown_program(study):
    job = replace(find_job(study, NAME), command=("no-such-program",))
    assert run_step(study, job, os.environ) == 1
    assert "no-such-program is not on PATH" in tail(Places(study).log(NAME), 2)


STEP = """
import os, sys
from dataclasses import replace
from pathlib import Path
from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.benchmark.plan.jobs import find_job
from nnunet_nacl.benchmark.engine.step import run_step
study = load_study(Path(sys.argv[1]))
job = replace(find_job(study, sys.argv[2]), command=(sys.executable, "-c", sys.argv[3]))
sys.exit(run_step(study, job, os.environ))
"""


def start(study, program):
    return subprocess.Popen([sys.executable, "-c", STEP, str(study.folder), NAME, program])


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(pid):
    """Whether a process has ended (it may wait for its parent to notice)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent's death reaches the child on Linux only")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_with_the_step(number, study, tmp_path):
    """Killed: the command and its worker go too, the lock is free. Terminated: the command is told. Either way status says interrupted, not failed."""
    pid_file = tmp_path / "pid"
    program = (
        "import os, time; worker = os.fork()\n"
        f"if worker: open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}} {{worker}}.')\n"
        "time.sleep(300)"
    )
    process = start(study, program)
    wait_for(lambda: pid_file.is_file() and pid_file.read_text().endswith("."))
    assert state_of(study) == "running"
    process.send_signal(number)
    process.wait(30)
    command, worker = map(int, pid_file.read_text()[:-1].split())
    wait_for(lambda: gone(command) and gone(worker), 10)
    assert state_of(study) == "interrupted"
    if number == signal.SIGTERM:
        assert "ended with status 143 after SIGTERM" in Places(study).log(NAME).read_text()
    assert not Places(study).marker(NAME).exists()
    assert run_step(study, job_of(study, "pass"), os.environ) == 0


def test_a_job_of_another_node(study, tmp_path, monkeypatch):
    """Its lock is not seen here: SLURM is asked by the job's number, and where it does not answer the last word counts."""
    programs = tmp_path / "programs"
    programs.mkdir()
    squeue = programs / "squeue"
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def queue(text):
        squeue.write_text(f"#!/bin/sh\n{text}\n")
        squeue.chmod(0o755)

    state = Places(study).state(NAME)
    state.parent.mkdir(parents=True)
    last = {"state": "running", "host": "another-node", "pid": 1}
    state.write_text(json.dumps(last))
    queue("echo 11")
    assert state_of(study) == "running", "not a job of SLURM"
    state.write_text(json.dumps(last | {"slurm_job": "12"}))
    assert state_of(study) == "interrupted"
    queue("echo 11; echo 12")
    assert state_of(study) == "running"
    queue("exit 1")
    assert state_of(study) == "running", "no answer"


def test_the_job_number_is_kept(study, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert run_step(study, job_of(study, "pass"), os.environ) == 0
    assert json.loads(Places(study).marker(NAME).read_text())["slurm_job"] == "4711"


def test_one_process_works_on_a_job(study, tmp_path):
    """The second waits for the first, and says so."""
    times, go = tmp_path / "times", tmp_path / "go"
    program = (
        f"import pathlib, time; f = open({str(times)!r}, 'a'); print('in', file=f, flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
        "print('out', file=f)"
    )
    first = start(study, program)
    wait_for(lambda: times.is_file() and "in" in times.read_text())
    second = start(study, program)
    wait_for(lambda: "another process works on" in Places(study).log(NAME).read_text())
    go.touch()
    assert [process.wait(120) for process in (first, second)] == [0, 0]
    assert times.read_text().split() == ["in", "out", "in", "out"]


GPUS = """
import sys, time
from nnunet_nacl.benchmark.engine import locks
with locks.gpus([0, 1], 1) as devices:
    print(*devices, flush=True)
    sys.stdin.readline()
"""


def test_gpus_are_shared_out(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    users = [
        subprocess.Popen([sys.executable, "-c", GPUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(user.stdout.readline().strip() for user in users) == ["0", "1"]
    third = subprocess.Popen([sys.executable, "-c", GPUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    users[0].kill()  # also a killed one gives its GPU back
    assert third.stdout.readline().strip() in ("0", "1")
    for process in (users[1], third):
        process.communicate("\n")
        assert process.returncode == 0
    users[0].communicate()


def test_visible_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert locks.visible_gpus() == [2, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert locks.visible_gpus() == []


def test_training_takes_a_gpu(study, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    on_gpus = write_study(tmp_path, device="cuda", execution={"gpus": [3, 5]})
    name = "train/Dataset099_Phantom/nnUNetTrainer_20epochs/fold_0"
    (Places(study).preprocessed / "Dataset099_Phantom").mkdir(parents=True)
    with locks.gpus([3], 1):
        run_step(
            on_gpus, job_of(on_gpus, "import os; print('device', os.environ['CUDA_VISIBLE_DEVICES'])", name), os.environ
        )
    log = Places(on_gpus).log(name).read_text()
    assert "device 5" in log
    assert "the fold is not complete" in log, "a training that leaves no result has failed"
    assert state_of(on_gpus, name) == "failed"
