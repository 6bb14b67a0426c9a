"""What a program in qemu-img's place can do: one that wants out tries, jailed, and not jailed as the control."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_jail import INTRUDER, SECRETS, Place, a_place

from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.host import command, confined_program
from vmkiln.host.confinement import call_filter, kernel_calls, program_jail
from vmkiln.host.disk import disk_image, ext4_image, iso_image
from vmkiln.host.qemu import Disk

ALLOWED = Path(__file__).parent / "allowed_to_a_program_on_files.txt"
OWN_SOURCE = "read source_image"
# what must be possible without a jail, or the tries prove nothing
CONTROLS = [f"{verb} {name}" for verb in ("read", "write") for name in (*SECRETS, "other_disk", "other_seed")] + [
    "read passwd",
    "read own environment",
    "make a file at home",
    "make a file in the run's folder",
    "write source_image",
    "list home",
    "list run",
    "list other_run",
    "list /proc",
    "connect to the host over TCP",
    "connect to a socket in the run's folder",
    "connect to an abstract socket of the host",
    "signal another VM",
    "run setuid su",
]
# the end of what it tells: facts of itself that only it can see where there is no /proc
FACTS = r"""
my ($header, $sets) = (pack('LL', 0x20080522, 0), "\0" x 24);
syscall(125, $header, $sets);
my @bounding = grep { syscall(157, 23, $_ + 0, 0, 0, 0) == 1 } 0 .. 40;
my %limit = map {
    my $both = "\0" x 16; syscall(97, $_ + 0, $both); ($_ => (unpack('QQ', $both))[1])
} (0, 1, 4, 6, 7, 8, 9);
my ($mine, $filter) = (syscall(157, 39, 0, 0, 0, 0), syscall(157, 21, 0, 0, 0, 0));
print STDERR "fact no new privileges: $mine\n", "fact system call filter: $filter\n",
    "fact capabilities: ", unpack('H*', $sets), "\n",
    "fact bounding set: @bounding\n", "fact environment: @{[sort keys %ENV]}\n",
    map { "fact limit $_: $limit{$_}\n" } sort keys %limit;
exit 1;
"""
FILTERED = "2"  # SECCOMP_MODE_FILTER
LIMITS = {
    0: 60,  # seconds of CPU, as many as the wall clock's
    1: confined_program.LITTLE_BYTES,
    4: 0,
    6: program_jail.MOST_PROCESSES,
    7: program_jail.MOST_OPEN_FILES,
    8: 0,
    9: program_jail.MOST_ADDRESS_SPACE_BYTES,
}


@dataclass(frozen=True)
class Tried:
    """What the program could do, what it could not, and what it says of itself."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    facts: tuple[str, ...]

    @classmethod
    def told(cls, text: str) -> "Tried":
        words = [line.partition(" ")[::2] for line in text.splitlines() if line != "end"]
        assert words, "it was not started"
        return cls(*(tuple(rest for word, rest in words if word == wanted) for wanted in ("allowed", "denied", "fact")))


@dataclass(frozen=True)
class World:
    """A user's files, a process of the user's beside, and the folder of stand-ins that comes first on PATH."""

    place: Place
    programs: Path

    @property
    def source(self) -> Disk:
        return Disk(self.place.run / "disk.raw", "raw")


@contextmanager
def intruder(place: Place, *, tap: str, first: str = "") -> Iterator[str]:
    """A program that tries what is here meanwhile: another process, a server on the host, sockets.

    `first` is what it does before anything else, in Perl.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as on_host,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as listening,
        subprocess.Popen(["sleep", "60"]) as other,
    ):
        abstract.bind(f"\0tempted-{os.getpid()}")
        listening.bind(str(place.run / "listening"))
        for server in (abstract, listening):
            server.listen()
        on = {
            **place.targets,
            "other_process": str(other.pid),
            "tap": tap,
            "host_address": "127.0.0.1",
            "host_port": str(on_host.getsockname()[1]),
            "abstract": f"tempted-{os.getpid()}",
        }
        given = ", ".join(f"'{name}={value}'" for name, value in on.items())
        code = INTRUDER.read_text().replace("sleep 60;\n", "")
        try:
            yield f"#!/usr/bin/perl\n@ARGV = ('2', {given});\n{first}{code}\n{FACTS}"
        finally:
            other.kill()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    place = a_place(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (place.run / "folder").mkdir()
    with intruder(place, tap="eth0") as text:
        for name in ("qemu-img", "mke2fs", "xorrisofs"):
            program = programs / name
            program.write_text(text)
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setenv("VMKILN_DATABASE_URL", "postgresql://user:secret@host/")
        yield World(place, programs)


CALLS: dict[str, Callable[[World], Awaitable[object]]] = {
    "looks at a size": lambda world: disk_image.virtual_size(world.source),
    "measures": lambda world: disk_image.measure(world.source),
    "makes an overlay": lambda world: disk_image.create_overlay(
        world.source, world.place.run / "overlay", size_bytes=1 << 20
    ),
    "copies the start": lambda world: disk_image.copy_start(world.source, world.place.run / "start", size_bytes=512),
    "makes a file system": lambda world: ext4_image.make_ext4(world.place.run / "ext4", world.place.run / "folder"),
    "makes an ISO image": lambda world: iso_image.make_iso(world.place.run / "iso", {"a": "b"}, label="x"),
}


async def tried(call: Awaitable[object]) -> Tried:
    with pytest.raises(CommandFailed) as caught:
        await call
    return Tried.told(caught.value.output)


@pytest.mark.parametrize("call", CALLS)
async def test_a_program_on_files_can_do_only_what_is_listed(call: str, world: World) -> None:
    found = await tried(CALLS[call](world))
    assert [name for name in found.allowed if name != OWN_SOURCE] == ALLOWED.read_text().splitlines()
    assert len(found.allowed) + len(found.denied) >= 60
    assert (OWN_SOURCE in found.allowed) == (call in {"looks at a size", "measures", "copies the start"})


@pytest.mark.parametrize(
    "call",
    [
        lambda world: disk_image.convert(world.source, world.place.run / "flat", target_format="raw"),
        lambda world: disk_image.is_same(world.source, world.source),
        lambda world: disk_image.is_sound(world.source),
    ],
    ids=["converts", "compares", "checks"],
)
async def test_the_other_calls_of_qemu_img_are_jailed_as_well(
    call: Callable[[World], Awaitable[object]], world: World
) -> None:
    (world.programs / "qemu-img").write_text(
        '#!/bin/sh\n[ $1 = measure ] && exec /usr/bin/qemu-img "$@"\n'
        "readlink /proc/self >&2 || echo jailed >&2\nexit 9\n"
    )
    with pytest.raises(CommandFailed) as caught:
        await call(world)
    assert caught.value.output.strip() == "jailed"


async def test_without_its_jail_the_program_gets_what_it_wants(world: World) -> None:
    done = await command.run(["qemu-img", "info"], timeout_seconds=60, check=False)
    found = Tried.told(done.stderr.decode())
    assert set(CONTROLS) - set(found.allowed) == set()
    assert facts_of(found) != facts_of(await tried(CALLS["measures"](world)))


def facts_of(found: Tried) -> dict[str, str]:
    return dict(fact.split(": ", 1) if ": " in fact else (fact.removesuffix(":"), "") for fact in found.facts)


def expected_facts() -> dict[str, str]:
    return {
        "no new privileges": "1",
        "system call filter": FILTERED,
        "capabilities": "00" * 24,
        "bounding set": "",
        "environment": "LANG MALLOC_ARENA_MAX PATH",
        **{f"limit {number}": str(limit) for number, limit in LIMITS.items()},
    }


async def test_a_jailed_program_has_no_rights_and_all_limits(world: World) -> None:
    assert facts_of(await tried(CALLS["measures"](world))) == expected_facts()


def nothing(*_arguments: object, **_options: object) -> None:
    return None


GUARDS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a root of its own": lambda patch: patch.setattr(program_jail, "_make_root", nothing),
    "nothing left of the old root": lambda patch: (
        patch.setattr(kernel_calls, "detach", nothing),
        patch.setattr(program_jail.os, "rmdir", nothing),
        patch.setattr(program_jail.landlock, "restrict", nothing),
    )[0],
    "read-only mounts": lambda patch: (
        patch.setattr(kernel_calls, "set_mount_attributes", nothing),
        patch.setattr(program_jail.landlock, "restrict", nothing),
    )[0],
    "a network of its own": lambda patch: without(patch, kernel_calls.CLONE_NEWNET),
    "process ids of its own": lambda patch: without(patch, kernel_calls.CLONE_NEWPID),
    "no further namespaces": lambda patch: (
        patch.setattr(program_jail, "forbid_user_namespaces", nothing),
        patch.setattr(call_filter, "restrict", nothing),
    )[0],
    "no bounding set": lambda patch: patch.setattr(kernel_calls, "empty_bounding_set", nothing),
    "no new privileges": lambda patch: patch.setattr(kernel_calls, "forbid_new_privileges", nothing),
    "Landlock": lambda patch: patch.setattr(program_jail.landlock, "restrict", nothing),
    "a filter of system calls": lambda patch: patch.setattr(call_filter, "restrict", nothing),
    "limits": lambda patch: patch.setattr(program_jail, "limits", lambda **_options: {}),
    "an environment of its own": lambda patch: patch.setattr(confined_program, "ENVIRONMENT", dict(os.environ)),
}


def without(patch: pytest.MonkeyPatch, flag: int) -> None:
    """Without one of the namespaces; Landlock, which knows of signals and TCP as well, is left out too."""
    patch.setattr(program_jail, "NAMESPACES", program_jail.NAMESPACES & ~flag)
    patch.setattr(program_jail.landlock, "restrict", nothing)


@pytest.mark.parametrize("guard", GUARDS)
async def test_each_guard_round_a_program_is_needed(guard: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    jailed = await tried(CALLS["measures"](world))
    with monkeypatch.context() as patch:
        GUARDS[guard](patch)
        try:
            weak = await tried(CALLS["measures"](world))
        except HostUnfit:
            return  # another guard needs this one
    more = set(weak.allowed) - set(jailed.allowed)
    assert more or facts_of(weak) != expected_facts(), "it makes no difference"


async def test_a_program_that_uses_too_much_ends(tmp_path: Path) -> None:
    """Time, memory, the size of a file, and processes: each has its end, as a positive control shows."""
    target = tmp_path / "file"
    reach = confined_program.Reach((), (target,), file_bytes=1 << 20)

    async def status(*words: str, seconds: float = 30) -> int:
        completed = await confined_program.run(words, reach, timeout_seconds=seconds, check=False)
        return completed.exit_status

    assert await status("dd", "if=/dev/urandom", f"of={target}", "bs=1M", "count=1", "status=none") == 0
    assert await status("dd", "if=/dev/urandom", f"of={target}", "bs=1M", "count=2", "status=none") != 0
    assert target.stat().st_size <= 1 << 20
    assert await status("perl", "-e", "my $x = 'x' x (64 << 20)") == 0
    assert await status("perl", "-e", "my $x = 'x' x (8 << 30)") != 0
    assert await status("perl", "-e", "for (1 .. 20) { fork // exit 1 } wait; exit 0 if 1") in {0, 1}
    with pytest.raises(CommandFailed, match="ran longer than"):
        await status("sleep", "20", seconds=0.2)


async def test_a_jailed_program_dies_with_who_waits_for_it(tmp_path: Path) -> None:
    script = "import asyncio, sys\nfrom vmkiln.host import confined_program as c\n"
    script += "asyncio.run(c.run(['sleep', '7777'], c.Reach(), timeout_seconds=60))\n"
    process = await asyncio.create_subprocess_exec("python", "-c", script)

    def alive() -> bool:
        return subprocess.run(["pgrep", "-f", "^sleep 7777$"], check=False, stdout=subprocess.DEVNULL).returncode == 0

    async def until(wanted: bool) -> None:
        async with asyncio.timeout(10):
            while alive() != wanted:  # noqa: ASYNC110 (nobody tells us)
                await asyncio.sleep(0.05)

    await until(True)
    process.kill()
    await process.wait()
    await until(False)
