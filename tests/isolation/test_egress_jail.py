"""What holds pasta, which stands between a run's network and the host's: each fact, and what happens without a guard.

A program of ours in its place shows what no fact tells: that it opens no port, and reaches nobody's process or socket.
"""

import asyncio
import contextlib
import functools
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from unittest import mock

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.host import command, namespace
from vmkiln.host.confinement import call_filter, egress_jail, kernel_calls, landlock
from vmkiln.host.confinement.confinement import Fact
from vmkiln.host.confinement.egress_jail import EgressJail
from vmkiln.host.confinement.run_group import RunGroup
from vmkiln.host.network import network_setup
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.run_failures import NotConfined
from vmkiln.staging import virtual_network

NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=()).network
# of the jail, each with the fact that tells when it is missing; "" for those without which pasta does not start
GUARDS = {
    "kernel_calls.empty_bounding_set": "bounding capabilities",
    "os.setgroups": "other groups",
    "os.setresgid": "group id",
    "os.setresuid": "user id",
    "resource.setrlimit": "limit: address space",
    "program_jail.make_root": "",
    "kernel_calls.join_namespace": "",
}
# what a program in pasta's place tries: the word, and how it is done in Perl
ATTEMPTS = {
    "takes a port": "socket(S, AF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(0, INADDR_LOOPBACK))",
    "opens a port that it has not taken": "socket(S, AF_INET, SOCK_STREAM, 0) && listen(S, 1)",
    "opens a port of MPTCP": (
        "socket(S, AF_INET, SOCK_STREAM, 262) && bind(S, sockaddr_in(0, INADDR_LOOPBACK)) && listen(S, 1)"
    ),
    "reaches an abstract socket": (
        'socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, pack("S a*", AF_UNIX, "\\0$ARGV[0]"))'
    ),
    "signals a process of the user": "kill(0, $ARGV[1])",
    "reads a file of the user": 'open(F, "<", $ARGV[2])',
    "sees the host's programs": "-e '/usr/bin/id'",
    "writes where it is": 'open(F, ">", "/new")',
    "has a user namespace of its own": "syscall($ARGV[3], 0x10000000) == 0",
    "becomes the user": "syscall($ARGV[4], 0) == 0",
    "may get new privileges": "syscall($ARGV[5], 39, 0, 0, 0, 0) == 0",
}


@contextlib.asynccontextmanager
async def leg(inside: namespace.Namespace) -> AsyncIterator[list[Fact]]:
    """The egress leg of a run, and what holds it."""
    kept: list[Fact] = []

    async def keep(name: str, facts: list[Fact]) -> None:
        assert name == network_setup.EGRESS
        kept.extend(facts)

    async with network_setup._begun(inside, NETWORK) as egress:
        await egress.up(keep)
        yield kept


async def _ended(inside: namespace.Namespace) -> None:
    """The link of the leg before is gone, so that the next one can have its name."""
    await inside.run(["sh", "-c", "while ip link show egress > /dev/null 2>&1; do sleep 0.02; done"])


def test_every_fact_about_the_egress_leg_holds() -> None:
    async def facts() -> list[Fact]:
        async with namespace.opened() as inside, leg(inside) as kept:
            return kept

    kept = asyncio.run(facts())
    assert len(kept) >= 20
    assert {fact["name"] for fact in kept if not fact["holds"]} <= {"control group", "Landlock"}
    [told] = [fact for fact in kept if fact["name"] == "Landlock"]
    assert told["holds"] is (kernel_calls.landlock_version() >= landlock.NETWORK_SINCE)


@pytest.fixture(scope="module")
def weakened() -> dict[str, str]:
    """What became of a leg without each guard: the error's text."""

    async def all_of_them() -> dict[str, str]:
        found = {}
        async with namespace.opened() as inside:
            for guard in GUARDS:
                module, _, name = guard.partition(".")
                with mock.patch.object(getattr(egress_jail, module), name, return_value=None):
                    found[guard] = await _refusal(inside)
                await _ended(inside)
        return found

    with mock.patch.object(network_setup, "CONFINED_SECONDS", 1):  # what does not hold then will not hold later
        return asyncio.run(all_of_them())


async def _refusal(inside: namespace.Namespace) -> str:
    try:
        async with leg(inside):
            return ""
    except (NotConfined, VmkilnError) as error:
        return str(error)


@pytest.mark.parametrize("guard", GUARDS)
def test_a_run_whose_egress_leg_lacks_a_guard_does_not_begin(guard: str, weakened: dict[str, str]) -> None:
    assert weakened[guard]
    assert GUARDS[guard] in weakened[guard]


def to_every_path() -> int:
    """Landlock as it would be with paths, and with none of them refused."""
    rights = landlock.handled(kernel_calls.landlock_version())
    return landlock.restrict({"/": rights}, uses_network=True)


@pytest.mark.skipif(kernel_calls.landlock_version() == 0, reason="this kernel has no Landlock")
def test_pasta_that_is_held_to_paths_cannot_make_its_empty_root() -> None:
    """Why Landlock names none here (decision 150); when this is red, it can."""

    async def refusal() -> tuple[str, str]:
        async with namespace.opened() as inside:
            with mock.patch.object(landlock, "restrict_sockets", to_every_path):
                held = await _refusal(inside)
            await _ended(inside)
            return held, await _refusal(inside)

    held, as_it_is = asyncio.run(refusal())
    assert "Operation not permitted" in held
    assert as_it_is == "", "with paths left alone it begins"


class GoneGroup(RunGroup):
    """A control group that finds no process to take."""

    def add(self, process_id: int) -> None:
        """As the kernel answers for a process that has ended."""
        raise ProcessLookupError(f"no process {process_id}")


def test_a_leg_that_ends_before_it_is_in_its_group_says_why() -> None:
    async def refusal() -> str:
        async with namespace.opened() as inside:
            inside.group = GoneGroup("none", ())
            with mock.patch.object(egress_jail.kernel_calls, "join_namespace", side_effect=OSError("not for you")):
                return await _refusal(inside)

    assert "not for you" in asyncio.run(refusal())


@contextlib.contextmanager
def targets(folder: Path) -> Iterator[list[str]]:
    """What the attempts aim at: an abstract socket, a process, and a file of this user; numbers of system calls."""
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    name = f"vmkiln-test-{os.getpid()}"
    numbers = {"x86_64": ("272", "105", "157"), "aarch64": ("97", "146", "167")}[os.uname().machine]
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield [name, str(os.getpid()), str(secret), *numbers]


async def done(folder: Path, aims: list[str], enter: Callable[[EgressJail], None]) -> set[str]:
    """The attempts that succeed for a program in pasta's place."""
    perl = Path(shutil.which("perl") or "/usr/bin/perl").resolve()
    lines = [f"print qq({word}\\n) if {attempt};" for word, attempt in ATTEMPTS.items()]
    script = folder / "intruder.pl"
    script.write_text("\n".join(["use Socket;", *lines]))
    script.chmod(0o644)
    async with namespace.opened() as inside:
        jail = await egress_jail.jail_of(
            own_id=inside.service_id(network_setup.EGRESS_ID),
            user_path=inside.user_path,
            network_path=inside.network_path,
        )
        libraries = [str(path) for path in await libraries_of(perl)]
        folders = (await command.run([perl, "-e", "print join qq(\\n), @INC"], timeout_seconds=20)).text.splitlines()
        modules = [folder for folder in folders if Path(folder).is_dir()]
        files = tuple(dict.fromkeys([str(perl), str(script), *libraries, *modules]))
        completed = await command.run(
            [perl, script, *aims],
            timeout_seconds=30,
            environment=egress_jail.ENVIRONMENT,
            before_exec=functools.partial(enter, replace(jail, files=files)),
        )
    return set(completed.text.splitlines())


def test_a_program_in_pastas_place_reaches_nothing_of_the_host(tmp_path: Path) -> None:
    with targets(tmp_path) as aims:
        assert asyncio.run(done(tmp_path, aims, egress_jail.enter)) == set()


def test_without_the_jail_the_same_program_gets_what_it_wants(tmp_path: Path) -> None:
    with targets(tmp_path) as aims:
        found = asyncio.run(done(tmp_path, aims, lambda _jail: None))
    assert {
        "takes a port",
        "opens a port that it has not taken",
        "reaches an abstract socket",
        "signals a process of the user",
    } <= found
    assert {"reads a file of the user", "sees the host's programs", "may get new privileges"} <= found


@pytest.mark.skipif(
    kernel_calls.landlock_version() < landlock.NETWORK_SINCE, reason="this kernel's Landlock has no network"
)
def test_it_is_landlock_that_lets_pasta_open_no_port(tmp_path: Path) -> None:
    with targets(tmp_path) as aims, mock.patch.object(landlock, "restrict_sockets", return_value=0):
        assert "takes a port" in asyncio.run(done(tmp_path, aims, egress_jail.enter))


def test_it_is_the_filter_of_calls_that_lets_pasta_listen_nowhere(tmp_path: Path) -> None:
    """Landlock does not ask who listens on a port that the kernel chooses."""
    with targets(tmp_path) as aims, mock.patch.object(call_filter, "restrict", return_value=None):
        assert "opens a port that it has not taken" in asyncio.run(done(tmp_path, aims, egress_jail.enter))


def test_it_is_the_filter_of_calls_that_lets_pasta_open_no_port_of_mptcp(tmp_path: Path) -> None:
    """Landlock does not know it."""
    mptcp = "opens a port of MPTCP"
    with targets(tmp_path) as aims:
        if mptcp not in asyncio.run(done(tmp_path, aims, lambda _jail: None)):
            pytest.skip("this kernel has no MPTCP")
        with mock.patch.object(call_filter, "restrict", return_value=None):
            assert mptcp in asyncio.run(done(tmp_path, aims, egress_jail.enter))


def hold_a_leg() -> None:
    """Open a leg, say the id of its process, and wait; for a process of its own."""

    async def held() -> None:
        async with namespace.opened() as inside, leg(inside):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            names = {child: Path(f"/proc/{child}/cmdline").read_bytes().partition(b"\0")[0] for child in children}
            sys.stdout.write(next(f"{child}\n" for child, name in names.items() if name.endswith(b"pasta")))
            sys.stdout.flush()
            await asyncio.Event().wait()

    asyncio.run(held())


def test_pasta_ends_with_the_process_that_started_it() -> None:
    """Also by kill -9, for the kernel ends it then; nothing else would, for pasta does not watch the namespace."""
    here = Path(__file__)
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}:{here.parents[2]}"}
    code = f"from {here.stem} import hold_a_leg; hold_a_leg()"
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pasta = os.pidfd_open(int(holder.stdout.readline()))
        holder.kill()
    with os.fdopen(pasta) as ended:
        assert select.select([ended], [], [], 30)[0]
