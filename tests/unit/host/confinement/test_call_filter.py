"""What a filter of system calls answers, by reading it as the kernel does; the kernel does so in tests/isolation."""

import errno
import struct

import pytest

from vmkiln.host.confinement.call_filter import CallFilter, program

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED, MOST_STEPS = 0, 4096  # of the kernel's, for a filter
INET, INET6, UNIX, NETLINK, PACKET, VSOCK = 2, 10, 1, 16, 17, 40
STREAM, DATAGRAM, RAW, CLOSE_ON_EXEC = 1, 2, 3, 0o2000000
CALLS = {  # the numbers of those that are asked for here, written down once more
    "x86_64": {"socket": 41, "mount": 165, "unshare": 272, "setns": 308, "ptrace": 101, "execve": 59, "keyctl": 250,
               "sendto": 44, "sendmsg": 46, "sendmmsg": 307, "listen": 50},
    "aarch64": {"socket": 198, "mount": 40, "unshare": 97, "setns": 268, "ptrace": 117, "execve": 221, "keyctl": 219,
                "sendto": 206, "sendmsg": 211, "sendmmsg": 269, "listen": 201},
}  # fmt: skip
FAST_OPEN, NO_SIGNAL = 0x20000000, 0x4000
IO_URING_SETUP, MOUNT_SETATTR, CLONE3 = 425, 442, 435
REMOUNT, BIND, READ_ONLY = 32, 4096, 1


def answer(filtered: bytes, number: int, *arguments: int, architecture: int) -> int:
    """The error that a call gets; 0 for none."""
    whole = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=iIQ6Q", number, architecture, 0, *whole)
    steps = list(struct.iter_unpack("=HBBI", filtered))
    assert len(steps) <= MOST_STEPS
    at, held = 0, 0
    while True:
        code, if_so, if_not, value = steps[at]
        at += 1
        match code:
            case 0x20:
                held = struct.unpack_from("=I", data, value)[0]
            case 0x54:
                held &= value
            case 0x15:
                at += if_so if held == value else if_not
            case 0x35:
                at += if_so if held >= value else if_not
            case 0x45:
                at += if_so if held & value else if_not
            case 0x06:
                return 0 if value == 0x7FFF0000 else value & 0xFFFF
            case _:
                raise AssertionError(f"no step of ours: {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("what", "name", "arguments", "expected"),
    [
        (CallFilter(), "execve", (), ALLOWED),
        (CallFilter(), "ptrace", (), errno.EPERM),
        (CallFilter(has_mounts=True), "keyctl", (), errno.EPERM),
        (CallFilter(), "mount", (0, 0, 0, BIND), errno.EPERM),
        (CallFilter(), "unshare", (), errno.EPERM),
        (CallFilter(has_mounts=True), "unshare", (), ALLOWED),
        (CallFilter(has_mounts=True), "mount", (0, 0, 0, BIND), ALLOWED),
        (CallFilter(has_mounts=True), "mount", (0, 0, 0, BIND | REMOUNT), errno.EPERM),
        (CallFilter(has_mounts=True), "mount", (0, 0, 0, BIND | REMOUNT | READ_ONLY), ALLOWED),
        (CallFilter(has_mounts=True), "setns", (), errno.EPERM),
        (CallFilter(joins_namespaces=True), "setns", (), ALLOWED),
        (CallFilter(), "listen", (3, 1), errno.EPERM),
        (CallFilter(has_listeners=True), "listen", (3, 1), ALLOWED),
        (CallFilter(), "sendto", (3, 0, 1, NO_SIGNAL, 0, 16), ALLOWED),
        (CallFilter(), "sendto", (3, 0, 1, FAST_OPEN | NO_SIGNAL, 0, 16), errno.EOPNOTSUPP),
        (CallFilter(), "sendmsg", (3, 0, FAST_OPEN), errno.EOPNOTSUPP),
        (CallFilter(), "sendmsg", (3, 0, NO_SIGNAL), ALLOWED),
        (CallFilter(has_mounts=True), "sendmmsg", (3, 0, 1, FAST_OPEN), errno.EOPNOTSUPP),
        (CallFilter(), "socket", (UNIX, DATAGRAM, 0), ALLOWED),
        (CallFilter(), "socket", (NETLINK, RAW, 0), ALLOWED),
        (CallFilter(), "socket", (PACKET, RAW, 0), errno.EPERM),
        (CallFilter(), "socket", (VSOCK, STREAM, 0), errno.EPERM),
        (CallFilter(has_datagrams=False), "socket", (INET, STREAM, 0), ALLOWED),
        (CallFilter(has_datagrams=False), "socket", (INET6, STREAM | CLOSE_ON_EXEC, 6), ALLOWED),
        (CallFilter(has_datagrams=False), "socket", (INET, STREAM, 262), errno.EPERM),
        (CallFilter(has_datagrams=False), "socket", (INET, STREAM, 132), errno.EPERM),
        (CallFilter(has_datagrams=False), "socket", (INET, RAW, 6), errno.EPERM),
        (CallFilter(has_datagrams=False), "socket", (INET, DATAGRAM | CLOSE_ON_EXEC, 0), errno.EPERM),
        (CallFilter(has_datagrams=False), "socket", (INET6, DATAGRAM, 17), errno.EPERM),
        (CallFilter(), "socket", (INET6, DATAGRAM | CLOSE_ON_EXEC, 17), ALLOWED),
        (CallFilter(), "socket", (INET, DATAGRAM, 1), errno.EPERM),
        (CallFilter(has_echoes=True), "socket", (INET, DATAGRAM, 1), ALLOWED),
        (CallFilter(has_echoes=True), "socket", (INET6, DATAGRAM, 58), ALLOWED),
        (CallFilter(has_echoes=True), "socket", (INET, DATAGRAM, 136), errno.EPERM),
    ],
)
def test_a_call_is_answered_by_what_it_is_and_what_it_asks_for(
    machine: str, what: CallFilter, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    number, architecture = CALLS[machine][name], MACHINES[machine]
    assert answer(program(what, machine), number, *arguments, architecture=architecture) == expected
    upper = tuple(value | 1 << 40 for value in arguments)  # the kernel looks at the lower half
    assert answer(program(what, machine), number, *upper, architecture=architecture) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_what_has_another_way_is_as_if_the_kernel_had_none(machine: str) -> None:
    filtered = program(CallFilter(has_mounts=True), machine)
    for number in (IO_URING_SETUP, MOUNT_SETATTR):
        assert answer(filtered, number, architecture=MACHINES[machine]) == errno.ENOSYS
    assert answer(filtered, CLONE3, architecture=MACHINES[machine]) == ALLOWED


def test_calls_of_another_table_are_as_if_the_kernel_had_none() -> None:
    filtered = program(CallFilter(has_mounts=True, joins_namespaces=True), "x86_64")
    i386, x32 = 0x40000003, 0x40000000
    assert answer(filtered, 59, architecture=i386) == errno.ENOSYS
    assert answer(filtered, x32 | 59, architecture=MACHINES["x86_64"]) == errno.ENOSYS
    assert answer(filtered, 59, architecture=MACHINES["aarch64"]) == errno.ENOSYS


def test_a_cpu_whose_calls_are_not_known_starts_nothing() -> None:
    with pytest.raises(OSError, match="riscv64"):
        program(CallFilter(), "riscv64")
