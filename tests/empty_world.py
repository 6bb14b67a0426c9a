"""What exists on this machine that a build might leave behind: compared as sets before and after.

An ordinary user sees its own processes with what they hold, its listeners, its shared memory, and all links, mounts and
loop devices of its namespaces. `tests/isolation/test_empty_world.py` leaves one of each behind to see that it is found.
"""

import contextlib
import gc
import getpass
import os
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))


@dataclass(frozen=True)
class World:
    """Sets of names, one for each class of things; after a run each is equal to what it was before."""

    processes: frozenset[str]
    namespaces: frozenset[str]
    file_locks: frozenset[str]
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
    kept: frozenset[str]
    unfinished_files: frozenset[str]
    temporary_files: frozenset[str]


def first_snapshot(home: Path) -> World:
    """The world now, to be compared with later: without what only this process's garbage still holds."""
    gc.collect()
    return snapshot(home)


def snapshot(home: Path, *, user_id: int | None = None) -> World:
    """The world now, as far as it is a user's (by default, who asks). `home` is vmkiln's state directory."""
    ids = {os.getuid() if user_id is None else user_id, *own_subordinate_ids()}
    own = list(_own(ids))
    return World(
        processes=frozenset(filter(None, map(_described, own))),
        namespaces=frozenset(name for process in own for name in _namespaces(process)),
        file_locks=_file_locks({process.name for process in own}),
        links=_lines("ip", "-brief", "link"),
        addresses=_lines("ip", "-brief", "address"),
        routes=_lines("ip", "route", "show", "table", "all"),
        rules=_lines("ip", "rule"),
        mounts=_mounts([Path("/proc/self"), *own]),
        listeners=frozenset(_listeners(ids)),
        unix_sockets=_unix_sockets(own),
        network_namespaces=_names(Path("/run/netns")),
        control_groups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("**/*vmkiln*")),
        loop_devices=frozenset(path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")),
        shared_memory=frozenset(path.name for path in Path("/dev/shm").iterdir() if _is_ours(path, ids)),
        system_v_ipc=frozenset(_system_v_ipc(ids)),
        runs=_names(home / "runs"),
        kept=_names(home / "kept"),
        unfinished_files=frozenset(
            str(path) for path in home.rglob(".*") if not path.name.startswith(".lock-")
        ) if home.is_dir() else frozenset(),
        temporary_files=frozenset(
            str(path) for folder in TEMPORARY if folder.is_dir() for path in folder.iterdir() if _is_ours(path, ids)
        ),
    )  # fmt: skip


def differences(before: World, after: World) -> list[str]:
    """What is there now and was not, and the other way round; empty when the worlds are equal."""
    found = []
    for field in fields(World):
        old, new = getattr(before, field.name), getattr(after, field.name)
        found += [f"{field.name}: left behind: {item}" for item in sorted(new - old)]
        found += [f"{field.name}: gone: {item}" for item in sorted(old - new)]
    return found


def _lines(*arguments: str) -> frozenset[str]:
    completed = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return frozenset(line for line in completed.stdout.splitlines() if line.strip())


def _names(directory: Path) -> frozenset[str]:
    return frozenset(path.name for path in directory.iterdir()) if directory.is_dir() else frozenset()


def _is_ours(path: Path, ids: Collection[int]) -> bool:
    try:
        return path.lstat().st_uid in ids and not path.name.startswith("pytest-")
    except FileNotFoundError:
        return False


def own_listeners() -> frozenset[str]:
    """The listeners of whoever asks, and of its subordinate ids."""
    return frozenset(_listeners({os.getuid(), *own_subordinate_ids()}))


def _listeners(ids: Collection[int]) -> Iterator[str]:
    """The user's listeners: protocol and local address; the columns between them move (ss(8); no uid means 0)."""
    for line in _lines("ss", "-Hltune"):
        words = line.split()
        owner = next((word.removeprefix("uid:") for word in words if word.startswith("uid:")), "0")
        if int(owner) in ids:
            yield f"{words[0]} {words[4]}"


def _system_v_ipc(ids: Collection[int]) -> Iterator[str]:
    """The user's System V objects: kind, key and id; the file's first line names its columns."""
    for kind in ("shm", "sem", "msg"):
        header, *lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        owner = header.split().index("uid")
        for line in lines:
            words = line.split()
            if int(words[owner]) in ids:
                yield f"{kind} {words[0]} {words[1]}"


def own_subordinate_ids() -> range:
    """The subordinate ids of whoever asks."""
    for line in Path("/etc/subuid").read_text().splitlines():
        name, first, count = line.split(":")
        if name == getpass.getuser():
            return range(int(first), int(first) + int(count))
    return range(0)


def _own(ids: Collection[int]) -> Iterator[Path]:
    """Folders in /proc of the user's processes, and of those with a subordinate id; the asking one among them."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid in ids:
                yield entry
        except (FileNotFoundError, ProcessLookupError):
            continue


def _described(process: Path) -> str | None:
    """A process in one line; none for who asks, and for one that only waits to be noticed dead."""
    if int(process.name) == os.getpid():
        return None
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return f"{process.name} {command[:200]}" if command and not _is_dead(process) else None


def _is_dead(process: Path) -> bool:
    """Whether a process ended and only waits for its parent to notice."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _namespaces(process: Path) -> Iterator[str]:
    """The namespaces that a process keeps alive; a dead one's are named still, but not kept."""
    if _is_dead(process):
        return
    for kind in NAMESPACES:
        try:
            yield str((process / "ns" / kind).readlink())
        except OSError:  # it ended, or it may not be looked into
            continue


def _mounts(processes: Collection[Path]) -> frozenset[str]:
    """Every mount in every mount namespace of these processes: what is mounted, and where."""
    found: set[str] = set()
    for process in processes:
        try:
            lines = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        found |= {" ".join(line.split()[3:5]) for line in lines}
    return frozenset(found)


def _unix_sockets(processes: Collection[Path]) -> frozenset[str]:
    """Names of the unix sockets these processes hold, in this network namespace."""
    names = {
        parts[6]: parts[7]
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]
        if len(parts := line.split(maxsplit=7)) == 8
    }
    held = set()
    for process in processes:
        try:
            entries = list((process / "fd").iterdir())
        except OSError:
            continue
        for entry in entries:
            with contextlib.suppress(OSError):  # closed meanwhile
                held.add(os.readlink(entry))  # noqa: PTH115 (socket:[1] is no path)
    return frozenset(name for number, name in names.items() if f"socket:[{number}]" in held)


def _file_locks(process_ids: Collection[str]) -> frozenset[str]:
    """Locks on files: who holds it, and the file's device and inode."""
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return frozenset(f"{row[4]} {row[5]}" for row in rows if len(row) > 5 and row[4] in process_ids)
