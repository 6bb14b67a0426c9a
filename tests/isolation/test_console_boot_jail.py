"""An image that is booted with its console on a terminal: its VM is held as a build VM is, and the keys reach it."""

import asyncio
import os
import pty
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from boot_sectors import disk_with, echoes

from vmkiln.host import virtual_machine
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


async def test_a_booted_image_is_in_the_jail_of_a_build_vm_and_hears_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_with(tmp_path / "disk", echoes(), size_bytes=MIB)
    before, judged = virtual_machine._confinement, list[Fact]()

    async def kept(*arguments: Any) -> list[Fact]:
        judged.extend(await before(*arguments))
        return judged

    monkeypatch.setattr(virtual_machine, "_confinement", kept)
    ours, theirs = pty.openpty()
    with open(theirs, "rb", closefd=False) as keys, open(theirs, "w", closefd=False) as shown:  # noqa: ASYNC230
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(sys, "stdout", shown)
        settings = termios.tcgetattr(theirs)
        booting = asyncio.create_task(
            boot_with_console(
                Disk(disk, "raw", read_only=True),
                workplace=tmp_path / "booting",
                accelerator=Accelerator.TCG,
                memory_mib=64,
                cpus=1,
                firmware=None,
            )
        )
        async with asyncio.timeout(120):
            await said(ours, b"R")
            os.write(ours, b"hear\x03me")
            await said(ours, b"hear\x03me")
            os.write(ours, b"\x01x")
            assert await booting == 0
        assert termios.tcgetattr(theirs) == settings
    os.close(ours)
    os.close(theirs)
    assert len(judged) >= 15
    assert failed(judged) == []
    assert list((tmp_path / "booting").iterdir()) == []
