"""The storage account of a staging resource group: its logs, the copied scripts and files, its VHDs.

Blobs are files in a folder: `packerlogs/<id>/customization.log`, `scripts/<n>-<name>`, `vhds/<name>.vhd`.

*Leaves behind:* everything in it; it outlives the build. *Undone by:* deleting the staging resource group.
*Safe to repeat:* yes.
"""

import hashlib
import os
import re
import string
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.files.durable_file import make_folder

LOGS = "packerlogs"
SCRIPTS = "scripts"
VHDS = "vhds"
TEXT, PICTURE = "text/plain; charset=utf-8", "image/png"
_BLOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def account_name(group_id: str) -> str:
    """24 characters of lower-case letters and digits, derived from the group's id (Azure's rule for the name)."""
    alphabet = string.ascii_lowercase + string.digits
    number = int.from_bytes(hashlib.sha256(group_id.encode()).digest(), "big")
    letters: list[str] = []
    for _ in range(24):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)


def log_type(blob: str) -> str:
    """The media type of a blob among the logs: lines of text, or a picture of a VM's screen; pure."""
    return PICTURE if blob.endswith(".png") else TEXT


@dataclass(frozen=True)
class StorageAccount:
    """The account's name and the folder that holds its containers."""

    name: str
    directory: Path

    def create(self) -> None:
        """Make the account's folder; content when it exists."""
        make_folder(self.directory)

    def blob(self, name: str) -> Path:
        """The file of a blob such as `packerlogs/<id>/customization.log`; its folder is made.

        Raises: `InputError` for a name that would leave the account.
        """
        if not _BLOB.fullmatch(name):
            raise InputError(f"`{name}` is not a blob name")
        path = self.directory / name
        make_folder(path.parent)
        return path

    def blobs(self) -> list[str]:
        """The names of all blobs, sorted, as far as they are not deleted meanwhile. No link is one: it may lead out."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.directory) for name in names)
        return sorted(str(path.relative_to(self.directory)) for path in files if _is_blob(path))


def _is_blob(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
