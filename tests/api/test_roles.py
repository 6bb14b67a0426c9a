"""Roles over the API, as az's quickstarts use them: definitions of one's own, assignments, and who is behind an id."""

from typing import Any

import pytest
from in_process import GROUP, OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess, add_group, code_of

from vmkiln.api.identity.caller import Permission
from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.rights.built_in_roles import rights_of

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
    assert "Image Maker" not in names_of(filled, GROUP)


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


@pytest.mark.parametrize(
    ("name", "guid"),
    [
        ("Managed Identity Operator", "f1a07417-d97a-45cb-824c-7a7467783830"),
        ("Storage Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"),
        ("Network Contributor", "4d97b98b-1d4f-4787-a291-c67834d212e7"),
        ("Virtual Machine Contributor", "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"),
        ("Desktop Virtualization Power On Contributor", "489581de-a3bd-480d-9518-53dea7416b33"),
    ],
)
def test_azures_built_in_roles_are_found_by_name_and_assigned_by_guid(filled: InProcess, name: str, guid: str) -> None:
    query = f"?$filter=roleName eq '{name}'"
    (found,) = filled.get(f"{GROUP}/{AUTHORIZATION}/roleDefinitions{query}").json()["value"]
    assert (found["name"], found["properties"]["type"]) == (guid, "BuiltInRole")
    assert filled.get(f"{GROUP}/{AUTHORIZATION}/roleDefinitions/{guid.upper()}").json() == found
    wanted = {"properties": {"roleDefinitionId": found["id"], "principalId": "somebody"}}
    made = filled.put(ASSIGNMENT, wanted)
    assert made.status_code == 201, made.text
    assert made.json()["properties"]["roleDefinitionId"] == found["id"]


NETWORKS = f"{GROUP}/providers/Microsoft.Network/virtualNetworks"
IMAGES = f"{GROUP}/providers/Microsoft.Compute/images/i"
HELD = f"{GROUP}/providers/{IMAGE_TEMPLATE}/web/providers/Vmkiln.Builds/runs/r"


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("Network Contributor", [(Permission.WRITE, NETWORKS)], [(Permission.READ, IMAGES), (Permission.READ, GROUP)]),
        ("Managed Identity Operator", [(Permission.ACTION, IDENTITY)], [(Permission.WRITE, IDENTITY)]),
        ("User Access Administrator", [(Permission.ASSIGN, IMAGES)], [(Permission.WRITE, IMAGES)]),
        ("Contributor", [(Permission.SHELL, HELD), (Permission.ACTION, HELD)], [(Permission.ASSIGN, HELD)]),
        ("Reader", [(Permission.READ, HELD)], [(Permission.SHELL, HELD)]),
        (
            "Virtual Machine Administrator Login",
            [(Permission.SHELL, HELD), (Permission.READ, HELD)],
            [(Permission.ACTION, HELD), (Permission.WRITE, HELD), (Permission.READ, IMAGES)],
        ),
        ("Monitoring Reader", [(Permission.READ, IMAGES)], [(Permission.ACTION, IMAGES)]),
        ("489581de-a3bd-480d-9518-53dea7416b33", [], [(Permission.READ, GROUP)]),
    ],
)
def test_a_built_in_role_allows_what_it_says_and_nothing_else(
    role: str, allowed: list[tuple[Permission, str]], refused: list[tuple[Permission, str]]
) -> None:
    rights = rights_of([(role, GROUP)])
    assert [pair for pair in allowed if not rights.may(*pair)] == []
    assert [pair for pair in refused if rights.may(*pair)] == []
    assert not any(rights.may(permission, OTHER_GROUP) for permission in (Permission.READ, Permission.WRITE))


def test_roles_are_assigned_at_any_resource_however_deep(filled: InProcess) -> None:
    reader = f"/subscriptions/{SUBSCRIPTION}/{AUTHORIZATION}/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    scopes = (
        f"{NETWORKS}/net/subnets/build",
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/x/blobServices/default/containers/y",
        IDENTITY,
    )
    for number, scope in enumerate(scopes):
        assert "Reader" in names_of(filled, scope)
        path = f"{scope}/{AUTHORIZATION}/roleAssignments/44444444-4444-4444-4444-44444444444{number}"
        made = filled.put(path, {"properties": {"roleDefinitionId": reader, "principalId": f"p{number}"}})
        assert made.status_code == 201, made.text
        assert filled.get(path).json()["properties"]["scope"] == scope
        asked = f"{scope}/{AUTHORIZATION}/roleAssignments?$filter=principalId%20eq%20'p{number}'"
        assert filled.get(asked).json()["value"] == [made.json()]
        assert filled.request("DELETE", path).status_code == 200


def test_what_is_said_of_a_principal_comes_back(filled: InProcess) -> None:
    reader = f"/subscriptions/{SUBSCRIPTION}/{AUTHORIZATION}/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    wanted = {"roleDefinitionId": reader, "principalId": "somebody", "principalType": "servicePrincipal"}
    assert filled.put(ASSIGNMENT, {"properties": wanted}).json()["properties"]["principalType"] == "ServicePrincipal"
    assert filled.get(ASSIGNMENT).json()["properties"]["principalType"] == "ServicePrincipal"
    wrong = filled.put(ASSIGNMENT, {"properties": {**wanted, "principalType": "Robot"}})
    assert (wrong.status_code, code_of(wrong)) == (400, "InvalidPrincipalType")
