"""What QEMU tells of a VM by itself: so many events in a minute, and none that is kept for good.

A guest's root causes some of them as often as it likes, and whoever broke out of a guest writes what they like. The
library keeps every event, twice, and reads on: one such guest would have the memory and the time of all runs.
Source: QEMU's QMP reference manual, "Events"; `EventListener` of qemu.qmp.
"""

import asyncio
import time

from qemu.qmp import EventListener, Message, QMPClient, QMPError

from vmkiln.run_failures import VirtualMachineLost

MOST_EVENTS = 1000  # of a VM in a minute; one that is saved, or restarts again and again, makes some tens
MINUTE_SECONDS = 60.0


class Heard(EventListener):
    """Events of some names that nobody has taken yet; of too many the last are left out."""

    async def put(self, event: Message) -> None:
        """Take in an event, without a history."""
        if self.accept(event) and self._queue.qsize() < MOST_EVENTS:
            await self._queue.put(event)


class _Count:
    """Asked of each event before anybody hears it; none is wanted. Raises: `QMPError` beyond the limit."""

    def __init__(self, name: str, unheard: "asyncio.Future[Exception]") -> None:
        self._name = name
        self._unheard = unheard
        self._began = time.monotonic()
        self._count = 0

    def __call__(self, _event: Message) -> bool:
        now = time.monotonic()
        if now - self._began >= MINUTE_SECONDS:
            self._began, self._count = now, 0
        self._count += 1
        if self._count > MOST_EVENTS:
            if not self._unheard.done():
                self._unheard.set_result(too_many_events(self._name))
            raise QMPError(f"more than {MOST_EVENTS} events in a minute")
        return False


def counted(control: QMPClient, name: str, unheard: "asyncio.Future[Exception]") -> None:
    """Let the events of a VM be counted: beyond the limit its control ends for good, and `unheard` with the error."""
    control.events.event_filter = _Count(name, unheard)  # of the one that hears all events, and first


def heard(control: QMPClient, *names: str) -> Heard:
    """Hear the events of these names."""
    found = Heard(names)
    control.register_listener(found)
    return found


def too_many_events(name: str) -> VirtualMachineLost:
    """The error of a VM that made too many; pure."""
    return VirtualMachineLost(
        f"the {name} made QEMU tell more than {MOST_EVENTS} events in a minute: it is listened to no more",
        hint="nothing that a build does makes so many; look for what drives the VM's hardware directly",
    )
