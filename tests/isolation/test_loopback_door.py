"""The door to a guest that is looked at: from the loopback to its one port, and nothing from it to anywhere."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from boot_sectors import disk_with, echoes

from vmkiln.errors import InputError
from vmkiln.host import namespace, virtual_machine
from vmkiln.host.confinement.confinement import Fact, failed
from vmkiln.host.console_boot import Entrance, booted
from vmkiln.host.entrance import loopback_door
from vmkiln.host.entrance.loopback_door import MOST_CONNECTIONS, Link
from vmkiln.host.qemu import Accelerator, Disk

LINK = Link("tap-build", "02:00:ac:10:01:04", IPv4Address("172.16.1.4"), IPv4Interface("172.16.1.1/24"), 22)
# in a network of its own, with the other end of what stands for its tap: it echoes at port 22, and tries to get out
GUEST = """
import os, socket, socketserver, subprocess, threading, time
print(f"pid {os.getpid()}", flush=True)
while "guest0" not in [name for _, name in socket.if_nameindex()]:
    time.sleep(0.01)
run = lambda *words: subprocess.run(["ip", *words], check=True)
run("address", "add", "172.16.1.4/24", "dev", "guest0")
run("link", "set", "guest0", "up")
run("route", "add", "default", "via", "172.16.1.1")
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while chunk := self.request.recv(65536):
            self.request.sendall(chunk)
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 64
    daemon_threads = True
with Server(("0.0.0.0", 22), Echo) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("serves", flush=True)
    for address in (("172.16.1.1", 53), ("172.16.1.1", 22), ("203.0.113.1", 80)):
        try:
            socket.create_connection(address, timeout=0.5).close()
            print("got out", flush=True)
        except OSError:
            print("stays in", flush=True)
    threading.Event().wait()
"""


@asynccontextmanager
async def visited() -> AsyncIterator[tuple[int, asyncio.Queue[str]]]:
    """The port of a door to a stand-in for a guest, which serves; and what that says."""
    told: asyncio.Queue[str] = asyncio.Queue(100)
    async with namespace.opened() as inside, loopback_door.opened(inside, LINK, port=0) as port:
        await inside.run(["ip", "link", "delete", LINK.tap])  # nothing is plugged in there
        await inside.run(["ip", "link", "add", LINK.tap, "type", "veth", "peer", "name", "guest0"])
        await inside.run(["ip", "address", "add", str(LINK.router), "dev", LINK.tap])
        await inside.run(["ip", "link", "set", LINK.tap, "up"])
        guest = ["unshare", "--net", sys.executable, "-c", GUEST]
        async with inside.start("guest", guest, on_line=told.put_nowait):
            process_id = (await told.get()).removeprefix("pid ")
            await inside.run(["ip", "link", "set", "guest0", "netns", process_id])
            yield port, told


async def echoed(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        writer.write(content)
        await writer.drain()
        writer.write_eof()

    _, found = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    return found


async def test_bytes_pass_both_ways_and_nothing_begins_at_the_guest() -> None:
    async with asyncio.timeout(120), visited() as (port, told):
        assert await told.get() == "serves"
        content = bytes(range(256)) * 20_000
        assert await echoed(port, content) == content
        assert await asyncio.gather(*(echoed(port, bytes([number])) for number in range(8))) == [
            bytes([number]) for number in range(8)
        ]
        assert [await told.get() for _ in range(3)] == ["stays in"] * 3


async def test_so_many_are_in_at_once_and_who_comes_beyond_is_sent_away() -> None:
    async with asyncio.timeout(120), visited() as (port, told):
        assert await told.get() == "serves"
        inside = []
        for number in range(MOST_CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes([number]))
            assert await reader.readexactly(1) == bytes([number])
            inside.append(writer)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read(1) == b""
        for one in (*inside, writer):
            one.close()


async def test_a_port_that_is_taken_is_told() -> None:
    async with (
        asyncio.timeout(120),
        namespace.opened() as inside,
        namespace.opened() as other,
        loopback_door.opened(inside, LINK, port=0) as port,
    ):
        with pytest.raises(InputError, match=f"port {port} cannot be had"):
            async with loopback_door.opened(other, LINK, port=port):
                pass


async def test_a_booted_image_that_is_entered_is_held_as_a_build_vm_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, seed = disk_with(tmp_path / "disk", echoes(), size_bytes=1024**2), tmp_path / "seed.iso"
    seed.write_bytes(bytes(64 * 1024))
    before, judged, ports = virtual_machine._confinement, list[Fact](), list[int]()
    spoke = asyncio.Event()

    async def kept(*arguments: Any) -> list[Fact]:
        judged.extend(await before(*arguments))
        return judged

    @asynccontextmanager
    async def opened(inside: namespace.Namespace) -> AsyncIterator[None]:
        async with loopback_door.opened(inside, LINK, port=0) as port:
            ports.append(port)
            yield

    async def show(_chunk: bytes) -> None:
        spoke.set()

    monkeypatch.setattr(virtual_machine, "_confinement", kept)
    booting = booted(
        Disk(disk, "raw", read_only=True),
        workplace=tmp_path / "booting",
        accelerator=Accelerator.TCG,
        memory_mib=64,
        cpus=1,
        firmware=None,
        show=show,
        entrance=Entrance(LINK.tap, LINK.mac, seed, opened),
    )
    async with asyncio.timeout(120), booting:
        await spoke.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", ports[0])
        writer.close()
    assert len(judged) >= 15
    assert failed(judged) == []
    assert list((tmp_path / "booting").iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports[0])
