"""A run's timeline on its way into the database, and what its programs take on its way into the timeline.

No run fails for its timeline: when it cannot be written, that is in the process's log, and the run goes on.

*Leaves behind:* the parts. *Undone by:* nothing, as the run's phases. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime

from vmkiln.host.usage.process_tree import ProcessTree
from vmkiln.run.run_context import BuildHost, RunRequest, Tell
from vmkiln.run.run_event import RunEvent, Used, masked
from vmkiln.run.timeline.timeline import Timeline
from vmkiln.store.database import Store
from vmkiln.store.timeline.part_table import PartRow
from vmkiln.waiting.off_loop import off_loop, to_its_end

LOOK_SECONDS = 1.0
WRITE_SECONDS = 1.0  # what a run does is on record so long after it at most
Phases = Callable[[BuildHost, RunRequest, Tell], Awaitable[str]]
log = logging.getLogger(__name__)


def timed(phases: Phases) -> Phases:
    """The same phases; what they tell is also the run's timeline, and is in the database when they have ended."""

    async def work(host: BuildHost, request: RunRequest, tell: Tell) -> str:
        changed = asyncio.Event()
        timeline = Timeline(request.run_id, request.attempt, clock=host.store.now, on_change=changed.set)

        def noting(event: RunEvent) -> None:
            timeline.note(masked(event, request.mask))
            if not isinstance(event, Used):  # which is for the timeline alone
                tell(event)

        async with _written(host.store, request, timeline, changed):
            return await phases(host, request, noting)

    return work


@contextlib.asynccontextmanager
async def _written(
    store: Store, request: RunRequest, timeline: Timeline, changed: asyncio.Event
) -> AsyncIterator[None]:
    over = asyncio.Event()

    async def write() -> None:
        since = request.asked_for or await off_loop(_waited_since, store, request.run_id)
        if since is not None:
            timeline.waited(since)
        while True:
            with contextlib.suppress(TimeoutError):  # what begins right after is written with it
                await asyncio.wait_for(over.wait(), WRITE_SECONDS)
            changed.clear()
            await off_loop(_put, store, timeline.parts)
            if over.is_set() and not changed.is_set():
                return
            await changed.wait()

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        timeline.end_all()
        over.set()
        changed.set()
        await to_its_end(writing)


def _waited_since(store: Store, run_id: str) -> datetime | None:
    """When the run was asked for; none when it never waited."""
    with _never_failing():
        run = store.runs.by_id([run_id]).get(run_id)
        if run is not None and (queued := run.facts.get("queued")):
            return datetime.fromisoformat(queued)
    return None


def _put(store: Store, parts: Sequence[PartRow]) -> None:
    with _never_failing():
        store.timelines.put(parts)


@contextlib.contextmanager
def _never_failing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.warning("the timeline of a run could not be written: %s", error)


@contextlib.asynccontextmanager
async def watched(process_id: int, tell: Tell) -> AsyncIterator[None]:
    """While the block lasts, what a process and all below it take is told, once a second."""
    tree = ProcessTree(process_id)

    async def look() -> None:
        while True:
            tell(Used(await off_loop(tree.look)))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        for problem in await asyncio.gather(looking, return_exceptions=True):
            if isinstance(problem, Exception):
                log.warning("what a run takes was not looked at to the end: %r", problem)
