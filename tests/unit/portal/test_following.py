"""A followed log comes as soon as it is written."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from vmkiln.portal import run_pages
from vmkiln.staging.logs.log_news import NEWS

RUN_ID = "0123abcd-0000-4000-8000-000000000000"


async def test_a_line_is_on_the_page_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_pages, "FOLLOW_SECONDS", 3600)  # so that only the news wakes
    lines: list[str] = []

    async def ask(_method: str, _path: str, *, position: str) -> dict[str, Any]:
        found = lines[int(position) :]
        return {"lines": found, "position": len(lines), "isComplete": lines[-1:] == ["last"] and not found}

    request = SimpleNamespace(headers={})
    visit: Any = SimpleNamespace(id=f"/t/{RUN_ID.upper()}/follow", request=request, api=SimpleNamespace(ask=ask))
    response = await run_pages.follow(visit)
    assert isinstance(response, StreamingResponse)
    events = aiter(response.body_iterator)
    assert await anext(events) == ": nothing new\n\n"
    lines.append("between")  # before the page has become a follower, and nobody tells
    assert "between" in str(await asyncio.wait_for(anext(events), 30))
    assert await anext(events) == ": nothing new\n\n"
    for text in ("one", "last"):
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        lines.append(text)
        await asyncio.to_thread(NEWS.tell, RUN_ID)
        event = str(await asyncio.wait_for(waiting, 30))
        assert text in event
        if text == "one":
            assert await anext(events) == ": nothing new\n\n"
    assert str(await anext(events)).startswith("event: end")
    assert [event async for event in events] == []
    assert NEWS._followers == {}
