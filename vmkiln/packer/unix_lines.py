"""Scripts with the line ends of Windows, for a shell that does not know them.

Packer would change every CR LF of every script, also in an archive behind a self-extracting one, whose bytes are then
wrong. Here the first line tells: a script that begins with CR LF could not even be started as it is.
"""

import shutil
from pathlib import Path

LONGEST_FIRST_LINE_BYTES = 4096
CHUNK_BYTES = 1024 * 1024


def copied(source: Path, target: Path) -> None:
    """Copy a script byte for byte, but with LF for CR LF if its first line ends in that."""
    with source.open("rb") as reading:
        first = reading.readline(LONGEST_FIRST_LINE_BYTES)
        is_windows = first.endswith(b"\r\n") and b"\0" not in first  # a program of the VM's machine is no text
        reading.seek(0)
        if not is_windows:
            shutil.copyfile(source, target)
            return
        with target.open("wb") as writing:
            held = b""
            while chunk := reading.read(CHUNK_BYTES):
                text = held + chunk
                held = b"\r" if text.endswith(b"\r") else b""
                writing.write(text[: len(text) - len(held)].replace(b"\r\n", b"\n"))
            writing.write(held)
