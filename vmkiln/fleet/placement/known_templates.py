"""What placement asks of image templates, known until they are written anew.

A template is read and checked for that once in a host's life, and not at each look at a queue in which its run waits.
Every write of a template gives it another etag, by which it is known here. Images, the catalogue and rights are no part
of it: those are looked at each time.
"""

import threading
from collections import OrderedDict

from vmkiln.provisioning.stored_template import template_of
from vmkiln.run.room import Asked, asked_by
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow

MOST_KNOWN = 2_000  # templates, of a few hundred bytes each


class KnownTemplates:
    """Those that were asked for last; any thread may ask."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, Asked] = OrderedDict()

    def known(self, etag: str) -> Asked | None:
        """What the template of this etag asks for, if it was learned."""
        with self._lock:
            found = self._asked.get(etag)
            if found is not None:
                self._asked.move_to_end(etag)
            return found

    def learned(self, store: Store, row: ResourceRow) -> Asked:
        """Read and check a template. Raises: as `template_of`; what cannot be read is tried again the next time."""
        found = asked_by(template_of(store, row))
        with self._lock:
            self._asked[row.etag] = found
            while len(self._asked) > self._most:
                self._asked.popitem(last=False)
        return found
