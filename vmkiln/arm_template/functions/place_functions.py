"""The ARM functions that tell where a deployment takes place, and the ids and names made from that.

Two results differ from Azure's: `utcNow` is the start of the reading, `newGuid` one value.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid5

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.functions.azure_cloud import azure_cloud
from vmkiln.arm_template.functions.date_functions import check_pattern, formatted_time
from vmkiln.arm_template.values import joined, needs_int, needs_string
from vmkiln.azure_names import RESOURCE_GROUP, ProvisioningState, group_id, plain_location, subscription_scope
from vmkiln.azure_roles import GUIDS

_MANAGEMENT_GROUP = "Microsoft.Management/managementGroups"
LONGEST_ID = 8_192  # letters, all arguments together; Azure refuses far shorter ones
MOST_ZONES = 100  # that are told by another name at once
LONGEST_LOCATION = 128
_ZONES = ("1", "2", "3")
_GUID_NAMESPACE = UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # the one Azure's guid() uses


def _resource_group(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    if not context.resource_group:
        raise ValueError("this deployment is one of a subscription and has no resource group")
    return {
        "id": group_id(context.subscription_id, context.resource_group),
        "name": context.resource_group,
        "type": RESOURCE_GROUP,
        "location": context.location,
        "tags": {},
        "properties": {"provisioningState": ProvisioningState.SUCCEEDED},
    }


def _subscription(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    return {
        "id": subscription_scope(context.subscription_id),
        "subscriptionId": context.subscription_id,
        "tenantId": context.tenant_id,
        "displayName": "local",
    }


def _tenant(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    return {"id": f"/tenants/{context.tenant_id}", "tenantId": context.tenant_id, "displayName": "local"}


def _management_group(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    """The tenant's root group, whose name is the tenant's id; the only one there is."""
    _takes(arguments, 0, 0)
    return {
        "id": f"/providers/{_MANAGEMENT_GROUP}/{context.tenant_id}",
        "name": context.tenant_id,
        "type": f"/providers/{_MANAGEMENT_GROUP}",
        "properties": {"tenantId": context.tenant_id, "displayName": "Tenant Root Group"},
    }


def _environment(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:  # noqa: ARG001
    _takes(arguments, 0, 0)
    return azure_cloud()


def _deployer(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    return {
        "objectId": context.deployer_id,
        "tenantId": context.tenant_id,
        "userPrincipalName": context.deployer_name,
    }


def _deployment(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    return {
        "name": context.template_name,
        "location": context.location,
        "properties": {
            "mode": "Incremental",
            "provisioningState": "Accepted",
            "parameters": {},
            "template": {"contentVersion": context.content_version} if context.content_version else {},
        },
    }


def _resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    """resourceId([subscriptionId], [resourceGroup], type, name, ...): the type is the first with a slash.

    In a deployment of a subscription there is no group, and the id has none.
    """
    before, provider, pairs = _split_id(arguments, 2)
    group = before.pop() if before else context.resource_group
    subscription = before.pop() if before else context.subscription_id
    place = group_id(subscription, group) if group else subscription_scope(subscription)
    return f"{place}/providers/{provider}{pairs}"


def _subscription_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    before, provider, pairs = _split_id(arguments, 1)
    return f"{subscription_scope(before[0] if before else context.subscription_id)}/providers/{provider}{pairs}"


def _management_group_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    before, provider, pairs = _split_id(arguments, 1)
    group = before[0] if before else context.tenant_id
    return f"/providers/{_MANAGEMENT_GROUP}/{group}/providers/{provider}{pairs}"


def _tenant_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    _, provider, pairs = _split_id(arguments, 0)
    return f"/providers/{provider}{pairs}"


def _extension_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    if not arguments:
        raise ValueError("it takes the id of a resource, a type and names")
    _, provider, pairs = _split_id(arguments[1:], 0)
    return f"{needs_string(arguments[0], 'the id').rstrip('/')}/providers/{provider}{pairs}"


def _pick_zones(context: DeploymentContext, arguments: Sequence[Any]) -> list[str]:  # noqa: ARG001
    """Every region here has the three zones that most of Azure's have."""
    _takes(arguments, 3, 5)
    count = needs_int(arguments[3], "the number of zones") if len(arguments) > 3 else 1
    offset = needs_int(arguments[4], "the offset") if len(arguments) > 4 else 0
    if not (1 <= count <= len(_ZONES) and 0 <= offset <= len(_ZONES) - count):
        raise ValueError(f"a region has {len(_ZONES)} zones; {count} from {offset} on are asked for")
    return list(_ZONES[offset : offset + count])


def _zones(arguments: Sequence[Any]) -> tuple[str, list[str]]:
    """The location, and the zones that are to be told by their other name."""
    _takes(arguments, 3, 3)
    zones = arguments[2] if isinstance(arguments[2], list) else [arguments[2]]
    location = needs_string(arguments[1], "the location")
    if len(zones) > MOST_ZONES or len(location) > LONGEST_LOCATION:
        raise ValueError(f"a region has {len(_ZONES)} zones, and a name of at most {LONGEST_LOCATION} characters")
    return location, [needs_string(zone, "a zone") for zone in zones]


def _logical(context: DeploymentContext, arguments: Sequence[Any]) -> Any:  # noqa: ARG001
    _, zones = _zones(arguments)
    found = [zone.rpartition("-az")[2] for zone in zones]
    return found if isinstance(arguments[2], list) else found[0]


def _physical(context: DeploymentContext, arguments: Sequence[Any]) -> Any:  # noqa: ARG001
    location, zones = _zones(arguments)
    found = [f"{plain_location(location)}-az{zone}" for zone in zones]
    return found if isinstance(arguments[2], list) else found[0]


def _providers(context: DeploymentContext, arguments: Sequence[Any]) -> Any:  # noqa: ARG001
    raise ValueError("Azure has given it up, and what it told is not known here: write the api-version in its place")


def _role_definitions(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, str]:
    _takes(arguments, 1, 1)
    name = needs_string(arguments[0], "the name of a role")
    guid = next((guid for known, guid in GUIDS.items() if known.lower() == name.strip().lower()), None)
    if guid is None:
        near = difflib.get_close_matches(name[:80], GUIDS, 1)
        way = f"did you mean '{near[0]}'?" if near else "write its id in its place"
        raise ValueError(f"`{name[:80]}` is none of the built-in roles that are known here: {way}")
    scope = subscription_scope(context.subscription_id)
    return {"id": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{guid}", "roleDefinitionId": guid}


def _split_id(arguments: Sequence[Any], before_at_most: int) -> tuple[list[str], str, str]:
    texts = [needs_string(argument, "every argument") for argument in arguments]
    if sum(map(len, texts)) > LONGEST_ID:
        raise ValueError(f"an id has at most {LONGEST_ID} characters")
    at = next((index for index, text in enumerate(texts) if "/" in text.strip("/")), None)
    if at is None or at > before_at_most:
        raise ValueError("no argument is a resource type such as 'Microsoft.Compute/images' in its place")
    provider, *types = texts[at].strip("/").split("/")
    names = texts[at + 1 :]
    if len(names) == 1 and len(types) > 1:
        names = names[0].split("/")
    if len(types) != len(names):
        raise ValueError(f"the type '{texts[at]}' needs {len(types)} names, {len(names)} are given")
    return texts[:at], provider, "".join(f"/{kind}/{name}" for kind, name in zip(types, names, strict=True))


def _guid(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    _takes(arguments, 1, 100)
    text = joined([needs_string(argument, "every argument") for argument in arguments], "-")
    return str(uuid5(_GUID_NAMESPACE, text))


def _new_guid(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    _takes(arguments, 0, 0)
    return str(context.new_guid)


def _utc_now(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    _takes(arguments, 0, 1)
    if arguments:
        check_pattern(arguments[0])
    return formatted_time(context.now, needs_string(arguments[0], "the format") if arguments else "yyyyMMddTHHmmssZ")


def _takes(arguments: Sequence[Any], low: int, high: int) -> None:
    if not low <= len(arguments) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(f"it takes {wanted} arguments, {len(arguments)} are given")


PLACE_FUNCTIONS: dict[str, Callable[[DeploymentContext, Sequence[Any]], Any]] = {
    "resourcegroup": _resource_group,
    "subscription": _subscription,
    "tenant": _tenant,
    "deployment": _deployment,
    "resourceid": _resource_id,
    "subscriptionresourceid": _subscription_resource_id,
    "tenantresourceid": _tenant_resource_id,
    "extensionresourceid": _extension_resource_id,
    "managementgroup": _management_group,
    "managementgroupresourceid": _management_group_resource_id,
    "environment": _environment,
    "deployer": _deployer,
    "pickzones": _pick_zones,
    "tologicalzone": _logical,
    "tologicalzones": _logical,
    "tophysicalzone": _physical,
    "tophysicalzones": _physical,
    "providers": _providers,
    "roledefinitions": _role_definitions,
    "guid": _guid,
    "newguid": _new_guid,
    "utcnow": _utc_now,
}
