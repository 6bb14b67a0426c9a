"""Microsoft.Network/networkSecurityGroups/securityRules: rules put one by one are those of their group.

The rules of a group that a build made can be read, and not changed.
Source: the ARM reference of Microsoft.Network.
"""

from dataclasses import replace
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.network.virtual_networks import NAME, SECURITY_GROUPS, rule_mistakes
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.rows import ResourceRow

TYPE = f"{SECURITY_GROUPS.type}/securityRules"
ALL = f"{SECURITY_GROUPS.path}/securityRules"
RULE = f"{ALL}/{{securityRuleName}}"


def _group_id(call: Call) -> str:
    return "/".join(call.resource_id.split("/")[:9])


def _rules(call: Call) -> list[dict[str, Any]]:
    """The rules of the group, a user's or a build's. Raises: `ArmError` 404."""
    group_id = _group_id(call)
    answer = call.service.dispatch("GET", group_id, caller=call.caller, query={"api-version": call.api_version})
    if answer.status != 200:
        raise ArmError(404, "ParentResourceNotFound", f"The network security group '{group_id}' was not found.")
    found: list[dict[str, Any]] = answer.body["properties"]["securityRules"]
    return found


def list_rules(call: Call) -> Answer:
    """GET the rules of a group."""
    return Answer(200, {"value": _rules(call)})


def get(call: Call) -> Answer:
    """GET one."""
    wanted = call.names["securityRuleName"]
    for rule in _rules(call):
        if rule["name"].lower() == wanted.lower():
            return Answer(200, rule)
    raise ArmError(404, "ResourceNotFound", f"The security rule '{wanted}' was not found.")


def _own_group(call: Call) -> ResourceRow:
    """The group to be changed. Raises: `ArmError` 404, 409 for a build's."""
    row = call.service.store.resources.get(_group_id(call))
    if row is None:
        _rules(call)  # 404 when there is none
        message = f"'{_group_id(call)}' belongs to a build; its rules are made by the run of its image template"
        raise ArmError(409, "OperationNotAllowed", message)
    return row


def put(call: Call) -> Answer:
    """PUT one rule into its group."""
    name = call.names["securityRuleName"]
    if not NAME.fullmatch(name):
        refuse([Mistake("name", f"`{name[:100]}` is not a name of a rule")], code="InvalidParameter")
    made = {"name": name, "properties": call.body.get("properties")}
    is_new = True

    def changed(old: ResourceRow) -> ResourceRow:
        nonlocal is_new
        before = old.properties.get("securityRules") or []
        others = [rule for rule in before if rule["name"].lower() != name.lower()]
        is_new = len(others) == len(before)
        rules = [*others, made]
        refuse(list(rule_mistakes(rules)), code="SecurityRuleInvalid")
        return replace(old, properties={**old.properties, "securityRules": rules}, changed_by=call.caller.name)

    call.service.store.resources.change(_own_group(call).id, changed, is_asked=True)
    return Answer(201 if is_new else 200, get(call).body)


def delete(call: Call) -> Answer:
    """DELETE one; 204 when there is none."""
    wanted = call.names["securityRuleName"].lower()
    if all(rule["name"].lower() != wanted for rule in _rules(call)):
        return Answer(204)

    def changed(old: ResourceRow) -> ResourceRow:
        rules = [rule for rule in old.properties.get("securityRules") or [] if rule["name"].lower() != wanted]
        return replace(old, properties={**old.properties, "securityRules": rules}, changed_by=call.caller.name)

    call.service.store.resources.change(_own_group(call).id, changed)
    return Answer(200)


ROUTES = (
    Route("GET", ALL, "SecurityRules_List", Permission.READ, list_rules),
    Route("GET", RULE, "SecurityRules_Get", Permission.READ, get),
    Route("PUT", RULE, "SecurityRules_CreateOrUpdate", Permission.WRITE, put, Body.JSON),
    Route("DELETE", RULE, "SecurityRules_Delete", Permission.DELETE, delete),
)
