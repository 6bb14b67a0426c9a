"""Signals that end a command: the first lets it clean up, also when its terminal is closed."""

import asyncio
import os
import signal

import pytest

from vmkiln.cli.interrupts import run_to_end
from vmkiln.lifetime import last_words


@pytest.fixture(autouse=True)
def without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is not the command's, and goes on."""
    monkeypatch.setattr(last_words, "end_within", lambda *_, **__: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_a_command_clean_up(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal that was closed ended a build on the spot, with its virtual machines."""
    cleaned = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(number)

    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, lambda *_: None)  # not the default, which would end the tests
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(work())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert cleaned == [number]
    assert capsys.readouterr().err == "cancelling; everything temporary is being deleted\n"


def test_what_nohup_started_goes_on_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        return "done"

    try:
        assert run_to_end(work()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)
