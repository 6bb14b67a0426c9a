"""What a program in QEMU's place can do: a program that wants out tries, jailed, and not jailed as the control."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from vmkiln.host import namespace, virtual_machine
from vmkiln.host.confinement import process_facts, vm_jail
from vmkiln.host.confinement.confinement import Fact, Surroundings, failed, judged
from vmkiln.host.confinement.program_files import program_files
from vmkiln.host.copies import launching
from vmkiln.host.network import network_setup, resolver
from vmkiln.host.qemu import Accelerator, Disk, Machine
from vmkiln.run_failures import NotConfined
from vmkiln.staging import virtual_network

HERE = Path(__file__).parent
INTRUDER = HERE / "intruder.pl"
ALLOWED = HERE / "allowed_to_a_jailed_program.txt"
SECRETS = ("ssh_key", "signing_key", "database", "accounts", "bashrc")
# what must be possible without a jail, or the tries prove nothing
CONTROLS = [f"{verb} {name}" for verb in ("read", "write") for name in (*SECRETS, "other_disk", "other_seed")] + [
    "read passwd",
    "read own environment",
    "make a file at home",
    "make a file in the run's folder",
    "list home",
    "list run",
    "list other_run",
    "list /proc",
    "connect to a socket in the run's folder",
    "signal another VM",
    "mount",
    "see a network link",
    "run a shell",
    "open /dev/net/tun",
    "listen on TCP",
    "packet socket",
]
# each guard, by what replaces it in the supervisor that the test starts
GUARDS = {
    "a root of its own": "kernel_calls.pivot_into = lambda root: None",
    "read-only mounts": "kernel_calls.set_mount_attributes = lambda target, attributes: None",
    "namespaces of its own": "jail.OWN_NAMESPACES = kernel_calls.CLONE_NEWNS",
    "a user id of its own": "os.setresuid = lambda *ids: None",
    "a group id of its own": "os.setresgid = lambda *ids: None",
    "no other groups": "os.setgroups = lambda groups: None",
    "no bounding set": "kernel_calls.empty_bounding_set = lambda: None",
    "no new privileges": "kernel_calls.forbid_new_privileges = lambda: None",
    "Landlock": "jail.landlock.restrict = lambda allowed, **others: 0",
    "a filter of system calls": "jail.call_filter.restrict = lambda what: None",
    "limits": "jail.resource.setrlimit = lambda name, limits: None",
    "no other descriptors": "subprocess_close()",
    "an environment by an allow-list": "environment_of_ours()",
}
WEAKENED = """\
#!{python} -I
import os, runpy, subprocess, sys
from vmkiln.host import command
from vmkiln.host.confinement import jail, kernel_calls
def subprocess_close():
    leak = os.open("/etc/passwd", os.O_RDONLY)
    start = command.start
    command.start = lambda *a, pass_fds=(), **k: start(*a, pass_fds=(*pass_fds, leak), **k)
def environment_of_ours():
    start = command.start
    def weak(*a, environment=None, **k):
        return start(*a, environment={{**(os.environ if environment is None else environment), "SECRET": "1"}}, **k)
    command.start = weak
{weakening}
sys.argv = ["supervisor", *sys.argv[4:]]  # -I -c CODE NUMBER MODULE
runpy.run_module("vmkiln.host.supervisor", run_name="__main__")
"""


@dataclass(frozen=True)
class Tried:
    """What the program could do and could not, and the facts of its process."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    facts: tuple[Fact, ...]


class NotStarted(Exception):
    """The program ended before it told anything."""


@dataclass
class Place:
    """A user's home with secrets in it, and the folders of two runs."""

    home: Path
    run: Path
    other: Path

    @property
    def targets(self) -> dict[str, str]:
        """What the program tries things on, by the names that it knows."""
        own = {name: str(self.home / name) for name in SECRETS}
        return own | {
            "home": str(self.home),
            "run": str(self.run),
            "other_run": str(self.other),
            "other_disk": str(self.other / "disk.qcow2"),
            "other_seed": str(self.other / "seed.iso"),
            "source_image": str(self.run / "disk.raw"),
            "own_program": str(Path(virtual_machine.__file__)),
            "host_disk": "/dev/vda",
            "key": "1",
        }


def a_place(folder: Path) -> Place:
    place = Place(folder / "home", folder / "run", folder / "other")
    for path in (place.home, place.run, place.other):
        path.mkdir(parents=True)
    for name in SECRETS:
        (place.home / name).write_text("secret")
    for name in ("disk.qcow2", "seed.iso"):
        (place.other / name).write_text("other")
    (place.run / "disk.raw").write_bytes(bytes(4096))
    return place


async def tried(place: Place, *, is_jailed: bool) -> Tried:
    """Start the program in QEMU's place beside another VM's process, and hear what it could do."""
    loop = asyncio.get_running_loop()
    tells = place.run / "tells"
    ends: asyncio.Future[bytes] = loop.create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):  # it ended early
            ends.set_result(await reader.readuntil(b"\nend\n"))

    network = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=())
    listening = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), str(place.run / "listening"))
    server = await asyncio.start_unix_server(hear, str(tells))
    with socket.create_server(("127.0.0.1", 0)) as on_host, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0intruded-{os.getpid()}")
        abstract.listen()
        async with (
            listening,
            server,
            asyncio.timeout(60),
            namespace.opened() as inside,
            network_setup.joined(inside, network.network),
        ):
            files = await program_files("perl")
            tap = network.build_vm_subnet.tap
            disks = (Disk(place.run / "disk.raw", "raw"),)
            machine = Machine("vm", Accelerator.TCG, 1, 64, disks, tap, "02:00:00:00:00:01", tells, tells)
            own_id, other_id = inside.next_vm_id(), inside.next_vm_id()
            asleep = [files.program, "-e", "sleep 60"]
            quiet = replace(machine, name="other", disks=())
            other = {**vm_jail.confinement_of(quiet, files, own_id=other_id).described(), "descriptors": []}
            async with inside.start("other", asleep, confined=other) as other_ended:
                on = {
                    **place.targets,
                    "other_process": await pid_of(inside, "sleep 60", other_ended),
                    "tap": tap,
                    "host_address": "127.0.0.1",
                    "host_port": str(on_host.getsockname()[1]),
                    "abstract": f"intruded-{os.getpid()}",
                }
                arguments = [files.program, "-e", INTRUDER.read_text(), "@control@"]
                arguments += [f"{name}={value}" for name, value in on.items()]
                meant = vm_jail.confinement_of(machine, files, own_id=own_id)
                confined = meant.described()
                kept = [one for one in confined["descriptors"] if one["name"] != "console"]
                confined = {**confined, "descriptors": kept, "jail": confined["jail"] if is_jailed else None}
                async with inside.start("vm", arguments, confined=confined) as ended:
                    await asyncio.wait([ends, ended], return_when=asyncio.FIRST_COMPLETED)
                    if not ends.done():
                        raise NotStarted(ended.result().output)
                    asked = await inside.facts("vm")
                    around = Surroundings(process_facts.namespaces(), asked["supervisor"])
                    facts = judged(asked["program"], meant, around)
    lines = ends.result().decode().splitlines()[:-1]
    by_word: dict[str, list[str]] = {"allowed": [], "denied": []}
    for line in lines:
        word, _, name = line.partition(" ")
        by_word[word].append(name)
    return Tried(tuple(by_word["allowed"]), tuple(by_word["denied"]), tuple(facts))


async def pid_of(inside: namespace.Namespace, words: str, ended: "asyncio.Future[namespace.Ended]") -> str:
    """The id of a process by its last words, as it is inside; none of the shell that looks, which has them as well.

    Raises: `NotStarted` when it ended.
    """
    ours = 'tr "\\0" " " <$f | grep "$0 $" | grep -qv "^sh "'
    script = f"for f in /proc/[0-9]*/cmdline; do {ours} && echo $f; done; true"
    for _ in range(600):
        found = (await inside.run(["sh", "-c", script, words])).text.split()
        if found:
            return found[0].split("/")[2]
        if ended.done():
            raise NotStarted(ended.result().output)
        await asyncio.sleep(0.05)
    raise AssertionError(f"no process `{words}`")


@pytest.fixture(scope="module")
def jailed(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return asyncio.run(tried(a_place(tmp_path_factory.mktemp("jailed")), is_jailed=True))


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return asyncio.run(tried(a_place(tmp_path_factory.mktemp("free")), is_jailed=False))


def wrong(facts: tuple[Fact, ...]) -> list[str]:
    return [fact["name"] for fact in failed(facts)]


def test_a_program_in_qemus_place_can_do_only_what_is_listed(jailed: Tried) -> None:
    assert "\n".join(jailed.allowed) == ALLOWED.read_text().strip()


def test_enough_is_tried(jailed: Tried) -> None:
    assert len(jailed.allowed) + len(jailed.denied) >= 60


def test_without_the_jail_the_same_program_gets_what_it_wants(free: Tried) -> None:
    assert set(CONTROLS) - set(free.allowed) == set()


def test_every_fact_of_a_jailed_process_holds(jailed: Tried) -> None:
    assert wrong(jailed.facts) == []
    assert len(jailed.facts) >= 15


def test_a_process_that_is_not_jailed_is_found_out(free: Tried) -> None:
    assert len(wrong(free.facts)) >= 10


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_of_the_jail_is_needed(
    guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jailed: Tried
) -> None:
    """Without it the program can do more, or a fact does not hold, or it does not start at all."""
    weaken(guard, tmp_path, monkeypatch)
    monkeypatch.setattr(resolver, "answering", no_resolver)  # it is held by the same jail, and would not start
    try:
        found = asyncio.run(tried(a_place(tmp_path / "place"), is_jailed=True))
    except NotStarted:
        return  # another guard needs this one
    more = set(found.allowed) - set(jailed.allowed)
    assert more or wrong(found.facts), json.dumps(found.allowed)


def weaken(guard: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a guard away from the jail in every supervisor that is started from now on."""
    weak = folder / "python"
    weak.write_text(WEAKENED.format(python=sys.executable, weakening=GUARDS[guard]))
    weak.chmod(0o755)
    monkeypatch.setattr(launching.sys, "executable", str(weak))


class NoResolver:
    """In the place of a resolver: it answers nothing."""

    async def ready(self) -> None:
        """At once."""

    def tell_end(self, lost: "asyncio.Future[str]") -> None:
        """It has no end."""


@contextlib.asynccontextmanager
async def no_resolver(*_: Any) -> AsyncIterator[NoResolver]:
    """In the place of `resolver.answering`."""
    yield NoResolver()


@pytest.mark.parametrize("guard", ["a group id of its own", "a user id of its own", "read-only mounts", "limits"])
def test_a_run_whose_resolver_is_not_confined_does_not_begin(
    guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(guard, tmp_path, monkeypatch)
    network = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=())

    async def begin() -> None:
        async with namespace.opened() as inside, network_setup.joined(inside, network.network):
            pass

    with pytest.raises(NotConfined, match="the resolver"):
        asyncio.run(begin())


def test_two_runs_of_a_user_never_share_an_id() -> None:
    async def ids() -> list[Any]:
        async with namespace.opened() as one, namespace.opened() as two:
            return [one.next_vm_id(), one.next_vm_id(), two.next_vm_id(), two.next_vm_id()]

    found = asyncio.run(ids())
    assert len(set(found)) == 4
