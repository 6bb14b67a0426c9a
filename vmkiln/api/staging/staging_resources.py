"""The staging resource group of a template is an ordinary one: what a build makes can be looked at, and followed.

Everything here is read: a build's resources are the build's own. A container group's log is the live log of Packer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.route import Answer, Body, Call, Handler, Route
from vmkiln.api.staging.staging_bodies import CONTAINER, as_resource, body
from vmkiln.azure_names import (
    CONTAINER_GROUP,
    CUSTOMIZATION_LOG,
    DISK,
    LOAD_BALANCER,
    NETWORK_INTERFACE,
    PRIVATE_ENDPOINT,
    PRIVATE_LINK_SERVICE,
    RESOURCE_GROUP,
    SECURITY_GROUP,
    STORAGE_ACCOUNT,
    VALIDATION_LOG,
    VIRTUAL_MACHINE,
)
from vmkiln.errors import ArmError
from vmkiln.host.network.network_rules import FILE_NAME, read_recorded
from vmkiln.run.run_event import VM_OF
from vmkiln.run_state import Phase
from vmkiln.staging.container_group import machine_name
from vmkiln.staging.customization_log import LogPart, last_lines
from vmkiln.staging.staging_resource_group import storage_account_of
from vmkiln.store.rows import ResourceRow, StagingGroupRow, StagingResourceRow

ONLY_HERE = (CONTAINER_GROUP, VIRTUAL_MACHINE, DISK,
             NETWORK_INTERFACE, PRIVATE_ENDPOINT,
             PRIVATE_LINK_SERVICE, LOAD_BALANCER)  # fmt: skip
MOST_LOG_BYTES = 4 * 1024 * 1024
MOST_TAIL_LINES = 999_999_999
FILES = {False: CUSTOMIZATION_LOG, True: VALIDATION_LOG}
BESIDE_VALIDATION = machine_name(VM_OF[Phase.VALIDATING])


def staging_group(call: Call, group: ResourceRow) -> StagingGroupRow | None:
    """What is recorded of a staging resource group; None for a group that is none."""
    name = group.state.get("staging_group")
    if not name:
        return None
    return call.service.store.staging.group(name)


def staging_groups(call: Call, groups: Sequence[ResourceRow]) -> list[tuple[ResourceRow, StagingGroupRow]]:
    """Those groups that are staging resource groups, with what is recorded of them."""
    names = {str(name): group for group in groups if (name := group.state.get("staging_group"))}
    found = call.service.store.staging.groups(names)
    return [(group, found[name]) for name, group in names.items() if name in found]


def build_resources(call: Call, group: ResourceRow) -> list[StagingResourceRow]:
    """What builds made in a group, the storage account aside; of one name only the newest."""
    return [item for _, item in _build_resources_of(call, [group])]


def _build_resources_of(
    call: Call, groups: Sequence[ResourceRow], type_name: str = ""
) -> list[tuple[ResourceRow, StagingResourceRow]]:
    """The same of many groups, with the group of each: as many statements as for one."""
    of_name = {staging.name: group for group, staging in staging_groups(call, groups)}
    found = call.service.store.staging.resources_of_all(of_name, type=type_name)
    newest = {
        (item.group_name, item.type.lower(), item.name.lower()): item for item in found if item.type != STORAGE_ACCOUNT
    }
    return [(of_name[item.group_name], item) for item in newest.values()]


def live_resources(call: Call, group: ResourceRow) -> list[ResourceRow]:
    """The resources of a group that exist now, for lists of resources: an ended build's are gone, its account stays."""
    staging = staging_group(call, group)
    recorded = call.service.store.staging.resources_of(staging.name) if staging else []
    return [as_resource(item, group) for item in recorded if item.deleted is None]


def find(call: Call, type_name: str) -> tuple[ResourceRow, StagingResourceRow]:
    """The group and the resource of a call's path. Raises: `ArmError` 404."""
    group, wanted = group_of(call), call.names["name"].lower()
    for item in build_resources(call, group):
        if (item.type.lower(), item.name.lower()) == (type_name.lower(), wanted):
            return group, item
    message = f"The Resource '{type_name}/{call.names['name']}' under resource group '{group.name}' was not found."
    raise ArmError(404, "ResourceNotFound", message)


def _whole(call: Call, group: ResourceRow, item: StagingResourceRow) -> dict[str, Any]:
    """The whole resource."""
    return _all_whole(call, [(group, item)])[0]


def _all_whole(call: Call, found: Sequence[tuple[ResourceRow, StagingResourceRow]]) -> list[dict[str, Any]]:
    """Whole resources; of network security groups, the rules as the kernel had them last."""
    runs = call.service.store.runs.by_id(sorted({item.run_id for _, item in found}))
    return [body(_with_rules(call, item), group, runs.get(item.run_id)) for group, item in found]


def _with_rules(call: Call, item: StagingResourceRow) -> StagingResourceRow:
    if item.type != SECURITY_GROUP:
        return item
    kept = read_recorded(call.service.settings.staging / item.group_name / FILE_NAME) or {}
    if kept.get("run_id") != item.run_id:
        return item
    return replace(item, detail={**item.detail, "rules": kept["rules"], "network": kept.get("network")})


def get(type_name: str, call: Call) -> Answer:
    """GET one."""
    group, item = find(call, type_name)
    return Answer(200, _whole(call, group, item))


def _of_groups(call: Call, groups: list[ResourceRow], type_name: str) -> list[dict[str, Any]]:
    return _all_whole(call, _build_resources_of(call, groups, type_name))


def list_in_group(type_name: str, call: Call) -> Answer:
    """GET all of a type in a group, those of ended builds too."""
    return Answer(200, {"value": _of_groups(call, [group_of(call)], type_name)})


def list_in_subscription(type_name: str, call: Call) -> Answer:
    """GET all of a type in a subscription, as far as the caller may read them."""
    groups = call.service.store.resources.list(type=RESOURCE_GROUP, subscription_id=call.names["subscriptionId"])
    readable = [group for group in groups if group.state.get("staging_group") and call.may(Permission.READ, group.id)]
    return Answer(200, {"value": _of_groups(call, readable, type_name)})


def refuse_change(call: Call) -> Answer:
    """PUT, DELETE and actions on what belongs to a build."""
    message = f"'{call.resource_id}' belongs to a build; it is made and deleted by the run of its image template"
    raise ArmError(409, "OperationNotAllowed", message, hint="cancel the run to end it")


def refuse_entry(call: Call) -> Answer:
    """POST exec or attach: nobody gets into a build's container. az's own `attach` reads the log, and works."""
    find(call, CONTAINER_GROUP)
    message = f"nothing can be started in or typed into '{call.resource_id}': a build runs by itself"
    hint = "`az container logs --follow` and `az container attach` show what its container prints"
    raise ArmError(409, "OperationNotAllowed", message, hint=hint)


def log_file(call: Call, group: ResourceRow, item: StagingResourceRow) -> Path | None:
    """The log that a container group writes; None before there is one."""
    staging = staging_group(call, group)
    if staging is None:
        return None
    account = storage_account_of(call.service.settings.staging, staging)
    folder = account.directory / "packerlogs" / item.run_id
    is_validation = item.detail.get("machine") == BESIDE_VALIDATION  # both of a run have the same name
    path = folder / FILES[is_validation]
    return path if path.is_file() else None


def container_logs(call: Call) -> Answer:
    """GET the whole log so far, or its last lines (`tail`); of a very long one the last 4 MiB."""
    group, item = find(call, CONTAINER_GROUP)
    tail = call.query.get("tail", "")
    if tail and (not tail.isdecimal() or len(tail) > 9):
        raise ArmError(400, "InvalidParameter", "`tail` must be a number of lines", target="tail")
    known = [str(name) for name in item.detail.get("containers") or [CONTAINER]]
    if call.names["containerName"].lower() not in [name.lower() for name in known]:
        message = f"The container '{call.names['containerName']}' was not found: there is {', '.join(known)}."
        raise ArmError(404, "ContainerNotFound", message)
    path = log_file(call, group, item)
    found = LogPart()
    if path is not None:
        found = last_lines(path, most_lines=int(tail or MOST_TAIL_LINES), most_bytes=MOST_LOG_BYTES)
    return Answer(200, {"content": b"".join(found.lines).decode(errors="replace")})


def instance_view(call: Call) -> Answer:
    """GET a VM's instanceView."""
    group, item = find(call, VIRTUAL_MACHINE)
    return Answer(200, _whole(call, group, item)["properties"]["instanceView"])


def first_found(own: Handler, type_name: str) -> Handler:
    """What a user keeps under a path, else what a build made there."""

    def handler(call: Call) -> Answer:
        try:
            return own(call)
        except ArmError as error:
            if error.status != 404:
                raise
            renamed = {**call.names, "name": call.resource_id.rsplit("/", 1)[-1]}
            return get(type_name, _with_names(call, renamed))

    return handler


def both_lists(own: Handler, type_name: str) -> Handler:
    """What users keep of a type in a group, and what builds made."""

    def handler(call: Call) -> Answer:
        answer = own(call)
        if "resourceGroupName" in call.names and "$skiptoken" not in call.query:
            answer.body["value"] += _of_groups(call, [group_of(call)], type_name)
        return answer

    return handler


def _with_names(call: Call, names: dict[str, str]) -> Call:
    return Call(**{**vars(call), "names": names})


def _routes() -> list[Route]:
    found: list[Route] = []
    for type_name in ONLY_HERE:
        stem = type_name.rpartition("/")[2]
        stem = f"{stem[0].upper()}{stem[1:]}"
        every = f"{GROUP_PATH}/{type_name}"
        one = f"{every}/{{name}}"
        everywhere = f"/subscriptions/{{subscriptionId}}/providers/{type_name}"
        handlers: tuple[tuple[str, str, str, Permission, Callable[[Call], Answer], Body], ...] = (
            ("GET", every, "ListByResourceGroup", Permission.READ, partial(list_in_group, type_name), Body.NONE),
            ("GET", everywhere, "List", Permission.READ, partial(list_in_subscription, type_name), Body.NONE),
            ("GET", one, "Get", Permission.READ, partial(get, type_name), Body.NONE),
            ("PUT", one, "CreateOrUpdate", Permission.WRITE, refuse_change, Body.OPTIONAL_JSON),
            ("DELETE", one, "Delete", Permission.DELETE, refuse_change, Body.NONE),
        )
        found += [Route(method, path, f"{stem}_{verb}", permission, handler, kind)
                  for method, path, verb, permission, handler, kind in handlers]  # fmt: skip
    group = f"{GROUP_PATH}/{CONTAINER_GROUP}/{{name}}"
    machine = f"{GROUP_PATH}/Microsoft.Compute/virtualMachines/{{name}}"
    found += [
        Route(
            "GET", f"{group}/containers/{{containerName}}/logs", "Containers_ListLogs", Permission.READ, container_logs
        ),
        Route("GET", f"{machine}/instanceView", "VirtualMachines_InstanceView", Permission.READ, instance_view),
    ]
    for action in ("start", "stop", "restart", "containers/{containerName}/exec", "containers/{containerName}/attach"):
        name = action.rpartition("/")[2].capitalize()
        found.append(
            Route(
                "POST",
                f"{group}/{action}",
                f"ContainerGroups_{name}",
                Permission.ACTION,
                refuse_entry if name in {"Exec", "Attach"} else refuse_change,
                Body.OPTIONAL_JSON,
            )
        )
    return found


ROUTES = tuple(_routes())
