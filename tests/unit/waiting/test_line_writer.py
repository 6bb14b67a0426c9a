"""Lines that a thread writes: in order, within limits, and what is lost is told."""

import contextlib
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vmkiln.waiting import line_writer
from vmkiln.waiting.line_writer import LineWriter, Lost


def told(lost: Lost) -> bytes:
    return f"lost {lost.lines}, precious {lost.precious}\n".encode()


TELLING = re.compile(rb"lost (\d+), precious (\d+)\n")


def lost_in(content: bytes) -> Lost:
    """What is told to be lost, all in all."""
    tellings = TELLING.findall(content)
    return Lost(sum(int(lines) for lines, _ in tellings), sum(int(precious) for _, precious in tellings))


class Pipe:
    """A pipe that is read when somebody says so."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.content = b""

    def read_until(self, is_there: Callable[[bytes], bool]) -> None:
        """Read from it until what was read is as wanted."""
        deadline = time.monotonic() + 20
        while not is_there(self.content):
            assert select.select([self.reading], [], [], max(0, deadline - time.monotonic()))[0]
            self.content += os.read(self.reading, 65536)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.reading, made.writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, told)
    for number in range(1000):
        writer.put(f"{number}\n".encode())
    assert writer.flush(20)
    pipe.read_until(lambda content: content.count(b"\n") == 1000)
    assert pipe.content.split() == [str(number).encode() for number in range(1000)]
    assert writer.lost == Lost()


def test_nobody_waits_for_who_does_not_read(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "MOST_WAITING_BYTES", 100_000)
    monkeypatch.setattr(line_writer, "MOST_PRECIOUS_BYTES", 200_000)
    writer = LineWriter(pipe.writing, told)
    line = b"x" * 999 + b"\n"
    for _ in range(400):
        writer.put(line)
    lost = writer.lost.lines
    assert 400 > lost >= 400 - 100 - 128, "what has no room, beside the queue and the pipe"
    assert writer.stuck_seconds >= 0
    assert not writer.flush(0.05)
    for _ in range(50):
        writer.put(b"p" * 999 + b"\n", is_precious=True)
    assert writer.lost == Lost(lost, 0), "precious lines have room that others cannot take"
    for _ in range(400):
        writer.put(b"p" * 999 + b"\n", is_precious=True)
    assert writer.lost.precious > 0
    kept = 400 + 450 - writer.lost.lines
    pipe.read_until(
        lambda content: content.count(b"\n") == kept + len(TELLING.findall(content))
    )  # nothing else is lost
    assert lost_in(pipe.content) == writer.lost
    assert 1 <= len(TELLING.findall(pipe.content)) <= 3, "once for each time that lines are taken again"


def test_it_does_not_end_by_an_error(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "AGAIN_SECONDS", 0.01)
    writes = os.write
    errors = [OSError(28, "No space left on device"), BlockingIOError(11, "again"), ValueError("unforeseen")]

    def broken(descriptor: int, content: bytes) -> int:
        if descriptor == pipe.writing and errors:
            raise errors.pop(0)
        return writes(descriptor, content)

    monkeypatch.setattr(os, "write", broken)
    writer = LineWriter(pipe.writing, told)
    writer.put(b"first\n")
    assert writer.flush(20)
    writer.put(b"second\n")
    assert writer.flush(20)
    writer.put(b"third\n")
    pipe.read_until(lambda content: b"lost" in content)
    assert pipe.content == b"third\nlost 2, precious 0\n"


def test_it_waits_when_others_made_the_file_one_that_does_not_wait(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    writer = LineWriter(pipe.writing, told)
    writer.put(b"x" * 300_000 + b"\n")
    pipe.read_until(lambda content: content.endswith(b"\n"))
    assert len(pipe.content) == 300_001


def test_after_its_end_lines_are_counted_as_lost(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, told)
    writer.put(b"in time\n")
    assert writer.close(20)
    writer.put(b"late\n", is_precious=True)
    assert writer.lost == Lost(1, 1)
    assert os.read(pipe.reading, 100) == b"in time\n"


def test_a_line_that_is_larger_than_all_room_is_written_when_it_is_alone(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "MOST_WAITING_BYTES", 10)
    writer = LineWriter(pipe.writing, told)
    writer.put(b"a line of some length\n")
    pipe.read_until(lambda content: content.endswith(b"\n"))


def test_any_thread_may_leave_a_line(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, told)
    threads = [threading.Thread(target=lambda: [writer.put(b"line\n") for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.read_until(lambda content: content.count(b"\n") == 800)
