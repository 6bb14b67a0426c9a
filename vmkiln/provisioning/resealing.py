"""Seals everything that is sealed anew, with the newest key, so that older ones are needed for back-ups only.

*Leaves behind:* nothing. *Safe to repeat:* yes: what has the newest key is left alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.provisioning.stored_template import SEALED
from vmkiln.sealing.key_ring import Purpose, new_secret
from vmkiln.sealing.seal import key_id_of
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow

PAGE = 200


def templates(store: Store) -> Iterator[ResourceRow]:
    """Every image template, by id; a page is read at a time."""
    after = ""
    while rows := store.resources.list(type=IMAGE_TEMPLATE, after=after, limit=PAGE):
        yield from rows
        after = rows[-1].key


def sealed_with(store: Store) -> Counter[str]:
    """How many templates are sealed with each key, by its id."""
    return Counter(key_id_of(row.state[SEALED]) for row in templates(store) if row.state.get(SEALED))


def reseal(store: Store) -> int:
    """Seal what has an older key with the newest; gives how many templates that were. Raises: `KeyUnavailable`."""
    newest = store.seal.ring.current(Purpose.SECRETS, new_secret).key_id

    def changed(row: ResourceRow) -> ResourceRow:
        sealed = row.state.get(SEALED)
        if not sealed or key_id_of(sealed) == newest:
            return row  # another process was faster
        content = store.seal.opened(sealed, place=row.key)
        return replace(row, state={**row.state, SEALED: store.seal.sealed(content, place=row.key)})

    older = [row.id for row in templates(store) if row.state.get(SEALED) and key_id_of(row.state[SEALED]) != newest]
    for template_id in older:
        store.resources.change(template_id, changed)
    return len(older)
