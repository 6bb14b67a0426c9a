"""A file that a command is to write, looked at before anything is done for it."""

import shlex
from pathlib import Path

from vmkiln.errors import InputError


def check_target(file: Path) -> None:
    """Raises: `InputError` when the file cannot be there: its folder is not, or it is one itself."""
    try:
        folder = file.absolute().parent
    except FileNotFoundError as error:
        text = f"{file} cannot be written: the folder that this command was started in is not there any more"
        raise InputError(text, hint="go to another folder, or name the file by its whole path") from error
    try:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}", hint="make it, or name another file")
        if file.is_dir():
            raise InputError(f"{file} is a folder", hint="name a file in it")
    except OSError as error:  # a name that is too long
        raise InputError(f"{file} cannot be written: {error.strerror}", hint="name another file") from error


def as_typed(file: Path) -> str:
    """How a file is named in a command that can be pasted, whatever letters its name has; pure."""
    return shlex.quote(f"./{file}" if str(file).startswith("-") else str(file))
