"""Blocking calls beside the loop: the loop goes on, and a cancel changes nothing of what the call does."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

from vmkiln.waiting import off_loop as module
from vmkiln.waiting.off_loop import (
    MOST_THREADS,
    NAME,
    StoppedError,
    go_on,
    in_round,
    off_loop,
    off_loop_with,
    until_cancelled,
)


class Gate:
    """A blocking call that waits until it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, answer: str = "done") -> str:
        self.has_begun.set()
        assert self.may_end.wait(20)
        return answer

    async def begun(self) -> None:
        await asyncio.to_thread(self.has_begun.wait, 20)


def test_the_loop_goes_on_while_a_call_blocks() -> None:
    async def main() -> str:
        gate = Gate()
        asking = asyncio.create_task(off_loop(gate, "answer"))
        await gate.begun()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asking.done()
        gate.may_end.set()
        return await asking

    assert asyncio.run(main()) == "answer"


def test_a_call_is_made_in_a_thread_of_ours_with_the_callers_context() -> None:
    assert asyncio.run(off_loop(lambda: threading.current_thread().name)).startswith(NAME)


def test_what_a_call_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(off_loop(fail))


def test_a_cancelled_call_is_made_and_its_answer_known() -> None:
    gate, heard = Gate(), list[str]()

    async def ask() -> None:
        heard.append(await off_loop(gate))
        heard.append("no cancel so far")
        await asyncio.sleep(0)
        heard.append("behind the cancel")

    async def main() -> None:
        task = asyncio.create_task(ask())
        await gate.begun()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert heard == ["done", "no cancel so far"]


def test_a_call_that_is_cancelled_and_fails_raises_its_error() -> None:
    gate = Gate()

    def fail() -> None:
        gate()
        raise ValueError("no")

    async def ask() -> str:
        try:
            await off_loop(fail)
        except ValueError:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
                return "the cancel was lost"
            return "the error, then the cancel"
        return "no error"

    async def main() -> str:
        task = asyncio.create_task(ask())
        await gate.begun()
        task.cancel()
        await asyncio.sleep(0)
        gate.may_end.set()
        return await task

    assert asyncio.run(main()) == "the error, then the cancel"


def test_a_deadline_that_passes_meanwhile_is_a_deadline_still() -> None:
    gate = Gate()

    async def main() -> None:
        async with asyncio.timeout(0.01):
            asyncio.get_running_loop().call_later(0.05, gate.may_end.set)
            await off_loop(gate)
            await asyncio.sleep(20)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_no_more_calls_at_once_than_threads() -> None:
    going_on, most, lock = 0, 0, threading.Lock()
    pause = threading.Event()

    def count() -> None:
        nonlocal going_on, most
        with lock:
            going_on += 1
            most = max(most, going_on)
        pause.wait(0.01)
        with lock:
            going_on -= 1

    async def main() -> None:
        await asyncio.gather(*(off_loop(count) for _ in range(5 * MOST_THREADS)))

    asyncio.run(main())
    assert most == MOST_THREADS


@contextlib.contextmanager
def noted(notes: list[str], gate: Gate | None = None) -> Iterator[str]:
    """Notes the threads it is entered and left in."""
    notes.append("entered " + threading.current_thread().name[: len(NAME)])
    if gate is not None:
        gate()
    try:
        yield "value"
    except KeyError:
        notes.append("swallowed")
    finally:
        notes.append("left " + threading.current_thread().name[: len(NAME)])


def test_a_context_manager_is_entered_and_left_off_the_loop() -> None:
    notes: list[str] = []

    async def main() -> None:
        async with off_loop_with(lambda: noted(notes)) as value:
            notes.append(value)
        async with off_loop_with(lambda: noted(notes)):
            raise KeyError
        async with off_loop_with(lambda: noted(notes)):
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        asyncio.run(main())
    around = [f"entered {NAME}", f"left {NAME}"]
    assert notes == [around[0], "value", around[1], around[0], "swallowed", around[1], *around]


def test_what_is_entered_while_a_cancel_comes_is_left_again() -> None:
    notes, gate = list[str](), Gate()

    async def ask() -> None:
        async with off_loop_with(lambda: noted(notes, gate)):
            await asyncio.sleep(0)
            notes.append("behind the cancel")

    async def main() -> None:
        task = asyncio.create_task(ask())
        await gate.begun()
        task.cancel()
        await asyncio.sleep(0)
        gate.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert notes == [f"entered {NAME}", f"left {NAME}"]


def test_a_child_process_has_threads_of_its_own() -> None:
    asyncio.run(off_loop(int))
    child = os.fork()
    if child == 0:
        os._exit(asyncio.run(asyncio.wait_for(off_loop(lambda: 7), 20)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_long_call_stops_soon_after_its_cancel() -> None:
    """It is waited for: what it would still write is not written behind whoever cleans up."""
    steps: list[str] = []
    has_begun = threading.Event()

    def fetch() -> None:
        try:
            has_begun.set()
            while True:
                time.sleep(0.01)
                go_on()
        except StoppedError:
            steps.append("stopped")
            raise

    async def main() -> None:
        task = asyncio.create_task(until_cancelled(fetch))
        await asyncio.to_thread(has_begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps.append("cleaned up")

    asyncio.run(main())
    assert steps == ["stopped", "cleaned up"]
    go_on()  # whoever has no such task goes on


def test_a_long_call_that_is_stuck_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.05)
    gate = Gate()

    async def main() -> None:
        task = asyncio.create_task(until_cancelled(gate))
        await gate.begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.may_end.set()

    asyncio.run(main())
    assert "does not stop within" in caplog.text


def test_a_long_call_gives_what_the_function_gives() -> None:
    assert asyncio.run(until_cancelled(lambda value: value, 7)) == 7


def test_a_call_that_gets_no_thread_is_not_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of the library keeps it, and makes it when there are threads again."""
    made: list[str] = []
    start = threading.Thread.start
    left = [3]

    def few(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    threads = module._Threads("few", 4)
    monkeypatch.setattr(module, "_own", threads)

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", few)
            with pytest.raises(RuntimeError):
                await off_loop(made.append, "first")
        await off_loop(made.append, "second")

    asyncio.run(main())
    assert made == ["second"]


def test_rounds_have_threads_of_their_own_and_hear_a_cancel_at_once() -> None:
    gates = [Gate() for _ in range(MOST_THREADS)]

    async def main() -> None:
        busy = [asyncio.create_task(off_loop(gate)) for gate in gates]
        assert (await asyncio.wait_for(in_round(lambda: threading.current_thread().name), 20)).startswith("rounds")
        stuck = Gate()
        task = asyncio.create_task(in_round(stuck))
        await stuck.begun()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        for gate in (*gates, stuck):
            gate.may_end.set()
        await asyncio.gather(*busy)

    asyncio.run(main())
