"""SIGTERM and SIGHUP end a command with 130 and its clean-ups, wherever it is, as docs/json.md says."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import typer

from vmkiln.cli import invocation, main
from vmkiln.cli.interrupts import run_to_end
from vmkiln.lifetime import last_words
from vmkiln.lifetime.end_signals import ENDS, as_interrupts

both = pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
cleaned: list[str] = []


@pytest.fixture(autouse=True)
def survived(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process goes on where a signal is nobody's, and each command leaves these as they were."""
    cleaned.clear()
    monkeypatch.setattr(last_words, "end_within", lambda *_, **__: None)
    before = [signal.signal(number, _unheard) for number in ENDS]
    yield
    kept = [signal.getsignal(number) for number in ENDS]
    for number, handler in zip(ENDS, before, strict=True):
        signal.signal(number, handler)
    assert kept == [_unheard, _unheard]


def _unheard(*_: object) -> None:
    pass


def in_plain_code(number: int) -> None:
    try:
        os.kill(os.getpid(), number)
        for _ in range(1000):  # a signal is heard between two steps of Python
            pass
    finally:
        cleaned.append("plain")


async def _waiting(number: int) -> None:
    try:
        os.kill(os.getpid(), number)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        cleaned.append("loop")


def in_a_loop_of_ours(number: int) -> None:
    run_to_end(_waiting(number))


def in_another_loop(number: int) -> None:
    asyncio.run(_waiting(number))


def behind_a_loop_of_ours(number: int) -> None:
    run_to_end(asyncio.sleep(0))
    in_plain_code(number)


@pytest.fixture(params=["in front", "in the background"])
def interrupted(request: pytest.FixtureRequest) -> Iterator[None]:
    """What Ctrl-C does where a command was started: a shell has it ignored in what it starts in the background."""
    own = signal.default_int_handler if request.param == "in front" else signal.SIG_IGN
    before = signal.signal(signal.SIGINT, own)
    yield
    signal.signal(signal.SIGINT, before)


@both
@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("work", [in_plain_code, in_a_loop_of_ours, in_another_loop, behind_a_loop_of_ours])
def test_a_signal_ends_a_command_with_130_wherever_it_is(
    work: Callable[[int], None], number: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def begun(as_json: bool = typer.Option(False, "--json")) -> None:
        work(number)

    app = typer.Typer()
    app.command()(begun)
    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as ended:
        main.main(["--json"])
    assert (ended.value.code, len(cleaned)) == (130, 1)
    assert json.loads(capfd.readouterr().out)["error"]["code"] == "Canceled"


def test_what_nohup_started_is_not_ended_by_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_interrupts():
            in_plain_code(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_end_between_two_things_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where no command runs yet, or none any more."""

    def ended(_arguments: object) -> None:
        invocation.begin(is_verbose=False)
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_run", ended)
    with pytest.raises(SystemExit) as left:
        main.main(["--json"])
    assert left.value.code == 130
    assert json.loads(capfd.readouterr().out)["error"]["code"] == "Canceled"
