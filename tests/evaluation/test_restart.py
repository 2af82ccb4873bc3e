"""An evaluation that is killed goes on where it was, and a second one computes only what has changed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.store import STORE_FOLDER, clear_store
from nnunet_nacl.evaluation.summary import summarize

MSD_ROOT, VALIDATION = os.environ.get("NNUNET_NACL_MSD_ROOT"), os.environ.get("NNUNET_NACL_VALIDATION")


@pytest.fixture
def folders(phantom_task, tmp_path):
    labels, predictions = tmp_path / "labels", tmp_path / "predictions"
    shutil.copytree(phantom_task / "labelsTr", labels)
    shutil.copytree(phantom_task / "posteriorTr", predictions)
    return labels, predictions


@pytest.fixture
def evaluate(folders, dataset_files, tmp_path):
    """Evaluate as the command does, without its figures, and return how many cases an earlier run had finished."""

    def run(files=dataset_files, **options):
        result = evaluate_folder(*folders, *files, output_folder=tmp_path / "out", **options)
        write_result(result, tmp_path / "out")
        clear_store(tmp_path / "out")
        return result.recalled

    return run


def names_in(output):
    return [result.case.name for result in read_result(output / BINS_FILE).cases]


def rewrite(path, temperature=0.5):
    powers = np.load(path)["probabilities"].astype(float) ** (1 / temperature)
    np.savez_compressed(path, probabilities=(powers / powers.sum(0)).astype(np.float32))


def test_second_run_computes_nothing(evaluate, folders, tmp_path):
    """Each softmax file is damaged where the fingerprint does not look: whoever inflates one fails."""
    assert evaluate() == 0
    first = read_result(tmp_path / "out" / BINS_FILE)
    for path in folders[1].glob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    assert evaluate() == 6
    assert numbers(summarize(read_result(tmp_path / "out" / BINS_FILE))) == numbers(summarize(first))
    with pytest.raises(InputError, match="npz"):
        evaluate(fresh=True)
    assert not (tmp_path / "out" / STORE_FOLDER).exists()


@pytest.mark.parametrize("change", ["softmax", "label"])
def test_only_the_changed_case_is_computed(change, evaluate, folders, tmp_path):
    assert evaluate() == 0
    before = read_result(tmp_path / "out" / BINS_FILE).cases
    if change == "softmax":
        rewrite(folders[1] / "phantom_002.npz")
    else:
        shutil.copy(folders[0] / "phantom_003.nii.gz", folders[0] / "phantom_002.nii.gz")
    assert evaluate() == 5
    after = read_result(tmp_path / "out" / BINS_FILE).cases
    changed = [not np.array_equal(a.statistics.nll, b.statistics.nll) for a, b in zip(before, after, strict=True)]
    assert changed == [number == 2 for number in range(6)]


def test_times_and_places_do_not_matter(evaluate, folders, tmp_path):
    assert evaluate() == 0
    for folder in folders:
        shutil.move(folder, tmp_path / "elsewhere")
        shutil.copytree(tmp_path / "elsewhere", folder, copy_function=shutil.copyfile)
        shutil.rmtree(tmp_path / "elsewhere")
    assert evaluate() == 6


def test_other_bins_or_ignore_label(evaluate, dataset_files, tmp_path):
    assert evaluate() == 0
    assert evaluate(settings=Settings(n_bins=10)) == 0
    assert evaluate(settings=Settings(n_bins=10)) == 6
    dataset = json.loads(dataset_files[0].read_text())
    dataset["labels"]["ignore"] = 3
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    assert evaluate((tmp_path / "dataset.json", dataset_files[1]), settings=Settings(n_bins=10)) == 0


def test_removed_and_renamed_cases(evaluate, folders, tmp_path):
    assert evaluate() == 0
    (folders[1] / "phantom_001.npz").unlink()
    (folders[0] / "phantom_004.nii.gz").rename(folders[0] / "zebra.nii.gz")
    (folders[1] / "phantom_004.npz").rename(folders[1] / "zebra.npz")
    assert evaluate() == 5
    assert names_in(tmp_path / "out") == ["phantom_000", "phantom_002", "phantom_003", "phantom_005", "zebra"]
    assert read_result(tmp_path / "out" / BINS_FILE).cases[-1].case.probabilities == folders[1] / "zebra.npz"


@pytest.mark.parametrize(
    "name",
    ["a b", "line\nbreak", "[x]*?", "-np", "ä€", "100%", "'\"\\;$(x)", "x" * 240],
)
def test_names_with_any_character(name, evaluate, folders, tmp_path):
    (folders[0] / "phantom_004.nii.gz").rename(folders[0] / f"{name}.nii.gz")
    (folders[1] / "phantom_004.npz").rename(folders[1] / f"{name}.npz")
    assert evaluate() == 0
    assert name in names_in(tmp_path / "out")
    assert evaluate() == 6


def test_name_that_simpleitk_cannot_take(evaluate, folders):
    """It ends the whole process over a path that is not UTF-8."""
    name = os.fsdecode(b"not utf-8 \xff")
    (folders[0] / "phantom_004.nii.gz").rename(folders[0] / f"{name}.nii.gz")
    (folders[1] / "phantom_004.npz").rename(folders[1] / f"{name}.npz")
    with pytest.raises(InputError, match=r"not utf-8 .*is not UTF-8"):
        evaluate()


@pytest.mark.parametrize("processes", [1, 2])
def test_finished_cases_stay_when_one_fails(processes, evaluate, folders, tmp_path):
    """In several processes large cases start first, so the damaged one is the smallest, and the last by name."""
    path = folders[1] / "phantom_005.npz"
    whole = path.read_bytes()
    np.savez_compressed(path, probabilities=np.full((3, 15, 16, 16), np.nan, np.float32))
    with pytest.raises(InputError, match="phantom_005.npz: expected shape"):
        evaluate(num_processes=processes)
    assert not (tmp_path / "out" / BINS_FILE).exists()
    path.write_bytes(whole)
    assert evaluate() == 5
    assert not (tmp_path / "out" / STORE_FOLDER).exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None])
def test_damaged_entries_are_computed_again(damage, evaluate, folders, tmp_path):
    broken = folders[1] / "phantom_005.npz"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(InputError, match="phantom_005.npz"):
        evaluate()
    entries = sorted((tmp_path / "out" / STORE_FOLDER).iterdir())
    assert len(entries) == 5
    entries[1].write_bytes(entries[1].read_bytes()[:-300] if damage is None else damage)
    # a name says nothing: an entry that holds another case is none
    shutil.copy(entries[2], entries[3])
    broken.write_bytes(whole)
    assert evaluate() == 3
    fresh = read_result(tmp_path / "out" / BINS_FILE).cases
    (tmp_path / "out" / BINS_FILE).write_bytes(b"nothing")
    assert evaluate() == 0
    for one, other in zip(fresh, read_result(tmp_path / "out" / BINS_FILE).cases, strict=True):
        np.testing.assert_array_equal(one.statistics.class_count, other.statistics.class_count)


def numbers(summary):
    return {key: value for key, value in summary.items() if key != "provenance"}


@pytest.fixture(scope="module")
def long_run(request, tmp_path_factory, dataset_files):
    """The arguments of an evaluation with enough cases that it can be caught in the middle."""
    folder, files = tmp_path_factory.mktemp("long"), dataset_files
    if request.param == "phantom":
        write_task(folder / "Task97_Long", n_cases=60, size=24)
        labels, predictions = folder / "Task97_Long" / "labelsTr", folder / "Task97_Long" / "posteriorTr"
    else:
        if not MSD_ROOT:
            pytest.skip("NNUNET_NACL_MSD_ROOT names no folder with Task04_Hippocampus")
        labels = Path(MSD_ROOT) / "Task04_Hippocampus" / "labelsTr"
        predictions = folder
        if request.param == "real validation folder":
            if not VALIDATION:
                pytest.skip(
                    "NNUNET_NACL_VALIDATION names no fold_X/validation of Task04_Hippocampus with its .npz files"
                )
            predictions = Path(VALIDATION)
            files = [predictions.parents[1] / name for name in ("dataset.json", "plans.json")]
        else:
            blur(sorted(labels.glob("*.nii.gz"))[:40], folder)
    return [predictions, "-gt", labels, "-djfile", files[0], "-pfile", files[1]]


def blur(paths, folder):
    for path in paths:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        blurred = np.stack([gaussian_filter((values == label).astype(np.float32), 1.5) for label in range(3)])
        name = path.name.removesuffix(".nii.gz")
        np.savez_compressed(folder / f"{name}.npz", probabilities=blurred / blurred.sum(0))


def start(arguments, output, processes):
    command = [sys.executable, "-m", "nnunet_nacl.cli", "evaluate", *arguments, "-o", output, "-np", processes]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_half_way(process, store, n_cases):
    """SIGKILL as soon as a quarter is stored; return the processes it had started and the number of stored cases."""
    children = []
    while process.poll() is None:
        if len(children) < 3:
            children = psutil.Process(process.pid).children(recursive=True)
        if store.is_dir() and sum(path.suffix == ".npz" for path in store.glob("[!.]*")) >= n_cases // 4:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the evaluation ended before it could be killed"
    return children, len(list(store.glob("[!.]*.npz")))


@pytest.mark.parametrize(
    ("long_run", "processes"),
    [("phantom", 1), ("phantom", 2), ("real labels, blurred", 2), ("real validation folder", 2)],
    indirect=["long_run"],
)
def test_killed_half_way_and_resumed(processes, long_run, tmp_path):
    whole, output = tmp_path / "whole", tmp_path / "killed"
    assert start(long_run, whole, 1).wait() == 0
    n_cases = len(names_in(whole))
    children, stored = kill_half_way(start(long_run, output, processes), output / STORE_FOLDER, n_cases)
    assert 0 < stored < n_cases
    assert not (output / BINS_FILE).exists()
    # the workers end with their parent
    assert not psutil.wait_procs(children, timeout=30)[1]
    resumed = start(long_run, output, processes)
    printed, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert f"{stored} of {n_cases} cases had not changed since an earlier run" in printed
    assert numbers(json.loads((output / "calibration.json").read_text())) == numbers(
        json.loads((whole / "calibration.json").read_text())
    )
    assert (output / "calibration_cases.csv").read_text() == (whole / "calibration_cases.csv").read_text()
    with np.load(whole / BINS_FILE) as one, np.load(output / BINS_FILE) as other:
        assert one.files == other.files
        for name in set(one.files) - {"folder"}:
            np.testing.assert_array_equal(one[name], other[name])
    assert {path.name for path in output.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize("long_run", ["phantom"], indirect=True)
def test_killed_worker_is_explained(long_run, tmp_path):
    process = start(long_run, tmp_path, 2)
    store = tmp_path / STORE_FOLDER
    while process.poll() is None and not (store.is_dir() and any(store.glob("[!.]*.npz"))):
        time.sleep(0.002)
    for child in psutil.Process(process.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    errors = process.communicate()[1]
    assert process.returncode == 1
    assert "nnunet-nacl: error: A worker process died, most likely for lack of memory." in errors
    assert "Traceback" not in errors
    assert any(store.glob("[!.]*.npz"))
