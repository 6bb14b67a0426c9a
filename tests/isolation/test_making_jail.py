"""What a program in mmdebstrap's place can do: one that wants out tries, jailed, and not jailed as the control.

It is tried in both forms of the jail: the one that fetches, with the host's network, and the one that unpacks.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from test_jail import SECRETS, Place, a_place
from test_program_jail import FILTERED, Tried, facts_of, intruder

from vmkiln.errors import CommandFailed, HostUnfit, VmkilnError
from vmkiln.host import command
from vmkiln.host.confinement import call_filter, kernel_calls, landlock, program_jail
from vmkiln.host.making import jailed_maker, making_jail, name_servers
from vmkiln.host.making.jailed_maker import Way
from vmkiln.platform_images import debian_recipe, making_folder, plain_files
from vmkiln.platform_images.debian_recipe import DebianRecipe

HERE = Path(__file__).parent
ALLOWED = HERE / "allowed_to_a_maker_of_systems.txt"
LINK = next((name for _, name in socket.if_nameindex() if name != "lo"), "")
OVER_UDP = {"send over UDP to the host"} | ({"see a network link"} if LINK else set())
ROOT = "my @root = map { substr($_, 1) } glob('/*'); print STDERR qq(fact root: @root\\n);"
CONTROLS = [f"{verb} {name}" for verb in ("read", "write") for name in (*SECRETS, "other_disk", "other_seed")] + [
    "make a file at home",
    "make a file in the run's folder",
    "list home",
    "list run",
    "list other_run",
    "list /run",
    "list /sys",
    "connect to the host over TCP",
    "connect to a socket in the run's folder",
    "connect to an abstract socket of the host",
    "listen on TCP",
    *OVER_UDP,
    "signal another VM",
    "new user namespace",
]


@dataclass(frozen=True)
class World:
    """A user's files, a process of the user's beside, a stand-in of mmdebstrap, and where the jail's folder lies."""

    place: Place
    program: Path
    scratch: Path


@contextmanager
def a_world() -> Iterator[World]:
    """In a folder that all may pass through, or the ids alone would keep everything from the program."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        place = a_place(folder)
        for path in (*place.home.iterdir(), *place.run.iterdir(), *place.other.iterdir()):
            path.chmod(0o644)
        for name in SECRETS[:2]:
            (place.home / name).chmod(0o600)
        (folder / "scratch").mkdir(mode=0o755)
        program = folder / "mmdebstrap"
        with intruder(place, tap=LINK, first=f"{ROOT}\n") as text:
            program.write_text(text)
            program.chmod(0o755)
            yield World(place, program, folder / "scratch")
    finally:
        asyncio.run(making_folder.remove_tree(folder))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as found:
        yield found


async def tried(world: World, way: Way | None) -> Tried:
    async with making_folder.opened(world.scratch, mode=0o711) as scratch:
        folder = await jailed_maker.made_folder(scratch)
        with pytest.raises(CommandFailed) as caught:
            await jailed_maker.run(
                [world.program], folder, timeout_seconds=60, file_bytes=1 << 20, environment={"A": "b"}, way=way
            )
    return Tried.told(caught.value.output)


async def status(world: World, words: list[str], way: Way | None = None) -> int | None:
    """How a program ends in the jail."""
    async with making_folder.opened(world.scratch, mode=0o711) as scratch:
        folder = await jailed_maker.made_folder(scratch)
        try:
            await jailed_maker.run(
                words, folder, timeout_seconds=60, file_bytes=1 << 20, environment=dict(os.environ), way=way
            )
        except CommandFailed as error:
            return error.exit_status
        return 0


FETCHING = Way(jailed_maker.ALWAYS)


@pytest.fixture(scope="module")
def unpacking(world: World) -> Tried:
    return asyncio.run(tried(world, None))


@pytest.fixture(scope="module")
def fetching(world: World) -> Tried:
    return asyncio.run(tried(world, FETCHING))


def test_who_unpacks_can_do_only_what_is_listed(unpacking: Tried) -> None:
    assert "\n".join(unpacking.allowed) == ALLOWED.read_text().strip()
    assert len(unpacking.allowed) + len(unpacking.denied) >= 60


def test_who_fetches_can_do_no_more_than_reach_ports_of_tcp(fetching: Tried) -> None:
    """None of what is tried is at one of the ports that it is given."""
    assert set(fetching.allowed) == set(ALLOWED.read_text().splitlines())


async def test_udp_is_there_for_who_fetches_only_where_no_name_server_takes_tcp(world: World, fetching: Tried) -> None:
    found = await tried(world, replace(FETCHING, has_datagrams=True))
    assert set(found.allowed) - set(fetching.allowed) == OVER_UDP


async def test_the_filter_of_calls_keeps_sockets_and_writable_programs_from_it(
    world: World, fetching: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_filter, "restrict", nothing)
    found = await tried(world, FETCHING)
    more = set(found.allowed) - set(fetching.allowed)
    assert more >= {*OVER_UDP, "remount the programs for writing"}
    control = Tried.told((await command.run([world.program], timeout_seconds=60, check=False)).stderr.decode())
    assert "set up io_uring" not in fetching.allowed
    # where this kernel has them at all: MPTCP is TCP to whoever listens, and Landlock does not know it
    # TCP Fast Open opens a connection beside Landlock, and so does whoever listens without a port of its own
    ways = ("open a connection to the host by its first message", "listen on TCP on a port that nobody bound")
    for name in ("connect to the host over MPTCP", "make a key", *ways):
        assert name not in fetching.allowed
        assert (name in more) == (name in control.allowed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["127.0.0.1"]),
        ("# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n", ["192.0.2.1"]),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    ],
)
def test_the_name_servers_are_those_that_the_c_library_asks(text: str, expected: list[str]) -> None:
    assert name_servers.addresses(text) == expected


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        (b"\0\x0c\x76\x6b\x81\x85" + bytes(8), True),  # it refuses to say, and has answered
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),  # a gateway that takes connections to everywhere
        (b"\0\x0c\x76\x6c\x81\x80" + bytes(8), False),
        (b"", False),
    ],
)
def test_a_name_server_takes_tcp_when_it_answers_there(answer: bytes, is_taken: bool, tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.1\n")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                assert taken.recv(2 + len(name_servers.QUESTION), socket.MSG_WAITALL)[2:] == name_servers.QUESTION
                taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        assert name_servers.take_tcp(file=file, port=port) == is_taken
        thread.join(60)
    assert not name_servers.take_tcp(file=file, port=port)
    assert not name_servers.take_tcp(file=tmp_path / "none", port=port)


NAMES_OVER_TCP = r"""
import os, socket, struct, subprocess, sys, threading
from vmkiln.host.confinement import call_filter, kernel_calls
server = socket.create_server(("127.0.0.1", 53))
def serve():
    while True:
        taken, _ = server.accept()
        with taken:
            while length := taken.recv(2, socket.MSG_WAITALL):  # both kinds of address are asked for at once
                question = taken.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
                address = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\4\xc0\0\2\7" if question[-4:-2] == b"\0\1" else b""
                head = question[:2] + struct.pack("!5H", 0x8180, 1, int(bool(address)), 0, 0)
                answer = head + question[12:] + address
                taken.sendall(struct.pack("!H", len(answer)) + answer)
threading.Thread(target=serve, daemon=True).start()
def hold():
    kernel_calls.forbid_new_privileges()
    call_filter.restrict(call_filter.CallFilter(has_mounts=True, has_datagrams=False))
for options in sys.argv[1:]:
    asked = subprocess.run(
        ["getent", "ahosts", "mirror.example"], env={**os.environ, "RES_OPTIONS": options}, preexec_fn=hold,
        capture_output=True, text=True,
    )
    print(options, (asked.stdout.split() or ["nothing"])[0])
"""


def test_names_are_found_without_udp_when_they_are_asked_for_over_tcp(tmp_path: Path) -> None:
    """By the C library, held by the filter, in a network whose name server answers over TCP alone."""
    servers, names = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    servers.write_text("nameserver 127.0.0.1\n")
    names.write_text("hosts: dns\n")
    script = f"mount --bind {servers} /etc/resolv.conf && mount --bind {names} /etc/nsswitch.conf && "
    script += 'ip link set lo up && exec python -c "$0" timeout:1 use-vc'
    inside = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", script, NAMES_OVER_TCP]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["timeout:1 nothing", "use-vc 192.0.2.7"], done.stderr
    assert name_servers.OVER_TCP == {"RES_OPTIONS": "use-vc"}


async def test_who_fetches_connects_to_the_ports_it_is_given(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = "use Socket; my $a = pack_sockaddr_in(shift, inet_aton('127.0.0.1')); "
        code += "socket(my $s, PF_INET, SOCK_STREAM, 0); exit(connect($s, $a) ? 0 : 9)"
        words = ["perl", "-e", code, str(port)]
        assert await status(world, words, Way((port,))) == 0
        assert await status(world, words) == 9
        if kernel_calls.landlock_version() >= landlock.NETWORK_SINCE:
            assert await status(world, words, FETCHING) == 9


async def test_it_makes_no_user_namespace_below_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await status(world, ["unshare", "--user", "true"]) == 1
    monkeypatch.setattr(program_jail, "forbid_user_namespaces", nothing)
    assert await status(world, ["unshare", "--user", "true"]) == 0


async def test_without_its_jail_the_program_gets_what_it_wants(world: World) -> None:
    done = await command.run([world.program], timeout_seconds=60, check=False)
    found = Tried.told(done.stderr.decode())
    assert set(CONTROLS) - set(found.allowed) == set()


def expected_facts(*, seconds: int = 60) -> dict[str, str]:
    bits = sum(1 << one for one in making_jail.KEPT)
    sets = b"".join(value.to_bytes(4, "little") for value in (bits, bits, 0))
    limit = {
        0: seconds,
        1: 1 << 20,
        4: 0,
        6: making_jail.MOST_PROCESSES,
        7: making_jail.MOST_OPEN_FILES,
        8: 0,
        9: program_jail.MOST_ADDRESS_SPACE_BYTES,
    }
    return {
        "no new privileges": "1",
        "system call filter": FILTERED,
        "capabilities": (sets + bytes(12)).hex(),
        "bounding set": " ".join(str(one) for one in sorted(making_jail.KEPT)),
        "environment": "A",
        **{f"limit {number}": str(value) for number, value in limit.items()},
    }


def test_it_has_the_rights_that_unpacking_takes_and_all_limits(unpacking: Tried) -> None:
    found = facts_of(unpacking)
    seen = set(found.pop("root").split())
    assert seen <= {"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "usr", "var"}
    assert found == expected_facts()


def nothing(*_arguments: object, **_options: object) -> None:
    return None


GUARDS: dict[str, Callable[[pytest.MonkeyPatch], Any]] = {
    "ids of its own": lambda patch: patch.setattr(making_jail, "_mapped", map_the_user),
    "a root of its own": lambda patch: patch.setattr(making_jail, "_make_root", nothing),
    "nothing left of the old root": lambda patch: (
        patch.setattr(kernel_calls, "detach", nothing),
        patch.setattr(program_jail.os, "rmdir", nothing),
    ),
    "read-only mounts": lambda patch: patch.setattr(kernel_calls, "set_mount_attributes", nothing),
    "a network of its own": lambda patch: (
        patch.setattr(kernel_calls, "CLONE_NEWNET", 0),
        patch.setattr(landlock, "restrict_sockets", nothing),
    ),
    "process ids of its own": lambda patch: patch.setattr(
        making_jail, "OWN_NAMESPACES", making_jail.OWN_NAMESPACES & ~kernel_calls.CLONE_NEWPID
    ),
    "no further namespaces": lambda patch: patch.setattr(making_jail, "NO_MORE_OF", ()),
    "few capabilities": lambda patch: patch.setattr(kernel_calls, "empty_bounding_set", nothing),
    "no new privileges": lambda patch: patch.setattr(kernel_calls, "forbid_new_privileges", nothing),
    "Landlock": lambda patch: patch.setattr(landlock, "restrict_sockets", nothing),
    "a filter of system calls": lambda patch: patch.setattr(call_filter, "restrict", nothing),
    "limits": lambda patch: patch.setattr(program_jail, "limits", lambda **_options: {}),
}


def map_the_user(_jail: making_jail.MakingJail, process_id: int) -> int:
    """Id 0 inside is the user, as in the namespaces of runs."""
    for program, own_id in (("newuidmap", os.getuid()), ("newgidmap", os.getgid())):
        if status := os.spawnvp(os.P_WAIT, program, [program, str(process_id), "0", str(own_id), "1"]):  # noqa: S606
            return status
    return 0


@pytest.mark.parametrize("guard", GUARDS)
async def test_each_guard_of_the_jail_is_needed(
    guard: str, world: World, unpacking: Tried, fetching: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the network, whose ports Landlock alone keeps from it, where that is what is taken away."""
    way, jailed = (FETCHING, fetching) if guard == "Landlock" else (None, unpacking)
    with monkeypatch.context() as patch:
        GUARDS[guard](patch)
        try:
            weak = await tried(world, way)
        except (HostUnfit, VmkilnError):
            return  # another guard needs this one
    more = set(weak.allowed) - set(jailed.allowed)
    assert more or facts_of(weak) != facts_of(jailed), "it makes no difference"


async def test_what_makes_a_system_is_jailed_and_unpacks_without_a_network(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own calls: a stand-in that leaves what mmdebstrap would, and says what it was let."""
    programs = world.scratch / "programs"
    programs.mkdir(exist_ok=True)
    stand_in = programs / "mmdebstrap"
    told = "links=$(tail -n +3 /proc/net/dev | wc -l) home=$(ls -d /home /var/tmp 2> /dev/null | wc -l)\n"
    told += 'map=$(tr -s " \\n" " " < /proc/self/uid_map)\n'
    told += 'echo "I: links $links, $home folders, user $map, ${https_proxy-none}" >&2\n'
    made = "case $* in *variant=custom*) exit 0 ;; esac\nfor root; do case $root in /*/root) break ;; esac; done\n"
    made += 'mkdir -p "$root/.beside" "$root/boot"; echo k > "$root/boot/vmlinuz-1"; chown -R 7:7 "$root/boot"\n'
    made += 'ln -s /etc/passwd "$root/.beside/core.img"\n'
    stand_in.write_text(f"#!/bin/sh\nset -eu\n{told}{made}")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(world.scratch))
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    monkeypatch.setenv("VMKILN_DATABASE_URL", "postgresql://user:secret@host/")
    heard: list[str] = []
    with pytest.raises(VmkilnError, match=r"no ordinary file `core.img`"):
        await debian_recipe.make_image(DebianRecipe("bookworm", 1), tmp_path / "made.qcow2", progress=heard.append)
    first, second = (line for line in heard if line.startswith("mmdebstrap: links"))
    own = making_jail.jail_of("/", programs=(), reads=(), ports=None, limits={}).users
    user = f"user  0 {own.first} {own.count // 2} 65534 {own.first + 65534} 1 "
    assert first.endswith(f"{user}, http://user:secret@proxy.example:3128")
    assert second == f"mmdebstrap: links 1, 1 folders, {user}, none", "the loopback, which is down, and the jail's own"
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_a_package_left_is_not_followed(tmp_path: Path) -> None:
    made, secret = tmp_path / "made", tmp_path / "secret"
    secret.write_text("secret")
    (made / "esp").mkdir(parents=True)
    (made / "esp" / "plain").write_text("plain")
    plain_files.taken(made, tmp_path / "good")
    assert (tmp_path / "good/esp/plain").read_text() == "plain"
    leads: dict[str, Callable[[Path], Any]] = {
        "link": lambda path: path.symlink_to(secret),
        "other name": lambda path: os.link(secret, path),
        "pipe": os.mkfifo,
    }
    for name, lead in leads.items():
        lead(made / "esp" / name)
        with pytest.raises(VmkilnError, match=name):
            plain_files.taken(made, tmp_path / f"bad-{name}")
        with pytest.raises(VmkilnError, match=name):
            plain_files.checked(made / "esp" / name)
        (made / "esp" / name).unlink()
    shutil.rmtree(made / "esp")
    (made / "esp").symlink_to(tmp_path)
    with pytest.raises(VmkilnError, match="esp"):
        plain_files.taken(made, tmp_path / "bad")


async def test_a_jailed_maker_dies_with_who_waits_for_it(world: World) -> None:
    script = "import asyncio, sys\nfrom pathlib import Path\nfrom vmkiln.host.making import jailed_maker as m\n"
    script += "async def main():\n    folder = await m.made_folder(Path(sys.argv[1]))\n"
    script += (
        "    await m.run(['sleep', '7778'], folder, timeout_seconds=60, file_bytes=1, environment={'PATH': '/bin'})\n"
    )
    script += "asyncio.run(main())\n"
    process = await asyncio.create_subprocess_exec("python", "-c", script, str(world.scratch))

    def alive() -> bool:
        return subprocess.run(["pgrep", "-f", "^sleep 7778$"], check=False, stdout=subprocess.DEVNULL).returncode == 0

    async def until(wanted: bool) -> None:
        async with asyncio.timeout(60):
            while alive() != wanted:  # noqa: ASYNC110 (nobody tells us)
                await asyncio.sleep(0.05)

    await until(True)
    process.kill()
    await process.wait()
    await until(False)
    await making_folder.remove_tree(world.scratch / jailed_maker.FOLDER)


def test_a_way_has_ports_of_mirrors_and_proxies_and_files_of_authorities() -> None:
    mirrors = ("https://mirror.example:8443/debian", "deb [signed-by=/k] copy:///srv/archive bookworm main")
    environment = {
        "http_proxy": "http://u:p@proxy.example:3128",
        "https_proxy": "proxy:3129",
        "SSL_CERT_FILE": "/ca.pem",
    }
    way = jailed_maker.way_to(mirrors, environment)
    assert way == Way((53, 80, 443, 3128, 3129, 8443), ("/ca.pem",))
    assert jailed_maker.folders_of(mirrors) == ("/srv/archive",)
