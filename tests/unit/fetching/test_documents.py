"""Small documents of whoever a caller named: few bytes, little time, no redirect, no private server."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from asked_server import AskedServer, serving

from vmkiln.fetching import documents
from vmkiln.fetching.documents import fetch_json
from vmkiln.fetching.server_rule import NamedBy, ServerRule, read_servers
from vmkiln.fetching.transport import REFUSED, ServerRefused

LOOPBACK = ServerRule(NamedBy.CALLER, read_servers("127.0.0.1"))


@pytest.fixture
def server() -> Iterator[AskedServer]:
    with serving() as running:
        running.answers["/keys"] = ({}, b'{"keys": []}')
        yield running


def test_an_issuer_on_this_machine_is_asked_only_where_that_is_allowed(server: AskedServer) -> None:
    with pytest.raises(ServerRefused) as caught:
        fetch_json(server.url("/keys"))
    assert (str(caught.value), server.asked) == (REFUSED, [])
    assert fetch_json(server.url("/keys"), rule=LOOPBACK) == {"keys": []}


def test_a_document_comes_from_where_it_was_looked_for(server: AskedServer) -> None:
    server.redirects["/go"] = "/keys"
    with pytest.raises(httpx.TooManyRedirects):
        fetch_json(server.url("/go"), rule=LOOPBACK)
    assert [path for path, _ in server.asked] == ["/go"]


def test_a_large_document_is_no_answer(server: AskedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_DOCUMENT_BYTES", 11)
    with pytest.raises(ValueError, match="more than 11 bytes"):
        fetch_json(server.url("/keys"), rule=LOOPBACK)


def test_a_slow_document_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_SECONDS", 0.3)
    go_on = threading.Event()
    with serving(on_request=lambda: go_on.wait(20) and None) as slow:
        with pytest.raises(httpx.ReadTimeout):
            fetch_json(slow.url(), rule=LOOPBACK)
        go_on.set()


def test_a_document_that_is_nested_too_deeply_is_no_answer(server: AskedServer) -> None:
    server.answers["/deep"] = ({}, b"[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        fetch_json(server.url("/deep"), rule=LOOPBACK)
