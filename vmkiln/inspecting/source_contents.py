"""What is in source images, found once by a look from outside and kept by the digest of their bytes.

*Leaves behind:* a file for each source, the latest used ones. *Undone by:* deleting it. *Safe to repeat:* yes.
"""

import contextlib
import os
from pathlib import Path

from vmkiln.files.durable_file import reported, write_whole
from vmkiln.files.private_folder import private_folder
from vmkiln.image_contents.contents import ImageContents, read_contents

MOST_KEPT = 100  # sources; of the others the next build looks again
SUFFIX = ".json"


def keep(folder: Path, digest: str, contents: ImageContents) -> None:
    """Keep what is in a source, in place of what was kept of it. Raises: `StorageFailed`."""
    with reported("keeping what is in a source"):
        private_folder(folder)
        write_whole(_file(folder, digest), contents.text.encode())
        by_use = sorted(folder.glob(f"*{SUFFIX}"), key=_last_used, reverse=True)
        for file in by_use[MOST_KEPT:]:
            file.unlink(missing_ok=True)


def known(folder: Path, digest: str) -> ImageContents | None:
    """What is in a source; none when nobody looked, or what was kept cannot be read."""
    file = _file(folder, digest)
    try:
        contents = read_contents(file.read_text())
    except (OSError, ValueError, TypeError):  # a later look writes it anew
        return None
    with contextlib.suppress(OSError):  # of a full disk, or deleted meanwhile
        os.utime(file)
    return contents


def _file(folder: Path, digest: str) -> Path:
    return folder / f"{digest.replace(':', '-')}{SUFFIX}"


def _last_used(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another run's
        return 0.0
