"""A temporary folder that is known to be somebody's: its maker holds a lock in it, which ends with the process.

*Leaves behind:* nothing. *Undone by:* leaving the block; a folder of a process that was killed goes when the next one
is made beside it. *Safe to repeat:* yes.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vmkiln.files import locks

LOCK = "lock"


@contextlib.contextmanager
def held_folder(workplace: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `workplace` whose name begins so; abandoned ones are deleted first. Blocks for a moment."""
    with contextlib.ExitStack() as stack:
        with locks.opened(workplace, flags=os.O_RDONLY | os.O_DIRECTORY) as whole:
            locks.take(whole)
            _sweep(workplace, prefix)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=workplace)))
            stack.enter_context(locks.taken(folder / LOCK))
        yield folder


def _sweep(workplace: Path, prefix: str) -> None:
    """Delete what processes left that were killed: nobody holds the locks of these."""
    for folder in workplace.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), locks.opened(folder / LOCK) as descriptor:
            if locks.try_to_take(descriptor):
                shutil.rmtree(folder)
