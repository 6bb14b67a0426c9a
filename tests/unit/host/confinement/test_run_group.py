"""A run's control group, of both versions, against a tree of files that does what the kernel does with folders."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.files import locks
from vmkiln.host.confinement import run_group
from vmkiln.host.confinement.run_group import RunLimits, check, held, is_delegated, limits_of

LIMITS = RunLimits(memory_bytes=1 << 30, processes=77)
MOUNT_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = "".join(
    f"{number} 23 0:{number} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in ((31, "memory"), (32, "pids"), (33, "cpu"))
)
FILES_V2 = ("cgroup.procs", "memory.max", "pids.max", "cpu.weight", "io.weight", "cgroup.subtree_control")
FILES_V1 = ("cgroup.procs", "memory.limit_in_bytes", "pids.max", "cpu.shares")
Tree = Callable[[bool], Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A machine with a group `a.service` that is delegated to us, whose only process we are."""
    mkdir = Path.mkdir
    unified = True

    def make(folder: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(folder, mode, parents, exist_ok)
        if folder.is_relative_to(tmp_path / "sys"):
            for name in FILES_V2 if unified else FILES_V1:
                (folder / name).touch()
            if unified:
                (folder / "cgroup.controllers").write_text("cpu io memory pids\n")

    def remove(folder: Path) -> None:
        if (folder / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        shutil.rmtree(folder)

    def made(is_unified: bool) -> Path:
        nonlocal unified
        unified = is_unified
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/mountinfo").write_text(MOUNT_V2 if is_unified else MOUNTS_V1)
        lines = "0::/a.service\n" if is_unified else "3:memory:/a.service\n2:pids:/a.service\n1:cpu:/a.service\n"
        (tmp_path / "proc/self/cgroup").write_text(lines)
        for top in ("",) if is_unified else ("memory", "pids", "cpu"):
            (tmp_path / "sys/fs/cgroup" / top / "a.service").mkdir(parents=True)
            (tmp_path / "sys/fs/cgroup" / top / "a.service/cgroup.procs").write_text(str(os.getpid()))
        return tmp_path

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(Path, "rmdir", remove)
    monkeypatch.setattr(run_group, "REMOVAL_SECONDS", 0)
    return made


def test_a_run_of_version_2_has_its_limits_below_the_delegated_group(tree: Tree) -> None:
    root = tree(True)
    base = root / "sys/fs/cgroup/a.service"
    with held("r1", LIMITS, root=root) as group:
        assert group is not None
        group.add(4242)
        folder = base / "vmkiln-run-r1"
        found = {name: (folder / name).read_text() for name in ("memory.max", "pids.max", "cpu.weight", "io.weight")}
        assert found == {"memory.max": str(1 << 30), "pids.max": "77", "cpu.weight": "100", "io.weight": "100"}
        assert (folder / "cgroup.procs").read_text() == "4242"
        assert set((base / "cgroup.subtree_control").read_text().split()) == {"+memory", "+pids", "+cpu", "+io"}
        assert (base / "vmkiln-service/cgroup.procs").read_text() == str(os.getpid())
        (folder / "cgroup.procs").write_text("")  # all of it has ended
    assert not folder.exists()


def test_a_run_of_version_1_has_a_group_in_each_hierarchy(tree: Tree) -> None:
    root = tree(False)
    with held("r1", LIMITS, root=root) as group:
        assert group is not None
        group.add(4242)
        folders = [root / "sys/fs/cgroup" / name / "a.service/vmkiln-run-r1" for name in ("memory", "pids", "cpu")]
        assert {(folder / "cgroup.procs").read_text() for folder in folders} == {"4242"}
        assert (folders[0] / "memory.limit_in_bytes").read_text() == str(1 << 30)
        assert (folders[1] / "pids.max").read_text() == "77"
        for folder in folders:
            (folder / "cgroup.procs").write_text("")
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("is_unified", [True, False])
def test_what_a_dead_run_left_is_removed_and_a_living_one_stays(tree: Tree, is_unified: bool) -> None:
    root = tree(is_unified)
    base = root / "sys/fs/cgroup" / ("a.service" if is_unified else "memory/a.service")
    for name, processes in (("dead", ""), ("living", "17")):
        (base / f"vmkiln-run-{name}").mkdir()
        (base / f"vmkiln-run-{name}/cgroup.procs").write_text(processes)
    with held("r1", LIMITS, root=root):
        pass
    assert [path.name for path in base.glob("vmkiln-run-*")] == ["vmkiln-run-living"]


@pytest.mark.parametrize("is_unified", [True, False])
def test_a_group_that_has_no_process_yet_is_not_removed_by_another(tree: Tree, is_unified: bool) -> None:
    """One of an image in the making has none between two programs, and a program could not join it any more."""
    root = tree(is_unified)
    with held("base-1", LIMITS, root=root) as group:
        assert group is not None
        with held("r1", LIMITS, root=root):
            group.add(4242)
        for folder in group.folders:
            assert (folder / "cgroup.procs").read_text() == "4242"
            (folder / "cgroup.procs").write_text("")
    assert not any(folder.exists() for folder in group.folders)


def test_a_group_that_another_removes_while_it_is_made_is_made_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, removed = tree(True), list[Path]()
    opened = locks.opened

    def late(path: Path, *, flags: int) -> contextlib.AbstractContextManager[int]:
        if not removed:
            removed.append(path)
            path.rmdir()
        return opened(path, flags=flags)

    monkeypatch.setattr(locks, "opened", late)
    with held("r1", LIMITS, root=root) as group:
        assert group is not None
        assert removed == list(group.folders)
        assert (group.folders[0] / "pids.max").read_text() == "77"


def test_a_second_run_finds_us_in_our_own_group(tree: Tree) -> None:
    root = tree(True)
    with held("r1", LIMITS, root=root):
        pass
    (root / "proc/self/cgroup").write_text("0::/a.service/vmkiln-service\n")
    with held("r2", LIMITS, root=root) as group:
        assert group is not None
        assert group.folders == (root / "sys/fs/cgroup/a.service/vmkiln-run-r2",)


def test_a_group_with_processes_of_others_is_not_divided(tree: Tree) -> None:
    root = tree(True)
    assert is_delegated(root)
    (root / "sys/fs/cgroup/a.service/cgroup.procs").write_text(f"{os.getpid()}\n4711\n")
    (root / "proc/4711").mkdir()
    (root / "proc/4711/stat").write_text("4711 (a shell) S 1 1 1")
    assert not is_delegated(root)
    with held("r1", LIMITS, root=root) as group:
        assert group is None


def test_without_memory_and_processes_nothing_is_delegated(tree: Tree) -> None:
    root = tree(True)
    (root / "sys/fs/cgroup/a.service/cgroup.controllers").write_text("cpu\n")
    assert not is_delegated(root)


def test_a_kernel_that_refuses_is_told_and_the_run_goes_on(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(True)

    def refuse(_base: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(run_group, "_make_ready", refuse)
    with held("r1", LIMITS, root=root) as group:
        assert group is None
    assert "no control group of its own" in caplog.text


def test_all_that_is_demanded_and_missing_is_named(tmp_path: Path) -> None:
    check(has_group=True, landlock_version=1)
    with pytest.raises(HostUnfit, match="a control group of its own and Landlock, which the setting"):
        check(has_group=False, landlock_version=0)
    with (
        pytest.raises(HostUnfit, match="a control group of its own"),
        held("r", LIMITS, is_required=True, root=tmp_path),
    ):
        raise AssertionError("a run began")


def test_a_run_may_have_its_guests_and_what_it_takes_to_run_them() -> None:
    found = limits_of(guests_mib=4096)
    assert found.memory_bytes > 4096 * 1024**2
    assert found.processes > 512
