"""Whether a data set in nnU-Net's folders is the task that it is taken for."""

from __future__ import annotations

from pathlib import Path

from nnunet_nacl.benchmark.tasks.data_identity import Cases, difference, of_task
from nnunet_nacl.benchmark.tasks.msd import TASKS, Task
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import read_mapping

ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz")


def find_source(task: str, source: Path) -> Path:
    """Return the task's folder or archive that ``source`` is or holds.

    Raises:
        InputError: there is none.
    """
    candidates = [source, source / task, *(source / f"{task}{ending}" for ending in ARCHIVE_ENDINGS)]
    for path in candidates:
        if (path / "dataset.json").is_file() or (path.is_file() and path.name.endswith(ARCHIVE_ENDINGS)):
            return path
    raise InputError(
        f"Expected `--from` to be the folder {task} with its dataset.json, its archive (.tar), or a folder that holds "
        f"one of them, but got {source}."
    )


def check_imported(task: str, source: Path | None, folder: Path, cases: Cases, downloads: Path) -> None:
    """Raise InputError where a folder holds other data than a task.

    A task of the MSD that is not on this machine is known by the number of its cases and its labels only.

    Args:
        task: ``TaskXX_Name``.
        source: where it lies, as :func:`find_source` takes it; None: it is downloaded. The folder itself is what it is.
        folder: that of the data set in nnUNet_raw or nnUNet_preprocessed.
        cases: what lies in that folder.
        downloads: where its archive is kept.
    """
    if source is not None and source.resolve() == folder.resolve():
        return
    if source is None:
        known = TASKS[task]
        source = downloads / known.archive
        if not source.is_file():
            _check_registered(known, folder, cases)
            return
    found = find_source(task, source)
    what = difference(of_task(found), cases)
    if what is not None:
        raise other_data(folder, str(found), what)


def other_data(folder: Path, wanted: str, what: str) -> InputError:
    """Return the error that says how a folder differs from what a study asks for, and what to do."""
    return InputError(
        f"{folder} holds other data than {wanted}: {what}. Nothing of it is changed. Give the task another number (`id`, --id), or move "
        f"the folder away with what was made from it."
    )


def _check_registered(known: Task, folder: Path, cases: Cases) -> None:
    labels = read_mapping(folder / "dataset.json", "").get("labels")
    names = tuple(name for name in labels if name != "background") if isinstance(labels, dict) else ()
    parts = [
        f"it has {len(cases)} cases instead of {known.training}" if len(cases) != known.training else "",
        f"its labels are {', '.join(names)} instead of {', '.join(known.labels)}" if names != known.labels else "",
    ]
    what = ", ".join(part for part in parts if part)
    if what:
        raise other_data(folder, f"{known.name} of the MSD", f"{what}. To use it as it is, name it (`from: {folder}`)")
