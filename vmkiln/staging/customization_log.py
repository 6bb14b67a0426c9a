"""customization.log and validation.log: written line by line as Packer works, kept in the storage account.

Each line is `[<run id>] PACKER OUT <text>`, as Azure writes it; the guest's text is stored as it came.
The size is limited: when the limit is reached the rest is dropped and counted, and the last line says how much.

*Leaves behind:* the log. *Undone by:* deleting the storage account. *Safe to repeat:* appends.
Source: AIB reference 3.13.
"""

import os
from pathlib import Path
from types import TracebackType

MOST_BYTES = 256 * 1024 * 1024
LAST_LINE = "Done exporting Packer logs to Azure Storage."


class CustomizationLog:
    """An open log. Every line is with the operating system when `write` returns, so a follower sees it at once."""

    def __init__(self, path: Path, run_id: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.run_id = run_id
        self.dropped_bytes = 0
        self._most_bytes = most_bytes
        self._written = 0
        self._file = path.open("ab", buffering=0)

    def write(self, text: str, *, kind: str = "OUT") -> None:
        """Append one line (without its line end)."""
        line = f"[{self.run_id}] PACKER {kind} {text}\n".encode(errors="surrogateescape")
        if self._written + len(line) > self._most_bytes:
            self.dropped_bytes += len(line)
            return
        self._file.write(line)
        self._written += len(line)

    def __enter__(self) -> "CustomizationLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.dropped_bytes:
            note = f"[{self.run_id}] PACKER ERR {self.dropped_bytes} bytes were dropped: the log reached its limit\n"
            self._file.write(note.encode())
        self._file.write(f"[{self.run_id}] PACKER OUT {LAST_LINE}\n".encode())
        os.fsync(self._file.fileno())
        self._file.close()
