"""Following a run of a service: its lines to the end, and what is said when the service ends before."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient, ServiceAway
from vmkiln.cli.commands.templates import following

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
    """The run, followed at a service that gives these answers and then is there no more."""

    def answered(request: httpx.Request) -> httpx.Response:
        for answer in answers:
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


def test_who_follows_a_run_of_a_service_that_is_killed_learns_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServiceAway) as told:
        followed(iter([FIRST]))
    assert capsys.readouterr().out == "hello \\x1b[2J\n", "what was said before is there"
    assert told.value.message.startswith("stopped following the run: GET https://build.example.org/")
    assert "`vmkiln template logs web -g images --follow`" in str(told.value.hint)
    assert told.value.exit_code == 3
