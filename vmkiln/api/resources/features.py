"""Microsoft.Features: the switches that tutorials turn on before their first image.

What Image Builder asks for is registered from the start, for nothing of it is a preview here. Another switch is kept
as it was put, and changes nothing. Source: the ARM reference of Microsoft.Features (both of its generations).
"""

import re
from collections.abc import Mapping
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.listing import check_seen
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.azure_names import FEATURE, subscription_scope
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow

PROVIDER = "/subscriptions/{subscriptionId}/providers/Microsoft.Features"
OF_NAMESPACE = f"{PROVIDER}/providers/{{featureNamespace}}/features"
ONE = f"{OF_NAMESPACE}/{{featureName}}"
REGISTRATIONS = f"{PROVIDER}/featureProviders/{{featureNamespace}}/subscriptionFeatureRegistrations"
REGISTRATION = f"{REGISTRATIONS}/{{featureName}}"
IMAGE_BUILDER = "Microsoft.VirtualMachineImages"
# in Microsoft's pages of Image Builder, and in its GitHub Action
ALWAYS = ("VirtualMachineTemplatePreview", "FairfaxPublicPreview", "MooncakePublicPreview", "Triggers")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*){1,5}")
REGISTERED, UNREGISTERED = "Registered", "Unregistered"
NOT_REGISTERED = "NotRegistered"


def _names(call: Call) -> tuple[str, str]:
    """Namespace and feature of a call's path, ours as they are spelled. Raises: `ArmError` 400, 404."""
    check_seen(call)
    namespace, name = call.names["featureNamespace"], call.names["featureName"]
    if not NAMESPACE.fullmatch(namespace):
        raise ArmError(400, "InvalidResourceNamespace", f"The resource namespace '{namespace[:80]}' is invalid.")
    if not NAME.fullmatch(name):
        raise ArmError(400, "InvalidFeatureName", f"'{name[:80]}' is not a name of a feature.", target="name")
    if namespace.lower() != IMAGE_BUILDER.lower():
        return namespace, name
    for known in ALWAYS:
        if known.lower() == name.lower():
            return IMAGE_BUILDER, known
    message = f"The feature '{name}' could not be found in the namespace '{IMAGE_BUILDER}'."
    raise ArmError(404, "FeatureNotFound", message, hint=f"there are {', '.join(ALWAYS)}")


def _id(call: Call, namespace: str, name: str) -> str:
    subscription = call.names["subscriptionId"]
    return f"{subscription_scope(subscription)}/providers/Microsoft.Features/providers/{namespace}/features/{name}"


def _body(call: Call, namespace: str, name: str, state: str) -> dict[str, Any]:
    return {
        "id": _id(call, namespace, name),
        "name": f"{namespace}/{name}",
        "type": f"{FEATURE.partition('/')[0]}/providers/features",
        "properties": {"state": state},
    }


def _state(call: Call, namespace: str, name: str) -> str:
    if namespace == IMAGE_BUILDER:
        return REGISTERED
    row = call.service.store.resources.get(_id(call, namespace, name))
    return str(row.properties["state"]) if row else NOT_REGISTERED


def get(call: Call) -> Answer:
    """GET one, and whether it is registered."""
    namespace, name = _names(call)
    return Answer(200, _body(call, namespace, name, _state(call, namespace, name)))


def list_features(call: Call) -> Answer:
    """GET those of a namespace, or all: Image Builder's, and those that were put here."""
    check_seen(call)
    wanted = call.names.get("featureNamespace", "").lower()
    found = [(IMAGE_BUILDER, name, REGISTERED) for name in ALWAYS]
    rows = call.service.store.resources.list(type=FEATURE, subscription_id=call.names["subscriptionId"])
    for row in rows:
        namespace, _, name = row.name.partition("/")
        found.append((namespace, name, str(row.properties["state"])))
    chosen = [item for item in found if wanted in {"", item[0].lower()}]
    return Answer(200, {"value": [_body(call, *item) for item in chosen]})


def _kept(call: Call, namespace: str, name: str, state: str) -> None:
    call.service.store.resources.put(
        ResourceRow(
            id=_id(call, namespace, name),
            type=FEATURE,
            name=f"{namespace}/{name}",
            subscription_id=call.names["subscriptionId"],
            resource_group="",
            properties={"state": state},
            created_by=call.caller.name,
            changed_by=call.caller.name,
        )
    )


def register(call: Call) -> Answer:
    """POST register: done at once."""
    namespace, name = _names(call)
    if namespace != IMAGE_BUILDER:
        _kept(call, namespace, name, REGISTERED)
    return Answer(200, _body(call, namespace, name, REGISTERED))


def _unregistered(call: Call) -> tuple[str, str]:
    """Namespace and name of a feature that may be unregistered. Raises: `ArmError` 400, 404, 409."""
    namespace, name = _names(call)
    if namespace == IMAGE_BUILDER:
        message = f"The feature '{namespace}/{name}' is part of this service and cannot be unregistered."
        raise ArmError(409, "FeatureUnregistrationNotSupported", message)
    return namespace, name


def unregister(call: Call) -> Answer:
    """POST unregister: Image Builder's own cannot be turned off."""
    namespace, name = _unregistered(call)
    _kept(call, namespace, name, UNREGISTERED)
    return Answer(200, _body(call, namespace, name, UNREGISTERED))


def _registration(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    """The same feature as the newer interface shows it; pure."""
    namespace, _, name = str(body["name"]).partition("/")
    place = REGISTRATION.replace("{subscriptionId}", call.names["subscriptionId"])
    return {
        "id": place.replace("{featureNamespace}", namespace).replace("{featureName}", name),
        "name": name,
        "type": "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations",
        "properties": {
            "subscriptionId": call.names["subscriptionId"],
            "tenantId": call.service.issuer.tenant_id,
            "providerNamespace": namespace,
            "featureName": name,
            "displayName": name,
            "state": body["properties"]["state"],
            "approvalType": "AutoApproval",
        },
    }


def get_registration(call: Call) -> Answer:
    """GET one. Raises: `ArmError` 404 when it is not registered."""
    answer = get(call)
    if answer.body["properties"]["state"] != REGISTERED:
        raise ArmError(404, "FeatureNotFound", f"The feature '{answer.body['name']}' is not registered.")
    return Answer(200, _registration(call, answer.body))


def list_registrations(call: Call) -> Answer:
    """GET those of a namespace, or all."""
    found = list_features(call).body["value"]
    registered = [item for item in found if item["properties"]["state"] == REGISTERED]
    return Answer(200, {"value": [_registration(call, item) for item in registered]})


def put_registration(call: Call) -> Answer:
    """PUT: done at once."""
    return Answer(200, _registration(call, register(call).body))


def delete_registration(call: Call) -> Answer:
    """DELETE: it is not registered any more, and nothing is kept of it."""
    namespace, name = _unregistered(call)
    call.service.store.resources.delete(_id(call, namespace, name))
    return Answer(200)


ROUTES = (
    Route("GET", f"{PROVIDER}/features", "Features_ListAll", Permission.ANY, list_features),
    Route("GET", OF_NAMESPACE, "Features_List", Permission.ANY, list_features),
    Route("GET", ONE, "Features_Get", Permission.ANY, get),
    Route("POST", f"{ONE}/register", "Features_Register", Permission.ACTION, register, Body.OPTIONAL_JSON),
    Route("POST", f"{ONE}/unregister", "Features_Unregister", Permission.ACTION, unregister, Body.OPTIONAL_JSON),
    Route(
        "GET",
        f"{PROVIDER}/subscriptionFeatureRegistrations",
        "SubscriptionFeatureRegistrations_ListBySubscription",
        Permission.ANY,
        list_registrations,
    ),
    Route("GET", REGISTRATIONS, "SubscriptionFeatureRegistrations_List", Permission.ANY, list_registrations),
    Route("GET", REGISTRATION, "SubscriptionFeatureRegistrations_Get", Permission.ANY, get_registration),
    Route(
        "PUT",
        REGISTRATION,
        "SubscriptionFeatureRegistrations_CreateOrUpdate",
        Permission.WRITE,
        put_registration,
        Body.OPTIONAL_JSON,
    ),
    Route("DELETE", REGISTRATION, "SubscriptionFeatureRegistrations_Delete", Permission.DELETE, delete_registration),
)
