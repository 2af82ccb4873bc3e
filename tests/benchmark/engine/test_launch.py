"""`benchmark run` and the Snakemake that it starts."""

import signal
import subprocess
import sys
import time

import pytest
from studies import write_study

from nnunet_nacl.benchmark.engine import locks

RUN = """
import os, sys
from pathlib import Path
from nnunet_nacl.benchmark.engine import launch
from nnunet_nacl.benchmark.config.study import load_study
launch.check_installed = lambda profile: None
launch.snakemake_command = lambda study, extra: [sys.executable, "-c", sys.argv[2]]
sys.exit(launch.run_workflow(load_study(Path(sys.argv[1])), os.environ))
"""
WORKFLOW = """
import pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
def ended(number, frame):
    time.sleep(0.5)  # the jobs that run are finished first
    (folder / "told").touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, ended)
(folder / "started").touch()
time.sleep(300)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent's death reaches the child on Linux only")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_snakemake_does_not_outlive_the_run(number, tmp_path):
    """Left alone, it would go on starting jobs, beside those of the next run."""
    study = write_study(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(study.folder), WORKFLOW.format(folder=str(tmp_path))])
    wait_for(tmp_path / "started")
    assert locks.is_locked(study.folder / "state" / "run.lock")
    process.send_signal(number)
    status = process.wait(30)
    assert status == (3 if number == signal.SIGTERM else -signal.SIGKILL), "it waits for the jobs that run"
    wait_for(tmp_path / "told")
    assert not locks.is_locked(study.folder / "state" / "run.lock")


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
