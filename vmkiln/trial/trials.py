"""Templates are tried in processes of their own before the service evaluates them: what takes long or much is killed.

The budget of an evaluation (`arm_template/budget.py`) holds what we thought of; a process holds what we did not. A few
are kept warm. One that was killed, or has died, is the answer to its request; the next request gets another one.
"""

import asyncio
import contextlib
import json
import logging
import os
import queue
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum, auto
from pathlib import Path
from typing import Any

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.errors import Mistake, TemplateInvalid, VmkilnError
from vmkiln.host.command import PIPE, start
from vmkiln.trial.trial_program import CAME_THROUGH, LENGTH_BYTES, MOST_MEMORY_BYTES, QUESTION

PROGRAM = (sys.executable, "-I", "-m", "vmkiln.trial.trial_program")
MOST_PROCESSES = 2
MOST_WAITING = 64
CPU_SECONDS = 2.0  # of a process, for one template
MOST_LOOKS = 10  # as many times two seconds by the clock, when the processors are busy with others
WAIT_SECONDS = 60.0
MOST_QUESTIONS = 10_000  # of one trial
MOST_QUESTION_BYTES = 1024**2
MOST_OPEN_QUESTIONS = 4  # one at a time, one that nobody heard, and the end
LATER_SECONDS, PAUSE_SECONDS = 60.0, 2.0  # for what goes on already, and can wait for a process
log = logging.getLogger(__name__)
AnswerQuestion = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class _Question:
    """What a trial asks about a resource's state, and where its answer is awaited."""

    asked: Mapping[str, Any]
    told: "asyncio.Future[Mapping[str, Any]]"


@dataclass(frozen=True)
class Job:
    """One trial: its request, its verdict, and who hears its questions; nobody hears those of a first one."""

    request: bytes
    answer: "asyncio.Future[Verdict]"
    questions: "queue.Queue[_Question | None]"


class Verdict(Enum):
    """What came of a trial."""

    CAME_THROUGH = auto()
    TOO_LONG = auto()
    TOO_LARGE = auto()
    NOT_TRIED = auto()


TIMED_OUT = b"l"
_VERDICTS = {CAME_THROUGH: Verdict.CAME_THROUGH, TIMED_OUT: Verdict.TOO_LONG}
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
                _answer(self._jobs.get_nowait().answer, Verdict.NOT_TRIED)

    def check(self, template: Mapping[str, Any], parameters: Mapping[str, Any], context: DeploymentContext) -> None:
        """Try a template, in the thread of whoever asks. Raises: `TemplateInvalid` when it did not come through."""
        loop = self._loop
        if loop is None:
            return
        request = _request(template, parameters, context)
        asking = asyncio.run_coroutine_threadsafe(self._verdict_on(request, queue.Queue(MOST_OPEN_QUESTIONS)), loop)
        try:
            verdict = asking.result(WAIT_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            asking.cancel()
            verdict = Verdict.NOT_TRIED
        if verdict is not Verdict.CAME_THROUGH:
            raise TemplateInvalid([Mistake("properties.template", _WORDS[verdict])])

    def check_later(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, Any],
        context: DeploymentContext,
        later: Mapping[str, Any],
        answer: AnswerQuestion,
    ) -> None:
        """Try one thing that is evaluated when resources are there; `answer` tells their state in this thread.

        `later` is as `trial_program.py` says. Without a process for it it is waited a while. Raises: `TemplateInvalid`
        when it did not come through, and as `answer`.
        """
        loop = self._loop
        if loop is None:
            return
        request = _request(template, parameters, context, later)
        deadline = time.monotonic() + LATER_SECONDS
        while (verdict := self._talked(request, answer, loop)) is Verdict.NOT_TRIED and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        if verdict is not Verdict.CAME_THROUGH:
            raise TemplateInvalid([Mistake("properties.template", _WORDS[verdict])])

    def _talked(self, request: bytes, answer: AnswerQuestion, loop: asyncio.AbstractEventLoop) -> Verdict:
        """The verdict, with the trial's questions answered meanwhile."""
        questions: queue.Queue[_Question | None] = queue.Queue(MOST_OPEN_QUESTIONS)
        asking = asyncio.run_coroutine_threadsafe(self._verdict_on(request, questions), loop)
        asking.add_done_callback(lambda _: questions.put_nowait(None))
        try:
            while (question := questions.get(timeout=WAIT_SECONDS)) is not None:
                told: Mapping[str, Any] = {"mistake": "it could not be told"}
                try:
                    told = answer(question.asked)
                finally:
                    loop.call_soon_threadsafe(_tell, question.told, told)
            return asking.result()
        except (queue.Empty, asyncio.CancelledError):
            return Verdict.NOT_TRIED
        finally:
            asking.cancel()

    async def _verdict_on(self, request: bytes, questions: "queue.Queue[_Question | None]") -> Verdict:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        try:
            self._jobs.put_nowait(Job(request, answer, questions))
        except asyncio.QueueFull:
            return Verdict.NOT_TRIED
        return await answer

    async def _work(self) -> None:
        """Give one process trial after trial, and another one when it has come to an end."""
        while True:
            job = await self._asked()
            try:
                async with start(self._program, stdin=PIPE, stdout=PIPE) as process:
                    while await _tried(process, job):
                        job = await self._asked()
            except (OSError, VmkilnError) as error:  # no process, no memory: the service goes on without trials
                log.error("templates cannot be tried: %s", error)
            finally:
                _answer(job.answer, Verdict.NOT_TRIED)

    async def _asked(self) -> Job:
        """The next trial whose verdict somebody still waits for."""
        while (job := await self._jobs.get()).answer.done():
            pass
        return job


async def _tried(process: asyncio.subprocess.Process, job: Job) -> bool:
    """Whether the process can be given another."""
    verdict = Verdict.NOT_TRIED
    try:
        verdict = await _verdict(process, job)
    finally:
        _answer(job.answer, verdict)
    return verdict is Verdict.CAME_THROUGH


async def _verdict(process: asyncio.subprocess.Process, job: Job) -> Verdict:
    assert process.stdin is not None
    assert process.stdout is not None
    began = _cpu_seconds(process.pid)
    process.stdin.write(len(job.request).to_bytes(LENGTH_BYTES) + job.request)
    for _ in range(MOST_QUESTIONS):
        word = await _word(process, process.stdout, began)
        if word != QUESTION:
            return _VERDICTS.get(word, Verdict.TOO_LARGE)
        if _cpu_seconds(process.pid) - began >= CPU_SECONDS:
            return Verdict.TOO_LONG
        try:
            length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
            if length > MOST_QUESTION_BYTES:
                return Verdict.TOO_LARGE
            text = await process.stdout.readexactly(length)
        except asyncio.IncompleteReadError:
            return Verdict.TOO_LARGE
        question = _Question(json.loads(text), asyncio.get_running_loop().create_future())
        job.questions.put_nowait(question)
        # whoever heard it may go without an answer, and is not waited for then
        waiting: list[asyncio.Future[Any]] = [question.told, job.answer]
        await asyncio.wait(waiting, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if job.answer.done() or not question.told.done():
            return Verdict.NOT_TRIED
        told = json.dumps(question.told.result()).encode()
        process.stdin.write(len(told).to_bytes(LENGTH_BYTES) + told)
    return Verdict.TOO_LONG


async def _word(process: asyncio.subprocess.Process, said: asyncio.StreamReader, began: float) -> bytes:
    """What the process says next; `TIMED_OUT` when it has had its time, b"" when it has died."""
    reading = asyncio.ensure_future(said.read(1))
    try:
        for _ in range(MOST_LOOKS):
            done, _waiting = await asyncio.wait([reading], timeout=CPU_SECONDS)
            if done:
                return reading.result()
            if _cpu_seconds(process.pid) - began >= CPU_SECONDS:
                break
        return TIMED_OUT
    finally:
        reading.cancel()


def _request(
    template: Mapping[str, Any],
    parameters: Mapping[str, Any],
    context: DeploymentContext,
    later: Mapping[str, Any] | None = None,
) -> bytes:
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    place = {name: value for name, value in values.items() if isinstance(value, str)}
    place |= {"now": context.now.isoformat(), "new_guid": str(context.new_guid)}
    asked = {"template": template, "parameters": parameters, "context": place}
    return json.dumps(asked if later is None else {**asked, "later": later}).encode()


def _tell(told: "asyncio.Future[Mapping[str, Any]]", value: Mapping[str, Any]) -> None:
    if not told.done():  # whoever asked may have gone
        told.set_result(value)


def _answer(answer: "asyncio.Future[Verdict]", verdict: Verdict) -> None:
    if not answer.done():  # whoever asked may have gone
        answer.set_result(verdict)


def _cpu_seconds(pid: int) -> float:
    """The time of processors that a process has had; 0 when it is gone. Source: proc(5), `/proc/PID/stat`."""
    with contextlib.suppress(OSError):
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
