"""The network of a build on the page of its staging resource group: what is asked of the API for its picture."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from vmkiln.azure_names import CONTAINER_GROUP, VIRTUAL_MACHINE
from vmkiln.errors import ArmError
from vmkiln.portal.runs.network_picture import NetworkPicture, last_run_of, network_picture
from vmkiln.portal.templates.template_page import RUNS, TYPE
from vmkiln.portal.trail import is_local
from vmkiln.portal.visit import Visit

NETWORK = "providers/Microsoft.Network"
PICTURED = (
    f"{NETWORK}/virtualNetworks",
    f"{NETWORK}/networkInterfaces",
    f"{NETWORK}/networkSecurityGroups",
    f"{NETWORK}/privateEndpoints",
    f"providers/{VIRTUAL_MACHINE}",
    f"providers/{CONTAINER_GROUP}",
)
LAST_FLOWS = 2000


async def picture_of(
    visit: Visit, group: Mapping[str, Any], present: Sequence[Mapping[str, Any]]
) -> NetworkPicture | None:
    """The picture of a group's network; `present` is what is in the group now. None for a group without one."""
    lists = await asyncio.gather(*(_every(visit, f"{visit.id}/{path}") for path in PICTURED))
    resources = [item for found in lists for item in found]
    flows = await _flows(visit, group, last_run_of(resources))
    return network_picture(resources, present={str(item["id"]).lower() for item in present}, flows=flows)


async def _every(visit: Visit, path: str) -> list[dict[str, Any]]:
    """All of a kind; none where the group has no such list."""
    try:
        return await visit.api.every(path)
    except ArmError as error:
        if error.status == 404:
            return []
        raise


async def _flows(visit: Visit, group: Mapping[str, Any], run_id: str) -> list[dict[str, Any]]:
    """The end of the flow log of a run; nothing when that or the template is gone, or may not be read."""
    runs = _runs_of(visit.id, group)
    if not run_id or not runs:
        return []
    try:
        answer = await visit.api.ask("GET", f"{runs}/{run_id}/flows", tail=str(LAST_FLOWS))
    except ArmError as error:
        if error.status in {403, 404, 410}:
            return []
        raise
    found: list[dict[str, Any]] = answer["value"]
    return found


def _runs_of(group_id: str, group: Mapping[str, Any]) -> str:
    """Where the runs are that work in a staging resource group: of its template, or all of them; '' for none; pure."""
    if is_local(group_id):
        return f"/{RUNS}"
    tags = {name.lower(): value for name, value in (group.get("tags") or {}).items()}
    name, place = tags.get("imagetemplatename"), tags.get("imagetemplateresourcegroupname")
    if not name or not place:
        return ""
    return f"{group_id.partition('/resourceGroups/')[0]}/resourceGroups/{place}/{TYPE}/{name}/{RUNS}"
