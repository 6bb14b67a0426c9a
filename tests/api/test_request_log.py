"""The log of requests: who asked for what, and how it went; never a query, a header or a control character."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from in_process import BASE, GROUP, InProcess, add_group
from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln.api.protocol.request_log import LOGGER, with_request_log

Ask = Callable[..., httpx.Response]


def ask(app: ASGIApp, method: str, path: str, *, token: str = "", raise_errors: bool = True) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raise_errors, client=("10.0.0.9", 1234))
        async with httpx.AsyncClient(transport=transport) as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await client.request(method, BASE + path, headers=headers)

    return asyncio.run(answer())


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) | {"text": record.getMessage()} for record in caplog.records if record.name == LOGGER]


def test_a_line_says_who_asked_for_what_and_how_it_went(service: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    add_group(service)
    response = ask(with_request_log(service.app), "GET", f"{GROUP}?api-version=2024-11-01", token="owner")
    assert response.status_code == 200
    (line,) = lines(caplog)
    request_id = response.headers["x-ms-request-id"]
    found = {name: line[name] for name in ("method", "path", "status", "caller", "source", "request_id")}
    assert found == {
        "method": "GET", "path": GROUP, "status": 200, "caller": "owner", "source": "10.0.0.9",
        "request_id": request_id,
    }  # fmt: skip
    assert line["correlation_id"] == response.headers["x-ms-correlation-request-id"]
    assert 0 <= line["ms"] < 60_000
    assert line["text"].startswith(f"GET {GROUP} 200 ")
    assert line["text"].endswith(f" ms caller=owner source=10.0.0.9 request_id={request_id}")


def test_no_query_no_token_and_no_control_character_gets_in(
    service: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    token = "vmk_a-token-that-is-wrong"
    app = with_request_log(service.app)
    ask(app, "GET", "/subscriptions/a%0d%0ab%1b[2J%e2%80%ae?sig=my-signature&api-version=x", token=token)
    ask(app, "GET", "/" + "x" * 9000)
    ask(app, "SECRET\x7f"[:6], "/")
    found = lines(caplog)
    assert len(found) == 3
    for line in found:
        assert line["text"].isprintable()
        assert len(line["text"]) < 3000
        told = json.dumps({name: str(value) for name, value in line.items()})
        assert "my-signature" not in told
        assert token not in told


def test_what_breaks_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ask(with_request_log(broken), "PUT", "/x")
    assert [(line["method"], line["status"]) for line in lines(caplog)] == [("PUT", 0)]


def test_without_being_asked_nothing_is_logged(service: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    ask(service.app, "GET", "/healthz")
    assert lines(caplog) == []
