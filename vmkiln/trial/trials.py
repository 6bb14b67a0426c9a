"""Templates are tried in processes of their own before the service evaluates them: what takes long or much is killed.

The budget of an evaluation (`arm_template/budget.py`) holds what we thought of; a process holds what we did not. A few
are kept warm. One that was killed, or has died, is the answer to its request; the next request gets another one.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from enum import Enum, auto
from pathlib import Path
from typing import Any

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.errors import Mistake, TemplateInvalid, VmkilnError
from vmkiln.host.command import PIPE, start
from vmkiln.trial.trial_program import CAME_THROUGH, LENGTH_BYTES, MOST_MEMORY_BYTES

PROGRAM = (sys.executable, "-I", "-m", "vmkiln.trial.trial_program")
MOST_PROCESSES = 2
MOST_WAITING = 64
CPU_SECONDS = 2.0  # of a process, for one template
MOST_LOOKS = 10  # as many times two seconds by the clock, when the processors are busy with others
WAIT_SECONDS = 60.0
log = logging.getLogger(__name__)
Job = tuple[bytes, "asyncio.Future[Verdict]"]


class Verdict(Enum):
    """What came of a trial."""

    CAME_THROUGH = auto()
    TOO_LONG = auto()
    TOO_LARGE = auto()
    NOT_TRIED = auto()


_WORDS = {
    Verdict.TOO_LONG: f"takes more than {CPU_SECONDS:.0f} s to evaluate",
    Verdict.TOO_LARGE: f"takes more than {MOST_MEMORY_BYTES // 1024**2} MiB to evaluate",
    Verdict.NOT_TRIED: "cannot be evaluated now: too many others are, or no process can be started",
}


class Trials:
    """The processes of one service. Without `serve` nothing is tried, as on the command line."""

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self._program = program
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(MOST_WAITING)

    async def serve(self) -> None:
        """Try templates until cancelled; a process begins with the first that there is for it."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(MOST_PROCESSES):
                    workers.create_task(self._work())
        finally:
            self._loop = None
            while not self._jobs.empty():
                _answer(self._jobs.get_nowait()[1], Verdict.NOT_TRIED)

    def check(self, template: Mapping[str, Any], parameters: Mapping[str, Any], context: DeploymentContext) -> None:
        """Try a template, in the thread of whoever asks. Raises: `TemplateInvalid` when it did not come through."""
        loop = self._loop
        if loop is None:
            return
        values = {field.name: getattr(context, field.name) for field in fields(context)}
        place = {name: value for name, value in values.items() if isinstance(value, str)}
        request = json.dumps({"template": template, "parameters": parameters, "context": place}).encode()
        asking = asyncio.run_coroutine_threadsafe(self._verdict_on(request), loop)
        try:
            verdict = asking.result(WAIT_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            asking.cancel()
            verdict = Verdict.NOT_TRIED
        if verdict is not Verdict.CAME_THROUGH:
            raise TemplateInvalid([Mistake("properties.template", _WORDS[verdict])])

    async def _verdict_on(self, request: bytes) -> Verdict:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        try:
            self._jobs.put_nowait((request, answer))
        except asyncio.QueueFull:
            return Verdict.NOT_TRIED
        return await answer

    async def _work(self) -> None:
        """Give one process trial after trial, and another one when it has come to an end."""
        while True:
            job = await self._jobs.get()
            try:
                async with start(self._program, stdin=PIPE, stdout=PIPE) as process:
                    while await _tried(process, job):
                        job = await self._jobs.get()
            except (OSError, VmkilnError) as error:  # no process, no memory: the service goes on without trials
                log.error("templates cannot be tried: %s", error)
            finally:
                _answer(job[1], Verdict.NOT_TRIED)


async def _tried(process: asyncio.subprocess.Process, job: Job) -> bool:
    """Whether the process can be given another."""
    request, answer = job
    verdict = Verdict.NOT_TRIED
    try:
        verdict = await _verdict(process, request)
    finally:
        _answer(answer, verdict)
    return verdict is Verdict.CAME_THROUGH


async def _verdict(process: asyncio.subprocess.Process, request: bytes) -> Verdict:
    assert process.stdin is not None
    assert process.stdout is not None
    began = _cpu_seconds(process.pid)
    process.stdin.write(len(request).to_bytes(LENGTH_BYTES) + request)
    reading = asyncio.ensure_future(process.stdout.read(1))
    try:
        for _ in range(MOST_LOOKS):
            done, _waiting = await asyncio.wait([reading], timeout=CPU_SECONDS)
            if done:
                return Verdict.CAME_THROUGH if reading.result() == CAME_THROUGH else Verdict.TOO_LARGE
            if _cpu_seconds(process.pid) - began >= CPU_SECONDS:
                break
        return Verdict.TOO_LONG
    finally:
        reading.cancel()


def _answer(answer: "asyncio.Future[Verdict]", verdict: Verdict) -> None:
    if not answer.done():  # whoever asked may have gone
        answer.set_result(verdict)


def _cpu_seconds(pid: int) -> float:
    """The time of processors that a process has had; 0 when it is gone. Source: proc(5), `/proc/PID/stat`."""
    with contextlib.suppress(OSError):
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
