"""Attempts of runs as durable workflows: the one module that knows DBOS.

An attempt is a workflow whose id is made of its run and number, so the same attempt is begun once, however often and
by whomever it is asked for. Its steps are on record: what was begun, what was built, what was settled; settling is
repeated until the database takes it. An attempt is bound to its host and never resumed elsewhere, for its disks are
there only: what a dead host leaves is fenced (here, and by `store/engine.py`), and a new attempt starts clean.

DBOS is one per process, and so is this. It has threads and an event loop of its own; the work is done on the loop of
whoever opened it.
Source: DBOS, "Workflows", "Steps", "Configuration"; why DBOS: docs/decisions/0013-durable-runs-and-hosts.md.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.waiting.off_loop import in_round

APPLICATION = "vmkiln"
VERSION = "1"  # of what the steps mean; never the version of vmkiln, or an upgrade would strand what is on record
WORKFLOW = "attempt"
SETTLE: Any = {
    "name": "settle",
    "retries_allowed": True,
    "max_attempts": 12,
    "interval_seconds": 0.5,
    "backoff_rate": 1.5,
}
KEPT_SECONDS = 86_400.0  # how long an attempt's steps stay on record after it began
FORGOTTEN_AT_ONCE = 500
POLL_SECONDS = 0.5  # of messages between workflows; nobody waits for one, but DBOS's end does
SCHEDULE_SECONDS = 60.0  # of workflows by the clock, of which there are none
QUEUE_SECONDS = 60.0  # of DBOS's own queue, and of workflows with a delay or a deadline; it looks each second else
MOST_AT_ONCE = 512
END_SECONDS = 5.0
THREADS = "dbos-executor-"
AttemptStep = Callable[[str, int], Awaitable[None]]


@dataclass(frozen=True)
class Attempts:
    """The attempts of this process. `dbos` is DBOS itself, `attempt` the workflow it knows."""

    dbos: Any
    attempt: Any
    incarnation: str

    async def begin(self, run_id: str, attempt: int) -> None:
        """Begin an attempt on this host; one that was begun before, here or elsewhere, is left alone."""
        await in_round(self._begin, run_id, attempt)

    def _begin(self, run_id: str, attempt: int) -> None:
        from dbos import SetWorkflowID  # noqa: PLC0415

        with SetWorkflowID(workflow_id(run_id, attempt)):
            self.dbos.start_workflow(self.attempt, run_id, attempt)

    async def fence(self, run_id: str, attempt: int) -> None:
        """Keep an attempt of a dead host from going on, if it ever wakes up."""
        await in_round(self.dbos.cancel_workflow, workflow_id(run_id, attempt))

    async def forget(self, *, now: float | None = None) -> int:
        """Forget attempts that began long ago; returns how many. `now` is in seconds since 1970."""
        before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((now or time.time()) - KEPT_SECONDS))
        old = await in_round(
            self.dbos.list_workflows,
            name=WORKFLOW,
            end_time=before,
            status=["SUCCESS", "ERROR", "CANCELLED"],
            limit=FORGOTTEN_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        ids = [workflow.workflow_id for workflow in old]
        if ids:
            await in_round(self.dbos.delete_workflows, ids)
        return len(ids)

    async def closed(self) -> None:
        """End the engine, when what goes on here has come to its recorded end; or without it, when that takes long."""
        ending = asyncio.create_task(in_round(self._end))
        await asyncio.wait([ending], timeout=END_SECONDS)  # DBOS itself waits for its database for ever

    def _end(self) -> None:
        deadline = time.monotonic() + END_SECONDS / 2
        with contextlib.suppress(Exception):  # its database may be away; then there is nothing to wait for
            while self._going_on() and time.monotonic() < deadline:
                time.sleep(0.02)
        self.dbos.destroy(destroy_registry=True)

    def _going_on(self) -> bool:
        mine = self.dbos.list_workflows(
            status="PENDING", executor_id=self.incarnation, limit=1, load_input=False, load_output=False
        )
        return bool(mine)

    async def steps(self, run_id: str, attempt: int) -> list[str]:
        """The names of an attempt's steps that are on record, in order."""
        found = await asyncio.to_thread(self.dbos.list_workflow_steps, workflow_id(run_id, attempt))
        return [str(step["function_name"]) for step in found]


def is_stuck() -> bool:
    """Whether threads of the engine still wait for a database that is away; they would keep the process for ever."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


def workflow_id(run_id: str, attempt: int) -> str:
    """What an attempt is called; pure."""
    return f"{run_id}-a{attempt}"


@contextlib.asynccontextmanager
async def opened(
    address: Path | str, *, incarnation: str, build: AttemptStep, settle: AttemptStep
) -> AsyncIterator[Attempts]:
    """The durable engine, while the block lasts: in an SQLite file, or in the PostgreSQL database of a URL.

    `build` and then `settle` do the work of an attempt, on the event loop of whoever opens this.
    To be left when no attempt goes on any more. Raises: `VmkilnError` when its database is away.
    """
    loop = asyncio.get_running_loop()
    # in a thread, where DBOS sees no event loop, so that it does not take over ours
    launching = asyncio.ensure_future(in_round(_launched, address, incarnation, build, settle, loop))
    try:
        attempts = await asyncio.shield(launching)
    except asyncio.CancelledError:
        await asyncio.wait([launching])
        if not launching.cancelled() and launching.exception() is None:
            await launching.result().closed()
        raise
    try:
        yield attempts
    finally:
        await attempts.closed()


def _launched(
    address: Path | str, incarnation: str, build: AttemptStep, settle: AttemptStep, loop: asyncio.AbstractEventLoop
) -> Attempts:
    from dbos import DBOS, DBOSConfig, _workflow_commands  # noqa: PLC0415 (half a second, and commands that only look need none of it)
    from dbos._serialization import DBOSPortableJSONSerializer  # noqa: PLC0415

    # what DBOS tells goes the way of our own log
    logger = logging.getLogger("dbos")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = True
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": address if isinstance(address, str) else f"sqlite:///{address}",
        "application_version": VERSION,
        "executor_id": incarnation,
        "serializer": DBOSPortableJSONSerializer(),  # the default unpickles what it reads from the database
        "log_level": "ERROR",
        "enable_otlp": False,
        "use_listen_notify": False,
        "sys_db_pool_size": 3,
        "max_executor_threads": MOST_AT_ONCE,  # an attempt that goes on waits in a thread
        "notification_listener_polling_interval_sec": POLL_SECONDS,
        "scheduler_polling_interval_sec": SCHEDULE_SECONDS,
    }
    if isinstance(address, Path):
        address.touch(mode=0o600)  # SQLite would make it as the umask leaves it
    engine = DBOS(config=config)
    # nothing of ours is ever in its queue, or has a delay or a deadline; there is no setting for either
    engine._registry.get_internal_queue()._polling_interval_sec = QUEUE_SECONDS
    _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC = QUEUE_SECONDS

    def attempt(run_id: str, number: int) -> None:
        DBOS.run_step({"name": "build"}, _on, loop, build, run_id, number)
        DBOS.run_step(SETTLE, _on, loop, settle, run_id, number)

    try:
        workflow = DBOS.workflow(name=WORKFLOW)(attempt)
        DBOS.launch()
        # it asks each second, for schedules in its first minute; there is no setting for that either
        engine._sys_db.list_queues = _none  # type: ignore[method-assign, assignment]
        engine._sys_db.list_schedules = _none  # type: ignore[method-assign, assignment]
    except Exception as error:
        DBOS.destroy(destroy_registry=True)
        raise VmkilnError(f"the durable engine cannot start: {error}") from error
    return Attempts(DBOS, workflow, incarnation)


def _none(**_asked: object) -> list[object]:
    """The queues and schedules on record: none, for an attempt begins at once on the host that has the run; pure."""
    return []


def _on(loop: asyncio.AbstractEventLoop, step: AttemptStep, run_id: str, attempt: int) -> None:
    """Do something on an event loop, and wait for it in this thread."""

    async def whole() -> None:
        await step(run_id, attempt)

    asyncio.run_coroutine_threadsafe(whole(), loop).result()
