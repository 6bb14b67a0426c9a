"""The shared libraries that a program of this machine needs; asked once, until the program's file changes."""

import re
from pathlib import Path

from vmkiln.host import command
from vmkiln.waiting.off_loop import off_loop

LDD_SECONDS = 30
MOST_KNOWN = 256  # of the few programs and modules that are jailed
_known: dict[tuple[Path, int, int], list[Path]] = {}


async def libraries_of(program: Path) -> list[Path]:
    """The libraries, with the loader, under the names it looks for; none for a static program (ldd(1))."""
    try:
        facts = await off_loop(program.stat)
    except OSError:
        return []
    key = (program, facts.st_mtime_ns, facts.st_size)
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
    _known[key] = list(found)
    return found


def _are_there(paths: list[Path]) -> bool:
    return bool(paths) and all(path.exists() for path in paths)
