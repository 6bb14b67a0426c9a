"""The digest of a program with all that it reads to start: its libraries, its modules, its firmware."""

import hashlib
from collections.abc import Sequence
from pathlib import Path


def digest_of_files(paths: Sequence[str]) -> str:
    """SHA-256, as hexadecimal digits, of files and of all files in folders, by their names. Raises: `OSError`."""
    total = hashlib.sha256()
    for name in paths:
        root = Path(name)
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file():
                with path.open("rb") as file:
                    total.update(f"{path}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
