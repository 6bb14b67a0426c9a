"""The jail of what makes a system from packages: it works as root, of ids that own no file of the user; entered.

A program that unpacks packages gives files owners, mounts, and changes its root, and scripts of the packages do what
they like as its root. So id 0 in its namespaces is the first of the user's subordinate ids, and the user is not in
them at all. It sees the system's programs, read-only, what a system is made by (keyrings, names of users), its own
process ids, and one folder, which it may write. Without a network it reaches none; with the host's, to fetch, it opens
no port, and connects over TCP to the ports that are named, where the kernel's Landlock knows of such.

Landlock names no path here, for who is held to paths may not mount. A filter of system calls lets it mount, but make
no mount writable, and lets it have no sockets but those of TCP.

*Leaves behind:* files of the subordinate ids in the folder. *Undone by:* `making_folder.remove_tree`, by whose folder
it is. *Safe to repeat:* yes.
Sources: user_namespaces(7), newuidmap(1), capabilities(7), landlock(7), seccomp(2), mmdebstrap(1).
"""

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmkiln.errors import HostUnfit
from vmkiln.host.confinement import call_filter, kernel_calls, landlock, program_jail
from vmkiln.host.confinement.call_filter import CallFilter
from vmkiln.host.confinement.program_jail import Bind
from vmkiln.host.confinement.subordinate_ids import IdFile, IdRange, own_range

OWN_NAMESPACES = (
    kernel_calls.CLONE_NEWNS | kernel_calls.CLONE_NEWPID | kernel_calls.CLONE_NEWIPC | kernel_calls.CLONE_NEWUTS
)
NO_MORE_OF = ("net", "pid", "ipc", "uts", "cgroup")  # namespaces; of mounts mmdebstrap makes one
# what unpacking takes: owners and modes, other ids, another root, mounts, the end of what was started
KEPT = (
    kernel_calls.CAP_CHOWN,
    kernel_calls.CAP_DAC_OVERRIDE,
    kernel_calls.CAP_FOWNER,
    kernel_calls.CAP_FSETID,
    kernel_calls.CAP_KILL,
    kernel_calls.CAP_SETGID,
    kernel_calls.CAP_SETUID,
    kernel_calls.CAP_SYS_CHROOT,
    kernel_calls.CAP_SYS_ADMIN,
    kernel_calls.CAP_SETFCAP,
)
# beside the system's programs: who its users are, whose packages are believed, and where they lie
SYSTEM_FILES = (
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/dpkg",
    "/etc/perl",
    "/etc/apt/trusted.gpg",
    "/etc/apt/trusted.gpg.d",
    "/etc/apt/keyrings",
)
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf", "/etc/services", "/etc/ssl/certs")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
NOBODY = 65534  # the one id of a system that is not among the first; VMs have those between (`vm_ids.py`)
MOST_PROCESSES = 1024
MOST_OPEN_FILES = 4096
USERS_PROGRAM, GROUPS_PROGRAM = "newuidmap", "newgidmap"


@dataclass(frozen=True)
class MakingJail:
    """What such a program may use: ids, the one folder that it writes, what else it starts and reads, and its limits.

    `ports` are those of TCP that it may connect to, with the host's network; None is a network of its own, and empty.
    One that `has_datagrams` may send over UDP as well, wherever.
    """

    users: IdRange
    groups: IdRange
    id_programs: tuple[str, str]
    folder: str
    programs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    ports: tuple[int, ...] | None = None
    has_datagrams: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)


def jail_of(
    folder: str,
    *,
    programs: tuple[str, ...],
    reads: tuple[str, ...],
    ports: tuple[int, ...] | None,
    limits: Mapping[str, int],
    has_datagrams: bool = False,
) -> MakingJail:
    """The jail for this user. Raises: `HostUnfit` without subordinate ids, or without what maps them."""
    users, groups = own_range(IdFile.USERS), own_range(IdFile.GROUPS)
    of_users, of_groups = shutil.which(USERS_PROGRAM), shutil.which(GROUPS_PROGRAM)
    if users is None or groups is None or of_users is None or of_groups is None:
        raise HostUnfit(
            "this user has no subordinate ids, and systems are made as those",
            hint="`vmkiln doctor` says what to change",
        )
    return MakingJail(users, groups, (of_users, of_groups), folder, programs, reads, ports, has_datagrams, limits)


def enter(jail: MakingJail) -> None:
    """Hold this process to the jail; called between fork and exec.

    Raises: `OSError` for what the kernel, or who maps the ids, refuses; nothing is to be started then.
    """
    _become_root(jail)
    kernel_calls.unshare(OWN_NAMESPACES | (kernel_calls.CLONE_NEWNET if jail.ports is None else 0))
    for kind in NO_MORE_OF:
        program_jail.write(f"/proc/sys/user/max_{kind}_namespaces", "0")
    program_jail.go_on_as_first_process()
    kernel_calls.empty_bounding_set(but=KEPT)
    _make_root(jail)
    for name, limit in jail.limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    kernel_calls.hold_capabilities(KEPT)
    kernel_calls.forbid_new_privileges()
    landlock.restrict_sockets(connect_to=jail.ports)
    call_filter.restrict(CallFilter(has_mounts=True, has_datagrams=jail.has_datagrams))
    os.umask(0o022)
    os.chdir(jail.folder)


def _become_root(jail: MakingJail) -> None:
    """A user namespace in which id 0 is the first subordinate id; who maps the ids has to stand outside of it."""
    process_id = os.getpid()
    waiting, going = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(going)
        status = 1
        try:
            os.read(waiting, 1)
            status = _mapped(jail, process_id)
        finally:
            os._exit(status)
    os.close(waiting)
    try:
        kernel_calls.unshare(kernel_calls.CLONE_NEWUSER)
    finally:
        os.close(going)
        _, status = os.waitpid(helper, 0)
    if status != 0:
        raise OSError("the subordinate ids could not be mapped")
    program_jail.forbid_user_namespaces()
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _mapped(jail: MakingJail, process_id: int) -> int:
    for program, ids in zip(jail.id_programs, (jail.users, jail.groups), strict=True):
        words = [program, str(process_id), "0", str(ids.first), str(ids.count // 2)]
        if ids.count > NOBODY:
            words += [str(NOBODY), str(ids.first + NOBODY), "1"]
        if status := os.spawnv(os.P_WAIT, program, words):  # noqa: S606 (a shell is what it must not be)
            return status
    return 0


def _make_root(jail: MakingJail) -> None:
    quiet = kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NODEV
    files = SYSTEM_FILES if jail.ports is None else SYSTEM_FILES + NETWORK_FILES
    binds, links = program_jail.system(quiet | kernel_calls.MOUNT_ATTR_RDONLY)
    seen = [path for path in (*files, *jail.reads) if os.path.exists(path)]  # noqa: PTH110 (between fork and exec)
    binds += [Bind(path, quiet | kernel_calls.MOUNT_ATTR_RDONLY | kernel_calls.MOUNT_ATTR_NOEXEC) for path in seen]
    binds += [Bind(path, quiet | kernel_calls.MOUNT_ATTR_RDONLY) for path in jail.programs]
    devices = [path for path in DEVICES if os.path.exists(path)]  # noqa: PTH110
    binds += [Bind(path, kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NOEXEC) for path in devices]
    binds.append(Bind(jail.folder, quiet))
    program_jail.make_root(binds, links, has_processes=True)
