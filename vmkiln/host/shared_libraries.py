"""The shared libraries that a program of this machine needs."""

import re
from pathlib import Path

from vmkiln.host import command

LDD_SECONDS = 30


async def libraries_of(program: Path) -> list[Path]:
    """The libraries, with the loader, under the names it looks for; none for a static program (ldd(1))."""
    completed = await command.run(["ldd", program], timeout_seconds=LDD_SECONDS, check=False)
    if completed.exit_status != 0:
        return []
    return [Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+)", completed.text, flags=re.MULTILINE)]
