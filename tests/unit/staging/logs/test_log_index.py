"""When each line of a log came, and in which step."""

import errno
from pathlib import Path
from typing import Any

import pytest

from vmkiln.staging.customization_log import CustomizationLog, last_lines, lines_after
from vmkiln.staging.logs.log_index import (
    LEAST_SECONDS,
    NEAR_BYTES,
    LineTime,
    LogIndex,
    clock_text,
    index_of,
    times_of,
)

DAY = 1_780_000_000.0


def test_each_line_has_the_time_and_the_step_that_it_came_in(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with CustomizationLog(path, "r") as log, LogIndex(path) as index:
        log.write("before")
        for number, step in enumerate(["", "install", "install"]):
            index.step = step
            index.note(log.end, DAY + number)
            log.write(f"first of {number}")
            log.write(f"second of {number}")
    part = lines_after(path, 0, most_lines=99, most_bytes=9999)
    times = times_of(path, 0, part.lines)
    assert times[:3] == [None, LineTime(DAY), LineTime(DAY)]
    assert times[3:5] == [LineTime(DAY + 1, "install")] * 2
    assert times[5:] == [LineTime(DAY + 2, "install")] * 3
    assert path.read_bytes() == b"".join(part.lines), "the log itself is what it was"
    end = last_lines(path, most_lines=2, most_bytes=999)
    assert times_of(path, end.start, end.lines) == times[-2:]


def test_lines_that_come_together_share_an_entry_and_a_new_step_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    with LogIndex(path) as index:
        index.note(0, DAY)
        index.note(10, DAY + LEAST_SECONDS / 2)
        index.step = "install"
        index.note(20, DAY + LEAST_SECONDS / 2)
    assert index_of(path).read_text().count("\n") == 2


def test_of_a_long_index_only_what_is_needed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with LogIndex(path) as index:
        for number in range(20_000):
            index.note(number * 100, DAY + number)
    assert index_of(path).stat().st_size > 100 * NEAR_BYTES
    line = b"x" * 99 + b"\n"
    read: list[int] = []
    from vmkiln.staging.logs import log_index

    parsed = log_index.entry_of
    monkeypatch.setattr(log_index, "entry_of", lambda text: read.append(len(text)) or parsed(text))
    for number in (0, 1, 77, 9_999, 19_998):
        read.clear()
        expected = [LineTime(DAY + number), LineTime(DAY + number + 1)]
        assert times_of(path, number * 100, [line, line]) == expected
        assert sum(read) < 4 * NEAR_BYTES
    assert times_of(path, 10**9, [line]) == [LineTime(DAY + 19_999)]


def test_a_torn_entry_is_passed_over_and_no_index_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert times_of(path, 0, [b"a\n"]) == [None]
    index_of(path).write_text('{"at": 0, "ti\n[vmkiln] gone\n{"at": 2, "time": 5, "step": "x"}\n{"at": 4')
    assert times_of(path, 0, [b"a\n", b"b\n", b"c\n"]) == [None, LineTime(5, "x"), LineTime(5, "x")]


def test_an_index_has_a_bound_and_no_full_disk_fails_a_run(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogIndex(path, most_bytes=100) as index:
        for number in range(10):
            index.note(number, DAY + number)
    assert 0 < index_of(path).stat().st_size <= 100

    class Full:
        def write(self, _text: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        def close(self) -> None:
            pass

    full: Any = Full()
    with LogIndex(path) as index:
        index._file.close()
        index._file = full
        index.note(0, DAY)
    assert clock_text(0.25) == "1970-01-01T00:00:00.250Z"
