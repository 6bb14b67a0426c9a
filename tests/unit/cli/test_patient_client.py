"""A service that is away for a while, of another kind, or asks for patience: what the command line makes of it."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable

import httpx
import pytest

from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient
from vmkiln.cli.contexts import Context
from vmkiln.cli.service.answers import Body, ServiceAway, UnexpectedAnswer, body_of, refusal
from vmkiln.errors import ArmError, InputError

Answer = httpx.Response | type[Exception] | Exception
GOOD: dict[str, list[str]] = {"value": []}
BUSY = {"error": {"code": "ServerBusy", "message": "no thread"}}  # as our service tells that nothing was begun
IN_DOUBT = {"error": {"code": "ServiceUnavailable", "message": "the database cannot be used"}}
FULL = {"error": {"code": "InsufficientStorage", "message": "the disk is full"}}
DISTRUSTED = httpx.ConnectError("it broke")
DISTRUSTED.__cause__ = ssl.SSLCertVerificationError("it is over")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr(arm_client, "FIRST_PAUSE_SECONDS", 0.0)


def answered(status: int, body: object = None, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, text=json.dumps(body), headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def asked(
    method: str, answers: Iterable[Answer], *, was_there: bool = True, sent: list[str] | None = None
) -> tuple[httpx.Response, list[str]]:
    """The answer to a request, behind one that went well, and the methods of all that were `sent`."""
    left = iter([answered(200, GOOD)] * was_there + list(answers))
    seen: list[str] = [] if sent is None else sent

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        answer = next(left)
        if isinstance(answer, type):
            raise answer("it broke")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as web:
            client = ArmClient(web, "https://here:1")
            if was_there:
                await client.request("GET", "/")
            return await client.request(method, "/x", body={} if method == "POST" else None)

    return asyncio.run(ask()), seen[int(was_there) :]


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("GET", httpx.ConnectError),
        ("GET", httpx.ReadTimeout),
        ("GET", httpx.RemoteProtocolError),
        ("GET", answered(502)),
        ("GET", answered(504)),
        ("GET", answered(429, retry_after="0")),
        ("GET", answered(503, IN_DOUBT, retry_after="0")),
        ("GET", answered(503)),
        ("POST", answered(503, BUSY, retry_after="0")),
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


def test_a_place_among_shells_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArmError, match="four are open"):
        asked("POST", [answered(429, {"error": {"code": "TooManyShells", "message": "four are open"}})])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("first", [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_may_have_been_done_is_not_asked_again(method: str, first: type[httpx.TransportError]) -> None:
    with pytest.raises(ServiceAway) as told:
        asked(method, [first])
    assert (told.value.exit_code, "it broke" in told.value.message) == (3, True)


@pytest.mark.parametrize(
    "answer", [answered(502), answered(504), answered(503), answered(503, IN_DOUBT, retry_after="0"),
               answered(503, FULL)], ids=["502", "504", "503", "away", "full"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_change_of_which_something_may_be_done_is_not_asked_again(method: str, answer: httpx.Response) -> None:
    """A run was queued, and the database went away before that was answered: asked again, there were two."""
    sent: list[str] = []
    with pytest.raises(ArmError) as told:
        asked(method, [answer, answered(200, GOOD)], sent=sent)
    assert (told.value.exit_code, sent) == (3, ["GET", method])


def test_a_service_that_never_answered_is_told_at_once() -> None:
    with pytest.raises(ServiceAway):
        asked("GET", [httpx.ConnectError], was_there=False)


@pytest.mark.parametrize(("body", "is_ours"), [(BUSY, True), ({"error": "invalid_client"}, True), ("<html>", False)])
def test_a_service_that_refuses_in_its_own_words_was_there(body: object, is_ours: bool) -> None:
    answers: list[Answer] = [answered(503, body), httpx.ConnectError, answered(200, GOOD)]
    if is_ours:
        assert asked("GET", answers, was_there=False)[0].status_code == 200
    else:
        with pytest.raises(ServiceAway):
            asked("GET", answers, was_there=False)


@pytest.mark.parametrize(
    "error", [httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, DISTRUSTED], ids=str
)
def test_what_no_patience_helps_is_told_at_once(error: Answer) -> None:
    with pytest.raises(ServiceAway, match="it broke"):
        asked("GET", [error, answered(200, GOOD)])


def test_a_service_that_asks_for_no_pause_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Retry-After: 0` was a loop without a pause: for a minute, and of an operation without an end."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(arm_client, "FIRST_PAUSE_SECONDS", 0.5)
    first = answered(202, retry_after="0", location="https://here:1/x", azure_asyncoperation="https://here:1/x")
    second = answered(202, retry_after="0", location="https://here:1/x")
    states = iter(
        [answered(429, retry_after="0")] * 2
        + [answered(200, {"status": "InProgress"}, retry_after="0"), answered(200, {"status": "Succeeded"})]
        + [second, answered(200, GOOD)]
    )

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(states))) as web:
            client = ArmClient(web, "https://here:1")
            await client.finished(first)
            await client.finished(second)

    asyncio.run(ask())
    assert pauses == [0.5, 0.5, 1.0, 0.5, 0.5, 0.5]


def test_a_refusal_without_measure_is_no_service_of_ours() -> None:
    assert refusal(httpx.Response(503, content=b"[" * 100_000)).code == "UnexpectedAnswer"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answered(429), 3),
        (answered(503), 3),
        (httpx.ConnectError, 3),
        (answered(403, {"error": {"code": "AuthorizationFailed", "message": "no"}}), 1),
    ],
    ids=str,
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
        (b'{"value": [{}]}', lambda found: found.listed()[0]["id"]),
        (b'{"value": 5}', lambda found: found.listed()),
        (b'{"value": [5]}', lambda found: found.listed()),
        (b"{}", lambda found: found.listed()),
    ],
    ids=lambda given: given[:20].decode("latin-1") if isinstance(given, bytes) else "",
)
def test_what_is_no_service_of_ours_is_told_so(content: bytes, use: Callable[[Body], object]) -> None:
    found = httpx.Response(200, content=content, request=httpx.Request("GET", "https://here/x"))
    with pytest.raises(UnexpectedAnswer) as told:
        use(body_of(found))
    assert (told.value.exit_code, told.value.code) == (3, "UnexpectedAnswer")
    assert len(told.value.message) < 200
    assert told.value.message.isprintable()


def test_an_answer_has_an_end_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_client, "MOST_ANSWER_BYTES", 1 << 20)
    packed = gzip.compress(b" " * (4 << 20))
    bomb = httpx.Response(200, content=packed, headers={"content-encoding": "gzip"})
    with pytest.raises(UnexpectedAnswer, match="larger than 1 MiB"):
        asked("GET", [bomb])
    small = httpx.Response(200, content=gzip.compress(b"{}"), headers={"content-encoding": "gzip", "x": "y"})
    found, _ = asked("GET", [small])
    assert (found.content, found.headers["x"], body_of(found)) == (b"{}", "y", {})


def test_an_answer_has_an_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then kept it alive for ever."""
    monkeypatch.setattr(arm_client, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(arm_client, "PATIENCE_SECONDS", 0.0)

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    with pytest.raises(ServiceAway, match="did not end within"):
        asked("GET", [httpx.Response(200, content=trickle())])


def test_a_token_that_is_over_is_asked_for_anew() -> None:
    """With the same patience: a login was sent once, and a service that started anew ended what followed a run."""
    tokens: list[str] = []
    logins: list[Answer] = [httpx.ConnectError("it broke"), httpx.ReadTimeout("slow"), answered(503, IN_DOUBT)]
    logins += [answered(429), answered(200, {"access_token": "second"})]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            assert "authorization" not in request.headers
            answer = logins.pop(0)
            if isinstance(answer, httpx.Response):
                return answer
            raise answer
        tokens.append(request.headers["authorization"])
        return answered(401 if len(tokens) == 2 else 200, GOOD)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as web:
            login = Context("https://here:1", app_id="ci", secret="s")
            client = ArmClient(web, "https://here:1", "first", login=login)
            await client.request("GET", "/")
            await client.request("GET", "/")

    asyncio.run(ask())
    assert (tokens, logins) == (["Bearer first", "Bearer first", "Bearer second"], [])


def test_whom_a_service_logged_in_asks_it_again() -> None:
    answers: list[Answer] = [answered(200, {"access_token": "t"}), httpx.ConnectError("it broke"), answered(200, GOOD)]

    def handler(_: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as web:
            client = ArmClient(web, "https://here:1")
            await client.log_in(Context("https://here:1", app_id="ci", secret="s"))
            return await client.request("POST", "/x")

    assert asyncio.run(ask()).status_code == 200


def test_a_token_that_was_never_taken_is_told() -> None:
    with pytest.raises(InputError, match="the token is wrong, or over"):
        asked("GET", [answered(401)], was_there=False)


def test_an_error_without_words_is_told_by_its_name() -> None:
    with pytest.raises(ServiceAway, match="GET https://here:1/x: ReadTimeout"):
        asked("GET", [httpx.ReadTimeout("")], was_there=False)
