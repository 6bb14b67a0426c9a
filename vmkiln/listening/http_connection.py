"""One HTTP connection with a limit for everything that its client may take its time for.

uvicorn has a limit for idle connections only, so whoever sends half a head, or reads an answer never, stays for ever.
Each phase of a connection has a time, which what is sent in it does not lengthen; when it is over, the connection is
aborted, for a polite end of TLS would wait for the client again. The application may let one body take its time, once
it knows whose it is; then the kernel asks whether the client is there still.
Source: uvicorn's `H11Protocol` and `RequestResponseCycle`; h11's documentation of a connection's states.
"""

import asyncio
from enum import Enum, auto
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vmkiln.lifetime.ending import LASTS
from vmkiln.listening.connections import Connection
from vmkiln.shells.stream import keep_asking

HEAD_SECONDS = 10.0  # from the first byte of a request, or from the connection's begin
BODY_SECONDS = 35.0  # a little more than the application allows, which answers 408
REST_SECONDS = 10.0  # of a body whose request was answered before it came
UNREAD_SECONDS = 60.0  # in which a client takes nothing of what is sent to it


class Phase(Enum):
    """What is waited for; uvicorn itself looks after idle connections."""

    HEAD = auto()
    BODY = auto()
    REST = auto()
    ANSWER = auto()
    LASTING = auto()
    IDLE = auto()


_LIMITS = {Phase.HEAD: HEAD_SECONDS, Phase.BODY: BODY_SECONDS, Phase.REST: REST_SECONDS}


class HttpConnection(H11Protocol):
    """A connection as uvicorn has it; `place` is told whether it is busy."""

    def __init__(self, place: Connection, **named: Any) -> None:
        super().__init__(**named)
        self._place = place
        self._phase = Phase.IDLE
        self._limit: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._lasting: object = None  # the request whose body takes its time
        self.app_state = {**self.app_state, LASTS: self._last}

    @property
    def has_begun(self) -> bool:
        """Whether TLS is set up."""
        return self.transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._place.close = self.transport.abort
        self._enter(Phase.HEAD)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.leaves()
        for timer in (self._limit, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _last(self) -> None:
        self._lasting = self.cycle
        keep_asking(self.transport)
        self._look()

    def _look(self) -> None:
        """Find out what is waited for now."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle is self._lasting:
                self._enter(Phase.LASTING)
            else:
                self._enter(Phase.BODY if self.cycle.more_body else Phase.ANSWER)
        elif self.cycle is not None and self.conn.their_state is h11.SEND_BODY:
            self._enter(Phase.REST)
        elif self.cycle is None or self.conn.trailing_data[0]:
            self._enter(Phase.HEAD)
        else:
            self._enter(Phase.IDLE)

    def _enter(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        self._phase = phase
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if phase in {Phase.BODY, Phase.ANSWER, Phase.LASTING}:
            self._place.becomes_busy()
        else:
            self._place.waits()
        if phase in _LIMITS:
            self._limit = self.loop.call_later(_LIMITS[phase], self.transport.abort)
