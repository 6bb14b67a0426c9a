"""An event loop in a thread of its own, for services that are asked from the outside."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

Work = Callable[[Callable[[], None]], Coroutine[Any, Any, object]]


@contextlib.contextmanager
def in_a_thread(work: Work, *, seconds: float = 20) -> Iterator[None]:
    """`work` goes on while the block lasts and is cancelled at its end; it calls what it is given when it is ready.

    The threads that it asked are waited for, up to `seconds`, so what they hold is closed afterwards.
    """
    ready = threading.Event()
    tasks: list[asyncio.Task[object]] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        tasks.append(asyncio.create_task(work(ready.set)))
        await asyncio.wait(tasks)
        ready.set()

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    assert ready.wait(seconds)
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the work has ended by itself
            loops[0].call_soon_threadsafe(tasks[0].cancel)
        thread.join(seconds)
        assert not thread.is_alive()
        if not tasks[0].cancelled():
            tasks[0].result()
