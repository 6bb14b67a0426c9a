"""What a machine has for builds is what its control groups leave of it: both versions, nested, in containers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmkiln.host import capacity, control_group

GIB, MIB = 1024**3, 1024**2
UNLIMITED_V1 = 9223372036854771712  # what version 1 says where there is no limit
MOUNT_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = (
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)
Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def made(files: dict[str, str]) -> Path:
        for name, text in {"proc/meminfo": f"MemAvailable: {64 * GIB // 1024} kB\n", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return made


def v2(group: str, **files: str) -> dict[str, str]:
    named = {name.replace("_", ".", 1): text for name, text in files.items()}
    return {f"sys/fs/cgroup{group}/{name}": text for name, text in named.items()}


def in_v2(path: str) -> dict[str, str]:
    return {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": MOUNT_V2}


def test_without_a_group_memory_is_the_machine_s(tree: Tree) -> None:
    assert capacity.available_memory_bytes(tree({})) == 64 * GIB
    assert capacity.cpu_count(tree({})) == len(os.sched_getaffinity(0))


def test_unknown_memory_is_none(tree: Tree) -> None:
    assert capacity.available_memory_bytes(tree({"proc/meminfo": "MemTotal: 1 kB\n"})) == 0


def test_a_limit_of_version_2_counts_without_what_can_be_given_back(tree: Tree) -> None:
    stat = f"anon 1\ninactive_file {1 * GIB}\nactive_file 7\n"
    limit = v2("/a.service", memory_max=f"{6 * GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat=stat)
    assert capacity.available_memory_bytes(tree(in_v2("/a.service") | limit)) == 4 * GIB


def test_a_limit_further_up_holds_too(tree: Tree) -> None:
    inner = v2("/a.slice/b.service", memory_max="max\n", memory_current="0\n")
    outer = v2("/a.slice", memory_max=f"{2 * GIB}\n", memory_current=f"{GIB}\n", memory_stat="inactive_file 0\n")
    assert capacity.available_memory_bytes(tree(in_v2("/a.slice/b.service") | inner | outer)) == GIB


def test_a_group_above_memory_high_is_slowed_down_so_that_is_a_limit(tree: Tree) -> None:
    limits = v2("/a", memory_max=f"{8 * GIB}\n", memory_high=f"{2 * GIB}\n", memory_current="0\n")
    assert capacity.available_memory_bytes(tree(in_v2("/a") | limits)) == 2 * GIB


def test_a_limit_of_version_1_counts(tree: Tree) -> None:
    folder = "sys/fs/cgroup/memory/docker/abc"
    files = {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
        "proc/self/mountinfo": MOUNTS_V1,
        f"{folder}/memory.limit_in_bytes": f"{2 * GIB}\n",
        f"{folder}/memory.usage_in_bytes": f"{GIB}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{UNLIMITED_V1}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
    }
    assert capacity.available_memory_bytes(tree(files)) == GIB + GIB // 2


def test_a_container_that_sees_only_its_own_part_of_the_tree_has_its_limit(tree: Tree) -> None:
    mount = "31 23 0:27 /docker/a\\040b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    files = {
        "proc/self/cgroup": "4:memory:/docker/a b\n",
        "proc/self/mountinfo": mount,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
    }
    assert capacity.available_memory_bytes(tree(files)) == 3 * GIB


def test_both_versions_at_once_are_both_looked_at(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/a\n0::/a\n",
        "proc/self/mountinfo": MOUNTS_V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "0\n",
    }
    assert capacity.available_memory_bytes(tree(files)) == GIB


def test_a_group_that_took_more_than_its_limit_has_none_left(tree: Tree) -> None:
    limit = v2("/a", memory_max=f"{GIB}\n", memory_current=f"{2 * GIB}\n")
    assert capacity.available_memory_bytes(tree(in_v2("/a") | limit)) == 0


def test_a_quota_of_cpus_counts_and_is_never_rounded_up(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(16)))
    assert capacity.cpu_count(tree(in_v2("/a/b") | v2("/a/b", cpu_max="max 100000\n"))) == 16
    assert capacity.cpu_count(tree(v2("/a", cpu_max="250000 100000\n"))) == 2
    assert capacity.cpu_count(tree(v2("/a/b", cpu_max="50000 100000\n"))) == 1


def test_a_quota_of_version_1_counts(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(16)))
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {
        "proc/self/cgroup": "3:cpu,cpuacct:/a\n",
        "proc/self/mountinfo": MOUNTS_V1,
        f"{folder}/a/cpu.cfs_quota_us": "400000\n",
        f"{folder}/a/cpu.cfs_period_us": "100000\n",
        f"{folder}/cpu.cfs_quota_us": "-1\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
    }
    assert capacity.cpu_count(tree(files)) == 4


def test_cpus_are_those_this_process_may_run_on(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {3, 5, 7})
    assert capacity.cpu_count(tree({})) == 3


def guest(number: int, group: str, *, mib: int) -> dict[str, str]:
    folder = f"proc/{number}"
    return {
        f"{folder}/comm": "qemu-system-x86\n",
        f"{folder}/status": f"Name: q\nVmRSS:\t{mib * 1024} kB\n",
        f"{folder}/cgroup": f"0::{group}\n",
    }


def test_a_guest_s_memory_counts_in_the_groups_it_is_in(tree: Tree) -> None:
    limit = v2("/vmkiln.service", memory_max=f"{8 * GIB}\n", memory_current=f"{4 * GIB}\n")
    guests = guest(10, "/vmkiln.service/run", mib=3072) | guest(11, "/user.slice", mib=2048)
    root = tree(in_v2("/vmkiln.service") | limit | guests)
    assert capacity.memory_bytes_with_guests(root) == 7 * GIB
    assert capacity.available_memory_bytes(root) == 4 * GIB


def test_a_guest_s_memory_counts_on_the_whole_machine(tree: Tree) -> None:
    assert capacity.memory_bytes_with_guests(tree(guest(10, "/a", mib=512))) == 64 * GIB + 512 * MIB


def test_this_machine_s_own_files_are_understood() -> None:
    assert capacity.available_memory_bytes() > 0
    assert capacity.memory_bytes_with_guests() > 0
    assert 1 <= capacity.cpu_count() <= (os.cpu_count() or 1)
    assert all(limit.used_bytes >= 0 for limit in control_group.memory_limits())
