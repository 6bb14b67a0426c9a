"""Who has 0.1.0 keeps what they have: states that its service left when it was killed are opened by this release.

Each state was made by the older release itself (`make_state.py`): in SQLite and in PostgreSQL, with a template that has
a secure parameter and an address with a shared access signature, one run that went on and one that waited, published
images, logs, and folders that every user of the machine could read.
"""

import asyncio
import contextlib
import fcntl
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

import httpx
import pytest
from in_process import BASE
from postgresql import Cluster, cluster
from stub_build import stub_build
from typer.testing import CliRunner
from upgrade.make_state import TEMPLATES
from upgrade.older_state import OlderState, lost, put_back

from vmkiln import service as vmkiln_service
from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.first_start import ensure_owner, service_directory
from vmkiln.api.identity.issuer import ensure_issuer
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.images.image_header import inspect_image
from vmkiln.images.image_store import verified
from vmkiln.images.vhd import check_uploadable
from vmkiln.preparation import opened_store
from vmkiln.provisioning.stored_template import template_of
from vmkiln.run.room import Room
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.service import only_service, running
from vmkiln.store.database import Store

STATES = ("0.1.0-sqlite", "0.1.0-postgresql")
PATIENCE_SECONDS = 30


@dataclass
class Life:
    """What was seen of one life of this release's service in a state of the older one."""

    state: OlderState
    said: list[str] = field(default_factory=list)
    begun: list[RunRequest] = field(default_factory=list)
    owner: dict[str, str] = field(default_factory=dict)
    auditor_status: int = 0
    logs: dict[str, list[str]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    modes: set[int] = field(default_factory=set)
    left: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A PostgreSQL."""
    with cluster() as made:
        yield made


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> OlderState:
    """A state that was just put back."""
    return older(request, tmp_path)


def older(request: pytest.FixtureRequest, folder: Path) -> OlderState:
    server = request.getfixturevalue("server") if request.param.endswith("postgresql") else None
    return put_back(request.param, folder / "home", server)


@pytest.fixture(scope="module", params=STATES)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A service of this release that was started in it, lived until nothing waited any more, and was ended."""
    found = Life(older(request, tmp_path_factory.mktemp("older")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vmkiln_service, "host_capacity", lambda _settings: Room(16, 1024**2, 1024**3))
        asyncio.run(_live(found))
    found.modes = modes(found.state.settings.home)
    return found


def modes(home: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*")) if not path.is_symlink()}


async def _live(life: Life) -> None:
    settings = life.state.settings
    with only_service(settings), opened_store(settings, life.said.append) as store:
        issuer = ensure_issuer(service_directory(settings.home), settings.keys_folder)
        ensure_owner(store, settings.home, tenant_id=issuer.tenant_id)
        real = stub_build(settings, store)

        async def build(request: RunRequest, tell: Tell) -> object:
            life.begun.append(request)
            return await real(request, tell)

        access = AccessControl(store, issuer)
        async with running(settings, store, access, issuer=issuer, build=build) as application:
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=PATIENCE_SECONDS) as web:
                await _visit(life, web, store)
    life.left = [path.name for path in settings.runs.glob("*") if not path.name.endswith(".lock")]


async def _visit(life: Life, web: httpx.AsyncClient, store: Store) -> None:
    auditor = {"Authorization": f"Bearer {life.state.told['auditor']['token']}"}
    asked = {"api-version": "2024-02-01"}
    life.auditor_status = (await web.get(TEMPLATES, headers=auditor, params=asked)).status_code
    life.owner = dict(life.state.told["owner"])
    form = {"grant_type": "client_credentials", "scope": f"{BASE}/.default"}
    form |= {"client_id": life.owner["appId"], "client_secret": life.owner["password"]}
    token = (await web.post(f"/{life.owner['tenant']}/oauth2/v2.0/token", data=form)).json()["access_token"]
    web.headers["Authorization"] = f"Bearer {token}"

    await _until(lambda: {request.run_id for request in life.begun} == _unended(life.state))
    await _until(lambda: store.runs.find(life.state.runs["secure"]).ended is not None)
    await _until(lambda: store.runs.find(life.state.runs["going"]).sub_state == "Customizing")
    if (life.state.name) == STATES[0]:
        for told in life.state.said("answers"):
            answer = await web.get(told["path"], params={"api-version": told["version"]})
            life.answers.append((told, answer.json()))
    assert (await web.post(f"{TEMPLATES}/going/cancel", params=asked)).status_code in {202, 204}
    await _until(lambda: store.runs.find(life.state.runs["going"]).ended is not None)
    for name, run_id in life.state.runs.items():
        path = f"{TEMPLATES}/{name}/providers/Vmkiln.Builds/runs"
        life.logs[name] = (await web.get(f"{path}/{run_id}/log", params=asked)).json()["lines"]
        [run] = (await web.get(path, params=asked)).json()["value"]
        life.runs[name] = run


def _unended(state: OlderState) -> set[str]:
    return {state.runs["going"], state.runs["secure"]}


def goes_on(state: OlderState, asked: str = "") -> tuple[str, ...]:
    """What is of the two runs that go on, and may say something else by now: patterns of paths in an answer."""
    if asked.endswith(("/going", "/secure")):
        return (".*",)
    groups = [
        entry.name for entry in state.settings.staging.iterdir() if "_going_" in entry.name or "_secure_" in entry.name
    ]
    containers = [f"vmimagebuilder-build-container-{run_id[:10]}" for run_id in _unended(state)]
    host = "vm"  # was killed
    names = "|".join([*_unended(state), *groups, *containers, host, "going", "secure"])
    return (rf".*\[({names})\].*",)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_what_others_could_read_is_the_owners_alone_and_told_once(state: OlderState) -> None:
    home = state.settings.home
    assert any(mode & 0o077 for mode in modes(home)), "the older release left something open"
    said: list[str] = []
    for _ in range(2):
        with opened_store(state.settings, said.append):
            assert {mode & 0o077 for mode in modes(home)} == {0}
    assert modes(home) == {0o700, 0o600, 0o400}
    assert len([text for text in said if "other users" in text]) == 1


def test_what_the_service_makes_is_the_owners_alone_too(life: Life) -> None:
    assert life.modes == {0o700, 0o600, 0o400}


def test_the_run_that_went_on_begins_anew_once_and_ends_once(life: Life) -> None:
    run_id = life.state.runs["going"]
    assert [request.attempt for request in life.begun if request.run_id == run_id] == [2]
    assert life.runs["going"]["properties"]["runState"] == "Canceled"
    assert life.left == [], "nothing is left of the attempt that died"
    assert any("waits again" in text for text in life.said)


def test_an_older_service_that_still_lives_keeps_its_run_and_this_one_out(state: OlderState) -> None:
    home, run_id = state.settings.home, state.runs["going"]
    with (home / "service.lock").open("a") as service, (home / f"runs/{run_id}.lock").open("a") as its_run:
        for lock in (service, its_run):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as 0.1.0 holds them
        with pytest.raises(InputError, match="another"), only_service(state.settings):
            pass
        with opened_store(state.settings, lambda _text: None) as store:
            run = store.runs.find(run_id)
            assert (run.state, run.attempt, run.ended) == ("Running", 1, None)
        assert (home / "runs" / run_id).is_dir()
    with opened_store(state.settings, lambda _text: None) as store:
        run = store.runs.find(run_id)
        assert (run.state, run.attempt) == ("Queued", 2)


def test_the_run_that_waited_is_built_with_its_secrets(life: Life) -> None:
    [request] = [request for request in life.begun if request.run_id == life.state.runs["secure"]]
    [inline, script] = request.template.properties.customize
    assert list(inline.inline) == [f"printf {life.state.told['secret']}"]  # type: ignore[union-attr]
    assert script.script_uri == life.state.told["script_uri"]  # type: ignore[union-attr]
    assert life.runs["secure"]["properties"]["runState"] == "Succeeded"
    assert request.attempt == 1


def test_ended_runs_keep_their_ends_and_their_logs(life: Life) -> None:
    assert {name: life.runs[name]["properties"]["runState"] for name in ("web", "broken")} == {
        "web": "Succeeded",
        "broken": "Failed",
    }
    for name in ("web", "broken"):
        assert life.logs[name] == life.state.told["logs"][name]
    assert life.logs["going"][: len(life.state.told["logs"]["going"])] == life.state.told["logs"]["going"]


def test_whoever_could_log_in_still_can(life: Life) -> None:
    assert life.auditor_status == 200
    assert loads((life.state.settings.home / "service/owner.json").read_text()) == life.owner


def plain_secrets(state: OlderState, server: Cluster | None) -> list[str]:
    """The files of the state, and of its database, in whose bytes a secret of the older release's template is."""
    signature = state.told["script_uri"].rpartition("sig=")[2]
    secrets = [state.told["secret"].encode(), signature.encode()]
    files = [path for path in state.settings.home.rglob("*") if path.is_file()]
    if server is not None:
        server.sql("CHECKPOINT")
        # its write-ahead log is the server's own, which writes over it in time
        files += [
            path for path in (server.directory / "data").rglob("*") if path.is_file() and "pg_wal" not in path.parts
        ]
    return [f"{path.name}: {secret!r}" for path in files for secret in secrets if secret in path.read_bytes()]


@pytest.mark.parametrize("name", STATES)
def test_no_secret_is_left_in_plain_words_anywhere(name: str, tmp_path: Path) -> None:
    """In rows, free pages, write-ahead logs, the engine's tables and logs: all bytes on disk are looked through."""
    with cluster() if name == STATES[1] else contextlib.nullcontext() as server:
        _no_secret_is_left(put_back(name, tmp_path / "home", server), server)


def _no_secret_is_left(state: OlderState, server: Cluster | None) -> None:
    group = next(path for path in state.settings.staging.iterdir() if "_secure_" in path.name)
    log = group / "packerlogs" / "old.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"before\nPACKER OUT {state.told['secret']}\nafter\n")
    if server is None:  # as a template that was changed or deleted leaves its pages
        with contextlib.closing(sqlite3.connect(state.settings.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete=OFF")
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE old (text)")
            connection.executemany("INSERT INTO old VALUES (?)", [(state.told["secret"],)] * 20_000)
            connection.execute("COMMIT")
            connection.execute("DROP TABLE old")
    assert len(plain_secrets(state, server)) > 2, "the probe finds them before"
    said: list[str] = []
    for _ in range(2):
        with opened_store(state.settings, said.append) as store:
            row = store.resources.get(f"{TEMPLATES}/secure")
            assert row is not None
            assert template_of(store, row).properties.customize[0].inline == (f"printf {state.told['secret']}",)  # type: ignore[union-attr]
            assert template_of(store, row).properties.customize[1].script_uri == state.told["script_uri"]  # type: ignore[union-attr]
            web = store.resources.get(f"{TEMPLATES}/web")
            assert web is not None
            assert not web.state.get("sealed"), "what has no secret stays readable"
    assert plain_secrets(state, server) == []
    assert log.read_text() == "before\nPACKER OUT ***\nafter\n"
    assert len([text for text in said if "are sealed now" in text]) == 1


async def test_images_are_found_whole_and_of_a_known_format(state: OlderState) -> None:
    with opened_store(state.settings, lambda _text: None) as store:
        images = store.images.list()
        assert sorted(image.kind for image in images) == ["ManagedImage", "SharedImageVersion", "VHD"]
        for image in images:
            await verified(image)
            if image.format == "qcow2":
                assert inspect_image(image.path, expected_format="qcow2") == image.virtual_size_bytes
            else:
                content = image.path.read_bytes()
                footer = check_uploadable(content[-512:], file_bytes=len(content))
                assert footer.size_bytes == image.virtual_size_bytes
            assert (image.generation, image.os_type) == (1, "Linux")
        assert all(image.path.is_relative_to(state.settings.home) for image in images)
        [version] = [image for image in images if image.kind == "SharedImageVersion"]
        assert list(version.path.parent.glob("replicas/*.qcow2"))


@pytest.mark.parametrize("life", STATES[:1], indirect=True)
def test_no_name_of_the_api_is_lost(life: Life) -> None:
    assert len(life.answers) > 10
    found = {
        told["path"]: lost(told["answer"], new, but=goes_on(life.state, told["path"])) for told, new in life.answers
    }
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.parametrize("state", STATES[:1], indirect=True)
def test_no_name_in_what_commands_print_is_lost(state: OlderState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(state.settings.home))
    for told in state.said("commands"):
        done = CliRunner().invoke(app, told["command"])
        assert done.exit_code == 0, done.output
        assert lost(told["answer"], loads(done.stdout), but=goes_on(state)) == [], told["command"]


def test_a_loss_is_seen() -> None:
    old = {"a": 1, "b": [{"id": "x", "c": 2}]}
    assert lost(old, {"a": 1, "b": [{"id": "x", "c": 2, "new": 3}], "new": 4}) == []
    assert lost(old, {"a": 2, "b": [{"id": "x"}]}) == ["a: 1 became 2", "b[x].c is gone"]
    before, after = "2026-11-28T11:56:02.672269+00:00", "2026-11-28T11:56:02.672Z"
    assert lost({"at": before}, {"at": after}) == []
    assert lost({"at": before}, {"at": after.replace("672", "674")}) != []
    assert lost(old, {"b": []}, but=("a",)) == [".a is gone", "b[x] is gone"]
