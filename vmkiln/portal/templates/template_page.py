"""The page of an image template: what it is, its runs, outputs and triggers, and what can be done with it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from vmkiln.azure_names import ProvisioningState
from vmkiln.errors import ArmError
from vmkiln.portal.overview.acts import events_of
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.rendering import page
from vmkiln.portal.templates.durations import chart_of
from vmkiln.portal.templates.template_face import (
    checks_of,
    limits_of,
    no_trigger,
    steps_of,
    tags_in,
    tags_text,
    targets_of,
)
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, check_typed, done
from vmkiln.run_state import LIVE_STATES, RunState

TYPE = "providers/Microsoft.VirtualMachineImages/imageTemplates"
RUNS = "providers/Vmkiln.Builds/runs"
LISTED_RUNS = 100  # of a template, the newest; all of them are pages of the list of runs
ACTIONS = {"run", "cancel"}
TRIGGERED = {"trigger": Done.TRIGGER, "untrigger": Done.UNTRIGGER}
NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]{1,64}")
CHANGING = {ProvisioningState.CREATING, ProvisioningState.UPDATING, ProvisioningState.DELETING}


async def subscriptions_of(visit: Visit) -> list[str]:
    """The subscriptions that the visitor has a role in."""
    return [str(item["subscriptionId"]) for item in await visit.api.every("/subscriptions")]


def is_live(template: dict[str, Any]) -> bool:
    """Whether something goes on with a template."""
    properties = template["properties"]
    state = (properties.get("lastRunStatus") or {}).get("runState")
    return state in LIVE_STATES or properties.get("provisioningState") in CHANGING


async def template(visit: Visit) -> Response:
    """One template, its runs, its outputs and triggers."""
    found, runs, outputs, triggers, events, allowed = await asyncio.gather(
        visit.api.ask("GET", visit.id),
        visit.api.every(f"{visit.id}/{RUNS}"),
        visit.api.every(f"{visit.id}/runOutputs"),
        visit.api.every(f"{visit.id}/triggers"),
        events_of(visit, visit.id),
        allowed_to(visit),
    )
    last_good, kept = ("", []) if outputs else outputs_of(runs)
    return await page(
        "template.html",
        title=found["name"],
        template=found,
        runs=runs,
        outputs=outputs,
        last_good=last_good,
        kept=kept,
        there=await _there(visit, [str(output["artifactId"]) for output in kept if output["artifactId"]]),
        triggers=triggers,
        events=events,
        may=allowed.may,
        no_trigger=no_trigger(found["properties"]),
        chart=chart_of(runs),
        limits=limits_of(found),
        tags=tags_text(found),
        parts={
            "Customizers": steps_of(found["properties"]),
            "Validations": checks_of(found["properties"]),
            "Distribution": targets_of(found["properties"]),
        },
        most_runs=LISTED_RUNS,
        is_running=any(run["properties"]["runState"] in LIVE_STATES for run in runs),
        refresh_seconds=3 if is_live(found) else 0,
    )


def outputs_of(runs: Sequence[Mapping[str, Any]]) -> tuple[str, list[Mapping[str, Any]]]:
    """The id of the newest run that succeeded, and what it put out; ('', []) for none; pure."""
    for run in runs:
        if run["properties"]["runState"] == RunState.SUCCEEDED:
            return str(run["id"]), list(run["properties"]["outputs"])
    return "", []


async def _there(visit: Visit, image_ids: Sequence[str]) -> set[str]:
    """Those of these images that are there and that the visitor may read."""
    found = await asyncio.gather(*(visit.api.readable(image_id) for image_id in image_ids))
    return {image_id for image_id, image in zip(image_ids, found, strict=True) if image}


async def act(visit: Visit) -> Response:
    """Run, cancel or delete a template; write its tags; make or delete its trigger."""
    form = await visit.form()
    action, name = form.get("action", ""), visit.id.rpartition("/")[2]
    if action in ACTIONS:
        await visit.api.ask("POST", f"{visit.id}/{action}")
        runs = (await visit.api.ask("GET", f"{visit.id}/{RUNS}"))["value"] if action == "run" else []
        return done(Done(action), name, f"{PREFIX}{runs[0]['id'] if runs else visit.id}")
    if action == "delete":
        check_typed(form, name, "image template")
        await visit.api.ask("DELETE", visit.id)
        return done(Done.DELETE_TEMPLATE, name, f"{PREFIX}/")
    if action == "tags":
        await visit.api.ask("PATCH", visit.id, body={"tags": tags_in(form.get("tags", ""))})
        return done(Done.TAGS, name, f"{PREFIX}{visit.id}")
    if action in TRIGGERED:
        return await _act_on_trigger(visit, TRIGGERED[action], form.get("trigger", "").strip())
    message = f"the action must be one of {', '.join(sorted({*ACTIONS, *TRIGGERED, 'delete', 'tags'}))}"
    raise ArmError(400, "InvalidParameter", message, target="action")


async def _act_on_trigger(visit: Visit, what: Done, name: str) -> Response:
    if not NAME.fullmatch(name):  # it becomes part of an address
        message = "the trigger's name must have 1 to 64 letters, digits and `-_.`"
        raise ArmError(400, "InvalidParameter", message, target="trigger")
    trigger_id = f"{visit.id}/triggers/{name}"
    if what is Done.TRIGGER:
        await visit.api.ask("PUT", trigger_id, body={"properties": {"kind": "SourceImage"}})
    else:
        await visit.api.ask("DELETE", trigger_id)
    return done(what, name, f"{PREFIX}{visit.id}")
