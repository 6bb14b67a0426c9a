"""A VM stands still for as long as its memory or its disk takes, and not for one after the other."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.host.saved import device_state, saved_vm, whole_vm
from vmkiln.run_failures import VirtualMachineNotSaved

VM: Any = SimpleNamespace(name="build-vm", control=None)
LONG_SECONDS = 60


class Inside:
    """What keeps the memory: once the disk is being copied."""

    def __init__(self, *, fails: bool = False) -> None:
        self.memory_begun, self.disk_begun, self.disk_ended = threading.Event(), threading.Event(), False
        self._fails = fails

    async def keep_memory(self, _name: str, target: Path, *, has_digest: bool) -> str:
        assert not has_digest, "that is taken of the copy"
        self.memory_begun.set()
        assert await asyncio.to_thread(self.disk_begun.wait, LONG_SECONDS)
        if self._fails:
            raise VmkilnError("no room")
        target.write_bytes(b"memory")
        return ""

    def copy_file(self, _source: Path, target: Path) -> None:
        self.disk_begun.set()
        assert self.memory_begun.wait(LONG_SECONDS)
        target.write_bytes(b"disk")
        self.disk_ended = True


async def saved(tmp_path: Path, inside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def devices(_control: object) -> bytes:
        return b"devices"

    monkeypatch.setattr(device_state, "save", devices)
    monkeypatch.setattr(saved_vm, "copy_file", inside.copy_file)
    (tmp_path / "saved").mkdir()
    workplace = saved_vm.begun(tmp_path / "saved", "1" * 64)
    async with asyncio.timeout(2 * LONG_SECONDS):
        await whole_vm.save(inside, VM, workplace, disk=tmp_path / "disk")


async def test_memory_and_disk_are_copied_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await saved(tmp_path, Inside(), monkeypatch)


async def test_a_memory_that_is_not_kept_is_told_when_the_disk_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(fails=True)
    with pytest.raises(VirtualMachineNotSaved, match="no room"):
        await saved(tmp_path, inside, monkeypatch)
    assert inside.disk_ended, "nothing is written behind its end"
