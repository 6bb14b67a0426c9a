"""Which scripts get other line ends."""

from pathlib import Path

import pytest

from vmkiln.packer import unix_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"#!/bin/sh\r\necho a\r\necho b", b"#!/bin/sh\necho a\necho b"),
        (b"#!/bin/sh\nexit 0\n#PAYLOAD\nPK\r\n\0\xff\r\n\r", b"#!/bin/sh\nexit 0\n#PAYLOAD\nPK\r\n\0\xff\r\n\r"),
        (b"#!/bin/sh\r\na\rb\r\r\n\r", b"#!/bin/sh\na\rb\r\n\r"),
        (b"\x7fELF\0\r\n\r\n", b"\x7fELF\0\r\n\r\n"),
        (b"", b""),
    ],
)
def test_the_first_line_tells(text: bytes, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(text)
    for chunk in (1, 2, 3, 1024):
        monkeypatch.setattr(unix_lines, "CHUNK_BYTES", chunk)
        unix_lines.copied(tmp_path / "source", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == expected
