"""A service that is away for a while, of another kind, or asks for patience: what the command line makes of it."""

import asyncio
import json
from collections.abc import Callable, Iterable

import httpx
import pytest

from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient, ServiceAway, UnexpectedAnswer, body_of
from vmkiln.errors import ArmError, InputError

Answer = httpx.Response | type[httpx.TransportError]
GOOD: dict[str, list[str]] = {"value": []}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr(arm_client, "FIRST_PAUSE_SECONDS", 0.0)


def answered(status: int, body: object = None, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, text=json.dumps(body), headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def asked(method: str, answers: Iterable[Answer], *, was_there: bool = True) -> tuple[httpx.Response, list[str]]:
    """The answer to a request, behind one that went well, and the methods of all that were sent."""
    left, sent = iter([answered(200, GOOD)] * was_there + list(answers)), []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        answer = next(left)
        if isinstance(answer, type):
            raise answer("it broke", request=request)
        return answer

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as web:
            client = ArmClient(web, "https://here:1")
            if was_there:
                await client.request("GET", "/")
            return await client.request(method, "/x", body={} if method == "POST" else None)

    return asyncio.run(ask()), sent[int(was_there) :]


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("GET", httpx.ConnectError),
        ("GET", httpx.ReadTimeout),
        ("GET", httpx.RemoteProtocolError),
        ("GET", answered(502)),
        ("GET", answered(504)),
        ("GET", answered(429, retry_after="0")),
        ("POST", answered(503, retry_after="0")),
        ("POST", answered(429)),
        ("POST", httpx.ConnectError),
        ("DELETE", httpx.ConnectTimeout),
    ],
    ids=str,
)
def test_what_was_not_done_is_asked_again_and_told_once(
    method: str, first: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    found, sent = asked(method, [first, first, answered(200, GOOD)])
    assert (found.status_code, sent) == (200, [method] * 3)
    assert capsys.readouterr().err.count("it is asked again for 60 s") == 1


@pytest.mark.parametrize("first", [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_may_have_been_done_is_not_asked_again(method: str, first: type[httpx.TransportError]) -> None:
    with pytest.raises(ServiceAway) as told:
        asked(method, [first])
    assert (told.value.exit_code, "it broke" in told.value.message) == (3, True)


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_proxy_answers_to_a_change_is_not_asked_again(status: int) -> None:
    with pytest.raises(ArmError) as told:
        asked("POST", [answered(status)])
    assert told.value.exit_code == 3


def test_a_service_that_never_answered_is_told_at_once() -> None:
    with pytest.raises(ServiceAway):
        asked("GET", [httpx.ConnectError], was_there=False)


@pytest.mark.parametrize(
    ("answer", "code"), [(answered(429), 3), (answered(503), 3), (httpx.ConnectError, 3), (answered(403), 1)], ids=str
)
def test_patience_has_an_end(answer: Answer, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_client, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(arm_client, "FIRST_PAUSE_SECONDS", 1.0)
    with pytest.raises((ArmError, ServiceAway)) as told:
        asked("GET", [answer])
    assert told.value.exit_code == code


@pytest.mark.parametrize(
    ("content", "use"),
    [
        (b"<html>", lambda found: found),
        (b"", lambda found: found),
        (b"[1]", lambda found: found),
        (b"\xff\xfe", lambda found: found),
        (b"[" * 100_000, lambda found: found),
        (b"{}", lambda found: found["value"]),
        (b'{"properties": {}}', lambda found: found["properties"]["runState"]),
        (b'{"value": [{}]}', lambda found: found["value"][0]["id"]),
    ],
    ids=lambda given: given[:20].decode("latin-1") if isinstance(given, bytes) else "",
)
def test_what_is_no_service_of_ours_is_told_so(content: bytes, use: Callable[[arm_client.Body], object]) -> None:
    found = httpx.Response(200, content=content, request=httpx.Request("GET", "https://here/x"))
    with pytest.raises(UnexpectedAnswer) as told:
        use(body_of(found))
    assert (told.value.exit_code, told.value.code) == (3, "UnexpectedAnswer")
    assert len(told.value.message) < 200
    assert told.value.message.isprintable()


def test_a_token_that_is_over_is_asked_for_anew() -> None:
    tokens: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tokens.append(request.headers["authorization"])
        return answered(401 if len(tokens) == 2 else 200, GOOD)

    async def log_in() -> str:
        return "second"

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as web:
            client = ArmClient(web, "https://here:1", "first", log_in=log_in)
            await client.request("GET", "/")
            await client.request("GET", "/")

    asyncio.run(ask())
    assert tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_that_was_never_taken_is_told() -> None:
    with pytest.raises(InputError, match="the token is wrong, or over"):
        asked("GET", [answered(401)], was_there=False)
