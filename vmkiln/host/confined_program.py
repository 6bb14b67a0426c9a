"""A program that works on files, run to its end in a jail of its own: qemu-img, mke2fs, and their like.

What it may read and write is named with each call, so an image that takes one of them over has reached its own files.
"""

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.host import command
from vmkiln.host.confinement import program_jail
from vmkiln.host.confinement.program_jail import ProgramJail
from vmkiln.host.making import work_group
from vmkiln.waiting.off_loop import off_loop

# all that such a program is told; fewer of malloc's arenas, for each takes address space
ENVIRONMENT = {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "4"}
LITTLE_BYTES = 64 * 1024**2  # of a file, from a program that makes none, or a small one


@dataclass(frozen=True)
class Reach:
    """What a program may use: the files and folders that it reads, those it writes, and how large a file may get.

    A file that is to be written and is not there is made, empty.
    """

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    file_bytes: int = LITTLE_BYTES


async def run(
    arguments: Sequence[str | Path],
    reach: Reach,
    *,
    timeout_seconds: float,
    stdin: bytes | None = None,
    check: bool = True,
    on_stdout: Callable[[bytes], None] | None = None,
) -> command.Completed:
    """As `command.run`, in a jail. Paths in the arguments are absolute, for the program's folder is the root.

    Raises: as `command.run`; `HostUnfit` also when this machine does not let the jail be made.
    """
    jail = await off_loop(_prepared, str(arguments[0]), reach, timeout_seconds)
    completed = await command.run(
        arguments,
        timeout_seconds=timeout_seconds,
        stdin=stdin,
        environment={**ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)},
        check=False,
        on_stdout=on_stdout,
        before_exec=work_group.joining(functools.partial(program_jail.enter, jail)),
    )
    command.check_confined(arguments, completed)
    if check:
        command.check_status(arguments, completed)
    return completed


def _prepared(program: str, reach: Reach, seconds: float) -> ProgramJail:
    """The jail, with the program in it, wherever that is; makes the files that are to be written."""
    reads, writes = ([str(path.absolute()) for path in paths] for paths in (reach.reads, reach.writes))
    for path in writes:
        if not os.path.exists(path):  # noqa: PTH110
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    found = shutil.which(program)
    if found is not None and not found.startswith(program_jail.SYSTEM_FOLDERS):
        reads.append(os.path.abspath(found))  # noqa: PTH100 (the name it is called by, not what a link leads to)
    limits = program_jail.limits(seconds=seconds, file_bytes=reach.file_bytes)
    return ProgramJail(tuple(dict.fromkeys(reads)), tuple(writes), limits)
