"""The state directory is its owner's alone: no other user of the machine reads templates, logs, keys or images there.

A folder has mode 0700 and a file 0600, or less where even the owner is not to write (0400). What is made in the state
directory is made so; this module takes away what an older release, an operator or a program left to others.
Source: inode(7), "The file type and mode"; symbolic links have no mode of their own (symlink(7)).
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

MOST_NAMES = 5


@dataclass(frozen=True)
class Opened:
    """A file or folder that others may use: `path`, and the mode of inode(7) that it has, its type included."""

    path: Path
    mode: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


def private_mode(mode: int) -> int:
    """The permissions that a file or folder with this mode (inode(7), with its type) is to have; pure."""
    return 0o700 if stat.S_ISDIR(mode) else mode & 0o700


def opened(entries: Iterable[tuple[Path, int]]) -> Iterator[Opened]:
    """Of these files and folders, each with its mode, those that do not have the permissions they are to have; pure."""
    for path, mode in entries:
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != private_mode(mode):
            yield Opened(path, mode)


def summary(home: Path, changed: Iterable[Opened]) -> str:
    """One sentence about what was changed below a state directory, with the first names; pure."""
    found = list(changed)
    folders = sum(entry.is_folder for entry in found)
    names = [str(entry.path.relative_to(home)) for entry in found[:MOST_NAMES]]
    more = ", ..." if len(found) > MOST_NAMES else ""
    return (
        f"other users of this machine may no longer use what they could of {home} "
        f"(folders: {folders}, files: {len(found) - folders}): {', '.join(names)}{more}"
    )


def private_folder(path: Path) -> None:
    """Make a folder with those above it, each its owner's alone; content when it exists.

    `Path.mkdir` with `parents=True` gives those above the mode that the umask leaves.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True, mode=0o700)


def private_file(path: Path, mode: Literal["wb", "ab"], *, buffering: int = -1) -> BinaryIO:
    """A file opened to write or to append, as `open` does; a new one is its owner's alone, whatever the umask."""

    def only_owner(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    return open(path, mode, buffering, opener=only_owner)


def make_private(home: Path, tell: Callable[[str], None], *, is_thorough: bool = False) -> None:
    """Give the state directory and everything in it the permissions it is to have; tells once what was changed.

    Everything is looked at when it is asked for, or when something that lies directly in `home` is open to others;
    otherwise only that, for every command does this. Whatever cannot be changed (it is another user's) is told, too.
    """
    if not is_thorough and not any(opened(_top(home))):
        return
    changed, refused = list[Opened](), list[Opened]()
    for entry in opened(_everything(home)):
        try:
            entry.path.chmod(private_mode(entry.mode))
        except FileNotFoundError:
            continue  # it was deleted meanwhile
        except OSError:
            refused.append(entry)
        else:
            changed.append(entry)
    if changed:
        tell(summary(home, changed))
    if refused:
        tell(
            f"warning: other users of this machine can use {refused[0].path} and {len(refused) - 1} more: chmod failed"
        )


def make_private_before_use(folder: Path) -> None:
    """Make the files that a package manager or an archive left in a folder private, before they are used."""
    make_private(folder, lambda _text: None, is_thorough=True)


def _top(home: Path) -> Iterator[tuple[Path, int]]:
    yield home, home.stat().st_mode
    with os.scandir(home) as entries:
        for entry in entries:
            yield from _looked_at(Path(entry.path))


def _everything(home: Path) -> Iterator[tuple[Path, int]]:
    """The state directory and all below it, a folder before what is in it; symbolic links are not followed."""
    yield home, home.stat().st_mode
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            yield from _looked_at(Path(folder, name))


def _looked_at(path: Path) -> Iterator[tuple[Path, int]]:
    try:
        yield path, path.lstat().st_mode
    except FileNotFoundError:
        return  # it was deleted meanwhile
