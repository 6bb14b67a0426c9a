"""System calls that Python has no function for, each with the kernel's own error: mounts, capabilities, filters.

They are made between fork and exec, where nothing of asyncio may be touched.
Sources: mount(2), mount_setattr(2), pivot_root(2), prctl(2), capset(2), landlock(7), seccomp(2); the kernel's
"Universal TUN/TAP device driver".
"""

import ctypes
import os
import struct
from collections.abc import Collection
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_KEEPCAPS = 38, 24, 8
PR_SET_DUMPABLE, PR_SET_NAME = 4, 15
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID = 0, 1, 3, 4, 5, 6, 7
CAP_SETPCAP, CAP_NET_ADMIN, CAP_SYS_CHROOT, CAP_SYS_ADMIN, CAP_SETFCAP = 8, 12, 18, 21, 31
# the numbers of these calls are the same on every architecture (they are newer than the common table)
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH, LANDLOCK_RULE_NET_PORT = 1, 2
BPF_STEP_BYTES = 8
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _CallFilter(ctypes.Structure):
    _fields_ = (("steps", ctypes.c_uint16), ("program", ctypes.c_char_p))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def _checked(what: str, function: Any, *arguments: Any) -> int:
    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)


def unshare(flags: int) -> None:
    """unshare(2). Raises: `OSError`."""
    _checked("unshare", _libc.unshare, flags)


def join_namespace(path: str, kind: int) -> None:
    """setns(2): become part of the namespace at a path, of a kind (`CLONE_NEWUSER`, ...). Raises: `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(f"setns {path}", _libc.setns, descriptor, kind)
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2). Raises: `OSError` naming the target."""
    kind_bytes = None if kind is None else kind.encode()
    option_bytes = None if options is None else options.encode()
    _checked(f"mount {target}", _libc.mount, source.encode(), target.encode(), kind_bytes, flags, option_bytes)


def set_mount_attributes(target: str, attributes: int, *, is_recursive: bool = False) -> None:
    """Add attributes to a mount, and to those below it if `is_recursive`.

    Those it has stay, for a user namespace may take none away. Raises: `OSError`.
    """
    wanted = _MountAttributes(attributes, 0, 0, 0)
    size, flags = ctypes.sizeof(wanted), AT_RECURSIVE if is_recursive else 0
    arguments = (ctypes.c_long(SYS_MOUNT_SETATTR), AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), size)
    _checked(f"mount_setattr {target}", _libc.syscall, *arguments)


def pivot_into(root: str) -> None:
    """Make a mounted folder the root of this mount namespace, with nothing of the old one left. Raises: `OSError`."""
    os.chdir(root)
    pivot_root(".", ".")
    detach(".")
    os.chdir("/")


def pivot_root(root: str, old: str) -> None:
    """pivot_root(2): a mounted folder becomes the root, and the root until now lies at `old`. Raises: `OSError`."""
    _checked("pivot_root", _libc.pivot_root, root.encode(), old.encode())


def detach(path: str) -> None:
    """Take a mount, with all that is mounted below it, out of sight at once. Raises: `OSError`."""
    _checked(f"umount {path}", _libc.umount2, path.encode(), MNT_DETACH)


def forbid_new_privileges() -> None:
    """No program started from here on gains a privilege. Raises: `OSError`."""
    _checked("no_new_privs", _libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def name_process(name: str) -> None:
    """What lists of processes call this one; of it, 15 bytes. Raises: `OSError`."""
    _checked("name", _libc.prctl, PR_SET_NAME, name.encode(), 0, 0, 0)


def let_be_looked_at() -> None:
    """Let `/proc` tell of this process, although it changed its id, to whoever may look at that. Raises: `OSError`."""
    _checked("dumpable", _libc.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)


def empty_bounding_set(*, but: Collection[int] = ()) -> None:
    """No capability can be had again `but` these: the bounding set and the ambient set are emptied. Raises: `OSError`.

    Who is to drop the others still needs `CAP_SETPCAP` then.
    """
    last = int(open("/proc/sys/kernel/cap_last_cap").read())  # noqa: PTH123, SIM115 (between fork and exec)
    for capability in range(last + 1):
        if capability not in but:
            _checked("bounding set", _libc.prctl, PR_CAPBSET_DROP, capability, 0, 0, 0)
    _checked("ambient set", _libc.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def give_up_capabilities() -> None:
    """Permitted, effective and inheritable set empty. Raises: `OSError`."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked("capset", _libc.capset, ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def keep_capabilities() -> None:
    """A change of the user id takes none of the permitted capabilities. Raises: `OSError`."""
    _checked("keep capabilities", _libc.prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)


def hold_capabilities(capabilities: Collection[int]) -> None:
    """These and no others, of this process. Raises: `OSError`."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bits = sum(1 << capability for capability in capabilities)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _checked("capset", _libc.capset, ctypes.byref(header), ctypes.byref(data))


def hand_on_capabilities(capabilities: Collection[int]) -> None:
    """These and no others, also for the program that is started next, whoever runs it. Raises: `OSError`."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bits = sum(1 << capability for capability in capabilities)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _checked("capset", _libc.capset, ctypes.byref(header), ctypes.byref(data))
    for capability in capabilities:
        _checked("ambient set", _libc.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def landlock_version() -> int:
    """The version of Landlock's interface that this kernel has; 0 when it has none, or it is switched off."""
    version = _libc.syscall(ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET), None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return max(0, int(version))


def create_ruleset(version: int, *, handled: int, network: int, scoped: int) -> int:
    """A ruleset's descriptor; older interfaces know neither network (from 4) nor scope (from 6). Raises: `OSError`."""
    attributes = _RulesetAttributes(handled, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    arguments = (ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET), ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    return _checked("landlock ruleset", _libc.syscall, *arguments)


def allow_beneath(ruleset: int, path: str, rights: int) -> None:
    """Allow rights on a path and all below it. Raises: `OSError` naming it."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(rights, descriptor)
        number = ctypes.c_long(SYS_LANDLOCK_ADD_RULE)
        arguments = (number, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        _checked(f"landlock rule for {path}", _libc.syscall, *arguments)
    finally:
        os.close(descriptor)


def allow_port(ruleset: int, port: int, rights: int) -> None:
    """Allow rights on a port of TCP, whosever address it is. Raises: `OSError` naming it."""
    rule = _NetPort(rights, port)
    number = ctypes.c_long(SYS_LANDLOCK_ADD_RULE)
    arguments = (number, ruleset, LANDLOCK_RULE_NET_PORT, ctypes.byref(rule), 0)
    _checked(f"landlock rule for port {port}", _libc.syscall, *arguments)


def restrict_to(ruleset: int) -> None:
    """Hold this process, and all that it starts, to a ruleset. Raises: `OSError`."""
    _checked("landlock", _libc.syscall, ctypes.c_long(SYS_LANDLOCK_RESTRICT_SELF), ruleset, 0)


def filter_calls(program: bytes) -> None:
    """Hold this process, and all that it starts, to a filter of system calls in classic BPF. Raises: `OSError`."""
    wanted = _CallFilter(len(program) // BPF_STEP_BYTES, program)
    _checked("system call filter", _libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0)


def attach_tap(descriptor: int, name: str) -> None:
    """Make an open /dev/net/tun the tap of this name, with QEMU's own header before each frame. Raises: `OSError`."""
    request = ctypes.create_string_buffer(struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    _checked(f"tap {name}", _libc.ioctl, descriptor, ctypes.c_ulong(TUNSETIFF), request)
