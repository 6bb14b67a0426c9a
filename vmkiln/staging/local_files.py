"""Files beside a template that it may name by `file:` and relative addresses, and what is odd about a script.

Only regular files in the template's own folder are read, and only where that was allowed.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

HEAD_BYTES = 4096
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_XML_ERROR = re.compile(rb"\s*<\?xml[^>]*>\s*<Error>", re.IGNORECASE)


@dataclass(frozen=True)
class LocalFiles:
    """Whether `file:` and relative addresses may be read, and the folder relative ones start from.

    `advice` says what to do where they may not.
    """

    directory: Path
    is_allowed: bool
    advice: str = "add --allow-local-files to let this template read it"


NO_LOCAL_FILES = LocalFiles(
    Path("/nonexistent"),
    is_allowed=False,
    advice="a service reads no local files: give an http:// or https:// address, or the commands as `inline`",
)


def is_local(uri: str) -> bool:
    """Whether an address is a file's, and not one of HTTP."""
    return urlsplit(uri).scheme.lower() not in ("http", "https")


def local_path(uri: str, local_files: LocalFiles) -> Path:
    """The file that an address means."""
    return (local_files.directory / unquote(urlsplit(uri).path)).resolve()


def refusal_of(uri: str, local_files: LocalFiles) -> str:
    """Why the file of this address cannot be read, with the address; '' when it can. Permission is not looked at."""
    source = local_path(uri, local_files)
    if not source.is_relative_to(local_files.directory.resolve()):
        return f"`{uri}` lies outside the template's folder"
    try:
        mode = source.stat().st_mode
    except OSError as error:
        return f"reading `{uri}` failed: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"`{uri}` is not a regular file"
    return "" if os.access(source, os.R_OK) else f"reading `{uri}` failed: {os.strerror(13)}"


def opened(source: Path) -> BinaryIO:
    """The file, open for reading: no symbolic link, and nothing waits for who writes into a pipe. Raises: OSError."""
    return open(source, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK))


def oddity_of(head: bytes) -> str:
    """What is odd about a script that begins with these bytes; '' for nothing; pure."""
    if not head.strip():
        return "is empty"
    if _PAGE.match(head):
        return "is HTML, not a script (of a file on GitHub, give the address behind `Raw`)"
    if _XML_ERROR.match(head):
        return "is an error message of a storage account, not a script (may it be read without a signature?)"
    return ""


def head_of(file: Path) -> bytes:
    """The first bytes of a file. Raises: OSError."""
    with opened(file) as source:
        return source.read(HEAD_BYTES)
