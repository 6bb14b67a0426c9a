"""A command that has nothing to say for long says what it does, and one that is done says no more."""

import threading
import time

import pytest

from vmkiln.cli.view import long_work

LIMIT_SECONDS = 60.0  # nobody waits for so long


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(long_work, "say", lines.append)
    return lines


def wait_for(said: list[str], words: str) -> None:
    until = time.monotonic() + LIMIT_SECONDS
    while not any(line.startswith(words) for line in said):
        assert time.monotonic() < until, said
        time.sleep(0.005)


def test_what_takes_long_is_told_with_its_time(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_work, "FIRST_SECONDS", 0.005)
    before = threading.active_count()
    with long_work.long_work("writing web.vhd") as now:
        wait_for(said, "writing web.vhd: 0 s so far")
        now("reading it back")
        wait_for(said, "reading it back: ")
    # a thread of an earlier test may have ended meanwhile
    assert threading.active_count() <= before, "nothing is told any more"


def test_what_is_done_soon_is_not_told(said: list[str]) -> None:
    with pytest.raises(ValueError, match="its own"), long_work.long_work("writing web.vhd"):
        raise ValueError("its own")
    assert said == []
