"""Microsoft.ManagedIdentity/userAssignedIdentities: names with stable ids, for templates to refer to.

A build gets no credentials from them. Whoever trusts an issuer with a federated credential logs in as the identity with
tokens of that issuer, as workflows of GitHub and Azure DevOps do; it may then what its roles allow.
Source: the ARM reference of Microsoft.ManagedIdentity.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from vmkiln.api.identity.client_assertion import credential_mistakes
from vmkiln.api.protocol.route import Call
from vmkiln.api.protocol.stored_resources import Kind, routes_of
from vmkiln.azure_names import FEDERATED_CREDENTIAL, USER_ASSIGNED_IDENTITY
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.rows import ResourceRow

IDS = ("principalId", "clientId")
MOST_CREDENTIALS = 20  # Azure's limit for one identity


def _filled(call: Call, _properties: Mapping[str, Any], existing: ResourceRow | None) -> dict[str, Any]:
    """Its ids are given once, whatever a body says."""
    if existing is not None:
        return dict(existing.properties)
    return {**{name: str(uuid.uuid4()) for name in IDS}, "tenantId": call.service.issuer.tenant_id}


def _delete_credentials(call: Call, row: ResourceRow) -> None:
    for credential in call.service.store.resources.list(type=FEDERATED_CREDENTIAL, parent=row.key):
        call.service.store.resources.delete(credential.id)


def _credential_mistakes(call: Call, properties: Mapping[str, Any]) -> list[Mistake]:
    found = [Mistake(f"properties.{member}", why) for member, why in credential_mistakes(properties)]
    identity = call.resource_id.rsplit("/", 2)[0].lower()
    others = [
        row
        for row in call.service.store.resources.list(type=FEDERATED_CREDENTIAL, parent=identity)
        if row.key != call.resource_id.lower()
    ]
    if len(others) >= MOST_CREDENTIALS:
        message = f"an identity has at most {MOST_CREDENTIALS} federated identity credentials"
        raise ArmError(409, "FederatedIdentityCredentialsLimitReached", message)
    for row in others:
        if all(row.properties.get(name) == properties.get(name) for name in ("issuer", "subject")):
            found.append(Mistake("properties.subject", f"is that of `{row.name}` already, with the same issuer"))
    return found


IDENTITY = Kind(
    USER_ASSIGNED_IDENTITY,
    ("identityName",),
    "UserAssignedIdentities",
    pattern=r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    filled=_filled,
    before_delete=_delete_credentials,
)
CREDENTIAL = Kind(
    FEDERATED_CREDENTIAL,
    ("identityName", "credentialName"),
    "FederatedIdentityCredentials",
    pattern=r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}",
    has_location=False,
    mistakes=_credential_mistakes,
)
ROUTES = (*routes_of(IDENTITY), *routes_of(CREDENTIAL))
