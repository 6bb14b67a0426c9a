"""What a run takes is looked at once a second; a look that ends before the run is in the log."""

import asyncio

import pytest

from vmkiln.run.timeline import recording


async def test_a_look_that_fails_is_told_when_the_run_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked = asyncio.Event()

    class Broken:
        def __init__(self, _process_id: int) -> None:
            pass

        def look(self) -> None:
            raise OSError(5, "Input/output error")

    async def now(work: object, *_: object) -> object:
        looked.set()
        assert callable(work)
        return work()

    monkeypatch.setattr(recording, "ProcessTree", Broken)
    monkeypatch.setattr(recording, "off_loop", now)
    async with asyncio.timeout(60), recording.watched(1, lambda _event: None):
        await looked.wait()
    (record,) = caplog.records
    assert "what a run takes was not looked at to the end" in record.message
    assert "Input/output error" in record.message


async def test_a_look_that_goes_on_until_the_end_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()
    async with asyncio.timeout(60), recording.watched(1, lambda _event: told.set()):
        await told.wait()
    assert caplog.records == []
