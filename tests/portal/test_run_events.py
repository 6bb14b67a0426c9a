"""The stream of a run's page: what its events tell, where it goes on, and when it is cut off."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from in_process import TEMPLATE, InProcess
from page_visitor import Visitor, run_page

from vmkiln.portal.runs import run_stream
from vmkiln.portal.runs.run_view import RunView


def events_of(answer: httpx.Response, name: str) -> list[dict[str, Any]]:
    """What the events of a name told."""
    told = [text for text in answer.text.split("\n\n") if f"event: {name}\n" in text]
    return [json.loads(text.partition("data: ")[2]) for text in told]


def test_a_run_is_followed_as_events_that_can_be_resumed(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "echo one", "echo <two>")
    answer = browser.get(f"{address}/follow")
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for event in events_of(answer, "lines") for line in event["lines"]]
    assert [line[0] for line in lines] == list(range(1, len(lines) + 1))
    assert [line[3] for line in lines][:2] == [["echo one"], ["echo <two>"]]
    assert all(line[1] for line in lines), "each has its time"
    [groups] = [event["groups"] for event in events_of(answer, "groups") if event["kind"] == "customization"]
    assert [(group["name"], group["state"]) for group in groups] == [("first", "ok")]
    parts = {event["id"]: event["html"] for event in events_of(answer, "part")}
    assert "Succeeded in" in parts["run-ended"]
    assert events_of(answer, "state")[0]["title"] == "\N{CHECK MARK} web \N{MIDDLE DOT} Succeeded"
    assert answer.text.endswith("event: end\ndata: {}\n\n")
    last = answer.text.rpartition("id: ")[2].partition("\n")[0]
    again = browser.get(f"{address}/follow", headers={"Last-Event-ID": last})
    assert events_of(again, "lines") == []


def test_only_the_steps_that_changed_are_told_again(browser: Visitor, living: InProcess) -> None:
    """A log of many steps, which grows, would be told as a whole each second to each viewer."""
    address = run_page(living, "echo one")
    run = living.get(address.removeprefix("/portal")).json()
    item = {"lines": 1, "errorLines": 0, "startTime": None, "endTime": None}

    def view(lines: int) -> RunView:
        steps = [{**item, "step": "first", "firstLine": 1}, {**item, "step": "\u202etwo", "firstLine": 2}]
        steps[1]["lines"] = lines
        outlines = {"customization": {"value": steps, "lines": 1 + lines}, "validation": {"value": [], "lines": 0}}
        return RunView(run, TEMPLATE, (), outlines, None, 0.0)

    async def told_of(*views: RunView) -> list[list[str]]:
        told = run_stream.Told()
        found = []
        for one in views:
            events = [json.loads(text.partition("data: ")[2]) async for text in run_stream.changes(one, told)]
            found.append([group["name"] for event in events for group in event.get("groups", [])])
        return found

    assert asyncio.run(told_of(view(1), view(1), view(2))) == [["first", "\\u202etwo"], [], ["\\u202etwo"]]


def test_a_stream_is_cut_off_when_the_service_ends(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = run_page(living, "echo one")
    monkeypatch.setattr(run_stream, "is_ending", lambda _scope: True)
    answer = browser.get(f"{address}/follow")
    assert events_of(answer, "lines") != []
    assert events_of(answer, "end") == [], "whoever comes back goes on"
