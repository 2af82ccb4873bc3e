"""Worker processes: their results, what is said when one dies, and that none outlives its parent."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.processes.pool import results_of


@pytest.mark.parametrize("num_processes", [1, 2])
def test_results_of_all_jobs(num_processes):
    assert sorted(results_of(abs, [-1, 2, -3], num_processes)) == [1, 2, 3]


def test_dead_worker_is_explained():
    with pytest.raises(InputError, match="A worker process died, most likely for lack of memory"):
        list(results_of(os._exit, [1, 1], 2))


def test_workers_end_with_their_parent():
    code = "import time; from nnunet_nacl.processes.pool import results_of; list(results_of(time.sleep, [120, 120], 2))"
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline, workers = time.monotonic() + 60, []
    while len(workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        children = psutil.Process(parent.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(workers, timeout=30)[1]
