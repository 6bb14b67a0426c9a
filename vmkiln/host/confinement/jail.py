"""The jail of one program: a root, an id and an empty network of its own, no capability, limits; described, entered.

The root is an empty file system in memory with what the program needs bound into it, read-only; what it may write comes
to it as open descriptors. So the id it runs as owns no file, and nothing it could write outlives it.

*Leaves behind:* nothing. *Undone by:* the end of the program: its mount namespace goes with it.
Sources: pivot_root(2), user_namespaces(7), capabilities(7), getrlimit(2), seccomp(2).
"""

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vmkiln.host.confinement import call_filter, kernel_calls, landlock
from vmkiln.host.confinement.call_filter import CallFilter
from vmkiln.host.saved import memory_file, sealed_copy

# its network is empty: the tap, open before, is of the run's network all the same
OWN_NAMESPACES = (
    kernel_calls.CLONE_NEWNS | kernel_calls.CLONE_NEWNET | kernel_calls.CLONE_NEWIPC | kernel_calls.CLONE_NEWUTS
)
MOUNTED_AT = "/run/jail"  # in the supervisor's mount namespace; each jail mounts its own root over it
ROOT_MIB = 128  # more than a kernel and its initramfs, which are copied
ROOT_OPTIONS = "mode=0755,size={bytes},nr_inodes=4096"
MIB = 1024**2


@dataclass(frozen=True)
class JailMemory:
    """A file that the program may write, for a VM's RAM: its path inside, its size, and what it is a copy of, if any.

    It is in memory, the jail's own, and gone with it: what is copied is never written to. The copy has `digest`
    (`memory_file.py`), or the program is not started. With a `key`, as hexadecimal digits, what is copied is sealed
    (`sealed_copy.py`), which has no digest.
    """

    path: str
    size_bytes: int
    source: str = ""
    digest: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Jail:
    """What a program is held to. The id, of user and group, is the one inside the run's user namespace.

    `files` and `devices` are seen inside at the paths they have. `copies` are files that only their owner may read, by
    the path inside: they are copied, for a jailed program is not their owner. `limits` are soft and hard limits by the
    resource's name, in bytes or as counts (getrlimit(2)). `shares_network` leaves it in the run's network, where the
    rules of the firewall say what its id may do.
    """

    id: int
    files: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    shares_network: bool = False
    memory: JailMemory | None = None

    def described(self) -> dict[str, Any]:
        """For a message to the supervisor."""
        return asdict(self)

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> "Jail":
        """What `described` gave. Raises: `KeyError`, `ValueError` for another than that."""
        own_id = int(described["id"])
        if own_id <= 0:
            raise ValueError("a jailed program has an id of its own")
        files, devices = tuple(described["files"]), tuple(described["devices"])
        memory = None if described["memory"] is None else JailMemory(**described["memory"])
        limits, shares_network = described["limits"], described["shares_network"]
        return cls(own_id, files, devices, described["copies"], limits, shares_network, memory)


def enter(jail: Jail) -> None:
    """Hold this process to a jail; called between fork and exec, as id 0 of the run's user namespace.

    The order matters: mounts need capabilities, a limit on processes counts for the id, and what forbids goes last.
    Raises: `OSError` for what the kernel refuses, `ValueError` for memory that is not what was saved; the program is
    not to be started then.
    """
    kernel_calls.unshare(OWN_NAMESPACES & ~kernel_calls.CLONE_NEWNET if jail.shares_network else OWN_NAMESPACES)
    kernel_calls.empty_bounding_set()  # it reads /proc, which the new root has not
    _make_root(jail)
    for name, limit in jail.limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    os.setgroups([])
    os.setresgid(jail.id, jail.id, jail.id)
    os.setresuid(jail.id, jail.id, jail.id)
    kernel_calls.give_up_capabilities()
    kernel_calls.forbid_new_privileges()
    landlock.restrict(_allowed(jail), uses_network=jail.shares_network)
    call_filter.restrict(CallFilter(has_listeners=jail.shares_network))
    os.umask(0o077)


def _allowed(jail: Jail) -> dict[str, int]:
    allowed = dict.fromkeys((*jail.files, *jail.copies), landlock.READ)
    for inside in jail.copies:  # Python looks through the folders that it imports from
        if (folder := inside.split("/")[1]) and os.path.dirname(inside) != "/":  # noqa: PTH120
            allowed[f"/{folder}"] = landlock.READ
    if jail.memory is not None:
        allowed[jail.memory.path] = landlock.READ_FILE | landlock.WRITE_FILE
    return allowed | dict.fromkeys(jail.devices, landlock.USE_DEVICE)


def _make_root(jail: Jail) -> None:
    """An empty root with the files and devices bound into it, and nothing else; `/proc` is not there."""
    kernel_calls.mount("none", "/", None, kernel_calls.MS_REC | kernel_calls.MS_PRIVATE)
    size = ROOT_MIB * MIB + (0 if jail.memory is None else jail.memory.size_bytes)
    kernel_calls.mount("jail", MOUNTED_AT, "tmpfs", kernel_calls.MS_NOSUID, ROOT_OPTIONS.format(bytes=size))
    read_only = kernel_calls.MOUNT_ATTR_RDONLY | kernel_calls.MOUNT_ATTR_NOSUID
    for path in jail.files:
        _bind(path, MOUNTED_AT + path, read_only | kernel_calls.MOUNT_ATTR_NODEV)
    for path in jail.devices:
        _bind(path, MOUNTED_AT + path, kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NOEXEC)
    for inside, source in jail.copies.items():
        _make_file(MOUNTED_AT + inside)
        shutil.copyfile(source, MOUNTED_AT + inside)
    if jail.memory is not None:
        _make_memory(jail.memory, jail.id)
    kernel_calls.pivot_into(MOUNTED_AT)
    kernel_calls.set_mount_attributes("/", read_only | kernel_calls.MOUNT_ATTR_NODEV)


def _make_memory(memory: JailMemory, own_id: int) -> None:
    """The file, mounted on itself: it alone can be written when the root is read-only."""
    path = MOUNTED_AT + memory.path
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, memory.size_bytes)
        if memory.source:
            _copy_memory(memory, descriptor)
        os.fchown(descriptor, own_id, own_id)
    finally:
        os.close(descriptor)
    kernel_calls.mount(path, path, None, kernel_calls.MS_BIND)
    attributes = kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NODEV | kernel_calls.MOUNT_ATTR_NOEXEC
    kernel_calls.set_mount_attributes(path, attributes)


def _copy_memory(memory: JailMemory, target: int) -> None:
    source = os.open(memory.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if memory.key:
            sealed_copy.opened(source, target, bytes.fromhex(memory.key))
        digest = "" if memory.key else memory_file.copied(source, target)
    finally:
        os.close(source)
    if digest != memory.digest or os.fstat(target).st_size != memory.size_bytes:
        raise ValueError("the saved memory is not what was saved")


def _bind(source: str, target: str, attributes: int) -> None:
    if os.path.isdir(source):  # noqa: PTH112 (pathlib takes longer, and a VM waits)
        os.makedirs(target, mode=0o755, exist_ok=True)  # noqa: PTH103
    else:
        _make_file(target)
    kernel_calls.mount(source, target, None, kernel_calls.MS_BIND)
    kernel_calls.set_mount_attributes(target, attributes)


def _make_file(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o444))
