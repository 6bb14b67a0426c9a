"""The ARM functions that tell where a deployment takes place, and the ids and names made from that.

Two results differ from Azure's. `uniqueString` has the same form (13 characters, always the same for the same input)
but not the same value: Azure's hash is not published. `utcNow` is the start of the reading, `newGuid` one value.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.values import needs_string
from vmkiln.azure_names import RESOURCE_GROUP, ProvisioningState, group_id, subscription_scope

_GUID_NAMESPACE = UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # the one Azure's guid() uses
_TIME_PIECES = {
    "yyyy": "%Y",
    "yy": "%y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "hh": "%I",
    "mm": "%M",
    "ss": "%S",
    "tt": "%p",
    "dddd": "%A",
    "ddd": "%a",
    "MMMM": "%B",
    "MMM": "%b",
}
_TIME_FORMATS = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffZ",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffZ",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ssZ",
    "t": "HH:mm",
    "T": "HH:mm:ss",
}
_TIME_TOKEN = re.compile(r"yyyy|yy|MMMM|MMM|MM|M|dddd|ddd|dd|d|HH|H|hh|h|mm|m|ss|s|f{1,7}|tt|'[^']*'|\\.|.", re.DOTALL)


def formatted_time(moment: datetime, pattern: str) -> str:
    """A time in .NET's pattern, such as `yyyyMMddTHHmmssZ`; the ones without leading zero are `M d H h m s`."""
    pattern = _TIME_FORMATS.get(pattern, pattern)
    return "".join(_time_piece(moment, token) for token in _TIME_TOKEN.findall(pattern))


def _time_piece(moment: datetime, token: str) -> str:
    if token in _TIME_PIECES:
        return moment.strftime(_TIME_PIECES[token])
    if token in ("M", "d", "H", "h", "m", "s"):
        return moment.strftime(_TIME_PIECES[token * 2]).lstrip("0") or "0"
    if token.startswith("f"):
        return f"{moment.microsecond:06}0"[: len(token)]
    return token[1:-1] if token.startswith("'") and len(token) > 1 else token.lstrip("\\") or token


def _resource_group(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
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
    return {"tenantId": context.tenant_id, "displayName": "local"}


def _deployment(context: DeploymentContext, arguments: Sequence[Any]) -> dict[str, Any]:
    _takes(arguments, 0, 0)
    return {
        "name": context.template_name,
        "location": context.location,
        "properties": {"mode": "Incremental", "provisioningState": "Accepted", "parameters": {}, "template": {}},
    }


def _resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    """resourceId([subscriptionId], [resourceGroup], type, name, ...): the type is the first with a slash."""
    before, provider, pairs = _split_id(arguments, 2)
    group = before.pop() if before else context.resource_group
    subscription = before.pop() if before else context.subscription_id
    return f"{group_id(subscription, group)}/providers/{provider}{pairs}"


def _subscription_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    before, provider, pairs = _split_id(arguments, 1)
    return f"/subscriptions/{before[0] if before else context.subscription_id}/providers/{provider}{pairs}"


def _tenant_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    _, provider, pairs = _split_id(arguments, 0)
    return f"/providers/{provider}{pairs}"


def _extension_resource_id(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    if not arguments:
        raise ValueError("it takes the id of a resource, a type and names")
    _, provider, pairs = _split_id(arguments[1:], 0)
    return f"{needs_string(arguments[0], 'the id')}/providers/{provider}{pairs}"


def _split_id(arguments: Sequence[Any], before_at_most: int) -> tuple[list[str], str, str]:
    texts = [needs_string(argument, "every argument") for argument in arguments]
    at = next((index for index, text in enumerate(texts) if "/" in text), None)
    if at is None or at > before_at_most:
        raise ValueError("no argument is a resource type such as 'Microsoft.Compute/images' in its place")
    provider, *types = texts[at].strip("/").split("/")
    names = texts[at + 1 :]
    if len(names) == 1 and len(types) > 1:
        names = names[0].split("/")
    if len(types) != len(names):
        raise ValueError(f"the type '{texts[at]}' needs {len(types)} names, {len(names)} are given")
    return texts[:at], provider, "".join(f"/{kind}/{name}" for kind, name in zip(types, names, strict=True))


def _unique_string(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    _takes(arguments, 1, 100)
    joined = "-".join(needs_string(argument, "every argument") for argument in arguments)
    return base64.b32encode(hashlib.sha256(joined.encode()).digest()).decode().lower()[:13]


def _guid(context: DeploymentContext, arguments: Sequence[Any]) -> str:  # noqa: ARG001
    _takes(arguments, 1, 100)
    return str(uuid5(_GUID_NAMESPACE, "-".join(needs_string(argument, "every argument") for argument in arguments)))


def _new_guid(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    _takes(arguments, 0, 0)
    return str(context.new_guid)


def _utc_now(context: DeploymentContext, arguments: Sequence[Any]) -> str:
    _takes(arguments, 0, 1)
    return formatted_time(context.now, needs_string(arguments[0], "the format") if arguments else "yyyyMMddTHHmmssZ")


def _takes(arguments: Sequence[Any], low: int, high: int) -> None:
    if not low <= len(arguments) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(f"it takes {wanted} arguments, {len(arguments)} are given")


RESOURCE_FUNCTIONS: dict[str, Callable[[DeploymentContext, Sequence[Any]], Any]] = {
    "resourcegroup": _resource_group,
    "subscription": _subscription,
    "tenant": _tenant,
    "deployment": _deployment,
    "resourceid": _resource_id,
    "subscriptionresourceid": _subscription_resource_id,
    "tenantresourceid": _tenant_resource_id,
    "extensionresourceid": _extension_resource_id,
    "uniquestring": _unique_string,
    "guid": _guid,
    "newguid": _new_guid,
    "utcnow": _utc_now,
}
