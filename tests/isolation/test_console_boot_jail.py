"""An image that is booted with its console on a terminal: its VM is held as a build VM is, and the keys reach it."""

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from boot_sectors import READY, disk_with, echoes

from vmkiln.host import console_boot, virtual_machine
from vmkiln.host.confinement.confinement import Fact, failed
from vmkiln.host.console_boot import boot_with_console
from vmkiln.host.qemu import Accelerator, Disk

MIB = 1024**2


async def said(terminal: int, wanted: bytes) -> None:
    """Return when this was said on the terminal."""
    loop, found, seen = asyncio.get_running_loop(), asyncio.Event(), bytearray()

    def read() -> None:
        seen.extend(os.read(terminal, 4096))
        if wanted in seen:
            found.set()

    loop.add_reader(terminal, read)
    try:
        await found.wait()
    finally:
        loop.remove_reader(terminal)


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """This process has a terminal meanwhile: our end of it, and its own."""
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "rb", closefd=False) as keys, open(theirs, "w", closefd=False) as shown:
            monkeypatch.setattr(sys, "stdin", keys)
            monkeypatch.setattr(sys, "stdout", shown)
            yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def begun(folder: Path) -> "asyncio.Task[int]":
    """A guest that echoes, booted with its console on the terminal."""
    disk = disk_with(folder / "disk", echoes(), size_bytes=MIB)
    return asyncio.create_task(
        boot_with_console(
            Disk(disk, "raw", read_only=True),
            workplace=folder / "booting",
            accelerator=Accelerator.TCG,
            memory_mib=64,
            cpus=1,
            firmware=None,
        )
    )


async def test_a_booted_image_is_in_the_jail_of_a_build_vm_and_hears_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, judged = virtual_machine._confinement, list[Fact]()

    async def kept(*arguments: Any) -> list[Fact]:
        judged.extend(await before(*arguments))
        return judged

    monkeypatch.setattr(virtual_machine, "_confinement", kept)
    with terminal(monkeypatch) as (ours, theirs):
        settings = termios.tcgetattr(theirs)
        booting = begun(tmp_path)
        async with asyncio.timeout(120):
            await said(ours, READY)
            os.write(ours, b"hear\x03me")
            await said(ours, b"hear\x03me")
            os.write(ours, b"\x01x")
            assert await booting == 0
        assert termios.tcgetattr(theirs) == settings
    assert len(judged) >= 15
    assert failed(judged) == []
    assert list((tmp_path / "booting").iterdir()) == []


async def test_nothing_is_shown_before_the_terminal_takes_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, wait_for_it, raw, write = (
        list[str](),
        console_boot.booted,
        console_boot._raw_terminal,
        console_boot._write_all,
    )

    @contextlib.asynccontextmanager
    async def booted_and_talking(*arguments: Any, show: console_boot.Show, **others: Any) -> AsyncIterator[Any]:
        said_something = asyncio.Event()

        async def heard(chunk: bytes) -> None:
            said_something.set()
            await show(chunk)

        async with wait_for_it(*arguments, show=heard, **others) as found:
            await said_something.wait()
            await asyncio.sleep(0.3)  # whatever is shown at once is shown by now
            yield found

    @contextlib.contextmanager
    def noted_terminal() -> Iterator[None]:
        order.append("raw")
        with raw():
            yield

    def noted_write(chunk: bytes) -> None:
        order.append("shown")
        write(chunk)

    monkeypatch.setattr(console_boot, "booted", booted_and_talking)
    monkeypatch.setattr(console_boot, "_raw_terminal", noted_terminal)
    monkeypatch.setattr(console_boot, "_write_all", noted_write)
    with terminal(monkeypatch) as (ours, _):
        booting = begun(tmp_path)
        async with asyncio.timeout(120):
            await said(ours, READY)
            os.write(ours, b"\x01x")
            assert await booting == 0
    assert order[:2] == ["raw", "shown"]
