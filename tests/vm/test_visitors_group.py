"""The container group of a visitor goes on from what Packer's go on from, and gets its port when it runs."""

import asyncio
import contextlib
import socket
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from test_group_goes_on import a_host

from vmkiln.host import namespace
from vmkiln.host.qemu import SavedVm
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.run.held import shell_group
from vmkiln.run.held.door import OPEN
from vmkiln.run.run_context import BuildHost
from vmkiln.run_failures import ContainerGroupLost
from vmkiln.settings import Settings
from vmkiln.staging import virtual_network
from vmkiln.staging.container_group import ContainerGroup

pytestmark = pytest.mark.vm
NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False)
MOST = 1024 * 1024
ANSWERS = """
import socket, sys
with socket.create_server((sys.argv[1], 22)) as server:
    way, _ = server.accept()
    while chunk := way.recv(65536):
        way.sendall(chunk.swapcase())
"""


async def visited(host: BuildHost, folder: Path, saved: SavedVm | None, said: bytes, *, answers: bool = True) -> float:
    """The seconds until what a visitor said has come back from the port 22 behind the group, all of it."""
    folder.mkdir()
    image, subnet = host.container_image, NETWORK.container_group_subnet
    unset = folder / "none"
    group = ContainerGroup(image.kernel, image.initramfs, image.disk, unset, host.accelerator, saved=saved)
    machine = await shell_group.made(group, NETWORK, folder)
    async with contextlib.AsyncExitStack() as stack:
        inside = await stack.enter_async_context(namespace.opened())
        await bind_run_directory(inside, folder)
        for words in (
            ("tuntap", "add", "dev", subnet.tap, "mode", "tap"),
            ("address", "add", f"{subnet.router}/{subnet.prefix.prefixlen}", "dev", subnet.tap),
            ("link", "set", subnet.tap, "up"),
            ("link", "set", "lo", "up"),
            ("address", "add", f"{NETWORK.target}/32", "dev", "lo"),
        ):
            await inside.run(["ip", *words])
        if answers:
            program = [sys.executable, "-I", "-S", "-c", ANSWERS, str(NETWORK.target)]
            await stack.enter_async_context(inside.start("answering", program))
        outside, door = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=outside)
        stack.callback(writer.close)
        of_door = await asyncio.open_connection(sock=door)
        stack.callback(of_door[1].close)
        began, seconds = time.monotonic(), 0.0
        session = shell_group.visit(inside, machine, folder, *of_door)
        async with asyncio.timeout(180), asyncio.TaskGroup() as tasks:
            visiting = tasks.create_task(session)
            assert await reader.readline() == OPEN
            writer.write(said)
            if answers:
                assert await reader.readexactly(len(said)) == said.swapcase()
                seconds = time.monotonic() - began
                writer.write_eof()  # whoever leaves ends it
            await visiting
        return seconds


async def test_a_visitors_group_goes_on_from_the_same_and_leads_to_the_vm(settings: Settings, tmp_path: Path) -> None:
    said = b"Some Letters\n" * (MOST // 13)
    async with a_host(settings) as host:
        saved = host.saved_group
        assert saved is not None
        booted = await visited(host, tmp_path / "booted", None, said)
        first = await visited(host, tmp_path / "first", saved, said)
        assert first < booted - 1, "it did not boot"
        with pytest.raises(ExceptionGroup) as failed:
            await visited(host, tmp_path / "alone", saved, b"", answers=False)
        (error,) = failed.value.exceptions
        assert isinstance(error, ContainerGroupLost)
        assert "no way led into the VM: connect: Connection refused" in error.message
        damaged = replace(saved, devices_digest="0" * 64, memory=tmp_path / "gone/memory")
        await visited(host, tmp_path / "again", damaged, b"Hello")
