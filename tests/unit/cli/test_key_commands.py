"""`vmkiln key`: what there is, and a rotation after which everything can still be read."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.audit.act_names import SERVICE_KEY_WRITE
from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.cli.main import app
from vmkiln.errors import KeyUnavailable
from vmkiln.provisioning.stored_template import SEALED, body_of, sealed_apart
from vmkiln.settings import Settings
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ResourceRow

GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
TEMPLATE = f"{GROUP}/providers/{IMAGE_TEMPLATE}/web"
PROPERTIES: dict[str, Any] = {"customize": [{"inline": ["echo hunter22"]}]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


def vmkiln(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def add_template(store: Store) -> None:
    shown, sealed = sealed_apart(store, TEMPLATE, PROPERTIES, ["hunter22"])
    row = ResourceRow(
        id=TEMPLATE,
        type=IMAGE_TEMPLATE,
        name="web",
        subscription_id="11111111-1111-1111-1111-111111111111",
        resource_group="rg",
        location="westus2",
        properties=shown,
        state={"api_version": "2024-02-01", SEALED: sealed},
    )
    assert store.resources.insert(row) is not None


def listed() -> list[dict[str, Any]]:
    return list(json.loads(vmkiln("key", "list", "--json")))


def test_after_a_rotation_everything_is_sealed_with_the_new_key(home: Path) -> None:
    with opened(Settings(home).database) as store:
        add_template(store)
        before = store.resources.get(TEMPLATE)
        assert before is not None
        key_id = vmkiln("key", "rotate", "secrets").strip()
        older, newest = listed()
        assert (newest["id"], newest["isCurrent"], newest["sealedTemplates"]) == (key_id, True, 1)
        assert (older["isCurrent"], older["sealedTemplates"]) == (False, 0)
        row = store.resources.get(TEMPLATE)
        assert row is not None
        assert row.state[SEALED] != before.state[SEALED]
        for kept in (row, before):  # a row from a back-up opens too
            assert body_of(store, kept)["properties"] == PROPERTIES
        now = utc_now()
        [act] = store.audit.find(AuditQuery("", now - timedelta(hours=1), now + timedelta(hours=1)), limit=5)
        assert act.operation == SERVICE_KEY_WRITE
        vmkiln("key", "rotate", "secrets", "--forget-older")
        assert body_of(store, store.resources.get(TEMPLATE))["properties"] == PROPERTIES  # type: ignore[arg-type]
        with pytest.raises(KeyUnavailable, match="is not in"):
            body_of(store, before)


def test_no_list_tells_what_is_secret_of_a_key(home: Path) -> None:
    for purpose in ("secrets", "signing"):
        vmkiln("key", "rotate", purpose)
    kept = json.loads((Settings(home).keys_folder / "keys.json").read_text())["keys"]
    assert all(key["secret"] for key in kept)
    for text in (vmkiln("key", "list"), vmkiln("key", "list", "--json")):
        assert not [key["id"] for key in kept if key["secret"] in text]
        assert "PRIVATE KEY" not in text
    assert "BEGIN PUBLIC KEY" in listed()[-1]["public"]


def test_keys_are_shared_through_a_setting(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKILN_KEYS", str(tmp_path / "shared"))
    key_id = vmkiln("key", "rotate", "secrets").strip()
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "other"))
    assert [told["id"] for told in listed()] == [key_id]
    assert not Settings(home).keys_folder.exists()
