"""The control room: what goes on, waits, and failed, what room is left, and every template with its last runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from vmkiln.azure_names import ALL_RUNS, ProvisioningState, subscription_scope, utc_text
from vmkiln.errors import ArmError
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.overview.listed import asked, part_of
from vmkiln.portal.rendering import page
from vmkiln.portal.templates.template_page import TYPE, is_live, subscriptions_of
from vmkiln.portal.visit import Visit
from vmkiln.run_state import GOING_ON, LIVE_STATES, RunState

IMAGES = "/providers/Vmkiln.Builds/images"
HOSTS = "/providers/Vmkiln.Builds/hosts"
PAGE = 50
TICKS = 10
PAGES_OF_RUNS = 4  # that the ticks are looked for in
MOST_SUSPENDED = 10  # templates whose triggers are asked for: those on top
REFRESH_SECONDS = 5
IDLE_SECONDS = 30
_PARTS = ("cpus", "memoryMiB", "diskMiB")


@dataclass(frozen=True)
class Counters:
    """How many runs go on, wait, and failed in the last day; '50+' where there are more than a page."""

    running: str
    waiting: str
    failed: str


@dataclass(frozen=True)
class Order:
    """Which templates come first: those that need attention, those with which something goes on, and all others.

    `held` are ids of templates (lower case) of which a failed VM is held.
    """

    held: frozenset[str]

    def needs_attention(self, template: Mapping[str, Any]) -> bool:
        """Whether a template is not provisioned, its last run failed in whole or in part, or a VM of it is held."""
        properties = template["properties"]
        state = (properties.get("lastRunStatus") or {}).get("runState")
        return (
            properties.get("provisioningState") == ProvisioningState.FAILED
            or state in {RunState.FAILED, RunState.PARTIALLY_SUCCEEDED}
            or str(template["id"]).lower() in self.held
        )

    def sorted(self, templates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The first two the newest first, the others as they come."""

        def rank(template: dict[str, Any]) -> int:
            return 0 if self.needs_attention(template) else 1 if is_live(template) else 2

        newest_first = sorted(templates, key=_started, reverse=True)
        first = [item for wanted in (0, 1) for item in newest_first if rank(item) == wanted]
        return first + [item for item in templates if rank(item) == 2]


@dataclass(frozen=True)
class Room:
    """What the hosts at work have left, and how many they are."""

    hosts: int
    cpus: int
    memory_gib: int
    disk_gib: int


async def home(visit: Visit) -> Response:
    """Every template that the visitor may read, 50 a page, with counters above."""
    query = asked(visit, "q", "state", "group", "tag", "needs", "sort")
    lists, counters, room, runs, images, allowed = await asyncio.gather(
        _templates(visit),
        _counters(visit),
        _room(visit),
        _newest_runs(visit),
        visit.api.ask("GET", IMAGES),
        allowed_to(visit),
    )
    templates = sorted((item for one in lists for item in one), key=lambda item: str(item["name"]).lower())
    groups = sorted({str(item["id"]).split("/")[4] for item in templates}, key=str.lower)
    held = {str(run["properties"]["templateId"]).lower(): run for run in runs if run["properties"]["heldUntil"]}
    order = Order(frozenset(held))
    attention = [item for item in templates if order.needs_attention(item)]
    meant = attention if "needs" in query else templates
    found = [item for item in meant if is_meant(item, query)]
    found = found if query.get("sort") == "name" else order.sorted(found)
    part = part_of(found, visit, size=PAGE, of=lists)
    last_images: dict[str, Any] = {}
    for image in images["value"]:  # the newest first
        last_images.setdefault(str(image["properties"]["templateId"]).lower(), image)
    return await page(
        "home.html",
        title="Image templates",
        section="templates",
        listed=part,
        counters=counters,
        going_on=",".join(GOING_ON),
        attention=len(attention),
        needy={str(item["id"]) for item in attention},
        held=held,
        held_runs=sum(bool(run["properties"]["heldUntil"]) for run in runs),
        suspended=await _suspended(visit, [item for item in part.shown if order.needs_attention(item)]),
        room=room,
        may=allowed.may,
        ticks=ticks(runs),
        last_images=last_images,
        local_runs=sum(run["properties"]["origin"] == "local" for run in runs),
        groups=groups,
        states=[str(state) for state in RunState],
        query=query,
        live_states=LIVE_STATES,
        refresh_seconds=REFRESH_SECONDS if any(is_live(item) for item in part.shown) else IDLE_SECONDS,
    )


def is_meant(template: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether a template is one that the filters ask for; pure."""
    words, parts = query.get("q", "").lower(), str(template["id"]).split("/")
    run = template["properties"].get("lastRunStatus") or {}
    tags = {f"{name}={value}".lower() for name, value in (template.get("tags") or {}).items()}
    tags |= {str(name).lower() for name in template.get("tags") or {}}
    return (
        (words in str(template["name"]).lower() or words in parts[4].lower())
        and query.get("state", run.get("runState", "")) == run.get("runState", "")
        and query.get("group", parts[4]).lower() == parts[4].lower()
        and ("tag" not in query or query["tag"].lower() in tags)
    )


def ticks(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The last ten runs of each template (id in lower case), the oldest first; `runs` are the newest first; pure."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        of_template = found.setdefault(str(run["properties"]["templateId"]).lower(), [])
        if len(of_template) < TICKS:
            of_template.insert(0, run)
    return found


async def _triggers(visit: Visit, template_id: str) -> list[dict[str, Any]]:
    """The triggers of a template; none when it has just been deleted."""
    try:
        return await visit.api.every(f"{template_id}/triggers", most_pages=1)
    except ArmError as error:
        if error.status != 404:
            raise
        return []


def _started(template: Mapping[str, Any]) -> str:
    return str((template["properties"].get("lastRunStatus") or {}).get("startTime") or "")


async def _templates(visit: Visit) -> list[list[dict[str, Any]]]:
    """The templates of each subscription."""
    subscriptions = await subscriptions_of(visit)
    return await asyncio.gather(*(visit.api.every(f"{subscription_scope(each)}/{TYPE}") for each in subscriptions))


async def _newest_runs(visit: Visit) -> list[dict[str, Any]]:
    return await visit.api.every(ALL_RUNS, most_pages=PAGES_OF_RUNS)


async def _counters(visit: Visit) -> Counters:
    going_on, waiting, failed = await asyncio.gather(
        *(
            visit.api.ask("GET", ALL_RUNS, state=",".join(states), since=since)
            for states, since in (
                (GOING_ON, ""),
                ((RunState.QUEUED,), ""),
                ((RunState.FAILED,), utc_text(datetime.now(UTC) - timedelta(days=1), timespec="seconds")),
            )
        )
    )
    return Counters(_count(going_on), _count(waiting), _count(failed))


def _count(answer: Mapping[str, Any]) -> str:
    """How many runs a page has, and whether there are more; pure."""
    return f"{len(answer['value'])}{'+' if answer.get('nextLink') else ''}"


async def _suspended(visit: Visit, templates: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Why the first of these templates are not built by themselves any more, by their ids."""
    asked_for = [str(item["id"]) for item in templates[:MOST_SUSPENDED]]
    lists = await asyncio.gather(*(_triggers(visit, one) for one in asked_for))
    return {
        one: str(trigger["properties"]["status"]["message"])
        for one, triggers in zip(asked_for, lists, strict=True)
        for trigger in triggers
        if trigger["properties"]["status"]["code"] == "Suspended"
    }


async def _room(visit: Visit) -> Room | None:
    """The room of all hosts; None for who may not read the service as a whole."""
    try:
        hosts = (await visit.api.ask("GET", HOSTS))["value"]
    except ArmError as error:
        if error.status != 403:
            raise
        return None
    live = [host["properties"] for host in hosts if host["properties"]["state"] == "Ready"]
    left = {name: sum(host["capacity"][name] - host["promised"][name] for host in live) for name in _PARTS}
    return Room(len(live), left["cpus"], left["memoryMiB"] // 1024, left["diskMiB"] // 1024)
