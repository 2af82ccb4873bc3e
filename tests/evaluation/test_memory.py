"""Which cases run at once: never more than fit, and all of them in the end."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.memory import BYTES_PER_VOXEL, PROCESS_BYTES, bytes_needed, next_to_start, processes_within

GIB = 2**30


@pytest.mark.parametrize(
    ("needs", "requested", "budget", "expected"),
    [
        ([GIB], 8, 100 * GIB, 1),  # no more than there are cases
        ([GIB] * 9, 4, 100 * GIB, 4),
        ([0] * 9, 8, 3 * PROCESS_BYTES, 3),
        ([2 * GIB, 0, 0], 3, 2 * GIB + 2 * PROCESS_BYTES, 2),  # the largest keeps its room
        ([50 * GIB, 0, 0], 3, 3 * PROCESS_BYTES, 3),  # one that never fits does not hold up the others
        ([GIB] * 3, 3, 1, 1),
    ],
)
def test_processes(needs, requested, budget, expected):
    assert processes_within(needs, requested, budget) == expected


@pytest.mark.parametrize(
    ("waiting", "running", "expected"),
    [
        ([], [], None),
        ([5], [], 0),
        ([99], [], 0),  # alone, although it is too large
        ([99], [1], None),
        ([6, 4, 2], [6], 1),
        ([6, 4, 2], [9], None),
        ([6, 0], [10], 1),
    ],
)
def test_next_case(waiting, running, expected):
    assert next_to_start(waiting, running, room=10) == expected


@given(
    needs=st.lists(st.integers(0, 30), min_size=1, max_size=30),
    room=st.integers(-5, 40),
    processes=st.integers(1, 6),
    data=st.data(),
)
def test_any_order_of_finishing_stays_within_the_room_and_runs_all(needs, room, processes, data):
    waiting, running, ran = sorted(needs, reverse=True), [], []
    while waiting or running:
        while len(running) < processes and (position := next_to_start(waiting, running, room)) is not None:
            running.append(waiting.pop(position))
        assert running
        assert sum(running) <= room or len(running) == 1
        ran.append(running.pop(data.draw(st.integers(0, len(running) - 1))))
    assert sorted(ran) == sorted(needs)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_needs_from_the_header(save, dtype, order, tmp_path):
    case = Case("a", tmp_path / "a.npz", tmp_path / "a.nii.gz")
    assert bytes_needed(case) == 0
    save(case.probabilities, probabilities=np.zeros((5, 10, 20, 30), dtype, order))
    whole = 5 * 6000 * np.dtype(dtype).itemsize if order == "F" else 0
    assert bytes_needed(case) == pytest.approx(6000 * BYTES_PER_VOXEL + whole, abs=200)
    case.probabilities.write_bytes(case.probabilities.read_bytes()[:100])
    assert bytes_needed(case) == 0


PEAK = """
import sys
from pathlib import Path
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.cases import find_cases
from nnunet_nacl.evaluation.memory import PROCESS_BYTES, bytes_needed

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

small, large, *files = sys.argv[1:]
evaluate_folder(Path(small) / "labelsTr", Path(small) / "posteriorTr", *files)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
evaluate_folder(Path(large) / "labelsTr", Path(large) / "posteriorTr", *files)
need = bytes_needed(find_cases(Path(large) / "labelsTr", Path(large) / "posteriorTr", ".nii.gz")[0])
print(before, status("VmHWM") - before, PROCESS_BYTES, need)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_a_real_case_takes_no_more_than_estimated(phantom_task, dataset_files, tmp_path):
    large = tmp_path / "Task98_Large"
    write_task(large, n_cases=1, size=96)
    # compiled and kept on disk beforehand: the compiler takes memory too, once on a machine
    evaluate_folder(phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files)
    arguments = [sys.executable, "-c", PEAK, phantom_task, large, *dataset_files]
    finished = subprocess.run([str(part) for part in arguments], capture_output=True, text=True, check=True)
    process, extra, process_estimate, estimate = map(int, finished.stdout.split())
    assert process < 1.1 * process_estimate
    assert estimate / 8 < extra < estimate


@pytest.fixture
def evaluate(phantom_task, dataset_files, tmp_path):
    def run(*extra, output=tmp_path / "out"):
        dataset, plans = dataset_files
        command = ["evaluate", phantom_task / "posteriorTr", "-gt", phantom_task / "labelsTr", "-djfile", dataset]
        return main([str(part) for part in [*command, "-pfile", plans, "-o", output, *extra]])

    return run


def test_budget_below_the_need_warns_and_evaluates_all_the_same(evaluate, tmp_path, capsys):
    assert evaluate("-np", 3, "--max-memory", "1M", output=tmp_path / "small") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 6
    assert "phantom_000 needs about" in warnings[0]
    assert evaluate("-np", 1, output=tmp_path / "large") == 0
    assert "warning" not in capsys.readouterr().err
    small, large = (np.load(tmp_path / name / "calibration_bins.npz") for name in ("small", "large"))
    np.testing.assert_array_equal(small["top_count"], large["top_count"])


@pytest.mark.parametrize("size", ["0", "G", "8X", "-1", "8GG", "many"])
def test_sizes_that_are_none(size, evaluate, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate(f"--max-memory={size}")
    assert stopped.value.code == 2
    assert "expected a size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 8 * GIB), ("512M", GIB // 2), ("1.5g", 3 * GIB // 2), ("7", 7), ("2 GiB", 2 * GIB)]
)
def test_sizes(text, size):
    from nnunet_nacl.commands.arguments import memory_size

    assert memory_size(text) == size
