"""Microsoft.ManagedIdentity/userAssignedIdentities: names with stable ids, for templates to refer to.

A build gets no credentials from them: nothing here would accept any.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from vmkiln.api.protocol.route import Call
from vmkiln.api.protocol.stored_resources import Kind, routes_of
from vmkiln.azure_names import USER_ASSIGNED_IDENTITY
from vmkiln.store.rows import ResourceRow

IDS = ("principalId", "clientId")


def _filled(call: Call, _properties: Mapping[str, Any], existing: ResourceRow | None) -> dict[str, Any]:
    """Its ids are given once, whatever a body says."""
    if existing is not None:
        return dict(existing.properties)
    return {**{name: str(uuid.uuid4()) for name in IDS}, "tenantId": call.service.issuer.tenant_id}


IDENTITY = Kind(
    USER_ASSIGNED_IDENTITY,
    ("identityName",),
    "UserAssignedIdentities",
    pattern=r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    filled=_filled,
)
ROUTES = tuple(routes_of(IDENTITY))
