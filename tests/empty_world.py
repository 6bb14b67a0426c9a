"""What exists on this machine that a build might leave behind: compared as sets before and after.

An ordinary user sees its own processes, and all links, listeners, sockets, mounts and loop devices of its namespaces.
"""

import getpass
import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path


def _lines(*arguments: str) -> frozenset[str]:
    completed = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return frozenset(line for line in completed.stdout.splitlines() if line.strip())


@dataclass(frozen=True)
class World:
    """Sets of names, one for each class of things; see the threat model's list of what must be equal."""

    processes: frozenset[str]
    links: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    mounts: frozenset[str]
    listeners: frozenset[str]
    unix_sockets: frozenset[str]
    network_namespaces: frozenset[str]
    control_groups: frozenset[str]
    loop_devices: frozenset[str]
    shared_memory: frozenset[str]
    system_v_ipc: frozenset[str]
    runs: frozenset[str]
    unfinished_files: frozenset[str]
    temporary_files: frozenset[str]


def snapshot(home: Path) -> World:
    """The world now. `home` is vmkiln's state directory."""
    return World(
        processes=_processes(),
        links=_lines("ip", "-brief", "link"),
        addresses=_lines("ip", "-brief", "address"),
        routes=_lines("ip", "route", "show", "table", "all"),
        rules=_lines("ip", "rule"),
        mounts=frozenset(" ".join(line.split()[3:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        # the protocol and the local address; the columns between them move
        listeners=frozenset(" ".join((line.split()[0], line.split()[4])) for line in _lines("ss", "-Hltun")),
        unix_sockets=frozenset(
            line.split()[-1]
            for line in Path("/proc/net/unix").read_text().splitlines()[1:]
            if len(line.split()) == 8 and "vmkiln" in line
        ),
        network_namespaces=_names(Path("/run/netns")),
        control_groups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("**/*vmkiln*")),
        loop_devices=frozenset(path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")),
        shared_memory=_names(Path("/dev/shm")),
        system_v_ipc=frozenset(
            f"{kind} {line}"
            for kind in ("shm", "sem", "msg")
            for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
        ),
        runs=_names(home / "runs"),
        unfinished_files=frozenset(
            str(path) for path in home.rglob(".*") if not path.name.startswith(".lock-")
        ) if home.is_dir() else frozenset(),
        temporary_files=frozenset(path.name for path in Path("/tmp").iterdir() if _is_ours(path)),
    )  # fmt: skip


def _names(directory: Path) -> frozenset[str]:
    return frozenset(path.name for path in directory.iterdir()) if directory.is_dir() else frozenset()


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid() and not path.name.startswith("pytest-")
    except FileNotFoundError:
        return False


def _processes() -> frozenset[str]:
    """Processes of this user or of its subordinate ids, without the test itself and what it is made of."""
    own = {os.getuid(), *_subordinate_ids()}
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.stat().st_uid not in own:
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if command and state != "Z":
            found.add(f"{entry.name} {command[:200]}")
    return frozenset(found)


def _subordinate_ids() -> range:
    for line in Path("/etc/subuid").read_text().splitlines():
        name, first, count = line.split(":")
        if name == getpass.getuser():
            return range(int(first), int(first) + int(count))
    return range(0)


def differences(before: World, after: World) -> list[str]:
    """What is there now and was not, and the other way round; empty when the worlds are equal."""
    found = []
    for field in fields(World):
        old, new = getattr(before, field.name), getattr(after, field.name)
        found += [f"{field.name}: left behind: {item}" for item in sorted(new - old)]
        found += [f"{field.name}: gone: {item}" for item in sorted(old - new)]
    return found
