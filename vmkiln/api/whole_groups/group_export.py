"""POST exportTemplate: a resource group, or some of it, as a template that makes the same in another group.

Names stay as they are, without parameters: what refers to a resource by its id goes on doing so. What no template can
make, such as an image that a run published, is left out and named in `error`, as Azure does.
Source: the ARM reference of resource groups; az's requests.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.api.compute.compute_images import as_resource, stored_images
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route, version_of
from vmkiln.api.protocol.tags import refuse
from vmkiln.api.resources.resource_groups import ALL
from vmkiln.arm_template.expression import escaped, quoted
from vmkiln.azure_names import LOCK, RESOURCE_GROUP
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.rows import ResourceRow

PATH = f"{ALL}/{{resourceGroupName}}/exportTemplate"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
MOST_RESOURCES = 200  # as on Azure
LEFT_OUT = {RESOURCE_GROUP.lower(), "microsoft.resources/deployments", LOCK.lower()}
MEMBERS = ("location", "tags", "identity", "sku", "kind")
TAGS = {"tags", "artifactTags"}
# what the service tells of a resource, and takes from nobody
READ_ONLY = {
    "provisioningState",
    "provisioningError",
    "lastRunStatus",
    "exactStagingResourceGroup",
    "principalId",
    "clientId",
    "tenantId",
    "resourceGuid",
    "uniqueName",
    "etag",
    "systemData",
}


def export(call: Call) -> Answer:
    """POST: the template, and what is not in it."""
    group = group_of(call)
    rows = [row for row in _inside(call, group) if row.type.lower() not in LEFT_OUT]
    rows = sorted(_wanted(call, rows), key=lambda row: (row.id.count("/"), row.key))
    if len(rows) > MOST_RESOURCES:
        message = f"the resource group '{group.name}' has {len(rows)} resources; at most {MOST_RESOURCES} are exported"
        raise ArmError(400, "ExportTemplateTooManyResources", message, hint="name some of them in `resources`")
    made, details = [], []
    known = {row.key for row in rows}
    for row in rows:
        entry = _entry(call, row, known)
        if entry is not None:
            made.append(entry)
        else:
            message = f"Could not get resources of the type '{row.type}'. Resources of this type will not be exported."
            details.append({"code": "ExportTemplateProviderError", "message": message, "target": row.id})
    template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "parameters": {}, "variables": {}, "resources": made}
    answer: dict[str, Any] = {"template": template}
    if details:
        message = (
            "Export template operation completed with errors. Some resources were not exported. Please see details for "
            "more information."
        )
        answer["error"] = {"code": "ExportTemplateCompletedWithErrors", "message": message, "details": details}
    return Answer(200, answer)


def _inside(call: Call, group: ResourceRow) -> Iterator[ResourceRow]:
    store = call.service.store
    yield from store.resources.list(subscription_id=group.subscription_id, resource_group=group.name)
    for image in stored_images(store, group.id):
        yield as_resource(image)


def _wanted(call: Call, rows: list[ResourceRow]) -> list[ResourceRow]:
    """Those that the body names, with what lies below them. Raises: `ArmError` for one that is not there."""
    given = call.body.get("resources")
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given) or not given:
        refuse([Mistake("resources", 'must be a list of ids, or `["*"]` for all of the resource group')])
    if "*" in given:
        return rows
    known = {row.key for row in rows}
    for item in given:
        if item.lower().rstrip("/") not in known:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{item[:300]}' was not found.")
    wanted = tuple(item.lower().rstrip("/") for item in given)
    return [row for row in rows if row.key in wanted or row.key.startswith(tuple(f"{item}/" for item in wanted))]


def _entry(call: Call, row: ResourceRow, known: set[str]) -> dict[str, Any] | None:
    """A resource of the template; none for what no template makes, or the caller may not read."""
    if not _can_be_put(call, row):
        return None
    answer = call.looked_at(row.id)
    if answer.status != 200 or not isinstance(answer.body, Mapping):
        return None
    parts = row.id.split("/providers/")[-1].split("/")
    entry: dict[str, Any] = {"type": row.type, "apiVersion": version_of(row.id), "name": _plain("/".join(parts[2::2]))}
    entry |= _plain({name: answer.body[name] for name in MEMBERS if answer.body.get(name)})
    if isinstance(answer.body.get("properties"), Mapping):
        entry["properties"] = _plain(answer.body["properties"])
    parent = row.key.rsplit("/", 2)[0]
    if parent in known:
        above, names = row.type.rpartition("/")[0], parts[2:-2:2]
        entry["dependsOn"] = [f"[resourceId({', '.join(quoted(text) for text in (above, *names))})]"]
    return entry


def _can_be_put(call: Call, row: ResourceRow) -> bool:
    """Whether resources of this type are made by PUT: an image is made by a run, and PUT changes its tags; pure."""
    wanted = row.type.lower().split("/")[1:]
    if wanted in (["images"], ["galleries", "images", "versions"]):
        return False
    provider = row.type.lower().split("/")[0]
    for route in call.service.routes:
        words = route.path.lower().rpartition(f"/{provider}/")[2].split("/")
        if route.method == "PUT" and f"/{provider}/" in route.path.lower() and words[::2] == wanted:
            return True
    return False


def _plain(value: Any) -> Any:
    """A value as a template has it: without what only the service tells, and with no text taken for an expression."""
    match value:
        case Mapping():
            kept = {name: item for name, item in value.items() if name not in READ_ONLY and item is not None}
            return {name: _plain_tags(item) if name in TAGS else _plain(item) for name, item in kept.items()}
        case list():
            return [_plain(item) for item in value]
        case str():
            return escaped(value)
    return value


def _plain_tags(value: Any) -> Any:
    """Tags: what they are called is the user's choice."""
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else _plain(value)


ROUTES = (Route("POST", PATH, "ResourceGroups_ExportTemplate", Permission.ACTION, export, Body.JSON),)
