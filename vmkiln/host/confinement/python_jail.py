"""The jail of a small Python program of ours that serves a run's guests in the run's own network, described.

It begins as a copy of the run's supervisor (`host/copies/forking.py`), with its modules loaded and no descriptor but
its outputs. So it runs with the standard library alone, and sees nothing of this machine but that, read-only.
"""

import sysconfig
from collections.abc import Mapping

from vmkiln.host.confinement.confinement import Confinement
from vmkiln.host.confinement.jail import Jail

MIB = 1024**2
ADDRESS_SPACE = 512 * MIB
MOST_OPEN_FILES = 1024
MOST_THREADS = 4  # of the id, which no other process has
# all that the supervisor is told, and its copies with it; each of malloc's arenas takes address space
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin", "MALLOC_ARENA_MAX": "2"}


def jail_of(*, own_id: int) -> Jail:
    """The jail of a program that runs as an id of its own; pure."""
    return Jail(
        id=own_id,
        files=(sysconfig.get_path("stdlib"),),  # for what is loaded when it is needed
        limits={
            "RLIMIT_AS": ADDRESS_SPACE,
            "RLIMIT_NPROC": MOST_THREADS,
            "RLIMIT_NOFILE": MOST_OPEN_FILES,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_FSIZE": 0,
        },
        shares_network=True,
    )


def confinement_of(*, own_id: int) -> Confinement:
    """All that is to hold the program; pure."""
    return Confinement(jail_of(own_id=own_id), (), ENVIRONMENT)
