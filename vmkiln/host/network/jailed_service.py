"""A program of ours that serves a run's guests from its jail in the run's network: started, looked at, and heard.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* in a new namespace.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import ModuleType

from vmkiln.errors import HostUnfit
from vmkiln.host.confinement import kernel_calls, process_facts, python_jail
from vmkiln.host.confinement.confinement import Confinement, Fact, Surroundings, failed, judged
from vmkiln.host.namespace import Ended, Namespace
from vmkiln.run_failures import NotConfined
from vmkiln.waiting.off_loop import off_loop

START_SECONDS = 15
READY = "ready"  # the first line of each
YEAR_10000 = 253_402_300_800.0  # seconds since 1970


@dataclass(frozen=True)
class Service:
    """A service: its name, its number among the run's services, the module whose `main` it runs."""

    name: str
    number: int
    module: ModuleType


def is_time(found: object) -> bool:
    """Whether what a service says is a time that a calendar has, in seconds since 1970; pure."""
    return isinstance(found, float) and 0 <= found < YEAR_10000


@contextlib.asynccontextmanager
async def serving(
    namespace: Namespace, service: Service, orders: str, hear: Callable[[str], None]
) -> AsyncIterator["Serving"]:
    """A service that was started with its orders; `hear` gets each line it says but the first, while it runs.

    Raises: `HostUnfit` when it does not start.
    """
    held = python_jail.confinement_of(own_id=namespace.service_id(service.number))
    is_ready = asyncio.Event()

    def on_line(line: str) -> None:
        if line == READY:
            is_ready.set()
        else:
            hear(line)

    module = service.module.__name__
    starting = namespace.start(service.name, [orders], module=module, confined=held.described(), on_line=on_line)
    async with starting as ended:
        yield Serving(namespace, service.name, held, ended, is_ready)


@dataclass(frozen=True)
class Serving:
    """A service that runs: how it ended (once it has), and whether it serves."""

    namespace: Namespace
    name: str
    held: Confinement
    ended: "asyncio.Future[Ended]"
    is_ready: asyncio.Event

    async def ready(self) -> None:
        """Return when it serves, held as it is meant to be. Raises: `HostUnfit`, `NotConfined`."""
        self.ended.add_done_callback(lambda _: self.is_ready.set())
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.is_ready.wait()
        except TimeoutError as error:
            raise HostUnfit(f"the {self.name} of the run was silent for {START_SECONDS} s") from error
        if self.ended.done():
            raise HostUnfit(f"the {self.name} of the run did not start: {self.ended.result().output[-500:]}")
        if wrong := failed(await self.confinement()):
            texts = [f"{fact['name']} is {fact['found']}, and should be {fact['expected']}" for fact in wrong]
            raise NotConfined(f"the {self.name} of the run is not confined: {'; '.join(texts)}")

    async def confinement(self) -> list[Fact]:
        """What holds its process. Raises: `ProgramGone`."""
        asked = await self.namespace.facts(self.name)
        here, landlock = await off_loop(process_facts.namespaces), kernel_calls.landlock_version()
        around = Surroundings(here, asked["supervisor"], self.namespace.control_group, landlock)
        return judged(asked["program"], self.held, around)

    def tell_end(self, lost: "asyncio.Future[str]") -> None:
        """Let `lost` end with the reason when the service ends while it should serve."""

        def told(ended: "asyncio.Future[Ended]") -> None:
            if not lost.done() and not ended.cancelled():
                end = ended.result()
                lost.set_result(f"the {self.name} ended with status {end.status}: {end.output}")

        self.ended.add_done_callback(told)
