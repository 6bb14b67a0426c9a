"""The resolver of a run, started: guests ask it and nobody else, and each question is told to who wants to hear it.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* in a new namespace.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import fields

from vmkiln.host.egress import resolver_program
from vmkiln.host.egress.resolver_program import Orders, Told
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.jailed_service import Service, Serving, is_time, serving

SERVICE = Service("resolver", 1, resolver_program)
MOST_TOLD_LETTERS = 1024

Hear = Callable[[Told], None]


@contextlib.asynccontextmanager
async def answering(namespace: Namespace, orders: Orders, hear: Hear) -> AsyncIterator[Serving]:
    """A resolver that was started; `hear` gets each question with what became of it. Raises: `HostUnfit`.

    What is none of its reports is of somebody who took it over, and counts for nothing.
    """

    def on_line(line: str) -> None:
        if (told := told_of(line)) is not None:
            hear(told)

    async with serving(namespace, SERVICE, orders.text(), on_line) as running:
        yield running


def told_of(line: str) -> Told | None:
    """A report of the resolver, with every text cut to what is kept of it; None for what is none; pure."""
    try:
        found = json.loads(line)
        told = Told(**{field.name: found[field.name] for field in fields(Told)})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (told.client, told.name, told.kind, told.code, told.verdict)
    if not is_time(told.time) or not isinstance(told.addresses, list):
        return None
    if not all(isinstance(text, str) and len(text) <= MOST_TOLD_LETTERS for text in (*texts, *told.addresses)):
        return None
    return Told(told.time, *texts[:4], tuple(told.addresses[: resolver_program.MOST_TOLD_ADDRESSES]), told.verdict)
