"""Microsoft.Network: virtual networks with subnets, network security groups with rules; all that vnetConfig may name.

A subnet can be put by itself or with its network; it is one and the same. Public addresses are refused: none is ever
made. Source: the ARM reference of Microsoft.Network; Azure keeps five addresses of a subnet to itself.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.stored_resources import Kind, routes_of
from vmkiln.api.protocol.tags import refuse
from vmkiln.api.staging.staging_resources import both_lists, first_found
from vmkiln.azure_names import IMAGE_TEMPLATE, SECURITY_GROUP, SUBNET, VIRTUAL_NETWORK, ProvisioningState
from vmkiln.errors import ArmError, CodedMistake, InputError, Mistake
from vmkiln.staging.security_rule import CONFLICT, DEFAULT_RULES, default_rule_body, read_rule
from vmkiln.staging.user_network import ipv4_prefix
from vmkiln.store.rows import ResourceRow
from vmkiln.template.resource_id import parse_resource_id

ATTEMPTS = 20  # to change a network that others change meanwhile
MOST_RULES = 1000  # Azure's limit for a network security group
WRONG_PREFIX, WRONG_SUBNET = "InvalidAddressPrefixFormat", "NetcfgInvalidSubnet"
LARGEST_PREFIX = 29  # with five addresses reserved, a /29 has three left
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


def _network(text: Any, path: str) -> tuple[ipaddress.IPv4Network | None, list[Mistake]]:
    found = ipv4_prefix(text)
    if found is not None:
        return found, []
    hint = "such as 10.1.0.0/16, without host bits"
    return None, [CodedMistake(path, f"`{str(text)[:60]}` is not an IPv4 network", hint, WRONG_PREFIX)]


def prefixes_of(subnet: Mapping[str, Any]) -> list[Any]:
    """The address prefixes of a subnet's properties; pure."""
    many = subnet.get("addressPrefixes")
    if isinstance(many, list) and many:
        return many
    return [subnet["addressPrefix"]] if subnet.get("addressPrefix") is not None else []


def network_mistakes(call: Call, properties: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong with a virtual network: spaces, subnets outside them or over one another, unknown groups."""
    space = properties.get("addressSpace")
    given = space.get("addressPrefixes") if isinstance(space, dict) else None
    if not isinstance(given, list) or not given:
        return [Mistake.missing("properties.addressSpace.addressPrefixes", 'such as ["10.1.0.0/16"]')]
    mistakes: list[Mistake] = []
    spaces = []
    for index, text in enumerate(given):
        network, wrong = _network(text, f"properties.addressSpace.addressPrefixes[{index}]")
        mistakes += wrong
        spaces += [network] if network else []
    subnets = properties.get("subnets") or []
    if not isinstance(subnets, list):
        return [*mistakes, Mistake("properties.subnets", "must be an array")]
    seen: list[tuple[str, ipaddress.IPv4Network]] = []
    for index, subnet in enumerate(subnets):
        mistakes += _subnet_mistakes(call, subnet, f"properties.subnets[{index}]", spaces, seen)
    return mistakes


def _subnet_mistakes(
    call: Call,
    subnet: Any,
    path: str,
    spaces: list[ipaddress.IPv4Network],
    seen: list[tuple[str, ipaddress.IPv4Network]],
) -> Iterator[Mistake]:
    if not isinstance(subnet, dict) or not isinstance(subnet.get("properties"), dict):
        yield Mistake(path, "must be an object with name and properties")
        return
    name, properties = subnet.get("name"), subnet["properties"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield Mistake(f"{path}.name", "is not a name of a subnet")
        return
    if any(other.lower() == name.lower() for other, _ in seen):
        yield Mistake(f"{path}.name", f"`{name}` is given twice")
    prefixes = prefixes_of(properties)
    if len(prefixes) != 1:
        yield Mistake(f"{path}.properties.addressPrefix", "is required; a subnet has one IPv4 prefix here")
        return
    network, wrong = _network(prefixes[0], f"{path}.properties.addressPrefix")
    yield from wrong
    if network is None:
        return
    if network.prefixlen > LARGEST_PREFIX:
        yield Mistake(f"{path}.properties.addressPrefix", f"`{network}` is too small: at most /{LARGEST_PREFIX}")
    if not any(network.subnet_of(space) for space in spaces):
        message = f"`{network}` lies outside the address space"
        yield CodedMistake(f"{path}.properties.addressPrefix", message, code=WRONG_SUBNET)
    for other, taken in seen:
        if network.overlaps(taken):
            message = f"`{network}` overlaps the subnet {other}, {taken}"
            yield CodedMistake(f"{path}.properties.addressPrefix", message, code=WRONG_SUBNET)
    seen.append((name, network))
    yield from _delegation_mistakes(properties.get("delegations"), f"{path}.properties.delegations")
    reference = properties.get("networkSecurityGroup")
    if reference is not None:
        yield from _reference_mistakes(call, reference, f"{path}.properties.networkSecurityGroup")


def _delegation_mistakes(delegations: Any, path: str) -> Iterator[Mistake]:
    if delegations is not None and not isinstance(delegations, list):
        yield Mistake(path, "must be an array")
        return
    for index, delegation in enumerate(delegations or ()):
        values = delegation.get("properties") if isinstance(delegation, dict) else None
        if not isinstance(values, dict) or not isinstance(values.get("serviceName"), str):
            hint = "such as Microsoft.ContainerInstance/containerGroups"
            yield Mistake(f"{path}[{index}].properties.serviceName", "must be the name of a service", hint)


def _reference_mistakes(call: Call, reference: Any, path: str) -> Iterator[Mistake]:
    text = reference.get("id") if isinstance(reference, dict) else None
    try:
        found = parse_resource_id(text if isinstance(text, str) else "")
    except InputError as error:
        yield Mistake(f"{path}.id", error.message)
        return
    if not found.is_a(SECURITY_GROUP):
        yield Mistake(f"{path}.id", f"is the id of a {found.type}, not of a network security group")
    elif not call.may(Permission.ACTION, str(found)):
        raise ArmError(403, "LinkedAuthorizationFailed", f"you may not use '{found}' ({path}.id), or it does not exist")
    elif call.service.store.resources.get(str(found)) is None:
        yield Mistake(f"{path}.id", f"`{found}` does not exist")


def _filled_network(_call: Call, properties: Mapping[str, Any], existing: ResourceRow | None) -> dict[str, Any]:
    kept = {name: value for name, value in properties.items() if name != "provisioningState"}
    if "subnets" not in kept and existing is not None:
        kept["subnets"] = existing.properties.get("subnets", [])
    names = {"name", "properties"}
    subnets = kept.get("subnets") or []
    kept["subnets"] = [{key: value for key, value in subnet.items() if key in names} for subnet in subnets]
    return kept


def _shown_network(_call: Call, row: ResourceRow) -> dict[str, Any]:
    subnets = [_subnet_body(row, subnet) for subnet in row.properties.get("subnets", [])]
    return {**row.properties, "subnets": subnets, "enableDdosProtection": False, "virtualNetworkPeerings": []}


def _subnet_body(network: ResourceRow, subnet: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{network.id}/subnets/{subnet['name']}",
        "name": subnet["name"],
        "type": SUBNET,
        "properties": {
            "privateEndpointNetworkPolicies": "Disabled",
            **subnet["properties"],
            "provisioningState": ProvisioningState.SUCCEEDED,
        },
    }


def _check_unused(call: Call, row: ResourceRow, *, subnet: str = "") -> None:
    """No image template names the network, or the subnet. Raises: `ArmError` 409."""
    prefix = f"{row.key}/subnets/{subnet.lower()}"
    for template in call.service.store.resources.list(type=IMAGE_TEMPLATE, subscription_id=row.subscription_id):
        config = (template.properties.get("vmProfile") or {}).get("vnetConfig") or {}
        for member in ("subnetId", "containerInstanceSubnetId"):
            used = str(config.get(member, "")).lower()
            if used and (used == prefix if subnet else used.startswith(prefix)):
                code = "InUseSubnetCannotBeDeleted"
                raise ArmError(
                    409, code, f"the image template '{template.name}' uses {config[member]}", target=template.id
                )


NETWORK = Kind(
    VIRTUAL_NETWORK,
    ("virtualNetworkName",),
    "VirtualNetworks",
    mistakes=network_mistakes,
    filled=_filled_network,
    shown=_shown_network,
    before_delete=_check_unused,
)


def rule_mistakes(rules: Any) -> Iterator[Mistake]:
    """What is wrong with the rules of a network security group; pure."""
    if not isinstance(rules, list):
        yield Mistake("properties.securityRules", "must be an array")
        return
    if len(rules) > MOST_RULES:
        yield Mistake("properties.securityRules", f"has {len(rules)} rules; at most {MOST_RULES} are allowed")
        return
    seen: dict[tuple[str, int], str] = {}
    for index, item in enumerate(rules):
        path = f"properties.securityRules[{index}]"
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            yield Mistake(path, "must be an object with name and properties")
            continue
        if not NAME.fullmatch(name):
            yield Mistake(f"{path}.name", f"`{name[:100]}` is not a name of a rule")
        rule, mistakes = read_rule(name, item.get("properties"), f"{path}.properties")
        yield from mistakes
        if rule is None:
            continue
        other = seen.setdefault((rule.direction, rule.priority), name)
        if other != name:
            message = f"{rule.priority} is taken by the rule {other} of that direction"
            yield CodedMistake(f"{path}.properties.priority", message, code=CONFLICT)


def _group_mistakes(_call: Call, properties: Mapping[str, Any]) -> list[Mistake]:
    return list(rule_mistakes(properties.get("securityRules") or []))


def _shown_group(_call: Call, row: ResourceRow) -> dict[str, Any]:
    kind = SECURITY_GROUP
    own = [
        {**rule, "id": f"{row.id}/securityRules/{rule['name']}", "type": f"{kind}/securityRules"}
        for rule in row.properties.get("securityRules") or []
    ]
    defaults = [
        {
            "id": f"{row.id}/defaultSecurityRules/{rule.name}",
            "name": rule.name,
            "type": f"{kind}/defaultSecurityRules",
            "properties": default_rule_body(rule),
        }
        for rule in DEFAULT_RULES
    ]
    return {**row.properties, "securityRules": own, "defaultSecurityRules": defaults}


def _check_no_subnet(call: Call, row: ResourceRow) -> None:
    for network in call.service.store.resources.list(type=NETWORK.type, subscription_id=row.subscription_id):
        for subnet in network.properties.get("subnets", []):
            used = subnet["properties"].get("networkSecurityGroup") or {}
            if str(used.get("id", "")).lower() == row.key:
                message = f"the subnet '{subnet['name']}' of '{network.name}' uses it"
                raise ArmError(409, "InUseNetworkSecurityGroupCannotBeDeleted", message)


SECURITY_GROUPS = Kind(
    SECURITY_GROUP,
    ("networkSecurityGroupName",),
    "NetworkSecurityGroups",
    mistakes=_group_mistakes,
    shown=_shown_group,
    before_delete=_check_no_subnet,
)
SUBNETS = f"{NETWORK.path}/subnets"
SUBNET_PATH = f"{SUBNETS}/{{subnetName}}"


def _of_subnet(call: Call) -> tuple[ResourceRow, list[dict[str, Any]], str]:
    network_id = call.resource_id.partition("/subnets")[0]
    row = call.service.store.resources.get(network_id)
    if row is None or row.type != NETWORK.type:
        raise ArmError(404, "ParentResourceNotFound", f"The virtual network '{network_id}' was not found.")
    return row, list(row.properties.get("subnets", [])), call.names.get("subnetName", "")


def list_subnets(call: Call) -> Answer:
    """GET the subnets of a network."""
    row, subnets, _ = _of_subnet(call)
    return Answer(200, {"value": [_subnet_body(row, subnet) for subnet in subnets]})


def get_subnet(call: Call) -> Answer:
    """GET one subnet."""
    row, subnets, name = _of_subnet(call)
    for subnet in subnets:
        if subnet["name"].lower() == name.lower():
            return Answer(200, _subnet_body(row, subnet))
    raise ArmError(404, "ResourceNotFound", f"The subnet '{name}' of '{row.name}' was not found.")


def put_subnet(call: Call) -> Answer:
    """PUT one subnet into its network."""
    made = {"name": call.names["subnetName"], "properties": call.body.get("properties")}
    for _ in range(ATTEMPTS):
        row, subnets, name = _of_subnet(call)
        others = [subnet for subnet in subnets if subnet["name"].lower() != name.lower()]
        whole = {**row.properties, "subnets": [*others, made]}
        refuse(network_mistakes(call, whole), code="NetcfgInvalidSubnet")
        if _is_changed(call, row, whole):
            return Answer(200 if len(others) < len(subnets) else 201, _subnet_body(row, made))
    raise _busy(call)


def delete_subnet(call: Call) -> Answer:
    """DELETE one subnet; 204 when there is none."""
    for _ in range(ATTEMPTS):
        row, subnets, name = _of_subnet(call)
        others = [subnet for subnet in subnets if subnet["name"].lower() != name.lower()]
        if len(others) == len(subnets):
            return Answer(204)
        _check_unused(call, row, subnet=name)
        if _is_changed(call, row, {**row.properties, "subnets": others}):
            return Answer(200)
    raise _busy(call)


def _busy(call: Call) -> ArmError:
    message = f"Another operation on '{call.resource_id}' or its virtual network is in progress; try again."
    return ArmError(409, "AnotherOperationInProgress", message, headers={"Retry-After": "1"})


def _is_changed(call: Call, row: ResourceRow, properties: dict[str, Any]) -> bool:
    """Record a network's new properties; false when somebody changed it since `row` was read."""
    is_same = False

    def changed(old: ResourceRow) -> ResourceRow:
        nonlocal is_same
        is_same = old.properties == row.properties
        return replace(old, properties=properties) if is_same else old

    call.service.store.resources.change(row.id, changed, is_asked=True)
    return is_same


def refuse_public(call: Call) -> Answer:
    """PUT of anything that would give a public address."""
    message = "vmkiln never makes a public IP address: builds reach out, and nothing reaches in"
    raise ArmError(400, "PublicIPAddressNotSupported", message, target=call.resource_id)


def _with_builds(kind: Kind) -> list[Route]:
    """The routes of a kind, whose reads also find what builds made."""
    found = []
    for route in routes_of(kind):
        handler = route.handler
        if route.operation.endswith("_Get"):
            handler = first_found(handler, kind.type)
        elif route.operation.endswith("_List"):
            handler = both_lists(handler, kind.type)
        found.append(replace(route, handler=handler))
    return found


ROUTES = (
    *_with_builds(NETWORK),
    *_with_builds(SECURITY_GROUPS),
    Route("GET", SUBNETS, "Subnets_List", Permission.READ, list_subnets),
    Route("GET", SUBNET_PATH, "Subnets_Get", Permission.READ, get_subnet),
    Route("PUT", SUBNET_PATH, "Subnets_CreateOrUpdate", Permission.WRITE, put_subnet, Body.JSON),
    Route("DELETE", SUBNET_PATH, "Subnets_Delete", Permission.DELETE, delete_subnet),
    *(
        Route(
            "PUT",
            f"{GROUP_PATH}/Microsoft.Network/{name}/{{name}}",
            f"{name}_CreateOrUpdate",
            Permission.WRITE,
            refuse_public,
            Body.JSON,
        )
        for name in ("publicIPAddresses", "natGateways", "publicIPPrefixes")
    ),
)
