"""The stored log: what is in it, what is left out, and how it is followed."""

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.staging import customization_log
from vmkiln.staging.customization_log import (
    LAST_LINE,
    LONGEST_READ_BYTES,
    CustomizationLog,
    last_lines,
    lines_after,
    lines_from,
)


def test_a_line_before_the_others_does_not_say_that_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "run-1", is_ended=False) as log:
        log.write("the build-vm is booted")
    with CustomizationLog(path, "run-1") as log:
        log.write("first")
    said = [line.partition(" OUT ")[2] for line in path.read_text().splitlines()]
    assert said == ["the build-vm is booted", "first", LAST_LINE]


def test_each_line_names_its_run_and_the_last_says_that_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "run-1") as log:
        log.write("==> null: Connected to SSH!")
        log.write("==> null: oops", kind="ERR")
    assert path.read_text().splitlines() == [
        "[run-1] PACKER OUT ==> null: Connected to SSH!",
        "[run-1] PACKER ERR ==> null: oops",
        f"[run-1] PACKER OUT {LAST_LINE}",
    ]


def test_a_line_can_be_read_before_the_log_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "run-1") as log:
        log.write("first")
        assert [line for line, _ in lines_from(path, 0)] == [b"[run-1] PACKER OUT first\n"]


@settings(max_examples=tiers.examples(50))
@given(st.binary(max_size=100).map(lambda content: content.replace(b"\n", b"")))
def test_a_guests_bytes_are_stored_as_they_came(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "customization.log"
    with CustomizationLog(path, "r") as log:
        log.write(content.decode(errors="surrogateescape"))
    assert path.read_bytes().split(b"\n")[0] == b"[r] PACKER OUT " + content


def test_what_finds_no_room_is_counted_and_the_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "r", most_bytes=3000, tail_bytes=1000) as log:
        for number in range(1000):
            log.write(f"line {number}")
    content = path.read_bytes().splitlines(keepends=True)
    written = b"".join(f"[r] PACKER OUT line {number}\n".encode() for number in range(1000))
    notes = [index for index, line in enumerate(content) if b"were dropped" in line]
    kept = b"".join(content[: notes[0]] + content[notes[0] + 1 : -1])
    assert len(notes) == 1
    assert log.dropped_bytes == len(written) - len(kept)
    assert str(log.dropped_bytes).encode() in content[notes[0]]
    assert len(kept) <= 3000
    assert written.startswith(b"".join(content[: notes[0]]))
    assert content[-2] == b"[r] PACKER OUT line 999\n"


def test_a_log_within_its_limit_is_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "r", most_bytes=2000, tail_bytes=1000) as log:
        for number in range(70):
            log.write(f"line {number}")
    assert [line.split()[-1] for line in path.read_text().splitlines()[:-1]] == [str(number) for number in range(70)]
    assert log.dropped_bytes == 0


def test_a_follower_gets_each_line_once_and_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthr")
    first = list(lines_from(path, 0))
    assert [line for line, _ in first] == [b"one\n", b"two\n"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert [line for line, _ in lines_from(path, first[-1][1])] == [b"three\n"]


def test_an_overlong_line_comes_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\0" * (LONGEST_READ_BYTES * 2 + 10) + b"\n")
    assert [len(line) for line, _ in lines_from(path, 0)] == [LONGEST_READ_BYTES, LONGEST_READ_BYTES, 11]


def test_a_log_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert list(lines_from(tmp_path / "log", 0)) == []


class FullFile(io.FileIO):
    """A file on a disk that takes so many bytes more."""

    room = 10**9

    def write(self, content: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(content[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 7, 20, 30])
def test_a_build_goes_on_with_a_full_disk_and_its_log_is_whole_later(tmp_path: Path, room: int) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "r") as log:
        log._file.close()
        log._file = file = FullFile(path, "a")
        log.write("first")
        file.room = room
        log.write("second")
        log.write("third")
        file.room = 10**9
    lines = "".join(f"[r] PACKER OUT {text}\n" for text in ("first", "second", "third", LAST_LINE))
    assert path.read_text() == lines
    assert log.dropped_bytes == 0


def test_what_a_full_disk_did_not_take_is_counted(tmp_path: Path) -> None:
    with CustomizationLog(tmp_path / "customization.log", "r") as log:
        log._file.close()
        log._file = file = FullFile(tmp_path / "customization.log", "a")
        file.room = 5
        log.write("first")
    assert log.dropped_bytes == len("[r] PACKER OUT first\n") - 5


TEXT = st.lists(st.sampled_from([b"a\n", b"\n", b"long" * 20 + b"\n", b"\r\n", b"\xff\n", b"open"]), max_size=12)


@given(TEXT, st.integers(0, 6), st.integers(1, 200))
def test_the_last_lines_are_the_end_of_all_lines(pieces: list[bytes], most_lines: int, most_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(customization_log, "READ_BACK_BYTES", 7)
        path = Path(folder) / "log"
        path.write_bytes(b"".join(pieces))
        every = [line for line, _ in lines_from(path, 0)]
        found = last_lines(path, most_lines=most_lines, most_bytes=most_bytes)
        assert sum(map(len, found.lines)) <= most_bytes
        assert len(found.lines) <= most_lines
        assert b"".join(every).endswith(b"".join(found.lines))
        assert path.read_bytes()[found.start : found.end] == b"".join(found.lines)
        if most_bytes >= len(path.read_bytes()):
            assert list(found.lines) == every[len(every) - min(most_lines, len(every)) :]
            assert found.end == len(b"".join(every))


def test_the_last_lines_of_a_long_log_are_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(8 * 1024**3)  # sparse: to read it all would take minutes
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(b"line %d\n" % number for number in range(3000)))
    found = last_lines(path, most_lines=1000, most_bytes=1024**2)
    assert (found.lines[0], found.lines[-1], len(found.lines)) == (b"line 2000\n", b"line 2999\n", 1000)


@given(TEXT, st.integers(1, 4), st.integers(1, 100))
def test_a_log_read_in_parts_is_the_whole_log(pieces: list[bytes], most_lines: int, most_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(b"".join(pieces))
        read, position, is_last = [], 0, False
        while not is_last:
            part = lines_after(path, position, most_lines=most_lines, most_bytes=most_bytes)
            assert len(part.lines) <= most_lines
            assert len(part.lines) <= 1 or sum(map(len, part.lines)) <= most_bytes
            assert part.start == position
            read += part.lines
            position, is_last = part.end, part.is_last
        assert read == [line for line, _ in lines_from(path, 0)]
