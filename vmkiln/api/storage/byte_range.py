"""Which part of a file a request asks for: `Range` and `If-Range`.

One range is answered; several at once are answered with the whole, as is what cannot be understood.
Source: RFC 9110, sections 13.1.5, 14.2, 14.4 and 15.5.17.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from vmkiln.api.protocol.route import Answer, FileBody
from vmkiln.errors import ArmError

BYTES = "application/octet-stream"
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


def asked_range(text: str, size_bytes: int) -> tuple[int, int] | None:
    """The first byte and the number of bytes; None for the whole. Raises: `ArmError` 416 for what is not there."""
    found = _RANGE.fullmatch(text)
    if found is None or found[1] == found[2] == "":
        return None
    first, last = found[1], found[2]
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size_bytes - int(last))
    if start >= size_bytes:
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        raise ArmError(
            416, "InvalidRange", f"the range begins behind the end: there are {size_bytes} bytes", headers=headers
        )
    end = min(size_bytes - 1, int(last)) if first and last else size_bytes - 1
    return start, end - start + 1


def file_answer(path: Path, headers: Mapping[str, str], media_type: str, *, kept_as: str = "") -> Answer:
    """A file, or the part of it that the request's headers (names in lower case) ask for; as far as it is now.

    With `kept_as` a browser keeps it under that name, and does not show it.

    Raises: `ArmError` 416; `OSError`.
    """
    status = path.stat()
    size_bytes, tag = status.st_size, _tag(status)
    told = {"Content-Type": media_type, "Accept-Ranges": "bytes", "ETag": tag}
    if kept_as:
        told |= {"Content-Disposition": f"attachment; filename={kept_as}", "X-Content-Type-Options": "nosniff"}
    is_same = headers.get("if-range", tag) == tag
    part = asked_range(headers.get("range", ""), size_bytes) if is_same else None
    if part is None:
        return Answer(200, FileBody(path, size_bytes), told)
    start, length = part
    told["Content-Range"] = f"bytes {start}-{start + length - 1}/{size_bytes}"
    return Answer(206, FileBody(path, length, start), told)


def _tag(status: os.stat_result) -> str:
    return f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
