"""Resource providers: which types are served, in which api-versions; all are registered.

The list follows from the routes, so it cannot promise what is not there.
"""

from collections.abc import Sequence
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.azure_locations import TITLES
from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError
from vmkiln.template.api_version import API_VERSIONS

ONE = "/subscriptions/{subscriptionId}/providers/{resourceProviderNamespace}"
ANY_VERSIONS = ("2025-08-01", "2025-04-01", "2024-11-01", "2024-07-01", "2024-03-03", "2023-09-01", "2021-07-01")
# registered by az's quickstarts of Image Builder; of the first nothing is served
REGISTERED = ("Microsoft.KeyVault", "Microsoft.Features")


def provider_bodies(routes: Sequence[Route]) -> dict[str, dict[str, Any]]:
    """Every provider by its namespace in lower case, with the types that can be read; pure."""
    found: dict[str, dict[str, Any]] = {name.lower(): {"namespace": name, "types": {}} for name in REGISTERED}
    for route in routes:
        _, marker, rest = route.path.rpartition("/providers/")
        parts = rest.split("/")
        if not marker or route.method != "GET" or parts[0].startswith("{") or not route.path.endswith("}"):
            continue
        namespace, type_name = parts[0], "/".join(part for part in parts[1:] if not part.startswith("{"))
        provider = found.setdefault(namespace.lower(), {"namespace": namespace, "types": {}})
        is_ours = namespace.lower() == "microsoft.virtualmachineimages"
        versions = list(reversed(route.api_versions or API_VERSIONS)) if is_ours else ANY_VERSIONS
        provider["types"].setdefault(type_name, list(versions))
    readable = frozenset(found)
    for route in routes:  # of a provider whose types are only listed, such as the activity log
        _, marker, rest = route.path.rpartition("/providers/")
        namespace, _, type_name = rest.partition("/")
        if marker and route.method == "GET" and type_name and namespace.lower() not in readable:
            provider = found.setdefault(namespace.lower(), {"namespace": namespace, "types": {}})
            provider["types"].setdefault(type_name, list(ANY_VERSIONS))
    return found


def _body(call: Call, provider: dict[str, Any]) -> dict[str, Any]:
    namespace = provider["namespace"]
    return {
        "id": f"{subscription_scope(call.names['subscriptionId'])}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [
            {
                "resourceType": name,
                "locations": list(TITLES.values()),
                "apiVersions": versions,
                "capabilities": "None",
            }
            for name, versions in provider["types"].items()
        ],
    }


def get(call: Call) -> Answer:
    """GET or register one; the ones that az's tutorials register are all there."""
    name = call.names["resourceProviderNamespace"]
    found = provider_bodies(call.service.routes).get(name.lower())
    if found is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{name[:100]}' is invalid.")
    return Answer(200, _body(call, found))


def list_providers(call: Call) -> Answer:
    """GET all."""
    return Answer(200, {"value": [_body(call, item) for item in provider_bodies(call.service.routes).values()]})


ROUTES = (
    Route("GET", "/subscriptions/{subscriptionId}/providers", "Providers_List", Permission.ANY, list_providers),
    Route("GET", ONE, "Providers_Get", Permission.ANY, get),
    Route("POST", f"{ONE}/register", "Providers_Register", Permission.ANY, get, Body.OPTIONAL_JSON),
    Route("POST", f"{ONE}/unregister", "Providers_Unregister", Permission.ANY, get, Body.OPTIONAL_JSON),
)
