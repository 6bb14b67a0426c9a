"""A run's page changes as soon as something does."""

import asyncio
import base64
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from vmkiln.errors import ArmError
from vmkiln.portal.runs import run_stream
from vmkiln.portal.runs.run_stream import MOST_BEHIND, SHOWN_LINES, place_of
from vmkiln.staging.logs.log_news import NEWS

RUN_ID = "0123abcd-0000-4000-8000-000000000000"
ID = f"/t/providers/Vmkiln.Builds/runs/{RUN_ID.upper()}"


class ARun:
    """What the API answers of a run whose log grows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.state = "Running"
        self.refused = 0
        self.token = ""

    async def ask(self, _method: str, path: str, **query: str) -> dict[str, Any]:
        if self.refused:
            raise ArmError(self.refused, "Refused", "refused")
        what = path.removeprefix(ID)
        if what == "/log/lines":
            first = int(query["line"])
            lines = self.lines[first - 1 :][: int(query["count"])] if query["kind"] == "customization" else []
            return {"lines": lines, "startLine": first, "total": len(self.lines)}
        if what == "/log/outline":
            return {"value": [], "lines": len(self.lines) if query["kind"] == "customization" else 0}
        if what == "/timeline":
            return {"value": []}
        times = {
            "startTime": "2026-01-01T00:00:00Z",
            "endTime": None if self.state == "Running" else "2026-01-01T00:01:00Z",
        }
        phases = [{"name": "Customizing", **times}]
        properties = {
            "runState": self.state,
            "runSubState": "Customizing",
            "phases": phases,
            "outputs": [],
            "message": "",
        }
        return {"id": ID, "name": RUN_ID, "properties": {**properties, **times, "facts": {}}}

    async def followed(self, *, headers: dict[str, str] | None = None) -> Any:
        request = SimpleNamespace(headers=headers or {}, query_params={}, scope={})
        visit: Any = SimpleNamespace(id=f"{ID}/follow", request=request, api=self)
        response = await run_stream.follow(visit)
        assert isinstance(response, StreamingResponse)
        return aiter(response.body_iterator)


async def until(events: Any, wanted: str) -> str:
    """The next event of a name; the others are passed over."""
    while wanted not in (event := str(await asyncio.wait_for(anext(events), 30))):
        assert "event: end" not in event
    return event


async def test_a_line_and_a_state_are_on_the_page_when_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_stream, "FOLLOW_SECONDS", 3600)  # so that only the news wakes
    monkeypatch.setattr(run_stream, "STATE_SECONDS", 0)
    run = ARun()
    events = await run.followed()
    state = json.loads((await until(events, "event: state")).partition("data: ")[2])
    assert state == {"title": "\u25b6 t \u00b7 Running", "icon": "live", "isLive": True}
    await until(events, ": nothing new")
    run.lines.append("between")  # before the page has become a follower, and nobody tells
    assert "between" in await until(events, "event: lines")
    await until(events, ": nothing new")
    waiting = asyncio.ensure_future(until(events, "event: lines"))
    await asyncio.sleep(0)
    run.lines.append("<one>")
    await asyncio.to_thread(NEWS.tell, RUN_ID)
    event = await waiting
    assert event.startswith("id: 3.1\n")
    assert json.loads(event.partition("data: ")[2]) == {"kind": "customization", "lines": [[2, None, False, ["<one>"]]]}
    run.state = "Succeeded"
    NEWS.tell(RUN_ID)
    assert "Succeeded" in await until(events, "event: state")
    assert "Succeeded in 1 min 00 s" in await until(events, "run-ended")
    assert [event async for event in events][-1].startswith("event: end")
    assert NEWS._followers == {}


@pytest.mark.parametrize(("status", "is_over"), [(401, False), (503, False), (403, True), (404, True)])
async def test_a_stream_that_is_cut_off_ends_only_when_its_run_is_gone(
    monkeypatch: pytest.MonkeyPatch, status: int, is_over: bool
) -> None:
    monkeypatch.setattr(run_stream, "FOLLOW_SECONDS", 0)
    run = ARun()
    events = await run.followed()
    await until(events, ": nothing new")
    run.refused = status
    told = "".join([str(event) async for event in events])
    assert told.endswith('event: end\ndata: {"isGone":true}\n\n') is is_over
    assert ("event: end" in told) is is_over


def a_token(age_seconds: float) -> str:
    """A token of an hour, as far as a page looks at it."""
    begun = time.time() - age_seconds
    claims = base64.urlsafe_b64encode(json.dumps({"iat": begun, "exp": begun + 3600}).encode()).decode()
    return f"e30.{claims}.x"


async def test_a_viewer_comes_back_to_have_the_session_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an hour after the login a page would stand still, though it was looked at all the time."""
    monkeypatch.setattr(run_stream, "FOLLOW_SECONDS", 0)
    run = ARun()
    run.token = a_token(60)
    events = await run.followed()
    await until(events, ": nothing new")
    await until(events, ": nothing new")
    run.token = a_token(1900)
    assert "event: end" not in "".join([str(event) async for event in events])
    assert NEWS._followers == {}
    again = await run.followed()
    await until(again, ": nothing new")
    await until(again, ": nothing new")  # what could not be renewed is used to its end


async def test_who_is_far_behind_goes_on_at_the_end_of_the_log() -> None:
    run = ARun()
    run.lines = [f"line {number}" for number in range(1, MOST_BEHIND + 5000)]
    run.state = "Succeeded"
    events = await run.followed(headers={"last-event-id": "10.1"})
    texts = [str(event) async for event in events if "event: lines" in event]
    lines = [line[0] for text in texts for line in json.loads(text.partition("data: ")[2])["lines"]]
    assert lines == list(range(len(run.lines) - SHOWN_LINES + 1, len(run.lines) + 1))


@pytest.mark.parametrize("text", ["", "x", "1", "1.", "99999999999.1", "0.0", "-1.1"])
def test_a_place_that_is_none_is_the_beginning(text: str) -> None:
    assert place_of(text) == {"customization": 1, "validation": 1}
    assert place_of("12.3") == {"customization": 12, "validation": 3}
