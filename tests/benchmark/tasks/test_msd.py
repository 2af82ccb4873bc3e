"""The registry of MSD tasks agrees with MONAI's and with a task that is here; archives are fetched from a real server."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from archive_server import serving

from nnunet_nacl.benchmark.tasks.download import fetch_archive, unpack_task
from nnunet_nacl.benchmark.tasks.msd import MIRRORS, TASKS, dataset_name, find_task
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError

pytest.importorskip("pooch", reason="needs the extra `benchmark`")
CONTENT = bytes(range(256)) * 20_000  # 5 MB, many chunks
MD5 = hashlib.md5(CONTENT).hexdigest()


def test_monai_knows_the_same_archives():
    datasets = pytest.importorskip("monai.apps.datasets")
    theirs = datasets.DecathlonDataset
    assert {name: task.md5 for name, task in TASKS.items()} == theirs.md5
    assert {name: f"{MIRRORS[0]}/{task.archive}" for name, task in TASKS.items()} == theirs.resource


def test_hippocampus_is_as_registered():
    path = Path("/work/shared/data/Task04_Hippocampus/dataset.json")
    if not path.is_file():
        pytest.skip("the task is not here")
    content = json.loads(path.read_text())
    assert tuple(content["labels"].values()) == ("background", *TASKS["Task04_Hippocampus"].labels)
    assert tuple(content["modality"].values()) == TASKS["Task04_Hippocampus"].modalities


@pytest.mark.parametrize("name", ["Task04_Hippocampus", "hippocampus", "Task04", "04", "4"])
def test_find_task(name):
    assert find_task(name).name == "Task04_Hippocampus"


def test_unknown_names():
    with pytest.raises(InputError, match=r"`task` to be one of Task01_BrainTumour, .*but got 'Task11'"):
        find_task("Task11")
    with pytest.raises(InputError, match="TaskXX_Name"):
        dataset_name("My_Own_Task")
    assert dataset_name("Task10_Colon") == "Dataset010_Colon"
    assert dataset_name("Task10_Colon", 410) == "Dataset410_Colon"


def fetch(server, folder, **changed):
    return fetch_archive("a.tar", **{"md5": MD5, "folder": folder, "mirrors": [server.url]} | changed)


def test_download_once(tmp_path):
    seen = []
    with serving(CONTENT) as server:
        path = fetch(server, tmp_path, progress=lambda done, of: seen.append((done, of)))
        assert path.read_bytes() == CONTENT
        assert fetch(server, tmp_path) == path
        assert len(server.requests) == 1, "the second call finds it"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_download_goes_on_where_it_stopped(tmp_path):
    with serving(CONTENT) as server:
        server.break_after = 1_500_000
        # three attempts of 1.5 MB each do not suffice for 5 MB
        with pytest.raises(InputError, match=r"a.tar cannot be downloaded \(http://127.0.0.1.*Run the command again"):
            fetch(server, tmp_path)
        assert not (tmp_path / "a.tar").exists()
        there = (tmp_path / "a.tar.part").stat().st_size
        assert 4_300_000 < there < 4_500_001
        server.break_after = None
        assert fetch(server, tmp_path).read_bytes() == CONTENT
        assert [request is None for request in server.requests] == [True, False, False, False]
        assert server.requests[-1] == f"bytes={there}-", "nothing that had arrived is sent again"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_server_without_ranges_starts_over(tmp_path):
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:1000])
    with serving(CONTENT) as server:
        server.ranges = False
        assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_all_had_arrived(tmp_path):
    (tmp_path / "a.tar.part").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_wrong_part_is_dropped(tmp_path):
    (tmp_path / "a.tar.part").write_bytes(b"something else")
    with serving(CONTENT) as server:
        assert fetch(server, tmp_path).read_bytes() == CONTENT
        assert server.requests == ["bytes=14-", None]


def test_corrupted_download_is_refused(tmp_path):
    with serving(CONTENT[:-1] + b"!") as server, pytest.raises(InputError, match="does not match"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == [], "neither the archive nor a part that would be continued"


def test_mirrors_are_tried_in_turn(tmp_path):
    with serving(b"wrong") as first, serving(CONTENT) as second, serving(b"never asked") as third:
        first.status = 404
        path = fetch(second, tmp_path, mirrors=[first.url, second.url, third.url])
        assert path.read_bytes() == CONTENT
        assert (len(first.requests), len(second.requests), len(third.requests)) == (1, 1, 0)
        second.status = 503
        path.unlink()
        with pytest.raises(InputError, match=rf"{first.url}: 404.*{second.url}: 503"):
            fetch(second, tmp_path, mirrors=[first.url, second.url])


def tar_with(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../outside", "/outside", "Task99_Phantom/../../outside"])
def test_members_outside_the_folder_are_refused(name, tmp_path):
    archive = tar_with(tmp_path / "a.tar", ("Task99_Phantom/dataset.json", b"{}"), (name, b"x"))
    folder = tmp_path / "inner"
    folder.mkdir()
    if name.startswith("/"):  # the filter makes it relative
        unpack_task(archive, "Task99_Phantom", folder)
    else:
        with pytest.raises(InputError, match="cannot be unpacked"):
            unpack_task(archive, "Task99_Phantom", folder)
        assert list(folder.iterdir()) == []
    assert not (tmp_path / "outside").exists()
    assert not Path("/outside").exists()


def test_other_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected Task04_Hippocampus/dataset.json inside"):
        unpack_task(
            tar_with(tmp_path / "a.tar", ("Task99_Phantom/dataset.json", b"{}")), "Task04_Hippocampus", tmp_path
        )
    (tmp_path / "b.tar").write_bytes(b"no tar at all")
    with pytest.raises(InputError, match="b.tar: cannot be unpacked"):
        unpack_task(tmp_path / "b.tar", "Task04_Hippocampus", tmp_path)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    return tmp_path / "raw"


def test_the_list(capsys):
    assert main(["import-msd"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Task01_BrainTumour", "Task10_Colon", "CC-BY-SA 4.0", "Posterior"))


def test_command_refuses(raw, tmp_path, capsys, monkeypatch):
    assert main(["import-msd", "Task77_Nothing"]) == 1
    assert main(["import-msd", "4", "--from", str(tmp_path)]) == 1
    (raw / "Dataset004_Other").mkdir(parents=True)
    assert main(["import-msd", "4", "--from", str(tmp_path)]) == 1
    monkeypatch.delenv("nnUNet_raw")
    assert main(["import-msd", "4"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    parts = (
        "`task` to be one of",
        "`--from` to be the folder Task04_Hippocampus",
        "Dataset004_Other already",
        "is not set",
    )
    assert [part in line for part, line in zip(parts, lines, strict=True)] == [True] * 4


@pytest.mark.nnunet
def test_task_from_server_to_nnunet(phantom_task, raw, tmp_path, monkeypatch):
    """The archive of a task over HTTP, once broken off, becomes nnU-Net's raw data set; calling again changes nothing."""
    archive = tmp_path / "Task99_Phantom.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(phantom_task, "Task99_Phantom")
    content = archive.read_bytes()
    task = TASKS["Task02_Heart"].__class__(
        "Task99_Phantom", ("phantom",), ("body", "cap"), 6, 2, 0.0, hashlib.md5(content).hexdigest()
    )
    monkeypatch.setitem(TASKS, "Task99_Phantom", task)
    with serving(content) as server:
        server.break_after = len(content) // 10
        command = ["import-msd", "Task99_Phantom", "--mirror", server.url, "-np", "1"]
        monkeypatch.setattr("nnunet_nacl.benchmark.tasks.msd._ALL", (task,))
        assert main(command) == 1
        server.break_after = None
        assert main(command) == 0
        asked = len(server.requests)
        assert main(command) == 0
        assert len(server.requests) == asked
    assert_imported(raw / "Dataset099_Phantom")
    assert sorted(path.name for path in raw.iterdir()) == [".msd", "Dataset099_Phantom"]


@pytest.mark.nnunet
@pytest.mark.parametrize("form", ["folder", "parent", "archive"])
def test_task_that_is_here(form, phantom_task, raw, tmp_path):
    source = {"folder": phantom_task, "parent": phantom_task.parent, "archive": tmp_path / "phantom.tar"}[form]
    if form == "archive":
        with tarfile.open(source, "w") as tar:
            tar.add(phantom_task, "Task99_Phantom")
    assert main(["import-msd", "Task99_Phantom", "--from", str(source), "--id", "7", "-np", "1"]) == 0
    assert_imported(raw / "Dataset007_Phantom")
    assert [path.name for path in raw.iterdir()] == ["Dataset007_Phantom"]


def assert_imported(folder):
    assert len(list((folder / "imagesTr").glob("*_0000.nii.gz"))) == len(list((folder / "labelsTr").iterdir())) == 6
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "body": 1, "cap": 2}


def test_a_python_without_the_data_filter_says_so(tmp_path, monkeypatch):
    """Debian 12's own 3.11.2 is one."""
    archive = tar_with(tmp_path / "a.tar", ("Task99_Phantom/dataset.json", b"{}"))
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match="cannot unpack archives safely"):
        unpack_task(archive, "Task99_Phantom", tmp_path)
    assert not (tmp_path / "Task99_Phantom").exists()
