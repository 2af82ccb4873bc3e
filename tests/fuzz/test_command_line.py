"""The command line over damaged files: exit status 0 or 1, one line of error, no traceback, and no half-written result."""

import json
import os
import random
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import damaged_bytes, damaged_json, zip_of
from targets import result_of

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import write_result

EXAMPLES = 6 * int(os.environ.get("NNUNET_NACL_FUZZ", "1"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run as `evaluate` leaves it, with the files it came from."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    write_result(result_of(folder), folder)
    return folder


def command(name, folder):
    """Return a command over the files in a folder, and where it may write."""
    out = folder / "out"
    files = ["-djfile", folder / "dataset.json", "-pfile", folder / "plans.json"]
    return {
        "evaluate": ["evaluate", folder / "predictions", "-gt", folder / "labels", *files, "-np", 1, "-o", out],
        "merge": ["merge", folder, "-o", out],
        "compare": ["compare", folder.parent / "base", folder, "-o", out],
        "report": ["report", folder, "-o", out / "report.html"],
        "map": ["map", folder / "predictions", *files, "-o", out],
    }[name]


DAMAGED = {
    "evaluate": ("dataset.json", "plans.json", "labels/case_1.nii.gz", "predictions/case_1.npz"),
    "map": ("dataset.json", "plans.json", "predictions/case_1.npz"),
    "merge": ("calibration_bins.npz",),
    "compare": ("calibration_bins.npz", "calibration.json"),
    "report": ("calibration_bins.npz", "calibration.json"),
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in DAMAGED.items() for file in files])
def test_one_line_and_whole_files(whole, name, file, tmp_path_factory, capsys):
    @settings(
        max_examples=EXAMPLES, derandomize="NNUNET_NACL_FUZZ" not in os.environ, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32))
    def one(seed):
        rng = random.Random(seed)
        folder = tmp_path_factory.mktemp("damaged") / "run"
        shutil.copytree(whole, folder)
        shutil.copytree(whole, folder.parent / "base")
        content = (whole / file).read_bytes()
        damaged = damaged_json(rng, json.loads(content)) if file.endswith(".json") else damaged_bytes(rng, content)
        (folder / file).write_bytes(damaged)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        capsys.readouterr()
        status = main([str(part) for part in command(name, folder)])
        errors = capsys.readouterr().err
        assert status in (0, 1)
        assert "Traceback" not in errors
        assert errors.count("nnunet-nacl: error: ") == status
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert {path: after.get(path) for path in before} == before, "what was read has changed"
        check_written({path: content for path, content in after.items() if path not in before}, status, name)

    one()


def check_written(files, status, name):
    """Check that new files are whole, and that a refused command has left none but the maps of cases before the damaged one."""
    assert not [path for path in files if path.name.startswith(".") and ".calibration_cases" not in str(path)]
    if status and name != "map":
        assert all(".calibration_cases" in str(path) for path in files)
    for path, content in files.items():
        if path.suffix == ".json":
            json.loads(content)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                assert [stored[key] for key in stored]


def test_an_archive_without_members_is_refused(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "calibration_bins.npz").write_bytes(zip_of([]))
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 1
    assert "calibration_bins.npz: expected schema version" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
