"""Ctrl-C and SIGTERM: the first cancels what is going on and lets it clean up; later ones are told to wait."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

Result = TypeVar("Result")


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
