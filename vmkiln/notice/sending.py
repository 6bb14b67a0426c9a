"""Notices on their way: collected, sent, tried again after longer and longer pauses, and given up in the end.

Each notice is taken by one process of a fleet before it is sent. Who dies with one in hand leaves it to be taken again
after `CLAIM_SECONDS`: a receiver may then be told twice, by the same id.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vmkiln.errors import InputError
from vmkiln.notice.cloud_event import source_of
from vmkiln.notice.collecting import Seen, collect
from vmkiln.notice.mail import MAIL_SECONDS, send_by_mail
from vmkiln.notice.receivers import Receiver, Receivers
from vmkiln.notice.webhook import NotSent, send_to_webhook
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.notices.outbox_table import NoticeRow
from vmkiln.waiting.off_loop import in_round

NOTICE_SECONDS = 5.0  # between two looks
CLAIM_SECONDS = 2 * MAIL_SECONDS
PAUSES_SECONDS = (10, 30, 120, 600, 1800, 3600)  # after the first try, the second, ...; the last one again and again
MOST_TRIED = timedelta(days=3)
FORGET = timedelta(hours=1)  # between two looks for what is too old
MOST_AT_ONCE = 50  # of a receiver in one round
ROUND_SECONDS = 30.0  # after which a receiver has the rest in the next round: the other is not kept waiting by it
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How long a notice that was not sent waits, and how long it is whose process died with it; in seconds.

    After `round_seconds` a receiver is sent nothing more in the same round.
    """

    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS
    claim_seconds: float = CLAIM_SECONDS
    round_seconds: float = ROUND_SECONDS

    def pause(self, tries: int) -> float:
        """The pause after so many tries, from 1; pure."""
        return self.pauses_seconds[min(tries, len(self.pauses_seconds)) - 1]


PACE = Pace()


def source_here(settings: Settings) -> str:
    """The `source` of the events of this host."""
    return source_of(settings.host_name or socket.gethostname())


class Notices:
    """Tells receivers what happened."""

    def __init__(self, settings: Settings, store: Store, receivers: Receivers, *, pace: Pace = PACE) -> None:
        self.receivers = receivers
        self._settings = settings
        self._store = store
        self._pace = pace
        self._seen: Seen = set()
        self._forgot: datetime | None = None

    async def go_round(self) -> None:
        """Look once for what is new, and send what is due. Raises: `NotSent` while a receiver takes nothing."""
        if gone := await in_round(self._look):
            log.warning("%d notices were given up: too many waited, or for too long", gone)
        names = self.receivers.names
        ends = await asyncio.gather(*(self._send_due(name) for name in names), return_exceptions=True)
        for end in ends:  # once both have ended: none goes on beside the next round
            if end is not None:
                raise end
        if failing := await in_round(self._store.outbox.failing, names):
            raise NotSent("; ".join(f"{count} for {name} wait: {problem}" for name, count, problem in failing))

    def _look(self) -> int:
        gone = collect(self._store, self.receivers, self._seen, source=source_here(self._settings))
        now = self._store.now()
        if self._forgot is None or now - self._forgot > FORGET:
            gone += self._store.outbox.forget()
            self._forgot = now
        return gone

    async def _send_due(self, name: Receiver) -> None:
        """Send what is due; a receiver that fails, or is slow, has the rest of it another time."""
        outbox, now = self._store.outbox, asyncio.get_running_loop().time
        until = now() + self._pace.round_seconds
        for row in await in_round(outbox.due, name, limit=MOST_AT_ONCE):
            if not await in_round(outbox.claim, row, seconds=self._pace.claim_seconds):
                continue  # another process of the fleet has it
            try:
                await send(self._settings, self.receivers, name, row.event)
            except (NotSent, InputError) as error:
                await in_round(self._not_sent, row, error)
                return
            await in_round(outbox.sent, row)
            if now() >= until:
                return

    def _not_sent(self, row: NoticeRow, error: NotSent | InputError) -> None:
        is_final = isinstance(error, NotSent) and error.is_final
        if is_final or self._store.now() - row.created > MOST_TRIED:
            self._store.outbox.give_up(row, error.message)
            log.warning("notice %s for %s is given up: %s", row.event_id, row.receiver, error.message)
        else:
            self._store.outbox.put_off(row, error.message, seconds=self._pace.pause(row.tries + 1))


async def send(settings: Settings, receivers: Receivers, name: Receiver, event: Mapping[str, Any]) -> None:
    """Send one event to one receiver that there is. Raises: `NotSent`, `InputError`."""
    if name is Receiver.WEBHOOK:
        assert receivers.webhook is not None
        await send_to_webhook(settings, receivers.webhook, event)
    else:
        assert receivers.mail is not None
        await send_by_mail(settings, receivers.mail, event)
