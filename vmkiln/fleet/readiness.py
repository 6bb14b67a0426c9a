"""Whether this host can build now: tried when it starts and after each fault, and told to whoever places runs.

A fault of the host, or of the object store it reaches, takes it for not ready at once (`HostTable.put_back`); it gets
runs again when a look finds that it can build. Faults that no look finds count in a row: after three runs that met one
the host rests, for longer each time, until a run goes well there.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vmkiln.errors import VmkilnError
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import in_round

MOST_IN_A_ROW = 3  # runs, each with a fault of this host, before it rests
REST_SECONDS = 60.0
MOST_REST_SECONDS = 600.0
NOT_TRIED, INTERNAL = "NotTried", "InternalError"
log = logging.getLogger(__name__)


@dataclass
class Readiness:
    """Of the host of `incarnation`. `isolation_level` makes the machine ready and finds out what it can promise.

    `wake` is set when there is something to look into; `on_ready` is called when it can build again.
    """

    store: Store
    incarnation: str
    isolation_level: Callable[[], Awaitable[str]] | None
    shared: SharedStorage | None
    on_ready: Callable[[], None]
    is_ready: bool = True
    clock: Callable[[], float] = time.monotonic
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _in_a_row: set[str] = field(default_factory=set)
    _rests: int = 0
    _rests_until: float = float("-inf")

    @property
    def at_first(self) -> tuple[str, str]:
        """What keeps it from building when it starts: the code, and in words; '' for nothing."""
        return ("", "") if self.is_ready else (NOT_TRIED, "it is being made ready")

    def went_well(self) -> None:
        """A run has ended here without a fault of this host."""
        self._in_a_row.clear()
        self._rests = 0

    def met_a_fault(self, run_id: str) -> None:
        """A run met a fault of this host, which is recorded as not ready since. Each run counts once."""
        self.is_ready = False
        self._in_a_row.add(run_id)
        if len(self._in_a_row) >= MOST_IN_A_ROW:
            seconds = min(REST_SECONDS * 2**self._rests, MOST_REST_SECONDS)
            self._rests += 1
            self._rests_until = self.clock() + seconds
            text = "this host takes no runs for %.0f s: %d runs in a row met faults of it"
            log.warning(text, seconds, len(self._in_a_row))
        self.wake.set()

    async def look(self) -> None:
        """Find out whether it can build, when that is in question. Raises: what keeps it from building."""
        if self.is_ready or self.clock() < self._rests_until:
            return
        try:
            found = {"isolation_level": await self.isolation_level()} if self.isolation_level is not None else {}
            if self.shared is not None:
                await in_round(self.shared.try_out)
        except Exception as error:
            code = error.code if isinstance(error, VmkilnError) else INTERNAL
            reason = error.message if isinstance(error, VmkilnError) else type(error).__name__
            await self._describe(unready=code, unready_reason=reason)
            raise
        await self._describe(**found, unready="", unready_reason="")
        self.is_ready = True
        self.on_ready()

    async def _describe(self, **values: str) -> None:
        await in_round(self.store.hosts.describe, self.incarnation, **values)
