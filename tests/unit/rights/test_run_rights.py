"""Whose rights a run has, and which of a principal's or an identity's roles give what it needs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmkiln.azure_names import IMAGE_TEMPLATE, ROLE_DEFINITION, USER_ASSIGNED_IDENTITY
from vmkiln.provisioning.stored_template import check_rights
from vmkiln.rights.run_rights import Owner, owner_of
from vmkiln.run_failures import RightsLost
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow

SUBSCRIPTION = "/subscriptions/s"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg"
SHARED = f"{SUBSCRIPTION}/resourceGroups/shared"
GALLERY = f"{SHARED}/providers/Microsoft.Compute/galleries/g"
IDENTITY = f"{GROUP}/providers/{USER_ASSIGNED_IDENTITY}/builder"
NETWORK = f"{SHARED}/providers/Microsoft.Network/virtualNetworks/n"
ROLE = "77777777-7777-7777-7777-777777777777"
PROPERTIES = {
    "source": {"type": "SharedImageVersion", "imageVersionId": f"{GALLERY}/images/base/versions/latest"},
    "distribute": [
        {"type": "SharedImage", "runOutputName": "g", "galleryImageId": f"{GALLERY}/images/made"},
        {
            "type": "ManagedImage",
            "runOutputName": "m",
            "imageId": f"{GROUP}/providers/Microsoft.Compute/images/m",
            "location": "x",
        },
    ],
}
BUILD_ACTIONS = [
    "Microsoft.Compute/galleries/images/versions/read",
    "Microsoft.Compute/galleries/images/versions/write",
    "Microsoft.Compute/images/write",
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


def a_template(**changes: Any) -> ResourceRow:
    state = {"api_version": "2025-10-01", "owner": Owner("o1", "alice").kept()}
    return replace(
        ResourceRow(f"{GROUP}/providers/{IMAGE_TEMPLATE}/web", IMAGE_TEMPLATE, "web", "s", "rg", location="local"),
        **{"properties": PROPERTIES, "state": state, "identity": {"type": "None"}, **changes},
    )


def with_identity(store: Store) -> ResourceRow:
    """A template with an identity that is kept, of the principal `i1`."""
    row = ResourceRow(IDENTITY, USER_ASSIGNED_IDENTITY, "builder", "s", "rg", properties={"principalId": "i1"})
    store.resources.put(row)
    return a_template(identity={"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}})


def custom(store: Store, *, not_actions: tuple[str, ...] = (), actions: tuple[str, ...] = tuple(BUILD_ACTIONS)) -> None:
    permissions = [{"actions": list(actions), "notActions": list(not_actions)}]
    store.resources.put(
        ResourceRow(
            f"{SUBSCRIPTION}/providers/{ROLE_DEFINITION}/{ROLE}",
            ROLE_DEFINITION,
            ROLE,
            "s",
            "",
            properties={"permissions": permissions},
        )
    )


def test_the_owners_rights_count_as_they_are_now(store: Store) -> None:
    mine, theirs = (store.principals.assign("o1", "Contributor", scope) for scope in (GROUP, SHARED))
    check_rights(store, a_template())
    store.principals.unassign(theirs.assignment_id)
    with pytest.raises(RightsLost) as caught:
        check_rights(store, a_template())
    assert "the owner alice (o1) of the image template web may not do" in caught.value.message
    for action, path in zip(BUILD_ACTIONS[:2], ("source.imageVersionId", "distribute[0].galleryImageId"), strict=True):
        assert f"'{action}' on {GALLERY}/images" in caught.value.message
        assert f"(properties.{path})" in caught.value.message
    assert "Microsoft.Compute/images/write" not in caught.value.message
    assert "ask an Owner of these scopes" in str(caught.value.hint)
    store.principals.assign("o1", "Reader", SHARED)
    store.principals.unassign(mine.assignment_id)
    with pytest.raises(RightsLost, match=f"{IMAGE_TEMPLATE}/run/action") as caught:
        check_rights(store, a_template())
    assert "versions/read'" not in caught.value.message, "a Reader may read the source"


def test_an_owner_who_is_disabled_has_no_rights(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    principal, _ = store.principals.create("alice")
    store.principals.assign(principal.object_id, "Owner", "/")
    row = a_template(state={"api_version": "2025-10-01", "owner": Owner(principal.object_id, "alice").kept()})
    check_rights(store, row)
    monkeypatch.setattr(store.principals, "find_object", lambda _id: replace(principal, is_disabled=True))
    with pytest.raises(RightsLost, match="alice"):
        check_rights(store, row)


def test_an_identitys_rights_count_in_place_of_the_owners(store: Store) -> None:
    row = with_identity(store)
    store.principals.assign("o1", "Owner", "/")
    with pytest.raises(RightsLost, match=r"the identity builder \(i1\) of the image template web"):
        check_rights(store, row)
    store.principals.assign("i1", "Contributor", SHARED)
    with pytest.raises(RightsLost, match=r"Microsoft.Compute/images/write") as caught:
        check_rights(store, row)
    assert "galleries" not in caught.value.message
    store.principals.assign("i1", "Contributor", GROUP)
    check_rights(store, row)
    store.resources.delete(IDENTITY)
    with pytest.raises(RightsLost, match=r"the identity builder .which is gone. of"):
        check_rights(store, row)


def test_a_role_of_ones_own_gives_an_identity_the_actions_that_it_names(store: Store) -> None:
    """As in Microsoft's quickstart: a role with the actions of a build, assigned in the groups."""
    row = with_identity(store)
    for scope in (GROUP, SHARED):
        store.principals.assign("i1", ROLE, scope)
    with pytest.raises(RightsLost):
        check_rights(store, row)
    custom(store)
    check_rights(store, row)
    custom(store, actions=("Microsoft.Compute/*",))
    check_rights(store, row)
    custom(store, actions=("*",), not_actions=("microsoft.compute/IMAGES/*",))
    with pytest.raises(RightsLost, match=r"Microsoft.Compute/images/write") as caught:
        check_rights(store, row)
    assert "galleries" not in caught.value.message


@pytest.mark.parametrize("pattern", ["*" * 400, "*a" * 200 + "!", "*" + "e*" * 300])
def test_no_pattern_of_a_role_makes_its_reading_slow(store: Store, pattern: str) -> None:
    row = with_identity(store)
    for scope in (GROUP, SHARED):
        store.principals.assign("i1", ROLE, scope)
    custom(store, actions=(pattern,))
    if pattern.strip("*"):
        with pytest.raises(RightsLost):
            check_rights(store, row)
    else:
        check_rights(store, row)


def test_a_subnet_is_joined_with_a_right_to_it(store: Store) -> None:
    profile = {"vnetConfig": {"subnetId": f"{NETWORK}/subnets/build"}}
    row = a_template(properties={**PROPERTIES, "vmProfile": profile})
    store.principals.assign("o1", "Contributor", GROUP)
    store.principals.assign("o1", "Contributor", GALLERY)
    with pytest.raises(RightsLost, match=r"virtualNetworks/subnets/join/action' on .*vnetConfig"):
        check_rights(store, row)
    store.principals.assign("o1", "Network Contributor", SHARED)
    check_rights(store, row)


def test_the_operator_of_the_machine_may_all(store: Store) -> None:
    owner = Owner("local", "local operator", is_local=True)
    check_rights(store, replace(with_identity(store), state={"api_version": "2025-10-01", "owner": owner.kept()}))


def test_an_old_templates_owner_is_the_only_principal_of_its_makers_name(store: Store) -> None:
    row = a_template(state={"api_version": "2025-10-01"}, created_by="alice")
    assert owner_of(store, row) is None
    with pytest.raises(RightsLost, match="it is not recorded whose rights") as caught:
        check_rights(store, row)
    assert "takes it over with a PATCH, or by running it once by hand" in str(caught.value.hint)
    first, _ = store.principals.create("alice")
    assert owner_of(store, row) == Owner(first.object_id, "alice")
    store.principals.assign(first.object_id, "Owner", SUBSCRIPTION)
    check_rights(store, row)
    store.principals.create("alice")
    assert owner_of(store, row) is None
    assert owner_of(store, replace(row, created_by="local operator")) == Owner("local", "local operator", is_local=True)
