"""Who may go on with a run whose command was killed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmkiln.errors import InputError
from vmkiln.host.host_id import host_id
from vmkiln.run.finished.finished_work import FinishedWork, made_of, record
from vmkiln.run.finished.resuming import resumed
from vmkiln.run.run_context import ResolvedSource, RunRequest
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging.local_files import LocalFiles
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import KeptDiskFacts

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
Change = Callable[[FinishedWork], FinishedWork]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


@pytest.fixture
def request_of(tmp_path: Path) -> RunRequest:
    files = LocalFiles(tmp_path, is_allowed=False)
    resolved = {"properties": {"customize": [1]}}
    return RunRequest("new", "web", "rg", SimpleNamespace(), resolved, files)  # type: ignore[arg-type]


def lose(settings: Settings, store: Store, request: RunRequest, change: Change = lambda work: work) -> None:
    """A `vmkiln build` that customized its disk and was killed."""
    row = RunRow(RUN_ID, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, utc_now(), None)
    store.runs.add(row)
    disk = KeptDiskFacts(host_id=host_id(settings), boot_id="b", folder=RUN_ID, sizes={}, digests={}, resources=[])
    source = ResolvedSource(Path(), "qcow2", "d", "1.2.3", 1, "Linux", 1024, "x")
    until = (utc_now() + timedelta(hours=1)).isoformat()
    record(store, RUN_ID, change(FinishedWork(1, made_of(request), source, 1024, disk, until)))
    store.runs.end_lost(store.runs.find(RUN_ID), most_attempts=9)


def test_a_lost_build_goes_on_as_its_next_attempt(settings: Settings, store: Store, request_of: RunRequest) -> None:
    lose(settings, store, request_of)
    run = store.runs.find(RUN_ID)
    assert "`vmkiln build TEMPLATE --resume 0123abcd` goes on from its customized disk, which is kept" in run.message
    asked = resumed(settings, store, request_of, "0123")
    assert (asked.run_id, asked.attempt, asked.resumes) == (RUN_ID, 2, True)
    started = replace(run, state=RunState.RUNNING, message="", error_code="", ended=None)
    assert not store.runs.start(started), "nobody begins it anew unasked"
    assert store.runs.start(started, resumes=True)
    again = store.runs.find(RUN_ID)
    assert (again.state, again.error_code, again.ended) == (RunState.RUNNING, "", None)
    assert run.ended is not None
    assert again.facts["ended_before"] == run.ended.isoformat(), "by which it is counted once"
    assert not store.runs.start(started, resumes=True), "it goes on already"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda work: replace(work, made_of="other"), "another template"),
        (lambda work: replace(work, disk={**work.disk, "host_id": "other"}), "another host"),
        (lambda work: replace(work, until="2026-01-01T00:00:00+00:00"), "no customized disk"),
        (lambda work: replace(work, until=""), "no customized disk"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_with_its_reason(
    settings: Settings, store: Store, request_of: RunRequest, change: Change, said: str
) -> None:
    lose(settings, store, request_of, change)
    with pytest.raises(InputError, match=said):
        resumed(settings, store, request_of, RUN_ID)


def test_another_name_is_another_template(settings: Settings, store: Store, request_of: RunRequest) -> None:
    lose(settings, store, request_of)
    with pytest.raises(InputError, match="another template"):
        resumed(settings, store, replace(request_of, template_name="other"), RUN_ID)


def test_a_run_that_was_not_lost_is_not_gone_on_with(settings: Settings, store: Store, request_of: RunRequest) -> None:
    lose(settings, store, request_of)
    failed = replace(store.runs.find(RUN_ID), run_id=f"9{RUN_ID[1:]}", state=RunState.FAILED, error_code="BuildTimeout")
    store.runs.add(failed)
    with pytest.raises(InputError, match="no customized disk of it is kept"):
        resumed(settings, store, request_of, failed.run_id)
