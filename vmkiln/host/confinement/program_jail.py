"""The jail of a program that works on a few files and ends, as qemu-img does; described, entered.

It needs no run's namespaces and no other id: the program stays the user, with namespaces of its own in which nothing
is left but the system's programs, read-only, and the files it was given. It reaches no network and no process, has no
capability, and ends at its limits. Landlock says the same once more where the kernel has it, and a filter of system
calls keeps it from what is left of the kernel.

*Leaves behind:* nothing. *Undone by:* the end of the program: its namespaces go with it.
Sources: user_namespaces(7), pid_namespaces(7), pivot_root(2), getrlimit(2), landlock(7), seccomp(2).
"""

import os
import resource
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmkiln.host import command
from vmkiln.host.confinement import call_filter, kernel_calls, landlock
from vmkiln.host.confinement.call_filter import CallFilter

NAMESPACES = (
    kernel_calls.CLONE_NEWUSER
    | kernel_calls.CLONE_NEWNS
    | kernel_calls.CLONE_NEWNET
    | kernel_calls.CLONE_NEWPID
    | kernel_calls.CLONE_NEWIPC
    | kernel_calls.CLONE_NEWUTS
)
# programs with their libraries and what they are told of the system; nothing in them is secret, or of a user
SYSTEM_FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share")
SYSTEM_SHORT_NAMES = ("/bin", "/sbin", "/lib", "/lib64")  # links to these, or folders of their own
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/mke2fs.conf", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/urandom")
MOUNTED_AT = "/tmp"  # noqa: S108 (covered in a mount namespace of its own; it is on every machine)
OLD_ROOT = "/old-root"
ROOT_OPTIONS = "mode=0755,size=1m,nr_inodes=4096"
MOST_ADDRESS_SPACE_BYTES = 4 * 1024**3
MOST_PROCESSES = 128  # with threads; qemu-img does disk requests in up to 64
MOST_OPEN_FILES = 256
NOTHING: Mapping[str, str] = {}
MOST_FOUND_DESCRIPTORS = 1 << 20  # closed by whoever waits for the program; more than any limit here allows


@dataclass(frozen=True)
class Bind:
    """What is seen in a new root at a path: a file or folder, with mount attributes.

    `source` is where it lies, links resolved, when that is elsewhere.
    """

    path: str
    attributes: int
    source: str = ""


@dataclass(frozen=True)
class ProgramJail:
    """What a program may use: files and folders that it reads, and those that it writes, by their absolute paths.

    A folder is meant with all below it. Each is where it is, also when the path leads through links. What is written
    has to be there. `limits` are soft and hard limits by the resource's name, in bytes, seconds or as counts.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)


def limits(
    *, seconds: float, file_bytes: int, processes: int = MOST_PROCESSES, open_files: int = MOST_OPEN_FILES
) -> dict[str, int]:
    """The limits of a program that may compute for so long and make a file of so many bytes; pure."""
    return {
        "RLIMIT_CPU": max(1, round(seconds)),
        "RLIMIT_FSIZE": file_bytes,
        "RLIMIT_AS": MOST_ADDRESS_SPACE_BYTES,
        "RLIMIT_NPROC": processes,
        "RLIMIT_NOFILE": open_files,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_CORE": 0,
    }


def enter(jail: ProgramJail) -> None:
    """Hold this process to a jail; called between fork and exec.

    A new process id namespace begins with the next child, so there is one more process, which does nothing but wait
    for the program and end as it did. Raises: `OSError` for what the kernel refuses; nothing is to be started then.
    """
    user, group = os.getuid(), os.getgid()
    kernel_calls.unshare(NAMESPACES)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{user} {user} 1")
    write("/proc/self/gid_map", f"{group} {group} 1")
    forbid_user_namespaces()
    go_on_as_first_process()
    kernel_calls.empty_bounding_set()
    _make_root(jail)
    for name, limit in jail.limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    kernel_calls.give_up_capabilities()
    kernel_calls.forbid_new_privileges()
    landlock.restrict(_allowed(jail))
    call_filter.restrict(CallFilter())
    os.umask(0o077)


def write(path: str, text: str) -> None:
    """Write to a file of the kernel. Raises: `OSError`."""
    with open(path, "w") as file:  # noqa: PTH123 (between fork and exec)
        file.write(text)


def forbid_user_namespaces() -> None:
    """No further one below that of this process: most ways out of a process begin with another. Raises: `OSError`."""
    write("/proc/sys/user/max_user_namespaces", "0")


def go_on_as_first_process() -> None:
    """As the first of the new process id namespace; what was this process waits for that, and ends as it does."""
    child = os.fork()
    if child == 0:
        return
    command.die_with_parent()  # and the program with it, for it asks for the same
    os.closerange(0, MOST_FOUND_DESCRIPTORS)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    if ended < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -ended not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    os._exit(ended if ended >= 0 else 128 - ended)


def _allowed(jail: ProgramJail) -> dict[str, int]:
    seen = [path for path in (*SYSTEM_FOLDERS, *SYSTEM_SHORT_NAMES, *SYSTEM_FILES) if os.path.exists(path)]  # noqa: PTH110
    return {
        **dict.fromkeys(seen, landlock.READ),
        **dict.fromkeys(DEVICES, landlock.USE_DEVICE),
        **dict.fromkeys(jail.reads, landlock.READ),
        **dict.fromkeys(jail.writes, landlock.CHANGE),
    }


def _make_root(jail: ProgramJail) -> None:
    """An empty root with the system's folders and the jail's own files bound into it; `/proc` is not there."""
    quiet = kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NODEV
    binds, links = system(quiet | kernel_calls.MOUNT_ATTR_RDONLY)
    binds += [Bind(path, kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NOEXEC) for path in DEVICES]
    binds += [Bind(path, quiet | kernel_calls.MOUNT_ATTR_RDONLY) for path in jail.reads]
    binds += [Bind(path, quiet | kernel_calls.MOUNT_ATTR_NOEXEC) for path in jail.writes]
    make_root(binds, links)


def system(attributes: int) -> tuple[list[Bind], dict[str, str]]:
    """The system's programs and what they are told, as they are here: what to bind, and links by their paths."""
    binds, links = [], {}
    for path in (*SYSTEM_FOLDERS, *SYSTEM_SHORT_NAMES, *SYSTEM_FILES):
        if os.path.islink(path):  # noqa: PTH114 (between fork and exec, as all of these)
            links[path] = os.readlink(path)  # noqa: PTH115
        elif os.path.exists(path):  # noqa: PTH110
            binds.append(Bind(path, attributes))
    return binds, links


def make_root(
    binds: Sequence[Bind],
    links: Mapping[str, str] = NOTHING,
    *,
    folders: Sequence[str] = (),
    has_processes: bool = False,
) -> None:
    """A new root, read-only, with what is bound, in this order, links by their paths, and empty folders.

    It is mounted first and the old one put below it, for what is given may lie where the new one was mounted. Nothing
    of the old one is left. One that `has_processes` has `/proc`, of its own process id namespace. Raises: `OSError` for
    what the kernel refuses.
    """
    sources = [bind.source or os.path.realpath(bind.path) for bind in binds]
    kernel_calls.mount("none", "/", None, kernel_calls.MS_REC | kernel_calls.MS_PRIVATE)
    kernel_calls.mount("jail", MOUNTED_AT, "tmpfs", kernel_calls.MS_NOSUID | kernel_calls.MS_NODEV, ROOT_OPTIONS)
    os.mkdir(MOUNTED_AT + OLD_ROOT)  # noqa: PTH102
    kernel_calls.pivot_root(MOUNTED_AT, MOUNTED_AT + OLD_ROOT)
    os.chdir("/")
    for path, target in links.items():
        os.symlink(target, path)  # noqa: PTH211
    for bind, source in zip(binds, sources, strict=True):
        _bind(source, bind.path, bind.attributes)
    for folder in folders:
        os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103
    if has_processes:  # while the old root's is seen yet, without which the kernel refuses it
        os.mkdir("/proc", mode=0o755)  # noqa: PTH102
        quiet = kernel_calls.MS_NOSUID | kernel_calls.MS_NODEV | kernel_calls.MS_NOEXEC
        kernel_calls.mount("proc", "/proc", "proc", quiet)
    kernel_calls.detach(OLD_ROOT)
    os.rmdir(OLD_ROOT)  # noqa: PTH106
    attributes = kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NODEV | kernel_calls.MOUNT_ATTR_RDONLY
    kernel_calls.set_mount_attributes("/", attributes)


def _bind(source: str, target: str, attributes: int) -> None:
    if os.path.isdir(OLD_ROOT + source):  # noqa: PTH112
        os.makedirs(target, mode=0o755, exist_ok=True)  # noqa: PTH103
    elif not os.path.exists(target):  # noqa: PTH110 (it is there in a folder that is bound already)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    kernel_calls.mount(OLD_ROOT + source, target, None, kernel_calls.MS_BIND | kernel_calls.MS_REC)
    kernel_calls.set_mount_attributes(target, attributes, is_recursive=True)
