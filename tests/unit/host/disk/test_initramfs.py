"""The initial file system: an archive that other programs read back."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, REGULAR, Entry, archive

ENTRIES = [Entry("bin", DIRECTORY), Entry("bin/hello", EXECUTABLE, b"#!/bin/sh\n"), Entry("word", REGULAR, b"abcde")]


def test_every_header_starts_on_a_multiple_of_four() -> None:
    content = archive(ENTRIES)
    starts = [index for index in range(len(content)) if content[index : index + 6] == b"070701"]
    assert len(starts) == len(ENTRIES) + 1
    assert all(start % 4 == 0 for start in starts)
    assert len(content) % 4 == 0


def test_the_same_entries_give_the_same_bytes() -> None:
    assert archive(ENTRIES) == archive(list(ENTRIES))


def test_busybox_unpacks_what_was_packed(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.fail("busybox is not installed: run `script/bootstrap`")
    subprocess.run([busybox, "cpio", "-i"], input=archive(ENTRIES), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "bin/hello").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "bin/hello").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "word").read_bytes() == b"abcde"
