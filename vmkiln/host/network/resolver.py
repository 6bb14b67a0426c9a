"""The resolver of a run, started: guests ask it and nobody else, and each question is told to who wants to hear it.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* in a new namespace.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from pathlib import Path

from vmkiln.errors import HostUnfit, NotConfined
from vmkiln.host.confinement import process_facts, python_jail
from vmkiln.host.confinement.confinement import Confinement, Fact, Surroundings, failed, judged
from vmkiln.host.egress import resolver_program
from vmkiln.host.egress.resolver_program import READY, Orders, Told
from vmkiln.host.namespace import Ended, Namespace
from vmkiln.waiting.off_loop import off_loop

START_SECONDS = 15
NAME = "resolver"
SERVICE = 1  # its number among the run's services
MOST_TOLD_LETTERS = 1024

Hear = Callable[[Told], None]


@contextlib.asynccontextmanager
async def answering(namespace: Namespace, orders: Orders, hear: Hear) -> AsyncIterator["Resolver"]:
    """A resolver that was started; `hear` gets each question with what became of it, while it runs.

    Raises: `HostUnfit` when it does not start.
    """
    files = await python_jail.python_files(Path(resolver_program.__file__).parent)
    own_id = namespace.service_id(SERVICE)
    meant = Confinement(python_jail.jail_of(files, own_id=own_id), (), python_jail.ENVIRONMENT)
    resolver = Resolver(namespace, meant, hear)
    arguments = python_jail.arguments_of(files, resolver_program.__name__, [orders.text()])
    async with namespace.start(NAME, arguments, confined=meant.described(), on_line=resolver.on_line) as ended:
        resolver.ended = ended
        yield resolver


class Resolver:
    """A resolver that runs: when it is ready, when it has ended, and what it says."""

    ended: "asyncio.Future[Ended]"

    def __init__(self, namespace: Namespace, meant: Confinement, hear: Hear) -> None:
        self._namespace = namespace
        self._meant = meant
        self._hear = hear
        self._is_ready = asyncio.Event()

    def on_line(self, line: str) -> None:
        """A line of its output. What is none of its reports is of somebody who took it over, and counts for nothing."""
        if line == READY:
            self._is_ready.set()
        elif (told := told_of(line)) is not None:
            self._hear(told)

    async def ready(self) -> None:
        """Return when it answers, held as it is meant to be. Raises: `HostUnfit`, `NotConfined`."""
        self.ended.add_done_callback(lambda _: self._is_ready.set())
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._is_ready.wait()
        except TimeoutError as error:
            raise HostUnfit(f"the resolver of the run was silent for {START_SECONDS} s") from error
        if self.ended.done():
            raise HostUnfit(f"the resolver of the run did not start: {self.ended.result().output[-500:]}")
        if wrong := failed(await self.confinement()):
            texts = [f"{fact['name']} is {fact['found']}, and should be {fact['expected']}" for fact in wrong]
            raise NotConfined(f"the resolver of the run is not confined: {'; '.join(texts)}")

    async def confinement(self) -> list[Fact]:
        """What holds its process. Raises: `ProgramGone`."""
        asked = await self._namespace.facts(NAME)
        around = Surroundings(await off_loop(process_facts.namespaces), asked["supervisor"])
        return judged(asked["program"], self._meant, around)


def told_of(line: str) -> Told | None:
    """A report of the resolver, with every text cut to what is kept of it; None for what is none; pure."""
    try:
        found = json.loads(line)
        told = Told(**{field.name: found[field.name] for field in fields(Told)})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (told.client, told.name, told.kind, told.code, told.verdict)
    if not isinstance(told.time, float) or not isinstance(told.addresses, list):
        return None
    if not all(isinstance(text, str) and len(text) <= MOST_TOLD_LETTERS for text in (*texts, *told.addresses)):
        return None
    return Told(told.time, *texts[:4], tuple(told.addresses[: resolver_program.MOST_TOLD_ADDRESSES]), told.verdict)
