"""The staging resource groups that `vmkiln build` made of files, and what is in them: read, and nothing else.

They are the command's, which makes and deletes them; they belong to no subscription. Who may read the whole service (a
role at `/`) sees them, as its runs; a VHD is for who may act on it. They are read by the functions that read a
template's, of which only those that change nothing have a path here.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, LOCAL_GROUP, group_of, local_groups
from vmkiln.api.protocol.listing import PAGE, page
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.resources.resource_groups import group_body, resource_body
from vmkiln.api.staging import staging_resources, used_by_machines
from vmkiln.api.storage import containers, storage_accounts
from vmkiln.azure_names import LOCAL_GROUPS, SECURITY_GROUP, STORAGE_ACCOUNT, VIRTUAL_NETWORK
from vmkiln.store.rows import ResourceRow

READING = (*staging_resources.ROUTES, *used_by_machines.ROUTES, *containers.ROUTES)


def list_groups(call: Call) -> Answer:
    """GET all of them, by name, a hundred a page."""
    after = call.query.get("$skiptoken", "")
    rows = sorted(local_groups(call, call.service.store.staging.list_groups()), key=lambda row: row.key)
    return page(call, [row for row in rows if row.key > after][: PAGE + 1], _bodies)


def _bodies(rows: Sequence[ResourceRow]) -> list[dict[str, Any]]:
    return [group_body(row) for row in rows]


def get(call: Call) -> Answer:
    """GET one; `managedBy` is the run that made it."""
    return Answer(200, group_body(group_of(call)))


def list_resources(call: Call) -> Answer:
    """GET what is in one now: an ended build's resources are gone, its storage account stays."""
    rows = staging_resources.live_resources(call, group_of(call))
    return Answer(200, {"value": [resource_body(row) for row in rows]})


def list_accounts(call: Call) -> Answer:
    """GET its storage account, as a list."""
    return storage_accounts.of_groups(call, [group_of(call)])


def _below(path: str) -> str:
    return f"{LOCAL_GROUP}/providers{path.removeprefix(GROUP_PATH)}"


def _routes() -> list[Route]:
    found = [
        Route("GET", LOCAL_GROUPS, "LocalGroups_List", Permission.READ, list_groups),
        Route("GET", LOCAL_GROUP, "LocalGroups_Get", Permission.READ, get),
        Route("GET", f"{LOCAL_GROUP}/resources", "LocalGroups_ListResources", Permission.READ, list_resources),
    ]
    for type_name, name in ((VIRTUAL_NETWORK, "VirtualNetworks"), (SECURITY_GROUP, "NetworkSecurityGroups")):
        every = f"{LOCAL_GROUP}/providers/{type_name}"
        one = partial(staging_resources.get, type_name)
        all_of_it = partial(staging_resources.list_in_group, type_name)
        found += [
            Route("GET", every, f"Local{name}_List", Permission.READ, all_of_it),
            Route("GET", f"{every}/{{name}}", f"Local{name}_Get", Permission.READ, one),
        ]
    accounts = f"{LOCAL_GROUP}/providers/{STORAGE_ACCOUNT}"
    found += [
        Route("GET", accounts, "LocalStorageAccounts_List", Permission.READ, list_accounts),
        Route("GET", f"{accounts}/{{accountName}}", "LocalStorageAccounts_Get", Permission.READ, storage_accounts.get),
    ]
    found += [
        replace(route, path=_below(route.path), operation=f"Local{route.operation}")
        for route in READING
        if route.method == "GET" and route.path.startswith(f"{GROUP_PATH}/")
    ]
    return found


ROUTES = tuple(_routes())
