"""Whether the service is well: /livez, /readyz, /healthz, and what each thing that is ill does to them."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from in_process import InProcess

from vmkiln.fleet import health as health_of
from vmkiln.fleet.health import Asked
from vmkiln.host import reserve_file
from vmkiln.lifetime.rounds import Rounds

SECRET = "hunter22"


def asked(service: InProcess, path: str) -> tuple[int, Any]:
    """The answer to somebody who has not logged in."""
    response = service.get(path, token=None, api_version=None)
    assert response.headers["cache-control"] == "no-store"
    assert SECRET not in response.text
    return response.status_code, response.json()


def reasons(service: InProcess, path: str = "/readyz") -> list[str]:
    status, body = asked(service, path)
    assert status == 503
    assert body["status"] == "failed"
    return list(body["reasons"])


def test_a_service_that_is_well_says_so(service: InProcess) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        status, body = asked(service, path)
        assert (status, body["status"], body["reasons"]) == (200, "ok", [])
    names = [check["name"] for check in asked(service, "/readyz")[1]["checks"]]
    assert names[:2] == ["database", "disk"]


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_it_asks_the_database(service: InProcess, path: str) -> None:
    statements: list[str] = []

    def seen(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    for engine in service.service.store.connections.engines:
        sa.event.listen(engine, "before_cursor_execute", seen)

    asked(service, path)
    assert [statement.split()[0] for statement in statements if statement != "BEGIN"] == ["SELECT"]
    statements.clear()
    asked(service, "/livez")
    assert statements == [], "whether it lives does not depend on a neighbour"


def test_a_database_that_is_gone_is_told(service: InProcess) -> None:
    file = service.service.settings.home / "vmkiln.sqlite"
    for engine in service.service.store.connections.engines:
        engine.dispose()
    file.unlink()
    for beside in file.parent.glob("vmkiln.sqlite-*"):
        beside.unlink()
    file.mkdir()
    assert reasons(service) == ["database cannot be used (DatabaseAway)"]
    assert asked(service, "/livez")[0] == 200


def test_a_database_that_does_not_answer_is_told_in_time(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(health_of, "PING_SECONDS", 0.2)
    monkeypatch.setattr(service.service.store, "ping", lambda: release.wait(30))
    before = threading.active_count()
    began = time.monotonic()
    for _ in range(3):
        assert reasons(service) == ["database does not answer within 0.2 s"]
    assert time.monotonic() - began < 10
    assert threading.active_count() <= before + 2, "one thread asks, however often it is asked for"
    release.set()


def test_a_question_is_asked_anew_when_it_was_answered() -> None:
    answers = [ValueError(SECRET), None]

    def question() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return ""

    asked_in_time = Asked(question, seconds=5)
    assert asked_in_time.problem() == "cannot be used (ValueError)"
    assert asked_in_time.problem() == ""


async def test_who_waits_for_an_answer_takes_no_thread() -> None:
    release = threading.Event()
    asked_in_time = Asked(lambda: "" if release.wait(30) else "late", seconds=0.3)
    before = threading.active_count()
    waiting = [asyncio.create_task(asked_in_time.found()) for _ in range(100)]
    await asyncio.sleep(0.05)
    assert threading.active_count() == before + 1
    waiting.pop().cancel()
    assert set(await asyncio.gather(*waiting)) == {"does not answer within 0.3 s"}
    release.set()
    assert await asked_in_time.found() == ""


async def test_a_question_without_a_thread_is_no_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asked_in_time = Asked(lambda: "", seconds=5)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        assert "no thread" in await asked_in_time.found()
    assert await asked_in_time.found() == "", "it is asked anew"


class Moved:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(service: InProcess) -> Moved:
    """The clock of the service's rounds."""
    found = Moved()
    service.service.rounds.clock = found
    return found


def rounds_of(service: InProcess) -> Rounds:
    return service.service.rounds


def test_a_round_that_fails_for_long_keeps_it_from_being_ready(service: InProcess, clock: Moved) -> None:
    with rounds_of(service).going_on("runs", seconds=1, patience_seconds=30) as runs:
        for _ in range(2):
            with runs.tried():
                raise RuntimeError(f"password={SECRET}")
            assert asked(service, "/readyz")[0] == (200 if clock.now == 0 else 503)
            clock.now += 40
        assert reasons(service)[0] == "runs has failed for 80 s (RuntimeError); the log says why"
        assert asked(service, "/livez")[0] == 200, "a new start would not help"
        with runs.tried():
            pass
        status, body = asked(service, "/readyz")
        assert (status, body["reasons"]) == (200, [])
        assert body["checks"][-1] == {"name": "runs", "status": "ok", "secondsSinceGood": 0.0}


def test_a_round_that_does_not_end_is_told_by_both(service: InProcess, clock: Moved) -> None:
    with rounds_of(service).going_on("runs", seconds=1, stuck_seconds=100) as runs, runs.tried():
        clock.now += 101
        for path in ("/livez", "/readyz", "/healthz"):
            assert reasons(service, path) == ["runs has been at it for 101 s"]


def test_a_round_that_has_ended_is_a_reason_for_both(service: InProcess, clock: Moved) -> None:
    with rounds_of(service).going_on("janitor", seconds=60, is_needed=False):
        pass
    clock.now += 12
    for path in ("/livez", "/readyz", "/healthz"):
        assert reasons(service, path) == ["janitor has ended 12 s ago"]


def test_a_neighbour_that_is_away_is_told_and_keeps_nothing_up(service: InProcess, clock: Moved) -> None:
    with rounds_of(service).going_on("blobs", seconds=1, is_needed=False) as blobs:
        with blobs.tried():
            raise RuntimeError
        clock.now += 1000
        status, body = asked(service, "/readyz")
        assert (status, body["status"]) == (200, "degraded")
        assert body["reasons"] == ["blobs has failed for 1000 s (RuntimeError); the log says why"]
        assert asked(service, "/livez")[1]["status"] == "ok"


def test_a_disk_that_is_full_is_told(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_file, "LOW_BYTES", 1 << 62)
    [reason] = reasons(service)
    assert reason.startswith("disk is full: ")
    assert reason.endswith("MiB are free, and the reserve is gone")


def test_a_reserve_that_was_thrown_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reserve_file.problem(tmp_path) == ""
    monkeypatch.setattr(reserve_file, "LITTLE_BYTES", 1 << 62)
    assert "the reserve is gone" in reserve_file.problem(tmp_path)
    (tmp_path / reserve_file.NAME).touch()
    assert reserve_file.problem(tmp_path) == ""
    assert reserve_file.problem(tmp_path / "nowhere") == "cannot be looked at"


def test_metrics_tell_of_rounds(service: InProcess, clock: Moved) -> None:
    with rounds_of(service).going_on("runs", seconds=1) as runs:
        with runs.tried():
            raise RuntimeError
        clock.now += 7
        service.access.roles["watcher"] = [("Reader", "/")]
        text = service.get("/metrics", token="watcher", api_version=None).text
    assert 'vmkiln_round_failures_total{round="runs"} 1.0' in text
    assert 'vmkiln_round_age_seconds{round="runs"} 7.0' in text


def test_who_asks_is_never_found_out_on_the_event_loop(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding out may ask the database, or another issuer: /livez is answered on the loop, and asks nobody."""
    loops: list[object] = []
    authenticate = service.access.authenticate

    def watched(*arguments: Any, **named: Any) -> Any:
        loops.append(asyncio._get_running_loop())
        return authenticate(*arguments, **named)

    monkeypatch.setattr(service.access, "authenticate", watched)
    for method in ("GET", "POST", "DELETE"):
        service.request(method, "/livez")
    assert loops
    assert set(loops) == {None}
