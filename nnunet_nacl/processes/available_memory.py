"""How much memory there is, within the limits that containers and batch systems set."""

from __future__ import annotations

from pathlib import Path

import psutil

SHARE_OF_AVAILABLE = 0.8
"""Of the memory that is available when the evaluation starts; the rest is for whatever else runs."""


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
