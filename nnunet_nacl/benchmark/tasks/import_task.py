"""A task of the MSD in nnUNet_raw, by nnU-Net's own converter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nnunet_nacl.benchmark.tasks.data_identity import of_raw, of_task
from nnunet_nacl.benchmark.tasks.data_record import raw_cases, write_record
from nnunet_nacl.benchmark.tasks.download import Progress, fetch_archive, unpack_task
from nnunet_nacl.benchmark.tasks.imported import check_imported, find_source
from nnunet_nacl.benchmark.tasks.msd import MIRRORS, TASKS, dataset_name
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import read_mapping


def import_task(
    task: str,
    source: Path | None = None,
    dataset_id: int | None = None,
    mirrors: Sequence[str] = MIRRORS,
    downloads: Path | None = None,
    num_processes: int = 1,
    progress: Progress = lambda done, of: None,
) -> tuple[Path, bool]:
    """Bring a task into nnUNet_raw; return its folder there, and whether it was there already.

    Args:
        task: ``TaskXX_Name``; one of the MSD unless ``source`` is given.
        source: the task's folder, its archive, or a folder that holds one of them; default: download.
        dataset_id: number in nnU-Net's name; default: the task's.
        mirrors: see :func:`fetch_archive`.
        downloads: folder for the archive; default: ``nnUNet_raw/.msd``.
        num_processes: of the converter.
        progress: see :func:`fetch_archive`.

    Raises:
        InputError: nnUNet_raw is unset, the source is no such task, a step fails, or other data lie there; the message says what to do.
    """
    raw = _raw_folder()
    target = raw / dataset_name(task, dataset_id)
    downloads = downloads or raw / ".msd"
    if (target / "dataset.json").is_file():
        check_imported(_known(task) if source is None else task, source, target, raw_cases(target), downloads)
        return target, True
    taken = sorted(path.name for path in raw.glob(f"{target.name[:10]}_*"))
    if taken:
        raise InputError(f"{raw} has {', '.join(taken)} already; give {task} another number with --id, or remove it.")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=raw) as temporary:
        folder = _task_folder(task, source, mirrors, downloads, Path(temporary), progress)
        _convert(folder, int(target.name[7:10]), Path(temporary, "raw"), num_processes)
        imported = Path(temporary, "raw", target.name)
        _record(folder, imported)
        imported.rename(target)
    return target, False


def _raw_folder() -> Path:
    value = os.environ.get("nnUNet_raw")
    if not value:
        raise InputError("nnUNet_raw is not set. Set it as nnU-Net's installation asks.")
    try:
        Path(value).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{value}: cannot be made ({error.strerror}). Set nnUNet_raw to a folder that can.") from error
    return Path(value)


def _task_folder(
    task: str, source: Path | None, mirrors: Sequence[str], downloads: Path, temporary: Path, progress: Progress
) -> Path:
    if source is None:
        known = TASKS[_known(task)]
        archive = fetch_archive(known.archive, known.md5, downloads, mirrors, progress)
        return unpack_task(archive, task, temporary)
    found = find_source(task, source)
    if found.is_dir():
        # the converter takes the task's name from the folder's and demands imagesTs
        return _as_task(found, temporary / task)
    return unpack_task(found, task, temporary)


def _known(task: str) -> str:
    """Return the name of a task that can be downloaded."""
    if task not in TASKS:
        raise InputError(f"{task} is no task of the MSD ({', '.join(TASKS)}): name its folder or archive (--from).")
    return task


def _record(source: Path, imported: Path) -> None:
    """Write beside an imported data set what it was made from."""
    unsplit = of_task(source)
    cases = {
        case: replace(one, unsplit=unsplit[case].unsplit) if case in unsplit else one
        for case, one in of_raw(imported).items()
    }
    write_record(imported, cases)


def _as_task(folder: Path, link: Path) -> Path:
    """Return a folder of the task's name whose parts are links into another, with an imagesTs even where there is none."""
    content = read_mapping(folder / "dataset.json", "An MSD task has one.")
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder}: no folder {part}.")
    link.mkdir()
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        if (folder / part).is_dir():
            (link / part).symlink_to((folder / part).resolve(), target_is_directory=True)
        else:
            (link / part).mkdir()
    content.setdefault("test", [])
    (link / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return link


def _convert(folder: Path, dataset_id: int, raw: Path, num_processes: int) -> None:
    """Run nnUNetv2_convert_MSD_dataset into a nnUNet_raw of its own, so that an interrupted one leaves nothing behind.

    The other two folders are set to it as well, since the converter refuses a number that has preprocessed data or results,
    which is no reason here: they stay with the data set.
    """
    raw.mkdir()
    program = shutil.which("nnUNetv2_convert_MSD_dataset", path=str(Path(sys.executable).parent)) or shutil.which(
        "nnUNetv2_convert_MSD_dataset"
    )
    if program is None:
        raise InputError("nnUNetv2_convert_MSD_dataset is not on PATH; is nnU-Net installed?")
    environment = os.environ | {f"nnUNet_{name}": str(raw) for name in ("raw", "preprocessed", "results")}
    command = [program, "-i", str(folder), "-overwrite_id", str(dataset_id), "-np", str(num_processes)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        last = (finished.stderr.strip() or finished.stdout.strip() or "no message").splitlines()[-1]
        raise InputError(f"{folder.name}: nnUNetv2_convert_MSD_dataset failed ({last}).")
