"""How many cases fit into memory at once: what there is, what a case needs, and which case starts next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import psutil

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.probabilities import KEY, read_header
from nnunet_nacl.evaluation.zip_member import find_member

SHARE_OF_AVAILABLE = 0.8
"""Of the memory that is available when the evaluation starts; the rest is for whatever else runs."""

PROCESS_BYTES = 350 * 2**20
"""Of a worker before its first case: Python, NumPy, SimpleITK and the compiled kernels, and SciPy for HD95. Measured: 280 MiB."""

BYTES_PER_VOXEL = 64
"""Of evaluating a case, whatever the number of classes, since channels are read one after another. Measured: 26, with HD95 30, of three to five regions 36 to 44."""


def default_budget() -> int:
    """Return the bytes that an evaluation may take: a share of what is available, within the limits of cgroups."""
    return int(SHARE_OF_AVAILABLE * min(psutil.virtual_memory().available, *cgroup_room()))


def cgroup_room(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Return what each memory limit above this process leaves, in bytes; empty where there is none.

    Containers and batch systems (Docker, SLURM, LSF) set these limits, and a process that passes one is killed. File
    cache that can be dropped counts as free, as it does for the kernel.

    Args:
        process: the kernel's list of this process's groups, ``hierarchy:controllers:path``.
        root: where cgroup file systems are mounted: version 2 itself, version 1 in ``memory``.
    """
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return []
    rooms = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # A limit holds for all groups below it. In a container the mounted part of the tree may start further down than the
        # path says; what of it does not exist has no limit files.
        group = mount / path.lstrip("/")
        rooms += [_room(level, *names) for level in (group, *group.parents) if level.is_relative_to(mount)]
    return [room for room in rooms if room is not None]


def _room(group: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    try:
        limit = int((group / limit_name).read_text())  # version 2 says "max" where there is none
        usage = int((group / usage_name).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(limit - usage + int(statistics.get(cache_name, 0)), 0)


def bytes_needed(case: Case) -> int:
    """Return the memory that evaluating a case takes, without the process's own; 0 where the file cannot be read.

    It comes from the npz's directory and the array's header, so that a few bytes of the file are read.
    """
    try:
        member, header = find_member(case.probabilities, KEY), read_header(case.probabilities)
    except InputError:
        # evaluating the case will say what is wrong with it
        return 0
    whole = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or header.size + whole != member.size:
        return 0
    # an array in Fortran order, which nnU-Net does not write, has to be read whole
    return BYTES_PER_VOXEL * math.prod(header.shape[1:]) + (whole if header.fortran else 0)


def processes_within(needs: Sequence[int], requested: int, budget: int) -> int:
    """Return how many processes to have: as many as requested and useful, and as leave the largest case that fits its room.

    Args:
        needs: bytes that each case takes.
        requested: processes at most.
        budget: bytes for all of them together.
    """
    largest = max((need for need in needs if PROCESS_BYTES + need <= budget), default=0)
    affordable = (budget - largest) // PROCESS_BYTES
    return max(1, min(requested, len(needs), affordable))


def next_to_start(waiting: Sequence[int], running: Sequence[int], room: int) -> int | None:
    """Return the position of the case to start next, or None to wait until one has finished.

    It is the first that fits beside the running ones. Where nothing runs it is the first one, whatever it needs: a case
    larger than the budget is evaluated alone, since an estimate is no reason to refuse it.

    Args:
        waiting: bytes that each waiting case takes.
        running: bytes that each running case takes.
        room: bytes for all running cases together.
    """
    if not waiting:
        return None
    if not running:
        return 0
    left = room - sum(running)
    return next((position for position, need in enumerate(waiting) if need <= left), None)
