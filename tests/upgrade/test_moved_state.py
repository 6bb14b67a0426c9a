"""What an older release's service on one machine had is moved to PostgreSQL, and all of it is there: nobody is lost."""

from collections.abc import Iterator
from datetime import timedelta
from json import loads
from pathlib import Path
from typing import Any

import pytest
from postgresql import Cluster, cluster
from typer.testing import CliRunner, Result
from upgrade.make_state import TEMPLATES
from upgrade.older_state import OlderState, put_back

from vmkiln.audit.act_names import DATABASE_MOVE
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.preparation import opened_store
from vmkiln.provisioning.stored_template import template_of
from vmkiln.service import only_service
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import utc_now
from vmkiln.store.moving.moved_mark import DatabaseMoved

ASKED = (
    ("run", "list", "--json"),
    ("image", "list", "--json"),
    ("staging", "list", "--json"),
    ("principal", "list", "--json"),
    ("role", "list", "--json"),
    ("key", "list", "--json"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OlderState:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VMKILN_DATABASE_URL", raising=False)
    monkeypatch.setenv("PGUSER", "vmkiln")  # in a URL it would be masked in every later log of this process
    return put_back("0.1.0-sqlite", tmp_path / "home")


def new_database(server: Cluster) -> str:
    return server.new_database().replace("vmkiln@", "")


def vmkiln(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def told() -> dict[tuple[str, ...], Any]:
    answers = {words: vmkiln(*words) for words in ASKED}
    assert {words: answer.exit_code for words, answer in answers.items()} == dict.fromkeys(ASKED, 0)
    return {words: loads(answer.stdout) for words, answer in answers.items()}


def moved(*words: str) -> Any:
    done = vmkiln("database", "move", *words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return loads(done.stdout)


def test_all_that_was_there_is_there_after_a_move(
    state: OlderState, server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, url = told(), new_database(server)
    would = moved("--to", url, "--dry-run")
    done = moved("--to", url)
    assert (would["isDryRun"], done["isDryRun"]) == (True, False)
    assert would["rows"] == done["rows"]
    assert {name: done["rows"][name] > 0 for name in ("run", "image", "principal", "access_token", "role_assignment")}
    assert isinstance(vmkiln("run", "list").exception, DatabaseMoved), "nobody uses the old one by mistake"

    monkeypatch.setenv("VMKILN_DATABASE_URL", url)
    assert told() == before
    with opened_store(Settings(state.settings.home, database_url=url), lambda _text: None) as store:
        row = store.resources.get(f"{TEMPLATES}/secure")
        assert row is not None
        assert template_of(store, row).properties.customize[0].inline == (f"printf {state.told['secret']}",)  # type: ignore[union-attr]
        now = utc_now()
        [act] = store.audit.find(AuditQuery("", now - timedelta(hours=1), now + timedelta(hours=1)), limit=5)
        assert act.operation == DATABASE_MOVE
        assert all(image.path.is_file() for image in store.images.list()), "images are where they were"
    assert isinstance(vmkiln("database", "move", "--to", url).exception, DatabaseMoved)
    monkeypatch.delenv("VMKILN_DATABASE_URL")
    assert vmkiln("database", "move", "--undo").exit_code == 0
    assert told() == before


def test_a_move_waits_for_the_end_of_the_service_and_of_builds(state: OlderState, server: Cluster) -> None:
    url = new_database(server)
    with only_service(state.settings):
        refused = vmkiln("database", "move", "--to", url)
        assert isinstance(refused.exception, InputError)
        assert "works in" in refused.exception.message
    with run_directory.locked(state.settings.runs, "11111111-1111-1111-1111-111111111111"):
        refused = vmkiln("database", "move", "--to", url)
        assert isinstance(refused.exception, InputError)
        assert "runs go on here: 11111111" in refused.exception.message
    assert moved("--to", url)["wasThere"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "not the URL"),
        (("--to", "mysql://x/y"), "not the URL"),
        (("--to", "postgresql://me:secret@localhost/x"), "password"),
        (("--undo", "--dry-run"), "--undo goes alone"),
        (("--undo",), "was not moved"),
    ],
)
def test_what_cannot_be_meant_is_refused(state: OlderState, words: tuple[str, ...], message: str) -> None:
    del state
    if words == ("--undo",):
        told()
    refused = vmkiln("database", "move", *words).exception
    assert isinstance(refused, InputError)
    assert message in refused.message
    assert "secret" not in f"{refused.message} {refused.hint}"
