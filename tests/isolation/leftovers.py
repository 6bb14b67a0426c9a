"""Leaves one thing of each class behind and prints what the oracle makes of it, as `{class: [lines]}`.

Run it by `unshare --user --map-root-user --net --mount --ipc`, so that the things of a whole machine can be made.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from empty_world import differences, snapshot

IPC_PRIVATE, IPC_RMID = 0, 0


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)


@contextlib.contextmanager
def links() -> Iterator[None]:
    run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    yield
    run("ip", "link", "delete", "left")


@contextlib.contextmanager
def addresses() -> Iterator[None]:
    run("ip", "address", "add", "192.0.2.77/32", "dev", "lo")
    yield
    run("ip", "address", "delete", "192.0.2.77/32", "dev", "lo")


@contextlib.contextmanager
def routes() -> Iterator[None]:
    run("ip", "route", "add", "unreachable", "192.0.2.78/32")
    yield
    run("ip", "route", "delete", "unreachable", "192.0.2.78/32")


@contextlib.contextmanager
def rules() -> Iterator[None]:
    run("ip", "rule", "add", "from", "192.0.2.79", "table", "79")
    yield
    run("ip", "rule", "delete", "from", "192.0.2.79", "table", "79")


@contextlib.contextmanager
def processes() -> Iterator[None]:
    with subprocess.Popen(["sleep", "987"]) as process:
        while not Path(
            f"/proc/{process.pid}/cmdline"
        ).read_bytes():  # the kernel lets us go on a moment before it is there
            time.sleep(0.01)
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    with subprocess.Popen(["unshare", "--uts", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"here\n")
        process.stdin.flush()
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def mounts() -> Iterator[None]:
    script = "mount -t tmpfs left-mount /mnt && exec cat"
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"here\n")
        process.stdin.flush()
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def listeners() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 7777)):
        yield


@contextlib.contextmanager
def unix_sockets() -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("\0left-socket")
        yield


@contextlib.contextmanager
def file_locks() -> Iterator[None]:
    with (HOME / "locked").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def file(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left")
    yield
    path.unlink()


@contextlib.contextmanager
def temporary_files() -> Iterator[None]:
    with NamedTemporaryFile(prefix="left-", dir="/var/tmp"):
        yield


@contextlib.contextmanager
def system_v_ipc() -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.shmget(IPC_PRIVATE, 4096, 0o600 | 0o1000)
    assert number >= 0, os.strerror(ctypes.get_errno())
    yield
    libc.shmctl(number, IPC_RMID, None)


HOME = Path(sys.argv[1])
LEFTOVERS = {
    "processes": processes,
    "namespaces": namespaces,
    "file_locks": file_locks,
    "links": links,
    "addresses": addresses,
    "routes": routes,
    "rules": rules,
    "mounts": mounts,
    "listeners": listeners,
    "unix_sockets": unix_sockets,
    # three that only a privileged process makes: their places in the file system are stood in for
    "network_namespaces": lambda: file(Path("/run/netns/left")),
    "control_groups": lambda: file(Path("/sys/fs/cgroup/a/left-vmkiln")),
    "loop_devices": lambda: file(Path("/sys/block/loop7/loop/backing_file")),
    "shared_memory": lambda: file(Path("/dev/shm/left")),
    "system_v_ipc": system_v_ipc,
    "runs": lambda: file(HOME / "runs" / "left"),
    "kept": lambda: file(HOME / "kept" / "left"),
    "unfinished_files": lambda: file(HOME / "images" / ".left"),
    "temporary_files": temporary_files,
}


def main() -> None:
    """Try each class by itself; what other programs do meanwhile may add lines, but never take one away."""
    for place in ("/run", "/sys/fs/cgroup", "/sys/block", "/dev/shm"):
        run("mount", "-t", "tmpfs", "stand-in", place)
    run("ip", "link", "set", "lo", "up")
    found = {}
    for name, leftover in LEFTOVERS.items():
        before = snapshot(HOME)
        with leftover():
            during = differences(before, snapshot(HOME))
        found[name] = {"during": during, "after": differences(before, snapshot(HOME))}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
