"""Roles over the API, as az's quickstarts use them: definitions of one's own, assignments, and who is behind an id."""

from typing import Any

import pytest
from in_process import GROUP, OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess, add_group, code_of

from vmkiln.api.identity.access_control import rights_of
from vmkiln.api.identity.caller import Permission

AUTHORIZATION = "providers/Microsoft.Authorization"
OTHER_GROUP = GROUP.replace("rg1", "rg2")
GUID = "33333333-3333-3333-3333-333333333333"
DEFINITION = f"{GROUP}/{AUTHORIZATION}/roleDefinitions/{GUID}"
ASSIGNMENT = f"{GROUP}/{AUTHORIZATION}/roleAssignments/44444444-4444-4444-4444-444444444444"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"


def role(*scopes: str) -> dict[str, Any]:
    permissions = [{"actions": ["Microsoft.Compute/images/write"], "notActions": []}]
    return {"properties": {"roleName": "Image Maker", "permissions": permissions, "assignableScopes": list(scopes)}}


@pytest.fixture
def filled(service: InProcess) -> InProcess:
    """Two groups with an owner each, `one` and `two`."""
    for name in ("rg1", "rg2"):
        add_group(service, name=name)
    service.access.roles |= {"one": [("Owner", GROUP)], "two": [("Owner", OTHER_GROUP)]}
    return service


def names_of(service: InProcess, scope: str, query: str = "", **options: Any) -> list[str]:
    response = service.get(f"{scope}/{AUTHORIZATION}/roleDefinitions{query}", **options)
    return [item["properties"]["roleName"] for item in response.json()["value"]]


def test_a_role_of_ones_own_is_made_assigned_and_deleted(filled: InProcess) -> None:
    made = filled.put(DEFINITION, role(GROUP))
    assert made.status_code == 201
    assert made.json()["id"] == f"/subscriptions/{SUBSCRIPTION}/{AUTHORIZATION}/roleDefinitions/{GUID}"
    assert made.json()["properties"]["type"] == "CustomRole"
    assert names_of(filled, GROUP, query="?$filter=roleName eq 'Image Maker'") == ["Image Maker"]
    assert filled.get(DEFINITION).json() == made.json()
    wanted = {"properties": {"roleDefinitionId": made.json()["id"], "principalId": "reader"}}
    assert filled.put(ASSIGNMENT, wanted).status_code == 201
    used = filled.request("DELETE", DEFINITION)
    assert (used.status_code, code_of(used)) == (409, "RoleDefinitionHasAssignments")
    assert filled.request("DELETE", ASSIGNMENT).status_code == 200
    assert filled.request("DELETE", DEFINITION).status_code == 200
    assert filled.request("DELETE", DEFINITION).status_code == 204
    assert filled.get(DEFINITION).status_code == 404
    assert names_of(filled, GROUP) == ["Owner", "Contributor", "Reader"]


@pytest.mark.parametrize("permission", Permission)
def test_a_role_of_ones_own_gives_no_rights(permission: Permission) -> None:
    assert not rights_of([(GUID, GROUP)]).may(permission, GROUP)
    assert rights_of([("Owner", GROUP)]).may(permission, GROUP) or permission in {Permission.NONE, Permission.ANY}


def test_a_role_is_seen_from_its_scopes_and_changed_by_their_owners_only(filled: InProcess) -> None:
    assert filled.put(DEFINITION, role(GROUP), token="one").status_code == 201
    assert "Image Maker" in names_of(filled, f"/subscriptions/{SUBSCRIPTION}")
    assert "Image Maker" in names_of(filled, IDENTITY, token="one")
    assert "Image Maker" not in names_of(filled, OTHER_GROUP, token="two")
    elsewhere = f"{OTHER_GROUP}/{AUTHORIZATION}/roleDefinitions/{GUID}"
    assert filled.get(elsewhere, token="two").status_code == 404
    assert filled.request("DELETE", elsewhere, token="two").status_code == 204
    taken = filled.put(elsewhere, role(OTHER_GROUP), token="two")
    assert (taken.status_code, code_of(taken)) == (403, "AuthorizationFailed")
    assert filled.get(DEFINITION, token="one").json()["properties"]["assignableScopes"] == [GROUP]
    both = filled.put(DEFINITION, role(GROUP, OTHER_GROUP), token="one")
    assert (both.status_code, code_of(both)) == (403, "AuthorizationFailed")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("x", role(GROUP)),
        ("b24988ac-6180-42a0-ab88-20f7382dd24c", role(GROUP)),
        (GUID, {}),
        (GUID, {"properties": {"assignableScopes": "/"}}),
        (GUID, {"properties": {"assignableScopes": [1]}}),
    ],
)
def test_what_is_no_role_definition_is_refused(filled: InProcess, name: str, body: dict[str, Any]) -> None:
    response = filled.put(DEFINITION.replace(GUID, name), body)
    assert (response.status_code, code_of(response)) == (400, "InvalidRoleDefinition")


def principals(service: InProcess, wanted: str, **options: Any) -> list[tuple[str, str]]:
    query = f"$filter=servicePrincipalNames/any(c:c eq '{wanted}')"
    response = service.get(f"/v1.0/servicePrincipals?{query}", api_version=None, **options)
    return [(item["id"], item["displayName"]) for item in response.json()["value"]]


def test_a_managed_identity_is_found_by_its_client_id_by_who_may_read_it(filled: InProcess) -> None:
    ids = filled.put(IDENTITY, {"location": "westus2"}).json()["properties"]
    assert principals(filled, ids["clientId"]) == [(ids["principalId"], "builder")]
    assert principals(filled, ids["clientId"], token="two") == []
    body = {"ids": [ids["principalId"], GUID]}
    for token, names in (("owner", ["builder"]), ("stranger", [])):
        path = "/v1.0/directoryObjects/getByIds"
        found = filled.request("POST", path, body, token=token, api_version=None).json()["value"]
        assert [item["displayName"] for item in found] == names
    contributor = f"{OTHER_GROUP}/{AUTHORIZATION}/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"
    wanted = {"properties": {"roleDefinitionId": contributor, "principalId": ids["principalId"]}}
    assert filled.put(ASSIGNMENT, wanted).json()["properties"]["principalType"] == "ServicePrincipal"


def test_a_service_principal_is_found_by_its_ids_and_not_by_its_name(service: InProcess) -> None:
    principal, _ = service.service.store.principals.create("ci")
    for known in (principal.app_id, principal.object_id):
        assert principals(service, known) == [(principal.object_id, "ci")]
    assert principals(service, "ci", token="stranger") == []


def test_the_providers_of_the_quickstarts_are_registered(service: InProcess) -> None:
    for name in ("VirtualMachineImages", "KeyVault", "Compute", "Storage", "Network", "ContainerInstance"):
        path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.{name}"
        assert service.request("POST", f"{path}/register").json()["registrationState"] == "Registered"
    missing = service.get(f"/subscriptions/{OTHER_SUBSCRIPTION}/providers/Microsoft.Nothing")
    assert (missing.status_code, code_of(missing)) == (404, "InvalidResourceNamespace")
