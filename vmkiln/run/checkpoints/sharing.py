"""Whose checkpoints a build may begin behind beside its own: those of its resource group, where that is set.

A key has in it whose it is, so another's is found by the key that this build would have, were it that one's. All else
of the key is this build's: its steps, source, network, identity and host.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.warm import checkpoint

MOST_SHARERS = 32  # each costs a key for every customizer


@dataclass(frozen=True)
class Sharer:
    """Another template: its scope, its staging resource group ('' for one of a command), and its positions.

    These are the places behind the customizers that it has in common with a build, if it has them.
    """

    scope: str
    group: str = ""
    positions: tuple[Position, ...] = ()

    def at(self, number: int) -> Position:
        """The position behind this customizer."""
        return next(one for one in self.positions if one.number == number)


def sharers_of(folder: Path, own_scope: str, store: Store, *, lends: Callable[[ResourceRow], bool]) -> list[Sharer]:
    """The other templates of the same resource group of which something is kept on this host, and which are there.

    One that was deleted and made anew has another staging resource group, and so nothing yet. `lends` is whether a
    template resource has something kept as it is now. Raises: `StorageFailed`.
    """
    scopes = sorted(checkpoint.scopes_beside(folder, own_scope))[:MOST_SHARERS]
    owners = {scope: owner for scope in scopes if (owner := checkpoint.owner_of(scope))}
    rows = store.resources.by_id(list(owners.values())) if owners else {}
    found = []
    for scope in scopes:
        if scope not in owners:
            found.append(Sharer(scope))
            continue
        row = rows.get(owners[scope])
        if row is None or row.type.lower() != IMAGE_TEMPLATE.lower() or not lends(row):
            continue
        if group := row.state.get("staging_group"):
            found.append(Sharer(scope, group))
    return found


def facts_of(own: Mapping[str, object], sharer: Sharer) -> dict[str, object]:
    """What comes before the first customizer of this build, were it the other's; pure."""
    return {**own, "scope": sharer.scope, "group": sharer.group}


def newest(
    sharers: tuple[Sharer, ...], number: int, find: Callable[[str, str], checkpoint.Checkpoint | None]
) -> checkpoint.Checkpoint | None:
    """Of the others' checkpoints behind this customizer the newest; `find` gets a key and a scope."""
    hits = [hit for one in sharers if (hit := find(one.at(number).key, one.scope)) is not None]
    return max(hits, key=lambda hit: hit.about.made, default=None)
