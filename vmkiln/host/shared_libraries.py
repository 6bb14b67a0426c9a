"""The shared libraries that a program of this machine needs; asked once, until it or the machine's libraries change.

A library that is upgraded may need another one than before, with the same program: whoever installs libraries has the
loader's cache made anew (ldconfig(8)).
"""

import re
from pathlib import Path

from vmkiln.host import command
from vmkiln.waiting.off_loop import off_loop

LDD_SECONDS = 30
LOADERS_CACHE = Path("/etc/ld.so.cache")
NOT_FOUND = "not found"  # of a library that is being replaced
MOST_KNOWN = 256  # of the few programs and modules that are jailed
_known: dict[tuple[Path, int, int, int], list[Path]] = {}


async def libraries_of(program: Path) -> list[Path]:
    """The libraries, with the loader, under the names it looks for; none for a static program (ldd(1))."""
    try:
        key = await off_loop(_state_of, program)
    except OSError:
        return []
    known = _known.get(key, [])
    is_so = await off_loop(_are_there, known)
    if is_so:
        return list(known)
    completed = await command.run(["ldd", program], timeout_seconds=LDD_SECONDS, check=False)
    if completed.exit_status != 0:
        return []
    found = [Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", completed.text, flags=re.MULTILINE)]
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    if NOT_FOUND not in completed.text:
        _known[key] = list(found)
    return found


def _state_of(program: Path) -> tuple[Path, int, int, int]:
    """What changes with a program or this machine's libraries. Raises: `OSError` where the program is not there."""
    facts = program.stat()
    try:
        libraries = LOADERS_CACHE.stat().st_mtime_ns
    except OSError:  # a machine whose loader has none
        libraries = 0
    return program, facts.st_mtime_ns, facts.st_size, libraries


def _are_there(paths: list[Path]) -> bool:
    return bool(paths) and all(path.exists() for path in paths)
