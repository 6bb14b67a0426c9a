"""A server as it is reached from far away: every byte arrives late, and in order, in both directions."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 64 * 1024
START_SECONDS = 10.0


class _Distance:
    """Connections to a unix socket by a port of this machine, each half of `seconds` late in each direction."""

    def __init__(self, socket: Path, seconds: float) -> None:
        self._socket = socket
        self._late = seconds / 2
        self.port = 0
        self.is_there = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        async with await asyncio.start_server(self._met, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.is_there.set()
            await stop.wait()
            for task in self._tasks:
                task.cancel()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_unix_connection(str(self._socket))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(reader, back))
                ways.create_task(self._carry(there, writer))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    break
                target.write(data)
                await target.drain()
            target.close()

        async with asyncio.TaskGroup() as ways:
            ways.create_task(arrive())
            data = b"."
            while data:
                data = await source.read(CHUNK_BYTES)
                on_the_way.put_nowait((loop.time() + self._late, data))


@contextlib.contextmanager
def distant(socket: Path, seconds: float) -> Iterator[int]:
    """The port by which a unix socket is reached while the block lasts, a round trip taking `seconds` more."""
    distance = _Distance(socket, seconds)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[distance.serve(stop)], daemon=True)
    thread.start()
    assert distance.is_there.wait(START_SECONDS)
    try:
        yield distance.port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(START_SECONDS)
