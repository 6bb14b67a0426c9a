"""What makes an image is in a control group of its own: its programs, and the namespaces of its VMs."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.host import command, confined_program, namespace
from vmkiln.host.confined_program import Reach
from vmkiln.host.confinement import run_group
from vmkiln.host.confinement.run_group import RunGroup, RunLimits
from vmkiln.host.making import work_group


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunGroup:
    """What a machine gives that has delegated one: a folder whose file takes the ids of processes."""
    group = RunGroup("vmkiln-run-base-1", (tmp_path / "group",))
    group.folders[0].mkdir()

    @contextlib.contextmanager
    def held(run_id: str, limits: RunLimits) -> Iterator[RunGroup]:
        assert run_id.startswith(work_group.PREFIX)
        assert limits.memory_bytes > 0
        yield group

    monkeypatch.setattr(run_group, "held", held)
    return group


def members(group: RunGroup) -> str:
    return (group.folders[0] / "cgroup.procs").read_text()


async def test_a_program_joins_before_it_begins(group: RunGroup) -> None:
    async with work_group.held():
        script = [sys.executable, "-c", "import os; print(os.getpid())"]
        told = await command.run(script, timeout_seconds=60, before_exec=work_group.joining())
    assert members(group) == told.text.strip()


async def test_a_jailed_program_of_an_image_is_in_it(group: RunGroup) -> None:
    async with work_group.held():
        await confined_program.run(["true"], Reach(), timeout_seconds=60)
    assert int(members(group)) != os.getpid()


async def test_the_namespaces_of_a_vm_that_is_saved_are_in_it(group: RunGroup) -> None:
    async with work_group.held(guests_mib=512), namespace.opened() as inside:
        assert members(group) == str(inside.process_id)
        assert inside.control_group == group.name


async def test_outside_the_block_nothing_joins(group: RunGroup) -> None:
    async with work_group.held():
        pass
    assert work_group.current() is None
    assert work_group.joining() is None
    async with namespace.opened():
        pass
    assert not (group.folders[0] / "cgroup.procs").exists()
