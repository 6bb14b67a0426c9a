"""The name proxy of a locked run, started: the guest's connections go by it, and each is told to who wants to hear it.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* in a new namespace.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import fields

from vmkiln.host.egress import name_proxy
from vmkiln.host.egress.name_proxy import Orders, Passage
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.jailed_service import Service, Serving, is_time, serving

SERVICE = Service("name proxy", 0, name_proxy)
MOST_TOLD_LETTERS = 1024

Hear = Callable[[Passage], None]


@contextlib.asynccontextmanager
async def proxying(namespace: Namespace, orders: Orders, hear: Hear) -> AsyncIterator[Serving]:
    """A name proxy that was started; `hear` gets each connection at its end. Raises: `HostUnfit`."""

    def on_line(line: str) -> None:
        if (passage := passage_of(line)) is not None:
            hear(passage)

    async with serving(namespace, SERVICE, orders.text(), on_line) as running:
        yield running


def passage_of(line: str) -> Passage | None:
    """A report of the name proxy; None for what is none, which only somebody who took it over would say; pure."""
    try:
        found = json.loads(line)
        passage = Passage(**{field.name: found[field.name] for field in fields(Passage)})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (passage.name, passage.address, passage.chosen, passage.verdict)
    numbers = (passage.port, passage.bytes_out, passage.bytes_in)
    if not is_time(passage.time) or not all(type(number) is int and number >= 0 for number in numbers):
        return None
    if not all(isinstance(text, str) and len(text) <= MOST_TOLD_LETTERS for text in texts):
        return None
    return passage
