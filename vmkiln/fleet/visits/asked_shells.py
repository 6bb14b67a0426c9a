"""The shells that this host is asked for: it looks for them while it holds failed VMs, and lets each visitor in.

It dials out to the service where the visitor waits; nothing connects to a host.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vmkiln.errors import VmkilnError
from vmkiln.host.host_id import host_id
from vmkiln.lifetime.rounds import Rounds
from vmkiln.settings import Settings
from vmkiln.shells import order
from vmkiln.shells.order import Order
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import in_round

LOOK_SECONDS = 1.0
MOST_AT_ONCE = 4  # of a host; who waits for more is told that it did not come
Visit = Callable[[Order], Awaitable[None]]
log = logging.getLogger(__name__)


class AskedShells:
    """A host's part in them; `serve` runs until it is cancelled, and ends the visits that go on then."""

    def __init__(self, settings: Settings, store: Store, visit: Visit, *, rounds: Rounds) -> None:
        self._settings = settings
        self._store = store
        self._visit = visit
        self._rounds = rounds
        self._inside: set[str] = set()

    async def serve(self) -> None:
        """Look again and again. A visit that fails ends by itself, and is told in the log."""
        async with asyncio.TaskGroup() as visits:
            with self._rounds.going_on("shells", seconds=LOOK_SECONDS, is_needed=False) as round_:
                while True:
                    with round_.tried():
                        round_.begins()
                        await self.look(visits)
                    await asyncio.sleep(LOOK_SECONDS)

    async def look(self, visits: asyncio.TaskGroup) -> None:
        """Begin the visits that this host is asked for, as far as it has places."""
        free = MOST_AT_ONCE - len(self._inside)
        if free <= 0 or not await in_round(self._holds_any):
            return
        own = await in_round(host_id, self._settings)
        for shell_id, text in await in_round(self._store.shells.take, own, most=free):
            self._inside.add(shell_id)
            visits.create_task(self._visited(shell_id, text))

    def _holds_any(self) -> bool:
        return next(iter(self._settings.leases.glob("*")), None) is not None

    async def _visited(self, shell_id: str, text: str) -> None:
        try:
            asked = await in_round(order.opened, shell_id, text, self._store.seal)
            await self._visit(asked)
        except (VmkilnError, OSError, TimeoutError) as error:
            log.warning("a visit to a failed VM failed (shell %s): %s", shell_id, str(error) or type(error).__name__)
        except Exception:
            log.exception("a visit to a failed VM failed (shell %s)", shell_id)
        finally:
            self._inside.discard(shell_id)
