"""Following a run of a service: its lines to the end, and what is said when the service ends before."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient
from vmkiln.cli.commands.templates import following, template
from vmkiln.cli.contexts import Context, Contexts
from vmkiln.cli.service.answers import ServiceAway
from vmkiln.errors import ArmError, VmkilnError
from vmkiln.lifetime import last_words
from vmkiln.settings import Settings

RUN = (
    "/subscriptions/s/resourceGroups/images/providers/Microsoft.VirtualMachineImages/imageTemplates/web"
    "/providers/Vmkiln.Builds/runs/0123abcd"
)
FIRST = {"lines": ["hello \x1b[2J"], "position": 5, "isComplete": False}
LAST = {"lines": ["world"], "position": 9, "isComplete": True}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a service to come back."""
    monkeypatch.setattr(arm_client, "PATIENCE_SECONDS", 0.0)


def followed(answers: Iterator[object]) -> dict[str, object]:
    """The run, followed at a service that gives these answers (a status: an error) and then is there no more."""

    def answered(request: httpx.Request) -> httpx.Response:
        for answer in answers:
            if isinstance(answer, int):
                error = {"code": "ServiceUnavailable", "message": "the database cannot be used"}
                return httpx.Response(answer, json={"error": error})
            return httpx.Response(200, text=json.dumps(answer))
        raise httpx.ConnectError("all connection attempts failed", request=request)

    async def follow() -> dict[str, object]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as web:
            client = ArmClient(web, "https://build.example.org")
            return dict(await following.followed(client, RUN, print_lines=True))

    return asyncio.run(follow())


def test_a_run_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert followed(iter([FIRST, LAST, {"name": "0123abcd"}])) == {"name": "0123abcd"}
    assert capsys.readouterr().out == "hello \\x1b[2J\nworld\n"


def test_what_a_guest_prints_is_no_mark_of_a_ci_that_follows(capsys: pytest.CaptureFixture[str]) -> None:
    followed(iter([{**LAST, "lines": ["::error::a", "b ##[error]c"]}, {"name": "0123abcd"}]))
    assert capsys.readouterr().out == "\\x3a:error::a\nb #\\x23[error]c\n"


def test_who_follows_a_run_of_a_service_that_is_killed_learns_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServiceAway) as told:
        followed(iter([FIRST]))
    assert capsys.readouterr().out == "hello \\x1b[2J\n", "what was said before is there"
    assert told.value.message.startswith("stopped following the run: GET https://build.example.org/")
    assert "`vmkiln template logs web -g images --follow`" in str(told.value.hint)
    assert told.value.exit_code == 3


@pytest.mark.parametrize("status", [429, 503, 504])
def test_who_follows_a_run_of_a_service_that_puts_off_learns_how_it_went_on(status: int) -> None:
    with pytest.raises(ServiceAway, match="stopped following the run") as told:
        followed(iter([FIRST, status]))
    assert "`vmkiln template logs web -g images --follow`" in str(told.value.hint)
    assert told.value.exit_code == 3


def test_what_a_service_refuses_to_who_follows_is_told_as_it_is() -> None:
    with pytest.raises(ArmError) as told:
        followed(iter([FIRST, 403]))
    assert (told.value.code, told.value.exit_code) == ("ServiceUnavailable", 1)


@pytest.mark.parametrize("how", ["in JSON", "as lines", "until it is cancelled"])
def test_who_hears_nothing_of_a_run_for_long_is_told_what_is_waited_for(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    @contextlib.contextmanager
    def long_work(text: str) -> Iterator[None]:
        told.append(text)
        yield

    def answered(request: httpx.Request) -> httpx.Response:
        run = {"id": RUN, "name": "0123abcd", "properties": {"runState": "Canceled"}}
        return httpx.Response(200, json=LAST if "/log" in request.url.path else {**run, "value": [run]})

    async def wait() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as web:
            client = ArmClient(web, "https://build.example.org")
            if how == "until it is cancelled":
                await following.cancelled(client, RUN.partition("/providers/Vmkiln")[0])
            else:
                await following.followed(client, RUN, print_lines=how == "as lines")

    monkeypatch.setattr("vmkiln.cli.view.long_work.long_work", long_work)
    asyncio.run(wait())
    wanted = {"in JSON": ["waiting for the end of run 0123abcd"], "as lines": []}
    assert told == wanted.get(how, ["waiting until the run has ended"])


PARTINGS = {
    (False, "run"): "interrupted; `vmkiln template list --context there --subscription s` shows whether a run began",
    (True, "run"): "interrupted; `vmkiln template list --context there --subscription s` shows whether a run began",
    (False, "runs"): "stopped following; the run goes on; "
    "`vmkiln template cancel web -g images --context there --subscription s` cancels it",
    (True, "runs"): "cancelling the run; wait until it has ended",
}


@pytest.mark.parametrize(("cancels", "cut"), PARTINGS, ids=str)
def test_ctrl_c_is_answered_with_what_is_sure(
    cancels: bool, cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the service had not answered yet it said that a run goes on, or is cancelled, and there may have been none.

    `cut` is the request at which the user ends it: the one that begins the run, or the first one behind it.
    """
    monkeypatch.setattr(last_words, "end_within", lambda *_, **__: None)
    asked: list[str] = []

    async def service(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        if asked[-1] == cut and asked.count(cut) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        run = {"id": RUN, "name": "0123abcd", "properties": {"runState": "Canceled", "message": "cancelled"}}
        return httpx.Response(200, json={"value": [run]})

    web = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **_: web(transport=httpx.MockTransport(service)))
    monkeypatch.setattr(following, "read_settings", lambda: Settings(tmp_path))
    there = Context("https://build.example.org", token="t")
    monkeypatch.setattr(following, "read_contexts", lambda _: Contexts("there", {"there": there}))
    with pytest.raises((KeyboardInterrupt, VmkilnError)) as ended:
        template.run("images", "web", cancel_on_interrupt=cancels, subscription="s", context="there")
    assert PARTINGS[cancels, cut] in capsys.readouterr().err
    is_cancelled = cancels and cut == "runs"
    assert ("cancel" in asked, isinstance(ended.value, VmkilnError)) == (is_cancelled, is_cancelled)
