"""Landlock: which paths a process may still use, by what it names; everything else it may not.

The kernel decides by the file, not by the name, so no link and no mount leads around it. Newer kernels can deny more;
what one does not know yet is left out.
Source: landlock(7) and the kernel's "Landlock: unprivileged access control".
"""

import os
import stat
from collections.abc import Collection, Mapping

from vmkiln.host.confinement import kernel_calls

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
CHANGE = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
USE_DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what a right on a file, not a folder, can be
BIND, CONNECT, BIND_AND_CONNECT = 1, 2, 3  # TCP
NETWORK_SINCE = 4  # the interface's version
ABSTRACT_SOCKETS_AND_SIGNALS = 3  # to processes outside of the domain


def handled(version: int) -> int:
    """Every right to files that an interface's version can deny; pure. 13 rights at first; 2, 3 and 5 brought more."""
    rights = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, TRUNCATE), (5, IOCTL_DEV)):
        rights |= right if version >= since else 0
    return rights


def restrict(allowed: Mapping[str, int], *, uses_network: bool = False) -> int:
    """Hold this process to the paths, each with its rights; no TCP, no signal, no abstract socket to others.

    One that `uses_network` may use TCP.
    Returns the interface's version; 0 where the kernel has no Landlock, and nothing is changed then.
    Raises: `OSError` for a path that is not there.
    """
    version = kernel_calls.landlock_version()
    if version == 0:
        return 0
    all_rights = handled(version)
    ruleset = kernel_calls.create_ruleset(
        version,
        handled=all_rights,
        network=0 if uses_network else BIND_AND_CONNECT,
        scoped=ABSTRACT_SOCKETS_AND_SIGNALS,
    )
    try:
        for path, rights in allowed.items():
            known = rights & all_rights
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 (between fork and exec)
            kernel_calls.allow_beneath(ruleset, path, known if is_folder else known & OF_FILES)
        kernel_calls.restrict_to(ruleset)
    finally:
        os.close(ruleset)
    return version


def restrict_sockets(*, connect_to: Collection[int] | None = None) -> int:
    """No port of TCP is opened by this process from here on, no signal and no abstract socket reaches others.

    Who is held to paths may not mount; this is for who is to make a root of its own yet. With ports to `connect_to`
    those of TCP are the only ones that it connects to, wherever.
    Returns the interface's version; 0 where the kernel knows nothing of it, and nothing is changed then.
    """
    version = kernel_calls.landlock_version()
    if version < NETWORK_SINCE:
        return 0
    network = BIND if connect_to is None else BIND_AND_CONNECT
    ruleset = kernel_calls.create_ruleset(version, handled=0, network=network, scoped=ABSTRACT_SOCKETS_AND_SIGNALS)
    try:
        for port in connect_to or ():
            kernel_calls.allow_port(ruleset, port, CONNECT)
        kernel_calls.restrict_to(ruleset)
    finally:
        os.close(ruleset)
    return version
