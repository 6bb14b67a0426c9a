"""A file that a command is to write, looked at before anything is done for it."""

from pathlib import Path

from vmkiln.errors import InputError


def check_target(file: Path) -> None:
    """Raises: `InputError` when the file cannot be there: its folder is not, or it is one itself."""
    folder = file.absolute().parent
    try:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}", hint="make it, or name another file")
        if file.is_dir():
            raise InputError(f"{file} is a folder", hint="name a file in it")
    except OSError as error:  # a name that is too long
        raise InputError(f"{file} cannot be written: {error.strerror}", hint="name another file") from error
