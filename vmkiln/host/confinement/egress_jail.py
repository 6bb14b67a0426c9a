"""The jail of the program that carries what a run sends out, pasta: described, entered.

It stands between two networks, so it cannot begin inside as the VMs do: it is started in the host's network and joins
the run's user namespace, where it has an id of its own. Until it has made the link it may configure the run's network
and mount; it sees itself, its libraries, the host's name servers and `/proc`, read-only. Then it gives away what it
had: its root is an empty folder, and what is left is `KEPT`, which holds in the run's namespaces alone. From the start
it opens no port of TCP, and reaches no process and no abstract socket. Landlock names no path here, for who is held to
paths may not mount, and an empty root leaves none to name (docs/decisions/0150).

*Leaves behind:* nothing. *Undone by:* the end of the program: its namespaces go with it.
Sources: pasta(1), setns(2), user_namespaces(7), capabilities(7), landlock(7).
"""

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host.confinement import call_filter, kernel_calls, landlock, program_jail
from vmkiln.host.confinement.call_filter import CallFilter
from vmkiln.host.confinement.program_jail import Bind
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.waiting.off_loop import off_loop

PROGRAM = "pasta"
# to join the run's network and to make its root, to make its link there, and to give away what it had
GIVEN = (kernel_calls.CAP_NET_ADMIN, kernel_calls.CAP_SYS_ADMIN)
KEPT = (kernel_calls.CAP_SYS_ADMIN,)  # it joins the run's network whenever it opens a socket there
OWN_NAMESPACES = kernel_calls.CLONE_NEWNS | kernel_calls.CLONE_NEWIPC | kernel_calls.CLONE_NEWUTS
NETWORK_INSIDE = "/run/user/0/netns"  # where profiles of AppArmor for pasta let it look
NAME_SERVERS = "/etc/resolv.conf"
TUN = "/dev/net/tun"
EMPTY_FOLDER = "/tmp"  # noqa: S108 (pasta mounts its own empty root over it)
ADDRESS_SPACE = 1024 * 1024**2  # its tables of flows are the most of it
MOST_THREADS = 16  # of the id, which no other process has
MOST_OPEN_FILES = 16_384  # a socket for a flow, of which the firewall lets fewer through
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin"}
LIMITS: Mapping[str, int] = {
    "RLIMIT_AS": ADDRESS_SPACE,
    "RLIMIT_NPROC": MOST_THREADS,
    "RLIMIT_NOFILE": MOST_OPEN_FILES,
    "RLIMIT_CORE": 0,
    "RLIMIT_MEMLOCK": 0,
    "RLIMIT_FSIZE": 0,
}
# the program has a filter of its own, which knows calls by their numbers; this one knows sockets by what they carry
FILTER = CallFilter(has_mounts=True, has_echoes=True, joins_namespaces=True)


@dataclass(frozen=True)
class EgressJail:
    """What the program is held to: its id inside, the run's user and network namespaces, and the files it is made of.

    The namespaces are paths outside; `files` begin with the program and are seen at the paths they have.
    """

    id: int
    user_path: str
    network_path: str
    files: tuple[str, ...]

    @property
    def program(self) -> str:
        """The program by its whole path."""
        return self.files[0]


async def jail_of(*, own_id: int, user_path: Path, network_path: Path) -> EgressJail:
    """The jail of pasta as it is installed here. Raises: `HostUnfit` when it is not, `CommandFailed`."""
    found = await off_loop(_programs)
    if not found:
        raise HostUnfit(
            f"the program `{PROGRAM}` is not installed", hint="run `script/bootstrap`, or `vmkiln doctor` for a list"
        )
    files = [str(path) for path in found]
    for path in found:
        files += [str(library) for library in await libraries_of(path)]
    return EgressJail(own_id, str(user_path), str(network_path), tuple(dict.fromkeys(files)))


def _programs() -> list[Path]:
    """The program, and its form for CPUs with AVX2, which it becomes by itself."""
    named = shutil.which(PROGRAM)
    if named is None:
        return []
    path = Path(named).absolute()
    return [one for one in (path, path.with_name(f"{path.name}.avx2")) if one.exists()]


def enter(jail: EgressJail) -> None:
    """Hold this process to the jail; called between fork and exec, in the host's network.

    Raises: `OSError` for what the kernel refuses; the program is not to be started then.
    """
    kernel_calls.join_namespace(jail.user_path, kernel_calls.CLONE_NEWUSER)
    kernel_calls.unshare(OWN_NAMESPACES)
    kernel_calls.empty_bounding_set(but=GIVEN)
    program_jail.make_root(_binds(jail), folders=[EMPTY_FOLDER])
    for name, limit in LIMITS.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    os.setgroups([])
    os.setresgid(jail.id, jail.id, jail.id)
    kernel_calls.keep_capabilities()
    os.setresuid(jail.id, jail.id, jail.id)
    kernel_calls.hand_on_capabilities(GIVEN)
    kernel_calls.forbid_new_privileges()
    landlock.restrict_sockets()
    call_filter.restrict(FILTER)
    os.umask(0o077)


def _binds(jail: EgressJail) -> list[Bind]:
    quiet = kernel_calls.MOUNT_ATTR_RDONLY | kernel_calls.MOUNT_ATTR_NOSUID
    no_programs = quiet | kernel_calls.MOUNT_ATTR_NOEXEC
    binds = [Bind(path, quiet | kernel_calls.MOUNT_ATTR_NODEV) for path in jail.files]
    if os.path.exists(NAME_SERVERS):  # noqa: PTH110 (between fork and exec)
        binds.append(Bind(NAME_SERVERS, no_programs | kernel_calls.MOUNT_ATTR_NODEV))
    return [
        *binds,
        Bind(TUN, kernel_calls.MOUNT_ATTR_NOSUID | kernel_calls.MOUNT_ATTR_NOEXEC),
        Bind(NETWORK_INSIDE, no_programs, source=jail.network_path),
        Bind("/proc", no_programs | kernel_calls.MOUNT_ATTR_NODEV),
    ]
