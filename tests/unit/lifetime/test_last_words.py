"""The end of a process: it comes, whoever does or does not read what is said last."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest
from full_pipe import unread

from vmkiln.errors import LeaseLost
from vmkiln.lifetime import last_words

SOON = 20.0
LOGS = "import logging, threading; logging.basicConfig(level=logging.INFO)\n"
LEASE = LOGS + "from vmkiln.fleet.attempt import end_process; end_process('the lease was lost')"
HELD = LOGS + "logging.getLogger().handlers[0].acquire()\n"  # somebody is writing, and waits for ever
IN_TIME = """
import time
from vmkiln.lifetime import last_words
last_words.end_within(0.2, status=7, text=lambda: "it is time")
time.sleep(60)
"""
WITHOUT_THREADS = """
import threading, time
from vmkiln.lifetime import last_words
def none(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = none
last_words.ALARM_SECONDS = last_words.SAY_SECONDS = 0
last_words.end_within(1, status=7, text=lambda: "it is time")
time.sleep(60)
"""


def test_a_host_that_lost_its_lease_ends_though_its_log_is_not_read() -> None:
    with unread(LEASE) as process:
        assert process.wait(SOON) == LeaseLost.exit_code


def test_a_process_ends_in_its_time_though_its_log_is_not_read() -> None:
    with unread(LOGS + IN_TIME) as process:
        assert process.wait(SOON) == 7


def test_a_process_ends_though_another_thread_holds_the_log() -> None:
    script = HELD + f"threading.Thread(target=lambda: exec({IN_TIME!r}), daemon=True).start(); import time\n"
    with unread(script + "time.sleep(60)") as process:
        assert process.wait(SOON) == 7


def test_the_reason_is_in_the_log_when_somebody_reads_it() -> None:
    done = subprocess.run([sys.executable, "-c", LEASE], capture_output=True, text=True, timeout=SOON, check=False)
    assert done.returncode == LeaseLost.exit_code
    assert "the lease was lost; this process ends, and its builds with it" in done.stderr


def test_the_kernel_ends_a_process_that_gets_no_thread_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS + WITHOUT_THREADS], capture_output=True, timeout=SOON, check=False
    )
    assert done.returncode == -signal.SIGALRM


async def waits_here() -> None:
    await last_words_like_wait()


async def last_words_like_wait() -> None:
    await asyncio.Event().wait()


async def test_what_an_end_waits_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "PACKAGE", "test_last_words")
    may_end = threading.Event()

    def hanging_call() -> None:
        may_end.wait(SOON)

    task = asyncio.create_task(waits_here(), name="the part")
    thread = threading.Thread(target=hanging_call, name="a-thread")
    thread.start()
    await asyncio.sleep(0.05)
    try:
        told = last_words.waited_for(asyncio.get_running_loop())
    finally:
        may_end.set()
        task.cancel()
        thread.join()
    assert "the part in last_words_like_wait, line" in told
    assert "a-thread in test_what_an_end_waits_for_is_told.<locals>.hanging_call, line" in told


async def test_a_call_beside_the_loop_that_hangs_is_told() -> None:
    from vmkiln.waiting.off_loop import off_loop

    gate = threading.Event()
    task = asyncio.create_task(off_loop(gate.wait, SOON), name="a record")
    await asyncio.sleep(0.05)
    try:
        told = last_words.waited_for(asyncio.get_running_loop())
    finally:
        gate.set()
    await task
    assert "a record in to_its_end" in told
    assert "off-loop" in told.partition("threads:")[2]


def test_only_as_many_names_are_told_as_fit() -> None:
    names = [f"task {number}" for number in range(last_words.MOST_NAMES + 3)]
    assert last_words._some(names).endswith("and 3 more")
    assert last_words._some([]) == "none"


def test_ending_takes_no_longer_than_what_is_said_last() -> None:
    began = time.monotonic()
    with unread(LEASE) as process:
        process.wait(SOON)
    assert time.monotonic() - began < SOON
