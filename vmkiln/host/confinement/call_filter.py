"""A filter of system calls: what nothing in a jail needs fails there, whatever else would let it through.

It names what is refused, for what is let in is other people's programs, which a list of what is allowed would break
with their next version. Each call of another architecture's table, and of x32, fails as if the kernel had none.

A jail in the host's network reaches out over TCP alone: Landlock holds its ports, and neither UDP nor what else a
socket can carry, MPTCP among it, which is TCP to whoever listens. Two ways lead round Landlock's ports, and are closed
here: a message that opens its connection by itself (TCP Fast Open), and listening on a port that nobody has bound.

*Leaves behind:* nothing. *Undone by:* the end of the program.
Sources: seccomp(2), the kernel's "Seccomp BPF" and syscall tables of x86-64 and arm64, mount(2), socket(2).
"""

import errno
import os
import struct
from dataclasses import dataclass

from vmkiln.host.confinement import kernel_calls

# the numbers of each call on x86-64 and arm64; -1 where there is none
REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
}
OF_MOUNTS = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
}
OF_NAMESPACES = {"setns": (308, 268)}
OF_LISTENING = {"listen": (50, 201)}
# for these there is another way, which programs take when the kernel has none
ABSENT = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
}
SOCKET, MOUNT = (41, 198), (165, 40)
SENDING = {"sendto": (44, 206, 3), "sendmsg": (46, 211, 2), "sendmmsg": (307, 269, 3)}  # and which argument has flags
MSG_FASTOPEN = 0x20000000
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column above, and the kernel's word
X32_BIT = 0x40000000
MS_RDONLY, MS_REMOUNT = 1, 32
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, KIND_MASK = 1, 2, 0xF
TCP, UDP, ANY_PROTOCOL = 6, 17, 0
ECHOES = (1, 58)  # of ICMP, and of ICMPv6
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # in `struct seccomp_data`
LOAD, MASK, RETURN = 0x20, 0x54, 0x06  # of BPF: LD W ABS, ALU AND K, RET K
IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT = 0x15, 0x35, 0x45
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
_Step = tuple[int, int, int, int]  # code, steps that are left out if so, and if not, value


@dataclass(frozen=True)
class CallFilter:
    """What is let in beside what every program needs; one that `has_listeners` takes connections.

    One that `has_mounts` mounts, and changes its root; no mount that is read-only becomes writable by it all the same.
    `has_datagrams` are sockets of UDP, `has_echoes` those of ICMP that an ordinary user may have. One that
    `joins_namespaces` does so as far as its capabilities let it.
    """

    has_mounts: bool = False
    has_datagrams: bool = True
    has_echoes: bool = False
    joins_namespaces: bool = False
    has_listeners: bool = False


def restrict(what: CallFilter) -> None:
    """Hold this process, and all that it starts, to a filter; it has given up new privileges before.

    Raises: `OSError` for what the kernel refuses, and on a CPU whose calls are not known here.
    """
    kernel_calls.filter_calls(program(what, os.uname().machine))


def program(what: CallFilter, machine: str) -> bytes:
    """The filter as the kernel reads it, on a machine as uname(2) calls it; pure. Raises: `OSError` for an unknown."""
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not known")
    column, word = ARCHITECTURES[machine]
    refused = {
        **REFUSED,
        **({} if what.has_mounts else OF_MOUNTS),
        **({} if what.joins_namespaces else OF_NAMESPACES),
        **({} if what.has_listeners else OF_LISTENING),
    }
    steps = [
        _load(ARCHITECTURE_AT),
        (IF_EQUAL, 1, 0, word),
        _fail(errno.ENOSYS),
        _load(NUMBER_AT),
        *([(IF_AT_LEAST, 0, 1, X32_BIT), _fail(errno.ENOSYS)] if machine == "x86_64" else []),
    ]
    for calls, error in ((refused, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in calls.values():
            if numbers[column] >= 0:
                steps += [(IF_EQUAL, 0, 1, numbers[column]), _fail(error)]
    if what.has_mounts:
        steps += _for_call(MOUNT[column], _on_mount())
    for on_x64, on_arm64, flags in SENDING.values():
        steps += _for_call((on_x64, on_arm64)[column], _on_sending(flags))
    steps += _for_call(SOCKET[column], _on_socket(what))
    steps.append(_allow())
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _for_call(number: int, steps: list[_Step]) -> list[_Step]:
    """Steps that are left out for every other call; they end in an answer."""
    return [(IF_EQUAL, 0, len(steps), number), *steps]


def _on_mount() -> list[_Step]:
    """Whatever is mounted anew may be; a mount that is there may become read-only, and is not made writable."""
    return [_argument(3), (IF_ANY_BIT, 0, 2, MS_REMOUNT), (IF_ANY_BIT, 1, 0, MS_RDONLY), _fail(errno.EPERM), _allow()]


def _on_sending(flags: int) -> list[_Step]:
    """A message is sent over a connection that is there; programs take the other way when the kernel has none."""
    return [_argument(flags), (IF_ANY_BIT, 0, 1, MSG_FASTOPEN), _fail(errno.EOPNOTSUPP), _allow()]


def _on_socket(what: CallFilter) -> list[_Step]:
    """Sockets of this machine, and of the internet those of TCP, and of UDP where they may be."""
    of_streams = _on_protocol(TCP)
    of_datagrams = _on_protocol(UDP, *(ECHOES if what.has_echoes else ()))
    of_internet = [_argument(1), (MASK, 0, 0, KIND_MASK), (IF_EQUAL, 0, len(of_streams), STREAM), *of_streams]
    if what.has_datagrams:
        of_internet += [(IF_EQUAL, 0, len(of_datagrams), DATAGRAM), *of_datagrams]
    of_internet.append(_fail(errno.EPERM))
    return [
        _argument(0),
        (IF_EQUAL, 1, 0, UNIX),
        (IF_EQUAL, 0, 1, NETLINK),
        _allow(),
        (IF_EQUAL, 1, 0, INET),
        (IF_EQUAL, 0, len(of_internet), INET6),
        *of_internet,
        _fail(errno.EPERM),
    ]


def _on_protocol(*numbers: int) -> list[_Step]:
    """Allow these, and whichever the kernel takes for such a socket when none is named."""
    steps = [step for number in (ANY_PROTOCOL, *numbers) for step in ((IF_EQUAL, 0, 1, number), _allow())]
    return [_argument(2), *steps, _fail(errno.EPERM)]


def _load(offset: int) -> _Step:
    return LOAD, 0, 0, offset


def _argument(number: int) -> _Step:
    """The lower half of an argument, which is all of the kernel's own `int` and flags on a little-endian CPU."""
    return _load(ARGUMENTS_AT + 8 * number)


def _allow() -> _Step:
    return RETURN, 0, 0, ALLOW


def _fail(error: int) -> _Step:
    return RETURN, 0, 0, FAIL_WITH | error
