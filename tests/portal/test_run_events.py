"""The stream of a run's page: what its events tell, where it goes on, and when it is cut off."""

import json
from typing import Any

import httpx
import pytest
from in_process import InProcess
from page_visitor import Visitor, run_page

from vmkiln.portal.runs import run_stream


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


def test_a_stream_is_cut_off_when_the_service_ends(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = run_page(living, "echo one")
    monkeypatch.setattr(run_stream, "is_ending", lambda _scope: True)
    answer = browser.get(f"{address}/follow")
    assert events_of(answer, "lines") != []
    assert events_of(answer, "end") == [], "whoever comes back goes on"
