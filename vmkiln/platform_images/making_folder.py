"""A temporary folder in which an image is made; its content may belong to the user's subordinate ids.

A folder is locked while the process that made it lives, so that one whose process was killed is known and removed.

*Leaves behind:* nothing. *Undone by:* leaving the block, or `remove_abandoned`. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from vmkiln.files import locks
from vmkiln.host import namespace
from vmkiln.waiting.off_loop import off_loop, off_loop_with

PREFIX = ".vmkiln-making-"
REMOVE_SECONDS = 300
# between the moments a folder is made and locked it must not be taken for abandoned
LEAST_AGE_SECONDS = 60


def shared_parent(environment: Mapping[str, str]) -> Path:
    """Where folders lie that a subordinate id must reach, which may not pass through the user's own folders; pure.

    `$TMPDIR`, else `/var/tmp`: large files belong there, for `/tmp` may be in memory (hier(7)).
    """
    return Path(environment.get("TMPDIR") or "/var/tmp")  # noqa: S108 (the folder in it is made by mkdtemp)


@contextlib.asynccontextmanager
async def opened(parent: Path, *, mode: int = 0o700) -> AsyncIterator[Path]:
    """A new folder under `parent`, gone with everything in it when the block is left, however it is left."""
    folder, lock = await off_loop(_made, parent, mode)
    try:
        yield folder
    finally:
        # finished even when the task is cancelled once more meanwhile
        await asyncio.shield(asyncio.ensure_future(remove_tree(folder)))
        lock.close()


def _made(parent: Path, mode: int) -> tuple[Path, contextlib.ExitStack]:
    """A new folder, and its lock, which is free when the stack is closed."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with contextlib.ExitStack() as on_error:
        on_error.callback(shutil.rmtree, folder, ignore_errors=True)
        lock = contextlib.ExitStack()
        on_error.push(lock)
        locks.take(lock.enter_context(locks.opened(folder, flags=os.O_RDONLY | os.O_DIRECTORY)))
        folder.chmod(mode)
        on_error.pop_all()
    return folder, lock


async def remove_tree(folder: Path) -> None:
    """Delete a folder with files of the user's subordinate ids in it; finds nothing and is content."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if folder.exists():
        async with namespace.opened() as inside:
            await inside.run(["rm", "-rf", "--one-file-system", folder], timeout_seconds=REMOVE_SECONDS)


def _candidates(parent: Path) -> list[Path]:
    return [path for path in sorted(parent.glob(f"{PREFIX}*")) if path.is_dir() and not path.is_symlink()]


@contextlib.contextmanager
def _taken_if_abandoned(folder: Path) -> Iterator[bool]:
    """Whether this user's folder has no process any more; if so it is locked, and nobody else removes it meanwhile."""
    with contextlib.ExitStack() as stack:
        is_taken = False
        with contextlib.suppress(OSError):
            status = folder.stat()
            if status.st_uid == os.getuid() and time.time() - status.st_ctime >= LEAST_AGE_SECONDS:
                flags = os.O_RDONLY | os.O_DIRECTORY
                is_taken = locks.try_to_take(stack.enter_context(locks.opened(folder, flags=flags)))
        yield is_taken


async def remove_abandoned(parent: Path) -> None:
    """Delete what killed processes of this user left under `parent`, but for what another is deleting."""
    for folder in await off_loop(_candidates, parent):
        async with off_loop_with(lambda folder=folder: _taken_if_abandoned(folder)) as is_taken:  # type: ignore[misc]
            if is_taken:
                await remove_tree(folder)
