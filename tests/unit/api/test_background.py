"""What goes on after an answer has a thread as far as there is a place, and is refused beyond."""

import threading
import time
from collections.abc import Iterator

import pytest

from vmkiln.api.protocol.background import (
    MOST_AT_ONCE,
    MOST_OF_A_SUBSCRIPTION,
    RETRY_SECONDS,
    BackgroundThreads,
)
from vmkiln.errors import ArmError


class Blocked:
    """Work that goes on until it is released."""

    def __init__(self) -> None:
        self.background = BackgroundThreads()
        self.release = threading.Event()

    def begin(self, subscription: str) -> None:
        with self.background.reserved(subscription) as begin:
            begin(lambda: (self.release.wait(60), None)[1])


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    found = Blocked()
    yield found
    found.release.set()
    wait_until_done()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "background"]


def wait_until_done() -> None:
    deadline = time.monotonic() + 20
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


def refusal(blocked: Blocked, subscription: str) -> ArmError:
    with pytest.raises(ArmError) as caught:
        blocked.begin(subscription)
    return caught.value


def test_however_many_are_asked_for_there_are_few_threads(blocked: Blocked) -> None:
    refused = 0
    for number in range(3000):
        try:
            blocked.begin(f"s{number % 7}")
        except ArmError:
            refused += 1
    assert len(threads()) == MOST_AT_ONCE
    assert refused == 3000 - MOST_AT_ONCE


def test_one_subscription_leaves_room_for_the_others(blocked: Blocked) -> None:
    for _ in range(MOST_OF_A_SUBSCRIPTION):
        blocked.begin("S1")
    error = refusal(blocked, "s1")
    assert (error.status, error.code) == (429, "TooManyRequests")
    assert error.headers["Retry-After"] == str(RETRY_SECONDS)
    assert str(MOST_OF_A_SUBSCRIPTION) in error.message
    blocked.begin("s2")


def test_what_has_ended_gives_its_place_back(blocked: Blocked) -> None:
    for _ in range(MOST_OF_A_SUBSCRIPTION):
        blocked.begin("s")
    blocked.release.set()
    wait_until_done()
    blocked.release.clear()
    for _ in range(MOST_OF_A_SUBSCRIPTION):
        blocked.begin("s")
    assert blocked.background._taken == {"s": MOST_OF_A_SUBSCRIPTION}


def test_a_place_that_is_not_used_is_free_again(blocked: Blocked) -> None:
    for _ in range(MOST_OF_A_SUBSCRIPTION + 1):
        with pytest.raises(ZeroDivisionError), blocked.background.reserved("s"):
            raise ZeroDivisionError
    assert not blocked.background._taken


def test_work_that_fails_is_told_and_counted_and_gives_its_place_back(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[int] = []
    background = BackgroundThreads(on_failure=lambda: failures.append(1))

    def fails() -> None:
        raise ZeroDivisionError

    for _ in range(3):
        with background.reserved("s") as begin:
            begin(fails)
        wait_until_done()
    assert not background._taken
    assert len(failures) == 3
    assert "ZeroDivisionError" in caplog.text


def test_background_work_does_not_hold_up_the_end(blocked: Blocked) -> None:
    blocked.begin("s")
    assert all(thread.daemon for thread in threads())


def test_without_a_thread_nothing_is_recorded_and_the_place_is_free(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    recorded: list[str] = []

    def ask() -> None:
        with blocked.background.reserved("s"):
            recorded.append("a deployment that would go on for ever")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(ArmError) as caught:
            ask()
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]
    assert recorded == []
    assert not blocked.background._taken
