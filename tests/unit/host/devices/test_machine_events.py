"""A guest that makes QEMU tell without end takes neither the service's memory nor its time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qemu.qmp import EventListener, QMPClient

from vmkiln.host.devices import machine_events
from vmkiln.host.devices.machine_events import Heard, counted, heard

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}
RESET = {"event": "RESET", "timestamp": {"seconds": 1, "microseconds": 0}, "data": {"guest": True}}
FEW = 20


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_events, "MOST_EVENTS", FEW)


@contextlib.asynccontextmanager
async def qemu(control: QMPClient, folder: Path) -> AsyncIterator[asyncio.StreamWriter]:
    """What a QEMU says to who controls it."""
    path = str(folder / "qmp")
    await control.start_server(path)
    accepting = asyncio.create_task(control.accept())
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(json.dumps(GREETING).encode() + b"\n")
        asked = json.loads(await reader.read(4096))  # it ends no line
        writer.write(json.dumps({"return": {}, **({"id": asked["id"]} if "id" in asked else {})}).encode() + b"\n")
        await accepting
        yield writer
    finally:
        writer.close()
        with contextlib.suppress(Exception):  # it has ended, which is what is tried
            await control.disconnect()


async def test_too_many_events_end_the_control_of_their_vm(tmp_path: Path) -> None:
    control, unheard = QMPClient("vm"), asyncio.get_running_loop().create_future()
    counted(control, "build-vm", unheard)
    resets = heard(control, "RESET")
    async with asyncio.timeout(60), qemu(control, tmp_path) as writer:
        writer.write(json.dumps(RESET).encode() + b"\n")
        assert (await resets.get())["event"] == "RESET"
        assert not unheard.done()
        writer.write((json.dumps(RESET).encode() + b"\n") * 10 * FEW)
        assert "the build-vm made QEMU tell more than 20 events" in str(await unheard)
        taken = [await resets.get() for _ in range(FEW - 1)]
        assert resets.empty(), "what came beyond the limit was not heard"
        assert taken == [RESET] * (FEW - 1)
    assert (control.events.history, control.events.empty(), resets.history) == ((), True, ())


async def test_without_the_count_everything_is_kept_for_good(tmp_path: Path) -> None:
    """The twin: it is the library that keeps it."""
    control, resets = QMPClient("vm"), EventListener("RESET")
    control.register_listener(resets)
    async with asyncio.timeout(60), qemu(control, tmp_path) as writer:
        writer.write((json.dumps(RESET).encode() + b"\n") * 10 * FEW)
        for _ in range(10 * FEW):
            await resets.get()
    assert len(control.events.history) == len(resets.history) == 10 * FEW


async def test_what_nobody_takes_is_not_kept_without_end() -> None:
    heard = Heard("RESET")
    for _ in range(2 * FEW):
        await heard.put(RESET)
    await heard.put({"event": "STOP"})
    assert len(heard.clear()) == FEW


async def test_each_minute_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now, unheard = 100.0, asyncio.get_running_loop().create_future()
    monkeypatch.setattr(machine_events.time, "monotonic", lambda: now)
    control = QMPClient("vm")
    counted(control, "build-vm", unheard)
    for _ in range(3):
        for _ in range(FEW):
            await control.events.put(RESET)
        now += machine_events.MINUTE_SECONDS
    assert not unheard.done()
