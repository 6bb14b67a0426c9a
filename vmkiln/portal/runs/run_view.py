"""What a run's page shows, asked of the API: once for the page, and again and again for its stream."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool

from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.rendering import part
from vmkiln.portal.runs.log_view import PHASE_OF, Group, groups_of, seconds_of
from vmkiln.portal.templates.template_page import RUNS
from vmkiln.portal.visit import Visit
from vmkiln.portal.waterfall import Bar, moment, waterfall
from vmkiln.rights.rights import Permission
from vmkiln.run_state import LIVE_STATES, PartKind, Phase, RunState

KINDS = tuple(PHASE_OF)
MARKS = {
    RunState.QUEUED: "\N{HOURGLASS}",
    RunState.RUNNING: "\N{BLACK RIGHT-POINTING TRIANGLE}",
    RunState.CANCELING: "\N{BLACK RIGHT-POINTING TRIANGLE}",
    RunState.SUCCEEDED: "\N{CHECK MARK}",
    RunState.PARTIALLY_SUCCEEDED: "!",
    RunState.FAILED: "\N{BALLOT X}",
    RunState.CANCELED: "\N{EN DASH}",
}
ICONS = {
    RunState.SUCCEEDED: "ok",
    RunState.PARTIALLY_SUCCEEDED: "warn",
    RunState.FAILED: "failed",
    RunState.CANCELED: "over",
}  # others go on
OF_LOG = {KINDS[0]: PartKind.CUSTOMIZER, KINDS[1]: PartKind.VALIDATION}
PARTS = ("head", "failure", "ended", "outputs", "time")


@dataclass(frozen=True)
class RunView:
    """A run as it is now: its body of the API, its bars, the outline of each of its logs, why it failed.

    `template_id` is '' for a run that `vmkiln build` made, and for one whose template was deleted. `may_enter` and
    `may_download` are whether the viewer may enter its failed VM, and fetch its VHDs.
    """

    run: dict[str, Any]
    template_id: str
    bars: tuple[Bar, ...]
    outlines: Mapping[str, Mapping[str, Any]]
    failure: Mapping[str, Any] | None
    now: float
    may_enter: bool = False
    may_download: bool = False

    @property
    def properties(self) -> Mapping[str, Any]:
        """The run's properties."""
        found: Mapping[str, Any] = self.run["properties"]
        return found

    @property
    def is_live(self) -> bool:
        """Whether it goes on, or waits."""
        return self.properties["runState"] in LIVE_STATES

    @property
    def template_name(self) -> str:
        """What it is a run of."""
        return self.template_id.rpartition("/")[2] or str(self.properties["templateName"])

    @property
    def title(self) -> str:
        """What it is, and how it stands: also the window's title."""
        return f"{MARKS[RunState(self.properties['runState'])]} {self.heading}"

    @property
    def heading(self) -> str:
        """The same without the state's mark, of which not every machine has the letter."""
        return f"{self.template_name} \N{MIDDLE DOT} {_worded(RunState(self.properties['runState']))}"

    @property
    def waited(self) -> float:
        """For how long it waited before it first began, in seconds; 0 as long as it waits, and when it waits again."""
        if self.properties["runState"] == RunState.QUEUED:
            return 0.0
        starts = (moment(phase["startTime"]) for phase in self.properties["phases"] if phase["name"] != Phase.QUEUED)
        begun, asked = min((one for one in starts if one), default=None), moment(self.properties["startTime"])
        return (begun - asked).total_seconds() if begun and asked else 0.0

    @property
    def icon(self) -> str:
        """The name of the state's icon."""
        return ICONS.get(RunState(self.properties["runState"]), "live")

    @property
    def step(self) -> str:
        """What it is at now; '' when it has ended or is not known."""
        live = [bar for bar in self.bars if bar.state == "live"]
        return live[-1].name if live and self.is_live else ""

    def groups(self, *, chosen: tuple[str, int] | None = None) -> dict[str, list[Group]]:
        """The groups of each log; `chosen` is a kind and a line."""
        return {
            kind: groups_of(
                kind,
                outline,
                self.properties,
                chosen=None if chosen is None else chosen[1] if chosen[0] == kind else 0,
            )
            for kind, outline in self.outlines.items()
        }

    def key(self, name: str) -> Any:
        """What a part of the page depends on: when that is as it was, so is the part; pure."""
        properties = self.properties
        if name == "time":
            return ([(bar.name, bar.state, bar.start, bar.end) for bar in self.bars], self._steps())
        if name == "head":
            return (properties["runState"], properties["runSubState"], properties.get("queue"), self.step,
                    properties["startTime"], self.is_live, self.counts, properties.get("heldUntil"), self.may_enter,
                    properties.get("stagingResourceGroup"))  # fmt: skip
        if name == "outputs":
            return (properties["outputs"], self.may_download)
        return (properties["runState"], self.failure)

    @property
    def counts(self) -> dict[str, int]:
        """How many lines its logs have, and how many of them are of stderr."""
        groups = [group for outline in self.outlines.values() for group in outline["value"]]
        return {
            "lines": sum(int(outline["lines"]) for outline in self.outlines.values()),
            "errors": sum(int(group["errorLines"]) for group in groups),
        }

    def written(self, place: Mapping[str, int]) -> tuple[str, ...]:
        """The logs that may have more than a viewer has seen; `place` has the number of the next line of each."""
        names = [phase["name"] for phase in self.properties["phases"]]
        now = KINDS[1] if PHASE_OF[KINDS[1]] in names else KINDS[0]
        return tuple(kind for kind in KINDS if kind == now or int(self.outlines[kind]["lines"]) >= place[kind])

    def _steps(self) -> dict[tuple[str, str], str]:
        """Where in the page the log of a part of its time is, by the part's kind and name."""
        return {(OF_LOG[kind], group.name): group.key for kind, groups in self.groups().items() for group in groups}

    def values(self) -> dict[str, Any]:
        """What the parts of the page are filled in with."""
        return {
            "run": self.run,
            "properties": self.properties,
            "template_id": self.template_id,
            "template_name": self.template_name,
            "runs_id": str(self.run["id"]).rpartition("/")[0],
            "bars": self.bars,
            "steps": self._steps(),
            "failure": self.failure,
            "is_live": self.is_live,
            "step": self.step,
            "counts": self.counts,
            "waited": self.waited,
            "now": self.now,
            "picture": self.icon,
            "may_enter": self.may_enter,
            "may_download": self.may_download,
            "origin": seconds_of(self.properties["startTime"]),
        }


def _worded(state: RunState) -> str:
    return "Partially succeeded" if state is RunState.PARTIALLY_SUCCEEDED else str(state)


async def look(visit: Visit, run_id: str) -> RunView:
    """A run as it is now. Raises: `ArmError`."""
    run, timeline, *outlines = await asyncio.gather(
        visit.api.ask("GET", run_id),
        visit.api.ask("GET", f"{run_id}/timeline"),
        *(visit.api.ask("GET", f"{run_id}/log/outline", kind=kind) for kind in KINDS),
    )
    failure = None
    if run["properties"]["runState"] == RunState.FAILED:
        failure = (await visit.api.ask("GET", f"{run_id}/failure"))["value"]
    template_id = run_id.rpartition(f"/{RUNS}/")[0]
    vhds = [str(output["blobId"]) for output in run["properties"]["outputs"] if "blobId" in output]
    may_enter = may_download = False
    if vhds or run["properties"].get("heldUntil"):
        allowed = await allowed_to(visit)
        may_enter = allowed.may(Permission.SHELL, template_id or "/")
        # as who may act on a template may on what its builds make
        may_download = any(allowed.may(Permission.ACTION, scope) for scope in (template_id, *vhds) if scope)
    now = datetime.now(UTC)
    return RunView(
        run=run,
        template_id=template_id,
        bars=tuple(waterfall(run["properties"], timeline["value"], now)),
        outlines=dict(zip(KINDS, outlines, strict=True)),
        failure=failure,
        now=round(now.timestamp(), 3),
        may_enter=may_enter,
        may_download=may_download,
    )


async def parts(view: RunView, names: Sequence[str]) -> dict[str, str]:
    """Parts of the page, filled in."""
    return {name: await run_in_threadpool(part, f"run/{name}.html", view.values()) for name in names}
