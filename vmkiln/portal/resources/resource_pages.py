"""Resource groups and everything in them, staging resource groups with the picture of their network."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from vmkiln.azure_names import CONTAINER_GROUP, LOCAL_GROUPS, subscription_scope
from vmkiln.errors import ArmError
from vmkiln.portal.overview.acts import events_of
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.overview.listed import asked, part_of
from vmkiln.portal.passing_on import PassedOn
from vmkiln.portal.rendering import page
from vmkiln.portal.resources.machine_view import KINDS, look
from vmkiln.portal.resources.resource_face import facts, kind_of, relations
from vmkiln.portal.runs.network_page import picture_of
from vmkiln.portal.templates.template_page import TYPE, subscriptions_of
from vmkiln.portal.told import Done
from vmkiln.portal.trail import is_local
from vmkiln.portal.visit import PREFIX, Visit, check_typed, done
from vmkiln.rights.rights import Permission
from vmkiln.staging.staging_resource_group import OF_A_TEMPLATE

REFRESH_SECONDS = 5
BLOB_CONTAINERS = "blobServices/default/containers"
LOGS = "packerlogs"
DISKS = "vhds"
MOST_TEXT_BYTES = 256 * 1024
CHILDREN = {"galleries": "images", "images": "versions"}  # a managed image has a page of its own


async def resource_groups(visit: Visit) -> Response:
    """Every resource group that the visitor may read, 100 a page; those that `vmkiln build` made, too."""
    query = asked(visit, "q")
    subscriptions = await subscriptions_of(visit)
    lists = await asyncio.gather(
        *(visit.api.every(f"{subscription_scope(each)}/resourceGroups") for each in subscriptions),
        _local_groups(visit),
    )
    words = query.get("q", "").lower()
    meant = (group for found in lists for group in found if words in str(group["name"]).lower())
    part = part_of(sorted(meant, key=_rank), visit, of=lists)
    return await page("groups.html", title="Resource groups", section="groups", listed=part, query=query)


def _rank(group: Mapping[str, Any]) -> tuple[bool, str]:
    """A group's place in the list: what people made comes before what is made for builds; pure."""
    return bool(group.get("managedBy")) or is_local(str(group["id"])), str(group["name"]).lower()


async def _local_groups(visit: Visit) -> list[dict[str, Any]]:
    """The staging resource groups of `vmkiln build`; none for who may not read the whole service."""
    try:
        return await visit.api.every(LOCAL_GROUPS)
    except ArmError as error:
        if error.status != 403:
            raise
        return []


async def resource_group(visit: Visit) -> Response:
    """One group: what is in it, and of a build's what was; the network, the rules and what they counted."""
    group, present, allowed = await asyncio.gather(
        visit.api.ask("GET", visit.id), visit.api.every(f"{visit.id}/resources"), allowed_to(visit)
    )
    picture = await picture_of(visit, group, present) if _is_staging(group) else None
    is_live = is_building(present)
    return await page(
        "group.html",
        title=group["name"],
        group=group,
        may=allowed.may,
        template_id=await _template_of(visit, group),
        run_id=group["managedBy"] if is_local(visit.id) else "",
        listed=part_of(present, visit, of=[present]),
        is_staging=_is_staging(group),
        picture=picture,
        is_live=is_live,
        refresh_seconds=REFRESH_SECONDS if is_live else 0,
    )


def is_building(present: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a build goes on among what is in a group now: its container group is there; pure."""
    return any(item["type"] == CONTAINER_GROUP for item in present)


async def act_on_group(visit: Visit) -> Response:
    """Delete a resource group with all that is in it."""
    form, name = await visit.form(), str(visit.request.path_params["group"])
    if form.get("action") != "delete":
        raise ArmError(400, "InvalidParameter", "the action must be delete", target="action")
    check_typed(form, name, "resource group")
    await visit.api.ask("DELETE", visit.id)
    return done(Done.DELETE_GROUP, name, f"{PREFIX}/groups")


def _is_staging(group: dict[str, Any]) -> bool:
    return str(group["name"]).startswith("IT_") or "createdby" in {name.lower() for name in group.get("tags") or {}}


async def _template_of(visit: Visit, group: dict[str, Any]) -> str:
    """The image template whose staging resource group it is; '' when that is not there, or may not be read."""
    tags = {name.lower(): str(value) for name, value in (group.get("tags") or {}).items()}
    name, in_group = (tags.get(tag.lower(), "") for tag in OF_A_TEMPLATE)
    if not name or not in_group or not _is_staging(group) or is_local(str(group["id"])):
        return ""
    template_id = f"{str(group['id']).rpartition('/')[0]}/{in_group}/{TYPE}/{name}"
    try:
        await visit.api.ask("GET", template_id)
    except ArmError:
        return ""
    return template_id


async def resource(visit: Visit) -> Response:
    """Any resource: its facts, what it has to do with, what its kind has besides, its events, and its JSON."""
    title = visit.id.rpartition("/")[2]
    if f"/{BLOB_CONTAINERS}/{DISKS}/".lower() in visit.id.lower():
        await visit.api.ask("GET", visit.id, part="bytes=0-0")  # what is refused is refused as a page
        return PassedOn(visit.api.api, visit.id, visit.api.token, name=title)
    if f"/{BLOB_CONTAINERS}/{LOGS}/".lower() in visit.id.lower() and title.endswith(".png"):
        await visit.api.ask("GET", visit.id, part="bytes=0-0")
        return PassedOn(visit.api.api, visit.id, visit.api.token, name=title, shown_as="image/png")
    found = await _found(visit)
    if isinstance(found, str):
        if visit.request.query_params.get("download"):
            return PassedOn(visit.api.api, visit.id, visit.api.token, name=title)
        is_cut = len(found.encode()) >= MOST_TEXT_BYTES
        text = found.partition("\n")[2] if is_cut and "\n" in found else found
        return await page("text.html", title=title, text=text, id=visit.id, is_cut=is_cut)
    if "/blobservices/" in visit.id.lower() and "value" in found:  # of what is a user's, only containers are listed
        return await page(
            "blobs.html",
            title=title,
            items=found["value"],
            id=visit.id,
            is_log=title == LOGS,
            is_disk=title == DISKS,
            is_local=is_local(visit.id),
            may_download=title == DISKS and await _may_act(visit),
        )
    kind = kind_of(visit.id)
    machine = await look(visit, visit.id) if kind in KINDS else None
    containers, children, events, beside = await asyncio.gather(
        _containers(visit) if kind == "storageaccounts" else _nothing(),
        _listed(visit, CHILDREN[kind]) if kind in CHILDREN else _nothing(),
        events_of(visit, visit.id),
        _beside(visit) if "otherRules" in (found.get("properties") or {}) else _nothing(),  # a build's
    )
    is_live = is_building(beside) if machine is None else machine.is_live
    return await page(
        "resource.html",
        title=title,
        id=visit.id,
        **(machine.values() if machine is not None else {"found": found, "facts": facts(found), "kind": kind}),
        relations=relations(found),
        is_machine=machine is not None,
        is_followed=machine is not None,
        containers=containers,
        children=children,
        events=events,
        refresh_seconds=REFRESH_SECONDS if is_live else 0,
    )


async def _may_act(visit: Visit) -> bool:
    """Whether the visitor may act on a resource of a group, or on the template whose staging resource group that is."""
    allowed = await allowed_to(visit)
    if allowed.may(Permission.ACTION, visit.id) or is_local(visit.id):
        return allowed.may(Permission.ACTION, visit.id)
    group = await visit.api.readable(_group_of(visit.id))  # nothing for who may look at the storage account alone
    return bool(group.get("managedBy")) and allowed.may(Permission.ACTION, str(group["managedBy"]))


def _group_of(resource_id: str) -> str:
    """The group that a resource's id names: four names, in a subscription or of `vmkiln build`; pure."""
    return "/".join(resource_id.split("/")[:5])


async def _beside(visit: Visit) -> list[dict[str, Any]]:
    """What is in the group of a resource now, as far as the visitor may look."""
    try:
        return await visit.api.every(f"{_group_of(visit.id)}/resources")
    except ArmError as error:
        if error.status not in {403, 404}:
            raise
        return []


async def _found(visit: Visit) -> Any:
    """What the page is of: JSON, or the end of a file, which may have gigabytes: a log, the disk of an image."""
    try:
        return await visit.api.ask("GET", visit.id, part=f"bytes=-{MOST_TEXT_BYTES}")
    except ArmError as error:
        if error.status != 416:
            raise
        return ""  # of an empty one there is no part


async def _listed(visit: Visit, below: str) -> list[dict[str, Any]]:
    """What lies in a resource; nothing where there is no such list."""
    try:
        return await visit.api.every(f"{visit.id}/{below}")
    except ArmError as error:
        if error.status != 404:
            raise
        return []


async def _containers(visit: Visit) -> list[dict[str, Any]] | str:
    """The containers of a storage account, or why they cannot be told: nobody serves blobs, or not to the visitor."""
    try:
        return await _listed(visit, BLOB_CONTAINERS)
    except ArmError as error:
        if error.status not in {409, 503}:
            raise
        return error.message


async def _nothing() -> list[Any]:
    return []
