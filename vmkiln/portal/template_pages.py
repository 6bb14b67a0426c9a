"""Image templates: the list, one of them, a new one, and what can be done with them."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.arm_template.lenient_json import read_json
from vmkiln.azure_names import ProvisioningState, group_id
from vmkiln.errors import ArmError, TemplateInvalid
from vmkiln.portal.rendering import page
from vmkiln.portal.template_face import checks_of, copied, limits_of, steps_of, targets_of
from vmkiln.portal.visit import PREFIX, Visit, go_to
from vmkiln.run_state import LIVE_STATES

TYPE = "providers/Microsoft.VirtualMachineImages/imageTemplates"
RUNS = "providers/Vmkiln.Builds/runs"
LISTED_RUNS = 100  # of a template, the newest; all of them are pages of the list of runs
MODEL_PARTS = 9  # of the id of an image template
ACTIONS = {"run", "cancel"}
CHANGING = {ProvisioningState.CREATING, ProvisioningState.UPDATING, ProvisioningState.DELETING}
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
EXAMPLE = {
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {
            "type": "PlatformImage",
            "publisher": "Debian",
            "offer": "debian-12",
            "sku": "12",
            "version": "latest",
        },
        "customize": [{"type": "Shell", "name": "hello", "inline": ["echo hello | sudo tee /etc/hello"]}],
        "distribute": [
            {
                "type": "ManagedImage",
                "runOutputName": "image",
                "imageId": "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Compute/images/NAME",
                "location": "westus2",
            }
        ],
    },
}


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
    found, runs, outputs, triggers = await asyncio.gather(
        visit.api.ask("GET", visit.id),
        visit.api.every(f"{visit.id}/{RUNS}"),
        visit.api.every(f"{visit.id}/runOutputs"),
        visit.api.every(f"{visit.id}/triggers"),
    )
    return await page(
        "template.html",
        title=found["name"],
        template=found,
        runs=runs,
        outputs=outputs,
        triggers=triggers,
        limits=limits_of(found),
        parts={
            "Customizers": steps_of(found["properties"]),
            "Validations": checks_of(found["properties"]),
            "Distribution": targets_of(found["properties"]),
        },
        most_runs=LISTED_RUNS,
        is_running=any(run["properties"]["runState"] in LIVE_STATES for run in runs),
        refresh_seconds=3 if is_live(found) else 0,
    )


async def act(visit: Visit) -> Response:
    """Run, cancel or delete a template."""
    form = await visit.form()
    action = form.get("action", "")
    if action in ACTIONS:
        await visit.api.ask("POST", f"{visit.id}/{action}")
        runs = (await visit.api.ask("GET", f"{visit.id}/{RUNS}"))["value"] if action == "run" else []
        return go_to(f"{PREFIX}{runs[0]['id'] if runs else visit.id}")
    if action == "delete":
        await visit.api.ask("DELETE", visit.id)
        return go_to(f"{PREFIX}/")
    raise ArmError(400, "InvalidParameter", "the action must be run, cancel or delete", target="action")


async def new(visit: Visit) -> Response:
    """The form for a new template; `?from=ID` begins with what another one is."""
    subscriptions = await subscriptions_of(visit)
    values = {"subscription": (subscriptions or [""])[0], "group": "images", "name": "", "body": ""}
    body: Any = EXAMPLE
    if model := visit.request.query_params.get("from", ""):
        parts = model.split("/")
        if f"/{TYPE}/".lower() not in model.lower() or len(parts) != MODEL_PARTS or ".." in parts:
            raise ArmError(404, "ResourceNotFound", "`from` names no image template")
        body = copied(await visit.api.ask("GET", model))
        values |= {"subscription": parts[2], "group": parts[4]}
    values["body"] = json.dumps(body, indent=2)
    title = "New image template"
    return await page("new.html", title=title, section="new", values=values, subscriptions=subscriptions, error=None)


async def create(visit: Visit) -> Response:
    """Create what the form says; every mistake is shown beside what was written, and nothing of it is lost."""
    values = {"subscription": "", "group": "", "name": "", "body": "", **await visit.form()}
    try:
        return go_to(f"{PREFIX}{await _created(visit, values)}")
    except ArmError as error:
        if error.status == 401:
            raise
        subscriptions = await subscriptions_of(visit)
        title = "New image template"
        return await page(
            "new.html",
            status=error.status,
            title=title,
            section="new",
            values=values,
            subscriptions=subscriptions,
            error=error,
            wrong={detail["target"]: detail["message"] for detail in error.details if detail.get("target") in values},
        )


def filled(values: Mapping[str, str]) -> str:
    """The template's text with the form's own fields in place of the example's placeholders; pure."""
    text = values["body"].replace("/subscriptions/SUBSCRIPTION/", f"/subscriptions/{values['subscription']}/")
    text = text.replace("/resourceGroups/GROUP/", f"/resourceGroups/{values['group']}/")
    return text.replace('/images/NAME"', f'/images/{values["name"]}"')


def _wrong(what: str, name: str) -> str:
    return f"{what} needs a name" if not name else f"{what} cannot be named `{name[:90]}`: letters, digits, . _ - alone"


async def _created(visit: Visit, values: dict[str, str]) -> str:
    details = [
        {"code": "InvalidParameter", "target": name, "message": text}
        for name, is_right, text in (
            ("subscription", bool(GUID.fullmatch(values["subscription"])), "the subscription must be a GUID"),
            (
                "group",
                bool(re.fullmatch(r"[\w.()-]{1,90}", values["group"])),
                _wrong("the resource group", values["group"]),
            ),
            (
                "name",
                bool(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", values["name"])),
                _wrong("the template", values["name"]),
            ),
        )
        if not is_right
    ]
    body: Any = None
    try:
        body = await run_in_threadpool(read_json, filled(values), file_name="template")  # it may have megabytes
    except TemplateInvalid as error:
        details += [{"code": "InvalidJson", "target": one.path, "message": one.message} for one in error.mistakes]
    if details:
        raise ArmError(400, "InvalidParameter", "The form has mistakes.", details=details)
    group = group_id(values["subscription"], values["group"])
    await _ensure_group(visit, group, str(body.get("location", "")) if isinstance(body, dict) else "")
    template_id = f"{group}/{TYPE}/{values['name']}"
    await visit.api.ask("PUT", template_id, body=body)
    return template_id


async def _ensure_group(visit: Visit, group: str, location: str) -> None:
    try:
        await visit.api.ask("GET", group)
    except ArmError as error:
        if error.status != 404:
            raise
        await visit.api.ask("PUT", group, body={"location": location})
