"""Resource groups and everything in them, staging resource groups with the picture of their network."""

import asyncio
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.azure_names import CONTAINER_GROUP, subscription_scope
from vmkiln.portal.rendering import page, pretty
from vmkiln.portal.runs.network_page import picture_of
from vmkiln.portal.template_pages import subscriptions_of
from vmkiln.portal.visit import Visit

REFRESH_SECONDS = 5


async def resource_groups(visit: Visit) -> Response:
    """Every resource group that the visitor may read."""
    subscriptions = await subscriptions_of(visit)
    lists = await asyncio.gather(
        *(visit.api.every(f"{subscription_scope(each)}/resourceGroups") for each in subscriptions)
    )
    groups = sorted((group for found in lists for group in found), key=lambda group: str(group["name"]).lower())
    return await page("groups.html", title="Resource groups", section="groups", groups=groups)


async def resource_group(visit: Visit) -> Response:
    """One group: what is in it, and of a build's what was; the network, the rules and what they counted."""
    group, present = await asyncio.gather(visit.api.ask("GET", visit.id), visit.api.every(f"{visit.id}/resources"))
    picture = await picture_of(visit, group, present) if _is_staging(group) else None
    is_live = any(item["type"] == CONTAINER_GROUP for item in present)
    return await page(
        "group.html",
        title=group["name"],
        group=group,
        resources=present,
        picture=picture,
        is_live=is_live,
        refresh_seconds=REFRESH_SECONDS if is_live else 0,
    )


def _is_staging(group: dict[str, Any]) -> bool:
    return str(group["name"]).startswith("IT_") or "createdby" in {name.lower() for name in group.get("tags") or {}}


async def resource(visit: Visit) -> Response:
    """Any resource, as the API answers it."""
    found = await visit.api.ask("GET", visit.id)
    text = found if isinstance(found, str) else await run_in_threadpool(pretty, found)
    return await page("resource.html", title=visit.id.rpartition("/")[2], text=text, id=visit.id)
