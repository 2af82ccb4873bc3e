"""Memory that containers and batch systems leave."""

import pytest

from nnunet_nacl.processes.available_memory import cgroup_room, default_budget


def write_group(folder, names, limit, usage, cache):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, usage), strict=True):
        (folder / name).write_text(f"{value}\n")
    key = "inactive_file" if names[0] == "memory.max" else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 1\n{key} {cache}\n")


V1, V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")


@pytest.mark.parametrize(("line", "mount", "names"), [("0::/a/b", ".", V2), ("4:cpu,memory:/a/b", "memory", V1)])
def test_limits_of_all_groups_above_count_and_cache_is_free(line, mount, names, tmp_path):
    process, root = tmp_path / "cgroup", tmp_path / "fs"
    process.write_text(f"7:pids:/a/b\n{line}\n")
    write_group(root / mount / "a" / "b", names, "max" if names is V2 else 2**63 - 4096, 300, 0)
    write_group(root / mount / "a", names, 1000, 700, 200)
    assert min(cgroup_room(process, root)) == 500
    write_group(root / mount / "a", names, 1000, 1900, 200)
    assert min(cgroup_room(process, root)) == 0


def test_group_that_is_not_visible_in_a_container(tmp_path):
    """The path is the host's, and what is mounted is the container's own group."""
    process, root = tmp_path / "cgroup", tmp_path / "fs"
    process.write_text("0::/docker/0123\n")
    write_group(root, V2, 1000, 400, 0)
    assert cgroup_room(process, root) == [600]
    assert cgroup_room(tmp_path / "no such file", root) == []
    assert cgroup_room(process, tmp_path / "nothing mounted") == []


def test_default_is_less_than_there_is():
    import psutil

    assert 0 < default_budget() < psutil.virtual_memory().total
