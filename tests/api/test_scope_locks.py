"""Locks: what az sends, and that what they keep from being done is not done."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GALLERY,
    GROUP,
    IDENTITIES,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_some_resources,
    code_of,
    wait_for,
)

from vmkiln.api.authorization import locks as locks_module
from vmkiln.api.protocol import operations
from vmkiln.api.whole_groups.group_export import SCHEMA
from vmkiln.azure_names import LOCK
from vmkiln.store.database import opened
from vmkiln.store.locked import scope_locks
from vmkiln.store.locked.scope_locks import held_by
from vmkiln.store.rows import ResourceRow

HERE = f"/subscriptions/{SUBSCRIPTION}"
CREATED = {"location": "westus2", "tags": {"team": "web"}}


@pytest.fixture
def filled(service: InProcess) -> InProcess:
    add_some_resources(service, CREATED)
    return service


def lock_of(scope: str, name: str = "keep") -> str:
    return f"{scope}/providers/Microsoft.Authorization/locks/{name}"


def locked(service: InProcess, scope: str, level: str, name: str = "keep") -> str:
    """Lock a scope as az does."""
    path = lock_of(scope, name)
    made = service.put(f"{path}?api-version=2016-09-01", {"properties": {"level": level, "notes": "ask us"}})
    assert made.status_code == 201, made.text
    assert made.json()["properties"] == {"level": level, "notes": "ask us"}
    return path


@pytest.mark.parametrize("scope", [HERE, GROUP, f"{IDENTITIES}/one"])
def test_what_must_not_be_deleted_is_there_until_its_lock_goes(filled: InProcess, scope: str) -> None:
    lock = locked(filled, scope, "CanNotDelete")
    refused = filled.request("DELETE", f"{IDENTITIES}/one")
    assert (refused.status_code, code_of(refused)) == (409, "ScopeLocked")
    assert refused.json()["error"]["message"] == (
        f"The scope '{IDENTITIES}/one' cannot perform delete operation because following scope(s) are locked: "
        f"'{scope}'. Please remove the lock and try again."
    )
    assert filled.request("PATCH", f"{IDENTITIES}/one", {"tags": {"a": "b"}}).status_code == 200, "it may change"
    assert filled.request("DELETE", lock).status_code == 200
    assert filled.request("DELETE", lock).status_code == 204
    assert filled.request("DELETE", f"{IDENTITIES}/one").status_code == 200


def test_a_lock_below_keeps_what_it_lies_in_from_being_deleted(filled: InProcess) -> None:
    lock = locked(filled, f"{GALLERY}/images/d", "CanNotDelete")
    for above in (GROUP, GALLERY):
        refused = filled.request("DELETE", above)
        assert (refused.status_code, code_of(refused)) == (409, "ScopeLocked"), above
        assert f"'{GALLERY}/images/d'" in refused.json()["error"]["message"]
    assert filled.request("DELETE", f"{IDENTITIES}/one").status_code == 200, "its neighbour is free"
    assert filled.request("DELETE", lock).status_code == 200
    assert filled.request("DELETE", GROUP).status_code == 202


def test_what_may_only_be_read_is_neither_changed_nor_run(filled: InProcess) -> None:
    assert filled.put(TEMPLATE, a_template()).status_code == 201
    lock = locked(filled, GROUP, "ReadOnly")
    asked: tuple[tuple[str, str, Any], ...] = (
        ("PUT", f"{IDENTITIES}/two1", CREATED),
        ("PATCH", f"{IDENTITIES}/one", {"tags": {}}),
        ("PATCH", GROUP, {"tags": {}}),
        ("POST", f"{TEMPLATE}/run", None),
        ("DELETE", TEMPLATE, None),
        ("PUT", f"{IDENTITIES}/one/providers/Microsoft.Resources/tags/default", {"properties": {"tags": {}}}),
    )
    for method, path, body in asked:
        refused = filled.request(method, path, body)
        assert (refused.status_code, code_of(refused)) == (409, "ScopeLocked"), (method, path)
        word = "delete" if method == "DELETE" else "write"
        assert f"cannot perform {word} operation" in refused.json()["error"]["message"]
    assert filled.get(f"{IDENTITIES}/one").status_code == 200
    template = {"resources": [{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "name": "x"} | CREATED]}
    deployment = f"{HERE}/providers/Microsoft.Resources/deployments/d"
    nested = {"location": "westus2", "properties": {"mode": "Incremental", "template": template}}
    assert filled.put(deployment, nested).status_code in {200, 201, 400}, "elsewhere nothing is held"
    assert filled.request("DELETE", lock).status_code == 200
    assert filled.request("PATCH", GROUP, {"tags": {}}).status_code == 200


def test_a_lock_elsewhere_or_with_a_longer_name_holds_nothing_here(filled: InProcess) -> None:
    assert filled.put(f"{IDENTITIES}/one-more", CREATED).status_code == 201
    locked(filled, f"{IDENTITIES}/one-more", "ReadOnly")
    assert filled.request("DELETE", f"{IDENTITIES}/one").status_code == 200
    assert filled.request("DELETE", f"{IDENTITIES}/one-more").status_code == 409


def test_locks_are_listed_where_they_are_and_from_above(filled: InProcess) -> None:
    own, below = locked(filled, GROUP, "CanNotDelete"), locked(filled, f"{IDENTITIES}/one", "ReadOnly", "still")
    all_of = f"{GROUP}/providers/Microsoft.Authorization/locks"
    assert {item["id"] for item in filled.get(all_of).json()["value"]} == {own, below}
    assert [item["id"] for item in filled.get(f"{all_of}?$filter=atScope()").json()["value"]] == [own]
    whole = f"{HERE}/providers/Microsoft.Authorization/locks"
    assert {item["name"] for item in filled.get(whole).json()["value"]} == {"keep", "still"}
    assert filled.get(f"{IDENTITIES}/one/providers/Microsoft.Authorization/locks").json()["value"][0]["id"] == below
    assert filled.get(own).json()["properties"]["level"] == "CanNotDelete"
    assert filled.get(f"{own}x").status_code == 404
    types = {item["type"] for item in filled.get(f"{HERE}/resources").json()["value"]}
    assert not any("locks" in name for name in types), "a lock is no resource of a list of resources"


def test_only_an_owner_locks_and_unlocks(filled: InProcess) -> None:
    path = lock_of(f"{IDENTITIES}/one")
    body = {"properties": {"level": "ReadOnly"}}
    for token in ("reader", "contributor"):
        assert filled.put(path, body, token=token).status_code == 403
    assert filled.put(path, body).status_code == 201
    assert filled.request("DELETE", path, token="contributor").status_code == 403
    assert filled.get(path, token="reader").status_code == 200
    assert filled.put(path, {"properties": {"level": "CanNotDelete"}}).status_code == 200


@pytest.mark.parametrize(
    ("name", "properties", "said"),
    [
        ("x", {}, "properties.level"),
        ("x", {"level": "NotSpecified"}, "CanNotDelete, ReadOnly"),
        ("x", {"level": 3}, "properties.level"),
        ("x", {"level": "ReadOnly", "notes": "n" * 513}, "properties.notes"),
        ("x.", {"level": "ReadOnly"}, "name for a lock"),
    ],
)
def test_a_wrong_lock_is_refused_with_what_is_wrong(
    filled: InProcess, name: str, properties: dict[str, Any], said: str
) -> None:
    refused = filled.put(lock_of(GROUP, name), {"properties": properties})
    assert refused.status_code == 400
    assert said in refused.text
    assert filled.put(lock_of(f"{IDENTITIES}/none"), {"properties": {"level": "ReadOnly"}}).status_code == 404


def test_levels_are_taken_in_any_case(filled: InProcess) -> None:
    made = filled.put(lock_of(GROUP), {"properties": {"level": "cannotdelete"}})
    assert made.json()["properties"]["level"] == "CanNotDelete"


def test_a_scope_has_as_many_locks_as_on_azure(filled: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_module, "MOST_LOCKS", 2)
    for name in ("a", "b"):
        locked(filled, GROUP, "CanNotDelete", name)
    refused = filled.put(lock_of(GROUP, "c"), {"properties": {"level": "ReadOnly"}})
    assert (refused.status_code, code_of(refused)) == (409, "LockLimitExceeded")
    assert filled.put(lock_of(GROUP, "a"), {"properties": {"level": "ReadOnly"}}).status_code == 200
    monkeypatch.setattr(locks_module, "MOST_LOCKS_IN_ALL", 2)
    assert filled.put(lock_of(f"{IDENTITIES}/one"), {"properties": {"level": "ReadOnly"}}).status_code == 409


def test_what_a_run_publishes_is_held_by_locks_too(filled: InProcess) -> None:
    resources = filled.service.store.resources
    assert held_by(resources, f"{GALLERY}/images/d/versions/1.0.0", deletes=False) == []
    locked(filled, GALLERY, "ReadOnly")
    assert held_by(resources, f"{GALLERY}/images/d/versions/1.0.0", deletes=False) == [GALLERY]


def test_what_is_being_deleted_is_not_locked_any_more(filled: InProcess) -> None:
    resources = filled.service.store.resources
    going = {"provisioningState": "Deleting"}
    for scope in (f"{IDENTITIES}/one", GROUP):
        resources.change(scope, lambda old: replace(old, properties={**old.properties, **going}))
        refused = filled.put(lock_of(scope), {"properties": {"level": "CanNotDelete"}})
        assert (refused.status_code, code_of(refused)) == (409, "OperationNotAllowed"), scope
    below = filled.put(lock_of(f"{GALLERY}/images/d"), {"properties": {"level": "CanNotDelete"}})
    assert below.status_code == 409, "it goes with its group"


def test_a_lock_that_comes_as_its_group_is_marked_as_going_keeps_it(
    filled: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = operations.begin

    def after_a_lock(*arguments: Any, **named: Any) -> Any:
        locked(filled, f"{IDENTITIES}/one", "CanNotDelete")
        return begin(*arguments, **named)

    monkeypatch.setattr(operations, "begin", after_a_lock)
    begun = filled.request("DELETE", GROUP)
    assert begun.status_code == 202
    ended = wait_for(
        lambda: (
            answer if (answer := filled.get(begun.headers["Location"], api_version=None)).status_code != 202 else None
        )
    )
    assert (ended.status_code, code_of(ended)) == (409, "ScopeLocked")
    assert filled.get(GROUP).json()["properties"]["provisioningState"] == "Succeeded"
    for kept in (f"{IDENTITIES}/one", lock_of(f"{IDENTITIES}/one"), f"{GALLERY}/images/d"):
        assert filled.get(kept).status_code == 200, kept


@pytest.mark.parametrize("scope", [GROUP, f"{IDENTITIES}/one"])
def test_mode_complete_deletes_neither_a_lock_nor_what_it_holds(filled: InProcess, scope: str) -> None:
    lock = locked(filled, scope, "CanNotDelete")
    deployment = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
    template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": []}
    body = {"properties": {"mode": "Complete", "template": template}}
    assert filled.request("POST", f"{deployment}/whatIf", body).text.count("locks") == 0
    assert filled.put(deployment, body).status_code == 201
    ended = wait_for(
        lambda: (
            found if (found := filled.get(deployment).json()["properties"])["provisioningState"] == "Failed" else None
        )
    )
    assert "ScopeLocked" in str(ended["error"])
    for kept in (lock, f"{IDENTITIES}/one"):
        assert filled.get(kept).status_code == 200, kept


WHOLE = "/subscriptions/S"
OWN = f"{WHOLE}/resourceGroups/Mine"
CHANGED = f"{OWN}/providers/Microsoft.Compute/images/web"


def a_lock(scope: str, group: str, level: str = "CanNotDelete") -> ResourceRow:
    name = f"{scope}/providers/{LOCK}/l"
    return ResourceRow(name, LOCK, "l", "S", group, location="", properties={"level": level})


def test_locks_of_other_groups_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    judged = scope_locks.in_the_way

    def noted(locks: list[ResourceRow], resource_id: str, *, deletes: bool) -> list[str]:
        read.extend(one.id for one in locks)
        return judged(locks, resource_id, deletes=deletes)

    monkeypatch.setattr(scope_locks, "in_the_way", noted)
    whole, own = a_lock(WHOLE, ""), a_lock(OWN, "Mine")
    others = [a_lock(f"{WHOLE}/resourceGroups/g{number}", f"g{number}") for number in range(20)]
    with opened(tmp_path / "db") as store:
        store.resources.insert_many([whole, own, *others])
        for changed in (CHANGED, CHANGED.upper(), OWN):
            read.clear()
            held = scope_locks.held_by(store.resources, changed, deletes=True)
            assert held == [WHOLE, OWN]
            assert sorted(read) == sorted([whole.id, own.id])
        assert scope_locks.held_by(store.resources, CHANGED, deletes=False) == []
        read.clear()
        outside = f"{WHOLE}/providers/Microsoft.Features/features/x"
        assert scope_locks.held_by(store.resources, outside, deletes=True) == [WHOLE]
        assert read == [whole.id]
        assert len(scope_locks.held_by(store.resources, WHOLE, deletes=True)) == len([whole, own, *others])
