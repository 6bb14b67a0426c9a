"""What the page of a container group or VM of a build shows, asked of the API: for the page, and for its stream."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from vmkiln.errors import ArmError
from vmkiln.portal.rendering import part
from vmkiln.portal.resources.resource_face import facts, kind_of
from vmkiln.portal.resources.usage_chart import charts_of
from vmkiln.portal.runs.log_view import line_of
from vmkiln.portal.visit import Visit

KINDS = ("containergroups", "virtualmachines")
LOG_LINES = 200
PARTS = ("facts", "containers", "usage")
UNKNOWN: Mapping[str, Any] = {"value": [], "cpus": 1, "memoryMiB": 0}


@dataclass(frozen=True)
class MachineView:
    """A machine as it is now: its body of the API, the end of what it printed, what it took."""

    found: Mapping[str, Any]
    log: tuple[str, ...]
    usage: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its type, in lower case."""
        return kind_of(str(self.found["id"]))

    @property
    def is_live(self) -> bool:
        """Whether it runs."""
        properties = self.found["properties"]
        if self.kind == KINDS[0]:
            views = [container["properties"]["instanceView"] for container in properties.get("containers") or []]
            return any("finishTime" not in view["currentState"] for view in views)
        codes = [status["code"] for status in (properties.get("instanceView") or {}).get("statuses") or []]
        return "PowerState/running" in codes

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks at what it takes: not of a VM that is started to look into disks, without a network."""
        profile = self.found["properties"].get("networkProfile") or {}
        return self.kind == KINDS[0] or bool(profile.get("networkInterfaces"))

    def key(self, name: str) -> Any:
        """What a part of the page depends on; pure."""
        own = {"containers": self.log, "usage": self.usage}.get(name)
        return (self.found["properties"], own)

    def values(self) -> dict[str, Any]:
        """What the parts of the page are filled in with."""
        return {
            "found": self.found,
            "facts": facts(self.found),
            "kind": self.kind,
            "log": self.log,
            "machine_live": self.is_live,
            "machine_watched": self.is_watched,
            "charts": charts_of(self.usage),
        }


async def look(visit: Visit, machine_id: str) -> MachineView:
    """A machine as it is now. Raises: `ArmError`."""
    found = await visit.api.ask("GET", machine_id)
    log, usage = await asyncio.gather(_log(visit, found), _usage(visit, machine_id))
    return MachineView(found, tuple(log), usage)


async def parts(view: MachineView, names: list[str]) -> dict[str, str]:
    """Parts of the page, filled in."""
    return {name: await run_in_threadpool(part, f"resource/{name}.html", view.values()) for name in names}


async def _usage(visit: Visit, machine_id: str) -> Mapping[str, Any]:
    """What it took; nothing of a machine that is no build's."""
    try:
        found: Mapping[str, Any] = await visit.api.ask("GET", f"{machine_id}/providers/Vmkiln.Builds/usage")
    except ArmError as error:
        if error.status != 404:
            raise
        return UNKNOWN
    return found


async def _log(visit: Visit, machine: Mapping[str, Any]) -> list[str]:
    """The last lines that the first container of a group printed."""
    names = [container["name"] for container in machine["properties"].get("containers") or []]
    if not names:
        return []
    answer = await visit.api.ask("GET", f"{machine['id']}/containers/{names[0]}/logs", tail=str(LOG_LINES))
    return await run_in_threadpool(_shown, str(answer["content"]))  # it may have megabytes


def _shown(content: str) -> list[str]:
    """Lines as the page of a run shows them: without what Packer's log puts before each, long ones cut; pure."""
    return [line_of(0, line, None).text for line in content.splitlines()]
