"""Packer that has waited in a container group that was saved: it is a build's own from its first word on."""

import asyncio
import sys
import time
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from vmkiln.host import namespace
from vmkiln.host.qemu import SavedVm
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.packer.packer_template import Connection, Deprovision, InlineShell, environment_file, packer_input
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.run.run_context import BuildHost
from vmkiln.settings import Settings
from vmkiln.staging import container_group, virtual_network
from vmkiln.staging.container_group import ContainerGroup
from vmkiln.staging.login_key import new_key

pytestmark = pytest.mark.vm
APART_SECONDS = 20

# an ssh server up to the client's half of the key exchange: it says what the client says, so both agree on the first way
SERVER = """
import socket, struct, sys
def packet(way):
    length = struct.unpack(">I", exactly(way, 4))[0]
    content = exactly(way, length)
    return content[1 : len(content) - content[0]]
def exactly(way, count):
    found = b""
    while len(found) < count:
        more = way.recv(count - len(found))
        if not more:
            raise OSError("ended")
        found += more
    return found
listener = socket.create_server((sys.argv[1], 22))
while True:
    way, _ = listener.accept()
    try:
        way.sendall(b"SSH-2.0-double\\r\\n")
        while exactly(way, 1) != b"\\n":
            pass
        offer = packet(way)
        padding = 8 - (5 + len(offer)) % 8 + 8
        way.sendall(struct.pack(">IB", 1 + len(offer) + padding, padding) + offer + bytes(padding))
        print("cookie", offer[1:17].hex(), flush=True)
        print("key", packet(way)[1:].hex(), flush=True)
    except OSError:
        continue
"""


@dataclass(frozen=True)
class Login:
    """What one Packer said first, when, after how long, and what it began its key exchange with."""

    first_line: str
    at: float
    seconds: float
    went_on: bool
    cookie: str
    key: str


async def a_login(
    host: BuildHost, folder: Path, saved: SavedVm | None, more: tuple[tuple[str, str], ...] = ()
) -> Login:
    """A container group with Packer in it, with `more` in its environment, until it has sent half of a key exchange."""
    folder.mkdir()
    network = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False)
    subnet = network.container_group_subnet
    login = Connection(container_group.RELAY_PORT, "someone", new_key("login").private, 300, "/run/packer")
    content = packer_input([InlineShell("one", "", ("true",)), Deprovision()], login)
    content = content.with_file(container_group.NETWORK_FILE, container_group.network_text(network))
    files = [environment_file(dict(more)) if file.name == "environment" else file for file in content.files]
    await make_input_disk(folder / "input.ext4", replace(content, files=tuple(files)))
    image = host.container_image
    group = ContainerGroup(
        image.kernel, image.initramfs, image.disk, folder / "input.ext4", host.accelerator, saved=saved
    )
    machine = container_group.describe(group, network, name="container-vm")
    said: list[tuple[float, bytes]] = []
    sent: dict[str, str] = {}
    is_sent = asyncio.Event()

    def hear(line: str) -> None:
        name, _, value = line.strip().partition(" ")
        sent.setdefault(name, value)
        if len(sent) == 2:
            is_sent.set()

    async with namespace.opened() as inside:
        await bind_run_directory(inside, folder)
        for words in (
            ("tuntap", "add", "dev", machine.tap, "mode", "tap"),
            ("address", "add", f"{subnet.router}/{subnet.prefix.prefixlen}", "dev", machine.tap),
            ("link", "set", machine.tap, "up"),
            ("link", "set", "lo", "up"),
            ("address", "add", f"{network.target}/32", "dev", "lo"),
        ):
            await inside.run(["ip", *words])
        server = [sys.executable, "-I", "-S", "-c", SERVER, str(network.target)]
        async with inside.start("server", server, on_line=hear):
            began = time.monotonic()
            start = container_group.started(
                inside, machine, directory=folder, on_output=lambda chunk: said.append((time.monotonic(), chunk))
            )
            async with start as instance, asyncio.timeout(180):
                await is_sent.wait()
                first, text = said[0]
                return Login(
                    text.decode().splitlines()[0],
                    time.time(),
                    first - began,
                    instance.machine.went_on,
                    sent["cookie"],
                    sent["key"],
                )


@pytest.fixture(scope="module")
def logins(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Login, Login, Login]:
    """Of two that go on from the same saved group, a while apart, and of one that was booted."""
    folder = tmp_path_factory.mktemp("waits")

    async def work() -> tuple[Login, Login, Login]:
        with opened_store(settings, print) as store:
            async with prepared_host(settings, store, print) as host:
                assert host.saved_group is not None
                first = await a_login(host, folder / "first", host.saved_group)
                await asyncio.sleep(APART_SECONDS)
                second = await a_login(host, folder / "second", host.saved_group)
                return first, second, await a_login(host, folder / "booted", None)

    return asyncio.run(work())


def test_two_packers_that_waited_as_one_share_no_number_of_a_key_exchange(logins: tuple[Login, Login, Login]) -> None:
    assert [login.went_on for login in logins] == [True, True, False]
    assert len({login.cookie for login in logins}) == 3
    assert len({login.key for login in logins}) == 3
    assert all(len(login.cookie) == 32 and len(login.key) >= 64 for login in logins)


def test_a_packer_that_waited_says_the_time_of_now(logins: tuple[Login, Login, Login]) -> None:
    """Its clock goes on from the host's: two that were saved as one would say the same otherwise."""
    said = [int(login.first_line.partition(",")[0]) for login in logins]
    for moment, login in zip(said, logins, strict=True):
        assert abs(moment - login.at) < 120
    first, second, _ = logins
    assert abs((said[1] - said[0]) - (second.at - first.at)) < APART_SECONDS


def test_a_packer_that_waited_speaks_in_less_than_half_of_the_time(logins: tuple[Login, Login, Login]) -> None:
    first, second, booted = logins
    assert booted.first_line.partition(",")[2] == first.first_line.partition(",")[2]
    assert min(first.seconds, second.seconds) < booted.seconds / 2


def test_packer_starts_anew_in_an_environment_that_the_waiting_one_has_not(
    settings: Settings, tmp_path: Path, logins: tuple[Login, Login, Login]
) -> None:
    """With its own log on, which it looks for in its environment when it starts, it says more than a build does."""

    async def work() -> Login:
        with opened_store(settings, print) as store:
            async with prepared_host(settings, store, print) as host:
                return await a_login(host, tmp_path / "other", host.saved_group, more=(("PACKER_LOG", "1"),))

    other = asyncio.run(work())
    assert other.went_on
    assert "[INFO] Packer version" in other.first_line
    assert "[INFO] Packer version" not in logins[0].first_line
