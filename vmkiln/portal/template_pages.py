"""Image templates: the list, one of them, a new one, and what can be done with them."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.arm_template.lenient_json import read_json
from vmkiln.azure_names import ProvisioningState, group_id
from vmkiln.errors import ArmError, Mistake, TemplateInvalid
from vmkiln.portal.rendering import page
from vmkiln.portal.template_face import checks_of, copied, limits_of, steps_of, targets_of
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, check_typed, done
from vmkiln.run_state import LIVE_STATES
from vmkiln.template.checked_template import check_image_template

TYPE = "providers/Microsoft.VirtualMachineImages/imageTemplates"
RUNS = "providers/Vmkiln.Builds/runs"
LISTED_RUNS = 100  # of a template, the newest; all of them are pages of the list of runs
MODEL_PARTS = 9  # of the id of an image template
FIELDS = ("subscription", "group", "name")  # of the form, besides the template itself
MISTAKES = "The form has mistakes."
INVALID_JSON = "InvalidJson"  # the code of a mistake in the template's text
MOST_CHECKED_LETTERS = 128 * 1024
MOST_MISTAKES = 100  # told of a form that is checked
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
    action, name = form.get("action", ""), visit.id.rpartition("/")[2]
    if action in ACTIONS:
        await visit.api.ask("POST", f"{visit.id}/{action}")
        runs = (await visit.api.ask("GET", f"{visit.id}/{RUNS}"))["value"] if action == "run" else []
        return done(Done(action), name, f"{PREFIX}{runs[0]['id'] if runs else visit.id}")
    if action == "delete":
        check_typed(form, name, "image template")
        await visit.api.ask("DELETE", visit.id)
        return done(Done.DELETE_TEMPLATE, name, f"{PREFIX}/")
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
    return await _form(visit, values)


async def create(visit: Visit) -> Response:
    """Create what the form says, or only check it; every mistake is shown beside what was written, nothing is lost."""
    values = {"subscription": "", "group": "", "name": "", "body": "", **await visit.form()}
    try:
        if values.get("action") == "check":
            return await _form(visit, values, warnings=await _checked(visit, values))
        return done(Done.CREATE, values["name"], f"{PREFIX}{await _created(visit, values)}")
    except ArmError as error:
        if error.status == 401:
            raise
        return await _form(visit, values, error=error)


async def _form(
    visit: Visit, values: Mapping[str, str], *, error: ArmError | None = None, warnings: Sequence[str] | None = None
) -> Response:
    """The form as it was sent, with its mistakes, or with what there is to say of one that has none."""
    details = error.details if error else ()
    return await page(
        "new.html",
        status=error.status if error else 200,
        title="New image template",
        section="new",
        values=values,
        subscriptions=await subscriptions_of(visit),
        error=error,
        warnings=warnings,
        wrong={detail["target"]: detail["message"] for detail in details if detail.get("target") in FIELDS},
        wrong_body=[detail for detail in details if detail.get("target") not in FIELDS],
    )


def filled(values: Mapping[str, str]) -> str:
    """The template's text with the form's own fields in place of the example's placeholders; pure."""
    text = values["body"].replace("/subscriptions/SUBSCRIPTION/", f"/subscriptions/{values['subscription']}/")
    text = text.replace("/resourceGroups/GROUP/", f"/resourceGroups/{values['group']}/")
    return text.replace('/images/NAME"', f'/images/{values["name"]}"')


def _wrong(what: str, name: str) -> str:
    return f"{what} needs a name" if not name else f"{what} cannot be named `{name[:90]}`: letters, digits, . _ - alone"


def _read(values: Mapping[str, str]) -> tuple[Any, list[dict[str, str]]]:
    """The template that a form has, and what is wrong with the form itself; None for text that cannot be read."""
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
    try:
        return read_json(filled(values), file_name="template"), details
    except TemplateInvalid as error:
        return None, details + [_detail(_placed(one.path), one) for one in error.mistakes]


def _detail(place: str, mistake: Mistake) -> dict[str, str]:
    message = f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message
    return {"code": INVALID_JSON, "target": place, "message": message}


def _placed(path: str) -> str:
    """Where a mistake of JSON stands, for whoever looks at the text; pure."""
    _, line, column = path.rsplit(":", 2)
    return f"line {line}, column {column}"


def _check(values: Mapping[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """Every mistake of a form and its template, as far as they show without the service, and warnings; pure."""
    body, details = _read(values)
    if any(detail["code"] == INVALID_JSON for detail in details):  # of the rest nothing can be said
        return details, []
    if not isinstance(body, dict):
        return [*details, {"code": INVALID_JSON, "target": "line 1, column 1", "message": "must be an object"}], []
    mistakes = []
    if body.get("identity") is None:
        mistakes.append(Mistake.missing("identity", 'write {"type": "None"} for no identity'))
    warnings: list[str] = []
    try:
        warnings = list(check_image_template(body).warnings)
    except TemplateInvalid as error:
        mistakes += error.mistakes
    return [*details, *(_detail(one.path, one) for one in dict.fromkeys(mistakes))], warnings


async def _checked(visit: Visit, values: Mapping[str, str]) -> list[str]:
    """What there is to say of a form without mistakes; nothing is made. Raises: `ArmError` with every mistake."""
    if len(values["body"]) > MOST_CHECKED_LETTERS:
        message = f"The template has more than {MOST_CHECKED_LETTERS // 1024} KiB, too much to be checked here."
        raise ArmError(413, "RequestEntityTooLarge", message, target="body", hint="`vmkiln validate FILE` checks it")
    details, warnings = await run_in_threadpool(_check, values)
    if not any(detail["target"] in FIELDS for detail in details) and await _is_there(visit, values):
        message = "there is an image template of this name already: delete it first, or take another name"
        details.append({"code": "Conflict", "target": "name", "message": message})
    if details:
        count = len(details)
        told = f"The form has {count} mistakes; these are the first." if count > MOST_MISTAKES else MISTAKES
        raise ArmError(400, "InvalidParameter", told, details=details[:MOST_MISTAKES])
    return warnings[:MOST_MISTAKES]


async def _is_there(visit: Visit, values: Mapping[str, str]) -> bool:
    """Whether there is a template of the form's name. Raises: `ArmError` when the visitor may not look."""
    try:
        await visit.api.ask("GET", f"{group_id(values['subscription'], values['group'])}/{TYPE}/{values['name']}")
    except ArmError as error:
        if error.status != 404:
            raise
        return False
    return True


async def _created(visit: Visit, values: Mapping[str, str]) -> str:
    body, details = await run_in_threadpool(_read, values)  # it may have megabytes
    if details:
        raise ArmError(400, "InvalidParameter", MISTAKES, details=details)
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
