"""A state directory that was copied to another machine is refused there while its origin is at work.

Both have one host id: each would give the other up for dead whenever it starts, for ever. A machine that was started
anew looks like another one too, so who finds such a host looks whether its lease is renewed; if not, it runs out.
"""

import asyncio

from vmkiln.errors import InputError
from vmkiln.host.host_id import host_id, machine_of
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import in_round

LOOK_SECONDS = 0.5


async def refuse_clone(settings: Settings, store: Store) -> None:
    """Wait until no other machine works with this host's id. Raises: `InputError` when one goes on doing so."""
    if not settings.database_url:
        return  # the database lies in the state directory, and was copied with it
    own = await in_round(host_id, settings)
    mark = machine_of(settings.home).mark
    first = await in_round(store.origins.elsewhere, own, mark=mark)
    found = first
    while found is not None and first is not None:
        if found.lease_until > first.lease_until:
            raise InputError(
                f"the host {found.name} is at work on another machine with the id of this one, {own}",
                hint=f"this state directory is a copy: delete {settings.home / 'host-id'} here, and start again",
            )
        await asyncio.sleep(LOOK_SECONDS)
        found = await in_round(store.origins.elsewhere, own, mark=mark)
