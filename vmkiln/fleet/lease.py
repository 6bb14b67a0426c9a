"""A host's lease: renewed in the background for as long as the host is at work, however long the database is away.

A host is given up when its lease has run out by the database's clock, and somebody says so there. Nobody can while it
is away, and what a host that was given up would still write is fenced (`store/engine.py`), so nothing is ended for an
outage: a host ends when it is told that its lease was lost. Who gives others up must have seen the database answer for
a whole lease before, so that after an outage, in which no lease could be renewed, each host has that long for it.
Source: clock_gettime(2), CLOCK_MONOTONIC: it goes on while a process is stopped (SIGSTOP), not while a machine sleeps.
"""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vmkiln.lifetime.rounds import Round, Rounds

RENEWALS = 4  # in the time a lease lasts
AGAIN_SECONDS = 0.5
END_SECONDS = 5.0  # what a renewal that is on its way is waited for
GAP_FRACTION = 0.5  # of a lease, between two looks that belong to one unbroken watch
Lost = Callable[[str], None]


@dataclass(frozen=True)
class Lease:
    """How long a lease lasts, and how it is renewed: `renew` says whether the host still has it."""

    seconds: float
    renew: Callable[[], bool]
    on_lost: Lost
    clock: Callable[[], float] = time.monotonic
    rounds: Rounds = field(default_factory=Rounds)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Renew the lease until the block is left."""
        is_over = threading.Event()
        pause = self.seconds / RENEWALS
        with self.rounds.going_on("lease", seconds=pause, patience_seconds=self.seconds) as round_:
            thread = threading.Thread(target=self._guarded, args=(is_over, round_), name="lease", daemon=True)
            thread.start()
            try:
                yield
            finally:
                is_over.set()
                thread.join(END_SECONDS)

    def _guarded(self, is_over: threading.Event, round_: Round) -> None:
        """Renew; a lease that nobody renews any more is as good as lost."""
        try:
            self._renew(is_over, round_)
        except BaseException as error:
            # told with the reason, not before it: the log may have nobody who reads it
            trace = "".join(traceback.format_exception(error))
            self.on_lost(f"the lease is kept no more: {type(error).__name__}\n{trace}")

    def _renew(self, is_over: threading.Event, round_: Round) -> None:
        pause = self.seconds / RENEWALS
        while not is_over.wait(pause):
            is_ours = True
            with round_.tried():
                round_.begins()
                is_ours = self.renew()
            if not is_ours and not is_over.is_set():
                self.on_lost("this host was given up for dead: its lease had run out")
                return
            pause = min(AGAIN_SECONDS, self.seconds / RENEWALS) if round_.is_failing else self.seconds / RENEWALS


@dataclass
class Watch:
    """Whether the database has answered for `seconds` without a gap, which is what others had for their renewals.

    `lock_seconds` is what a look may wait for the writers' lock, which renewals do not need: no gap.
    """

    seconds: float
    lock_seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    _seen: float = float("-inf")

    @contextlib.contextmanager
    def looked(self) -> Iterator[Callable[[], bool]]:
        """A look at the database; gives what says whether the watch is unbroken, and was for long enough.

        To be asked when the database has answered: a look that begins before an outage may end behind it.
        """
        begins = self.clock()
        most = max(self.seconds * GAP_FRACTION, self.lock_seconds)
        if self._since is not None and begins - self._seen > self.seconds * GAP_FRACTION:
            self._since = None
        since = self._since
        try:
            yield lambda: since is not None and begins - since >= self.seconds and self.clock() - begins <= most
        except BaseException:
            self._since = None
            raise
        self._seen = self.clock()
        if self._since is None or self._seen - begins > most:
            self._since = self._seen

    def is_unbroken(self) -> bool:
        """Whether that is so now: the last look was a moment ago, and the first one without a gap long enough."""
        now, since = self.clock(), self._since
        is_new = now - self._seen <= self.seconds * GAP_FRACTION
        return is_new and since is not None and now - since >= self.seconds
