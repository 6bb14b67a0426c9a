"""Programs that make a system from packages, each run to its end in the jail that such have (`making_jail.py`).

*Leaves behind:* files of the subordinate ids in the folder. *Undone by:* removing the folder that it lies in.
"""

import functools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vmkiln.host import command, namespace
from vmkiln.host.confinement import program_jail
from vmkiln.host.making import making_jail, name_servers, work_group
from vmkiln.host.making.making_jail import MakingJail
from vmkiln.waiting.off_loop import off_loop

FOLDER = "system"
PREPARE_SECONDS = 60
MOST_KEPT_BYTES = 1024**2  # of what is printed
ALWAYS = (53, 80, 443)  # names, and where archives are
PORTS = {"http": 80, "https": 443, "ftp": 21, "socks5h": 1080, "socks5": 1080, "socks4": 1080}
LOCAL = re.compile(r"\b(?:file|copy):/*(/[^\s]+)")


@dataclass(frozen=True)
class Way:
    """The way to the archives: the ports of TCP that are connected to, and files that are read for it.

    Names are asked for over TCP as well; one that `has_datagrams` may send over UDP, for no name server takes TCP.
    """

    ports: tuple[int, ...]
    reads: tuple[str, ...] = ()
    has_datagrams: bool = False


async def made_folder(parent: Path) -> Path:
    """A new folder of the first subordinate id, which all on the way to it have to let pass. Raises: `HostUnfit`."""
    folder = parent / FOLDER
    async with namespace.opened() as inside:  # in which that id is 1
        words: list[str | Path] = ["install", "-d", "-m", "0755", "-o", "1", "-g", "1", folder]
        await inside.run(words, timeout_seconds=PREPARE_SECONDS)
    return folder


async def run(
    arguments: Sequence[str | Path],
    folder: Path,
    *,
    timeout_seconds: float,
    file_bytes: int,
    environment: Mapping[str, str],
    way: Way | None = None,
    reads: Sequence[str] = (),
    is_emulated: bool = False,
    on_stderr: Callable[[bytes], None] | None = None,
) -> command.Completed:
    """As `command.run`, in the jail, whose folder is the program's as well. Without a `way` it has no network.

    Raises: as `command.run`; `HostUnfit` also when this machine does not let the jail be made.
    """
    limits = program_jail.limits(
        seconds=timeout_seconds,
        file_bytes=file_bytes,
        processes=making_jail.MOST_PROCESSES,
        open_files=making_jail.MOST_OPEN_FILES,
    )
    if is_emulated:  # QEMU reserves the whole address space of what it runs, and takes little of it
        del limits["RLIMIT_AS"]
    jail = await off_loop(_prepared, str(arguments[0]), folder, reads, way, limits)
    completed = await command.run(
        arguments,
        timeout_seconds=timeout_seconds,
        environment={**environment, **(name_servers.OVER_TCP if way is not None and not way.has_datagrams else {})},
        check=False,
        kept_bytes=MOST_KEPT_BYTES,
        on_stderr=on_stderr,
        before_exec=work_group.joining(functools.partial(making_jail.enter, jail)),
    )
    command.check_confined(arguments, completed)
    command.check_status(arguments, completed)
    return completed


def _prepared(
    program: str, folder: Path, reads: Sequence[str], way: Way | None, limits: Mapping[str, int]
) -> MakingJail:
    found = shutil.which(program)
    programs = () if found is None or found.startswith(program_jail.SYSTEM_FOLDERS) else (os.path.abspath(found),)  # noqa: PTH100
    return making_jail.jail_of(
        str(folder.absolute()),
        programs=programs,
        reads=tuple(reads) if way is None else (*reads, *way.reads),
        ports=None if way is None else way.ports,
        has_datagrams=way is not None and way.has_datagrams,
        limits=limits,
    )


def way_to(mirrors: Iterable[str], environment: Mapping[str, str]) -> Way:
    """The way to archives at these addresses or lines (sources.list(5)), through the proxies of an environment; pure.

    Values of the environment that are paths are files of certificate authorities and the like, and are read.
    """
    words = [word for text in mirrors for word in text.split()]
    ports, reads = list(ALWAYS), []
    for word in [*words, *environment.values()]:
        if word.startswith("/"):
            reads.append(word)
        elif (port := _port(word)) is not None:
            ports.append(port)
    return Way(tuple(sorted(set(ports))), tuple(dict.fromkeys(reads)))


def folders_of(mirrors: Iterable[str]) -> tuple[str, ...]:
    """The folders of this machine among such addresses; pure."""
    return tuple(dict.fromkeys(match[1] for text in mirrors for match in LOCAL.finditer(text)))


def _port(word: str) -> int | None:
    try:
        parts = urlsplit(word if "://" in word else f"//{word}")
        return parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
