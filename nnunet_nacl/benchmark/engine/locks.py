"""Locks between processes of one machine. The operating system frees them when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

POLL = 2.0  # seconds between two tries


def try_lock(path: Path) -> IO[str] | None:
    """Return an open file that holds the lock until it is closed, or None where somebody else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock."""
    if not path.is_file():
        return False
    held = try_lock(path)
    if held is None:
        return True
    held.close()
    return False


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock during a block; ``waiting`` is called once if somebody else holds it."""
    with _wait_for([path], 1, waiting)[0]:
        yield


@contextmanager
def gpus(candidates: Sequence[int], count: int, waiting: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Hold ``count`` of the candidate GPUs during a block and give their numbers.

    The locks lie in the machine's temporary folder, so that the benchmarks of one machine respect one another.
    """
    files = {device: Path(tempfile.gettempdir(), f"nnunet-nacl-gpu-{device}.lock") for device in candidates}
    with ExitStack() as stack:
        held = _wait_for(list(files.values()), count, waiting)
        for file in held:
            stack.enter_context(file)
        names = {file.name for file in held}
        yield [device for device, path in files.items() if str(path) in names]


def _wait_for(paths: Sequence[Path], count: int, waiting: Callable[[], None]) -> list[IO[str]]:
    """Wait until ``count`` of the locks are free at once and take them; holding some while waiting could block two jobs."""
    first = True
    while True:
        held: list[IO[str]] = []
        for path in paths:
            file = try_lock(path) if len(held) < count else None
            if file is not None:
                held.append(file)
        if len(held) == count:
            return held
        for file in held:
            file.close()
        if first:
            waiting()
            first = False
        time.sleep(POLL)


def visible_gpus() -> list[int]:
    """Return the numbers of the GPUs that CUDA_VISIBLE_DEVICES allows, or of all that nvidia-smi lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(part) for part in visible.split(",") if part.strip().isdigit()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return list(range(sum(line.startswith("GPU ") for line in listed.splitlines())))
