"""What a command changes in the database of this machine is recorded as an act of the user who ran it."""

import json
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vmkiln.audit import audit_log
from vmkiln.audit.act_names import HOST_DRAIN, HOST_UNDRAIN, RUN_CANCEL, RUN_DELETE, run_id_of
from vmkiln.cli.main import app
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import AuditRow, HostRow, ImageRow, KeyKind, RunRow

SUBSCRIPTION = "/subscriptions/11111111-1111-1111-1111-111111111111"
IMAGE = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/images/web"
RECORDED = {  # here, or as the requests that they are (tests/api/test_audit.py)
    "build", "setup",  # which builds
    "database move",  # tests/upgrade/test_moved_state.py
    "host drain", "host undrain", "key rotate",
    "image adopt", "image purge",  # test_restored_back_up.py
    "image delete", "image import", "image remove",
    "principal create", "principal delete", "principal secret", "principal token",
    "principal certificate", "principal federate", "principal remove-key",
    "role assign", "role remove",
    "run cancel",
    "run delete", "run prune",
    "run retry",  # a request
    "run release", "run shell",  # tests/unit/run/held/test_door.py
    "staging boot",  # tests/unit/run/held/test_lease_receipts.py
    "staging delete",
    "rest", "template cancel", "template create", "template delete", "template run",
}  # fmt: skip
CHANGES_NOTHING_OF_OTHERS = {  # reads, or changes files of the user alone
    "az-setup", "doctor", "plan", "prepare", "validate", "serve", "worker", "login", "logout", "open", "settings",
    "trust",
    "notice test",
    "cache list", "cache prune", "cache show",
    "context list", "context show", "context use", "host list", "host show", "key list",
    "image boot", "image catalogue",
    "image diff", "image export", "image list", "image quarantine",
    "image provenance", "image sbom", "image show", "image verify", "image warm",
    "principal keys", "principal list", "role list",
    "run export", "run failure", "run flows", "run list", "run logs", "run receipts", "run show", "run timeline",
    "run screenshot", "run wait",
    "explain", "history", "init", "schema",
    "staging list", "staging show", "storage install", "storage show", "support-bundle",
    "template list", "template logs", "template show",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with opened(Settings(home).database) as found:
        yield found


def vmkiln(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout.strip()


def last_act(store: Store, subscription_id: str = "") -> AuditRow:
    now = datetime.now(UTC)
    query = AuditQuery(subscription_id, now - timedelta(hours=1), now + timedelta(hours=1))
    row = store.audit.find(query, limit=1)[0]
    assert row.caller == pwd.getpwuid(os.getuid()).pw_name
    assert (row.caller_kind, row.status, row.is_refused) == ("operator", "Succeeded", False)
    return row


def test_what_is_done_to_principals_is_recorded_without_their_secrets(store: Store) -> None:
    made = json.loads(vmkiln("principal", "create", "builder"))
    app_id, told = made["appId"], [made["password"]]
    expected = f"/providers/Microsoft.Directory/servicePrincipals/{app_id}"
    seen = [last_act(store)]
    for arguments in (("secret", app_id), ("secret", app_id, "--only"), ("token", app_id), ("delete", app_id)):
        told.append(vmkiln("principal", *arguments))
        seen.append(last_act(store))
    assert {row.resource_id for row in seen} == {expected}
    assert [row.operation.partition("servicePrincipals/")[2] for row in seen] == [
        "write", "credentials/write", "credentials/write", "tokens/write", "delete",
    ]  # fmt: skip
    assert [row.detail.get("isOnly") for row in seen[1:3]] == ["False", "True"]
    assert not [secret for secret in told if secret and secret in repr(seen)]


def test_keys_are_added_listed_and_removed_and_all_of_it_recorded(store: Store, tmp_path: Path) -> None:
    app_id = json.loads(vmkiln("principal", "create", "builder"))["appId"]
    issuer = ("--issuer", "https://token.example.org", "--subject", "repo:a/b")
    key_id = vmkiln("principal", "federate", app_id, *issuer).strip()
    act = last_act(store)
    assert act.operation.endswith("keyCredentials/write")
    assert act.detail["subject"] == "repo:a/b"
    (listed,) = json.loads(vmkiln("principal", "keys", app_id, "--json"))
    assert (listed["id"], listed["audiences"]) == (key_id, ["api://AzureADTokenExchange"])
    assert "https://token.example.org repo:a/b" in vmkiln("principal", "keys", app_id)
    vmkiln("principal", "remove-key", app_id, key_id)
    assert last_act(store).operation.endswith("keyCredentials/delete")
    assert json.loads(vmkiln("principal", "keys", app_id, "--json")) == []
    (tmp_path / "none.pem").write_text("nothing")
    for words in (
        ("remove-key", app_id, key_id),
        ("federate", app_id, "--issuer", "http://token.example.org", "--subject", "s"),
        ("certificate", app_id, str(tmp_path / "none.pem")),
        ("certificate", app_id, str(tmp_path / "missing.pem")),
    ):
        assert CliRunner().invoke(app, ["principal", *words]).exit_code != 0, words


def test_a_role_given_on_the_machine_is_in_the_log_of_its_subscription(store: Store) -> None:
    assignment = vmkiln("role", "assign", "Contributor", "anna", "--object", "--scope", f"{SUBSCRIPTION}")
    given = last_act(store, SUBSCRIPTION.rpartition("/")[2])
    assert given.operation == "Microsoft.Authorization/roleAssignments/write"
    assert given.resource_id == f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments/{assignment}"
    assert dict(given.detail) == {"role": "Contributor", "principalId": "anna"}
    vmkiln("role", "remove", assignment.upper())
    taken = last_act(store, SUBSCRIPTION.rpartition("/")[2])
    assert (taken.operation, taken.resource_id) == ("Microsoft.Authorization/roleAssignments/delete", given.resource_id)
    assert taken.detail == given.detail


def test_a_deleted_image_is_recorded(store: Store, home: Path) -> None:
    path = home / "images" / "web" / "disk.qcow2"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    row = ImageRow(IMAGE, "ManagedImage", path, "qcow2", "0" * 64, 1, 2, 1, "Linux", "", "r", {}, {}, utc_now())
    store.images.add(row)
    vmkiln("image", "delete", IMAGE, "--yes")
    act = last_act(store, SUBSCRIPTION.rpartition("/")[2])
    assert (act.operation, act.resource_id, act.resource_group) == ("Microsoft.Compute/images/delete", IMAGE, "rg")


def test_a_deleted_staging_resource_group_is_recorded(store: Store, home: Path) -> None:
    run = RunRow("r1", "web", "rg", {}, "Succeeded", "", "", "", "", {}, utc_now(), utc_now())
    store.runs.add(run)
    staging_resource_group.create(Settings(home).staging, store, name="IT_rg_web_x", run_id="r1", tags={})
    vmkiln("staging", "delete", "IT_rg_web_x", "--yes")
    act = last_act(store)
    assert act.operation == "Microsoft.Resources/subscriptions/resourceGroups/delete"
    assert act.resource_id == "/resourceGroups/IT_rg_web_x"


def test_runs_that_are_deleted_are_recorded(store: Store) -> None:
    for run_id in ("r1", "r2"):
        store.runs.add(RunRow(run_id, "web", "rg", {}, "Succeeded", "", "", "", "", {}, utc_now(), utc_now()))
    vmkiln("run", "delete", "r1", "--yes")
    act = last_act(store)
    assert (act.operation, act.resource_id) == (RUN_DELETE, run_id_of("rg", "web", "r1"))
    vmkiln("run", "prune", "--older-than", "0h", "--keep", "0", "--yes")
    assert last_act(store).resource_id == run_id_of("rg", "web", "r2")


def test_what_is_done_to_a_services_run_is_in_the_log_of_its_subscription(store: Store) -> None:
    """Else who reads the activity log of a template would not see what the operator did to its runs."""
    group = f"{SUBSCRIPTION}/resourceGroups/rg"
    template = f"{group}/providers/Microsoft.VirtualMachineImages/imageTemplates/web".lower()
    store.runs.add(RunRow("r1", "web", "rg", {}, "Queued", "", "", "", "", {}, utc_now(), None, template))
    vmkiln("run", "cancel", "r1")
    act = last_act(store, SUBSCRIPTION.rpartition("/")[2])
    assert (act.operation, act.resource_group) == (RUN_CANCEL, "rg")
    assert act.resource_id == f"{template}/providers/Vmkiln.Builds/runs/r1"


def test_a_drained_host_is_recorded(store: Store) -> None:
    host = HostRow("b1", "h1", "blue", "x86_64", "", "", 1, 1, 1, is_draining=False, is_dead=False, started=0.0,
                   lease_until=0.0)  # fmt: skip
    store.hosts.register(host, lease_seconds=60.0)
    for command, operation in (("drain", HOST_DRAIN), ("undrain", HOST_UNDRAIN)):
        vmkiln("host", command, "blue")
        act = last_act(store)
        assert (act.operation, act.resource_id) == (operation, "/providers/Vmkiln.Builds/hosts/blue")


@pytest.mark.parametrize(
    "words",
    [
        ("principal", "create", "builder"),
        ("principal", "secret", "APP", "--only"),
        ("principal", "token", "APP"),
        ("principal", "federate", "APP", "--issuer", "https://token.example.org", "--subject", "s"),
        ("principal", "remove-key", "APP", "KEY"),
        ("role", "assign", "Owner", "APP", "--scope", "/"),
        ("role", "remove", "ROLE"),
        ("principal", "delete", "APP"),
        ("host", "drain", "blue"),
        ("host", "undrain", "blue"),
        ("image", "delete", IMAGE, "--yes"),
        ("staging", "delete", "IT_rg_web_x", "--yes"),
    ],
    ids=" ".join,
)
def test_a_command_killed_right_after_its_change_has_recorded_it(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    principal, _ = store.principals.create("p")
    role = store.principals.assign(principal.object_id, "Reader", "/")
    store.runs.add(RunRow("r1", "web", "rg", {}, "Succeeded", "", "", "", "", {}, utc_now(), utc_now()))
    staging_resource_group.create(Settings(home).staging, store, name="IT_rg_web_x", run_id="r1", tags={})
    path = home / "images" / "web" / "disk.qcow2"
    image = ImageRow(IMAGE, "ManagedImage", path, "qcow2", "0" * 64, 1, 2, 1, "Linux", "", "r", {}, {}, utc_now())
    store.images.add(image)
    host = HostRow("b1", "h1", "blue", "x86_64", "", "", 1, 1, 1, is_draining=False, is_dead=False, started=0.0,
                   lease_until=0.0)  # fmt: skip
    store.hosts.register(host, lease_seconds=60.0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audit_log, "record_here", killed)
    key = store.principals.add_key(principal.app_id, KeyKind.FEDERATED, "x", {})
    known = {"APP": principal.app_id, "ROLE": role.assignment_id, "KEY": key.key_id}
    CliRunner().invoke(app, [known.get(word, word) for word in words])
    now = datetime.now(UTC)
    found = [
        row
        for subscription in ("", SUBSCRIPTION.rpartition("/")[2])
        for row in store.audit.find(AuditQuery(subscription, now - timedelta(hours=1), now), limit=9)
    ]
    assert [(row.status, row.caller_kind) for row in found] == [("Started", "operator")]


def commands(command: Any, above: str = "") -> Iterator[str]:
    if not hasattr(command, "list_commands"):
        yield above.strip()
        return
    context = typer.main.get_command(app).make_context("vmkiln", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), f"{above} {name}")


def test_every_command_is_known_to_change_something_or_nothing() -> None:
    """A new command has to say which it is; one that changes something has a test here."""
    known = RECORDED | CHANGES_NOTHING_OF_OTHERS
    assert sorted(set(commands(typer.main.get_command(app))) - known) == []
