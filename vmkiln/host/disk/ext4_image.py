"""A read-only ext4 file system image made from a folder, without root."""

from pathlib import Path

from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.waiting.off_loop import off_loop

MARGIN_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 4096
OPTIONS = ("-q", "-F", "-t", "ext4", "-O", "^has_journal", "-b", str(BLOCK_BYTES), "-m", "0", "-E", "root_owner=0:0")


def size_for(folder: Path) -> int:
    """Bytes an image needs to hold a folder's files, with room for the file system's own tables; reads the folder."""
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    blocks = sum(-(-size // BLOCK_BYTES) + 1 for size in files)
    return -(-(blocks * BLOCK_BYTES * 21 // 20 + MARGIN_BYTES) // BLOCK_BYTES) * BLOCK_BYTES


async def make_ext4(image: Path, folder: Path) -> None:
    """Write `image` holding the folder's content; no journal, for it is mounted read-only (mke2fs(8) -d)."""
    size = await off_loop(_make_room, image, folder)
    reach = Reach((folder,), (image,), file_bytes=size)
    arguments: list[str | Path] = ["mke2fs", *OPTIONS, "-d", folder.absolute(), image.absolute()]
    await confined_program.run(arguments, reach, timeout_seconds=300)


def _make_room(image: Path, folder: Path) -> int:
    size = size_for(folder)
    with image.open("wb") as file:
        file.truncate(size)
    return size
