"""A host's lease: renewed in the background, and the host's end when that was not possible for too long.

The database gives a host up when its lease has run out, by its own clock. The host itself counts by its own steady
clock and ends earlier, so that it never works on what another host has taken over; what it would still write is fenced
besides (`store/engine.py`). Both threads go on while the event loop waits for the database.
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
WAIT_FRACTION = 0.75  # of that time without a renewal, and the host ends
AGAIN_SECONDS = 0.5
END_SECONDS = 5.0  # what a renewal that is on its way is waited for
Lost = Callable[[str], None]


@dataclass(frozen=True)
class Lease:
    """How long a lease lasts, and how it is renewed: `renew` says whether the host still has it.

    `is_alone` is a host whose database no other host reaches: nobody can take its runs, so it waits as long as it must.
    """

    seconds: float
    renew: Callable[[], bool]
    on_lost: Lost
    is_alone: bool = False
    clock: Callable[[], float] = time.monotonic
    rounds: Rounds = field(default_factory=Rounds)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Renew the lease until the block is left."""
        is_over = threading.Event()
        renewed = [self.clock()]
        pause = self.seconds / RENEWALS
        with self.rounds.going_on("lease", seconds=pause, patience_seconds=self.seconds) as round_:
            threads = [
                threading.Thread(target=self._guarded, args=(self._renew, is_over, renewed, round_), daemon=True),
                threading.Thread(target=self._guarded, args=(self._watch, is_over, renewed, round_), daemon=True),
            ]
            for thread, name in zip(threads, ("lease", "lease-watch"), strict=True):
                thread.name = name
                thread.start()
            try:
                yield
            finally:
                is_over.set()
                for thread in threads:
                    thread.join(END_SECONDS)

    def _guarded(
        self,
        work: Callable[[threading.Event, list[float], Round], None],
        is_over: threading.Event,
        renewed: list[float],
        round_: Round,
    ) -> None:
        """Do the work of a thread; a lease that nobody renews or watches any more is as good as lost."""
        try:
            work(is_over, renewed, round_)
        except BaseException as error:
            # told with the reason, not before it: the log may have nobody who reads it
            trace = "".join(traceback.format_exception(error))
            self.on_lost(f"the lease is kept no more: {type(error).__name__}\n{trace}")

    def _renew(self, is_over: threading.Event, renewed: list[float], round_: Round) -> None:
        pause = self.seconds / RENEWALS
        while not is_over.wait(pause):
            asked = self.clock()  # the lease lasts from when the database was asked, at the latest
            is_ours = True
            with round_.tried():
                round_.begins()
                is_ours = self.renew()
            if not is_ours and not is_over.is_set():
                self.on_lost("this host was given up for dead: its lease had run out")
                return
            if round_.is_failing:
                pause = min(AGAIN_SECONDS, self.seconds / RENEWALS)
                continue
            renewed[0] = asked
            pause = self.seconds / RENEWALS

    def _watch(self, is_over: threading.Event, renewed: list[float], _round: Round) -> None:
        most = self.seconds * WAIT_FRACTION
        while not is_over.wait(min(AGAIN_SECONDS, most / 4)):
            if not self.is_alone and self.clock() - renewed[0] > most:
                self.on_lost(f"the lease could not be renewed for {most:.0f} s")
                return
