"""Bytes pass between the way of a shell and its socket until either ends; one that broke off is in the log."""

import asyncio
import logging
import socket
from typing import Any

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.shells.stream import passed_between


class Way:
    """The other side, which sends one thing, or fails."""

    def __init__(self, sends: "bytes | Exception") -> None:
        self._sends = sends

    async def read(self) -> bytes:
        if isinstance(self._sends, Exception):
            raise self._sends
        return self._sends

    async def write(self, content: bytes) -> None:
        """It takes everything."""


@pytest.mark.parametrize(
    ("sends", "told"),
    [
        (b"", ""),
        (ConnectionResetError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer"),
        (TimeoutError(), "TimeoutError"),
        (VmkilnError("it is no HTTP"), "it is no HTTP"),
        (ZeroDivisionError("unforeseen"), "raised"),
    ],
)
async def test_a_way_that_broke_off_is_told_and_one_that_ended_is_not(
    sends: "bytes | Exception", told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    here, there = socket.socketpair()
    way: Any = Way(sends)
    reader, writer = await asyncio.open_connection(sock=here)
    try:
        async with asyncio.timeout(60):
            if told == "raised":
                with pytest.raises(ZeroDivisionError):
                    await passed_between(way, reader, writer)
            else:
                await passed_between(way, reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
        there.close()
    said = [record.message for record in caplog.records if record.name == "vmkiln.shells.stream"]
    assert said == ([f"the way into a failed VM broke off: {told}"] if told not in {"", "raised"} else [])
