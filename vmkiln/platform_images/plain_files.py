"""What a jail made is taken over as plain files: a link that a hostile package left would be followed by us, outside.

All of the jail's processes have ended by then, so that nothing changes while it is looked at.
"""

import os
import shutil
import stat
from pathlib import Path

from vmkiln.errors import VmkilnError

MOST_FILES = 4096
MOST_BYTES = 512 * 1024**2


def checked(file: Path) -> Path:
    """The file, which is an ordinary one, of one name. Raises: `VmkilnError` for anything else, also for nothing."""
    found = _status(file)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise VmkilnError(f"what was made from packages has no ordinary file `{file.name}`")
    return file


def taken(folder: Path, target: Path) -> None:
    """Copy a folder of ordinary files and folders to a new one of ours. Raises: `VmkilnError` when it has others."""
    files = size = 0
    waiting = [(folder, target)]
    while waiting:
        source, copy = waiting.pop()
        found = _status(source)
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise VmkilnError(f"what was made from packages has no folder `{source.name}`")
        copy.mkdir()
        with os.scandir(source) as entries:
            for entry in entries:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), copy / entry.name))
                else:
                    size += checked(Path(entry.path)).stat(follow_symlinks=False).st_size
                if files > MOST_FILES or size > MOST_BYTES:
                    raise VmkilnError(f"what was made from packages has too much in `{folder.name}`")
                if not entry.is_dir(follow_symlinks=False):
                    shutil.copyfile(entry.path, copy / entry.name, follow_symlinks=False)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
