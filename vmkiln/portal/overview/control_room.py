"""The control room: what goes on, waits, and failed, what room is left, and every template with its last runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError
from vmkiln.portal.overview.listed import asked
from vmkiln.portal.rendering import page
from vmkiln.portal.template_pages import TYPE, is_live, subscriptions_of
from vmkiln.portal.visit import Visit
from vmkiln.portal.waterfall import moment
from vmkiln.run_state import GOING_ON, LIVE_STATES, RunState

RUNS = "/providers/Vmkiln.Builds/runs"
IMAGES = "/providers/Vmkiln.Builds/images"
HOSTS = "/providers/Vmkiln.Builds/hosts"
PAGE = 50
TICKS = 10
PAGES_OF_RUNS = 4  # that the ticks are looked for in
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
class Room:
    """What the hosts at work have left, and how many they are."""

    hosts: int
    cpus: int
    memory_gib: int
    disk_gib: int


async def home(visit: Visit) -> Response:
    """Every template that the visitor may read, 50 a page, with counters above."""
    query = asked(visit, "q", "state", "group", "tag")
    templates, counters, room, runs, images = await asyncio.gather(
        _templates(visit), _counters(visit), _room(visit), _newest_runs(visit), visit.api.ask("GET", IMAGES)
    )
    groups = sorted({str(item["id"]).split("/")[4] for item in templates}, key=str.lower)
    found = [item for item in templates if is_meant(item, query)]
    number = page_number(visit.request.query_params.get("page", ""))
    shown = found[(number - 1) * PAGE : number * PAGE]
    last_images: dict[str, Any] = {}
    for image in images["value"]:  # the newest first
        last_images.setdefault(str(image["properties"]["templateId"]).lower(), image)
    return await page(
        "home.html",
        title="Image templates",
        section="templates",
        templates=shown,
        found=len(found),
        counters=counters,
        room=room,
        ticks=ticks(runs),
        last_images=last_images,
        local_runs=sum(run["properties"]["origin"] == "local" for run in runs),
        groups=groups,
        states=[str(state) for state in RunState],
        query=query,
        number=number,
        pages=-(-len(found) // PAGE),
        live_states=LIVE_STATES,
        refresh_seconds=REFRESH_SECONDS if any(is_live(item) for item in shown) else IDLE_SECONDS,
    )


def page_number(text: str) -> int:
    """The number of a page, 1 for what is none; pure."""
    return max(1, int(text)) if text.isdecimal() and len(text) < 6 else 1


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


async def _templates(visit: Visit) -> list[dict[str, Any]]:
    subscriptions = await subscriptions_of(visit)
    lists = await asyncio.gather(*(visit.api.every(f"{subscription_scope(each)}/{TYPE}") for each in subscriptions))
    return sorted((item for found in lists for item in found), key=lambda item: str(item["name"]).lower())


async def _newest_runs(visit: Visit) -> list[dict[str, Any]]:
    return await visit.api.every(RUNS, most_pages=PAGES_OF_RUNS)


async def _counters(visit: Visit) -> Counters:
    going_on, waiting, failed = await asyncio.gather(
        *(
            visit.api.ask("GET", RUNS, state=",".join(states))
            for states in (GOING_ON, (RunState.QUEUED,), (RunState.FAILED,))
        )
    )
    return Counters(_count(going_on), _count(waiting), _count(failed, since=datetime.now(UTC) - timedelta(days=1)))


def _count(answer: Mapping[str, Any], *, since: datetime | None = None) -> str:
    """How many of a page's runs there are; pure."""
    runs = [
        run for run in answer["value"] if since is None or (moment(run["properties"]["startTime"]) or since) >= since
    ]
    is_more = bool(answer.get("nextLink")) and len(runs) == len(answer["value"])
    return f"{len(runs)}{'+' if is_more else ''}"


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
