"""Ctrl-C, SIGTERM, SIGHUP: the first cancels what is going on and lets it clean up; later ones are told to wait.

SIGHUP comes when the terminal is closed or its connection cut; what `nohup` started goes on.

No end lasts for ever: a clean-up that does not come to an end in its time is left to the next start, and told.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from vmkiln import process_log
from vmkiln.cli import invocation
from vmkiln.fleet import durable_attempts
from vmkiln.host.heap import keep_in_one_arena
from vmkiln.lifetime import end_signals, last_words

Result = TypeVar("Result")
END_SECONDS = 50.0  # of a service or worker; systemd waits a little longer, so that this is told
COMMAND_END_SECONDS = 600.0  # of a command, whose user sees that it goes on
ENDS = (signal.SIGINT, *end_signals.ENDS)
LEAVE_SECONDS = 10.0  # from the end of all work to that of the process
_loop: asyncio.AbstractEventLoop | None = None


def host_to_end(work: Coroutine[Any, Any, object], *, ended: str) -> None:
    """Run a service or a worker until a signal ends it, and tell that it has `ended`.

    Its log is written by a thread, so nothing of it waits for whoever should read that.
    """
    keep_in_one_arena()
    with process_log.beside_the_loop():
        try:
            run_to_end(work, end_seconds=END_SECONDS, say=process_log.say)
        except KeyboardInterrupt:
            process_log.say(ended)
        except BaseException as error:
            _leave_soon(1)
            if durable_attempts.is_stuck():
                text = f"this process ends at once, for its engine's threads wait for their database: {error}"
                last_words.end_now(1, text)
            raise
    _leave_soon(0)
    if durable_attempts.is_stuck():
        # its database is away: nothing more can be recorded, and nothing of its builds is left
        last_words.end_now(0, "this process ends at once, for its engine's threads wait for their database")


def _leave_soon(status: int) -> None:
    """All work has ended; what still holds the process, such as a thread or a blocked pipe, has a moment."""
    waits = "what was done here has ended, but not this process, within {:.0f} s; it ends all the same; {}"
    last_words.end_within(
        LEAVE_SECONDS, status=status, text=lambda: waits.format(LEAVE_SECONDS, last_words.waited_for(None))
    )


def end_for_sure() -> None:
    """End this process soon, also when its own clean-up does not come to an end: nobody asked for that either."""
    _end_within(END_SECONDS, "something of this process ended unasked, and")


def _end_within(seconds: float, why: str) -> None:
    def text() -> str:
        waits = last_words.waited_for(_loop)
        return f"{why} the clean-up did not come to an end within {seconds:.0f} s; it ends all the same; {waits}"

    last_words.end_within(seconds, status=1, text=text)


def _say(text: str) -> None:
    typer.echo(text, err=True)


@dataclass
class Parting:
    """What is told at the first signal; work may change it as it goes on. Nothing is told with ''."""

    text: str = "cancelling; everything temporary is being deleted"


def run_to_end(
    work: Coroutine[Any, Any, Result],
    *,
    end_seconds: float = COMMAND_END_SECONDS,
    say: Callable[[str], None] = _say,
    parting: Parting | None = None,
) -> Result:
    """Run asynchronous work; a signal cancels it, and its own clean-up has `end_seconds` to come to its end.

    Raises: whatever the work raises; `KeyboardInterrupt` when it was cancelled and says nothing itself.
    """

    invocation.collect_as_usual()
    told = parting or Parting()

    async def watched() -> Result:
        global _loop  # noqa: PLW0603 (a process has one)
        task = asyncio.ensure_future(work)
        loop = _loop = asyncio.get_running_loop()

        def interrupted() -> None:
            if task.cancelling():
                say("still cleaning up; wait a moment")
            else:
                task.cancel()  # first, for whoever is told may not listen
                _end_within(end_seconds, "this process was asked to end, and")
                if told.text:
                    say(told.text)

        ends = [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in ends}
        for number in ends:
            loop.add_signal_handler(number, interrupted)
        try:
            return await task
        finally:
            for number in ends:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])  # the loop leaves the system's own way

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
