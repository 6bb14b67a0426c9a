"""Ctrl-C and SIGTERM: the first cancels what is going on and lets it clean up; later ones are told to wait."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from vmkiln.fleet import durable_attempts
from vmkiln.host.heap import keep_in_one_arena

Result = TypeVar("Result")
END_SECONDS = 60.0  # what systemd waits for, too
log = logging.getLogger(__name__)


def host_to_end(work: Coroutine[Any, Any, object], *, ended: str) -> None:
    """Run a service or a worker until a signal ends it, and tell that it has `ended`."""
    keep_in_one_arena()
    try:
        run_to_end(work)
    except KeyboardInterrupt:
        typer.echo(ended, err=True)
    except BaseException as error:
        if durable_attempts.is_stuck():
            log.critical("this process ends at once, for its engine's threads wait for their database: %s", error)
            logging.shutdown()
            os._exit(1)
        raise
    if durable_attempts.is_stuck():
        sys.stderr.flush()
        os._exit(0)  # its database is away: nothing more can be recorded, and nothing of its builds is left


def end_for_sure() -> None:
    """End this process soon, also when its own clean-up does not come to an end: nobody asked for that either."""
    timer = threading.Timer(END_SECONDS, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    log.critical("the clean-up did not come to an end within %.0f s; this process ends all the same", END_SECONDS)
    logging.shutdown()
    os._exit(1)


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work; a signal cancels it, and its own clean-up decides when it is over.

    Raises: whatever the work raises; `KeyboardInterrupt` when it was cancelled and says nothing itself.
    """

    async def watched() -> Result:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def interrupted() -> None:
            if task.cancelling():
                typer.echo("still cleaning up; wait a moment", err=True)
            else:
                typer.echo("cancelling; everything temporary is being deleted", err=True)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        try:
            return await task
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
