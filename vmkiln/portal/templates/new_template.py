"""The form of a new image template: it is filled, checked, and made; nothing that was written is lost."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.azure_names import ProvisioningState, group_id, subscription_scope
from vmkiln.errors import ArmError, TemplateInvalid
from vmkiln.portal.overview.allowed import allowed_to, may_make_templates
from vmkiln.portal.rendering import page
from vmkiln.portal.templates.deployment_form import MOST_PARAMETERS, OPEN, Written, deployment_in, given_in
from vmkiln.portal.templates.examples import TITLES, example
from vmkiln.portal.templates.marked_text import marked, placed
from vmkiln.portal.templates.plan_view import PLAN, plan_shown
from vmkiln.portal.templates.read_text import MOST_CHECKED_LETTERS, ReadText, read_text
from vmkiln.portal.templates.source_choice import Choice, choices
from vmkiln.portal.templates.template_face import copied
from vmkiln.portal.templates.template_page import TYPE, subscriptions_of
from vmkiln.portal.templates.written_template import (
    FIELDS,
    detail_of,
    field_mistakes,
    looked_at,
    mistakes_of,
    with_source,
)
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, UNSEEN, Visit, done

IMAGES = "/providers/Vmkiln.Builds/images"
SOURCES = "providers/Vmkiln.Builds/sources"
MODEL_PARTS = 9  # of the id of an image template
DEPLOYMENTS = "providers/Microsoft.Resources/deployments"
NO_GROUP = "there is no resource group of this name, which a deployment needs: make it first, or name another"
IS_THERE = "there is an image template of this name already: delete it first, or take another name"
HAS_CHANGED = "the template that is to be replaced has changed since this form was opened: begin anew from its page"
NO_PLAN = "a deployment has no plan; the image template that it makes has one on its page"
MISTAKES = "The form has mistakes."
MOST_MISTAKES = 100  # told of a form that is checked
LOOK_SECONDS, MOST_LOOKS = 0.2, 100  # at a template that is being deleted
EMPTY = {"subscription": "", "group": "", "name": "", "source": "", "body": ""}


async def new(visit: Visit) -> Response:
    """The form for a new template: with an example (`?example=NAME`), what another one is (`?from=ID`), a source.

    With `again` the new one takes the place of the one that it is like, which could not be provisioned, as long as that
    is what it was when the form was opened.
    """
    subscriptions = await subscriptions_of(visit)
    values = {**EMPTY, "subscription": (subscriptions or [""])[0], "group": "images"}
    body: Any = example(visit.request.query_params.get("example", ""))
    if model := visit.request.query_params.get("from", ""):
        parts = model.split("/")
        if f"/{TYPE}/".lower() not in model.lower() or len(parts) != MODEL_PARTS or ".." in parts:
            raise ArmError(404, "ResourceNotFound", "`from` names no image template")
        found, etag = await visit.api.with_etag(model)
        body = copied(found)
        values |= {"subscription": parts[2], "group": parts[4]}
        if visit.request.query_params.get("again", "") and _has_failed(found):
            values |= {"name": parts[8], "again": etag}
    values |= {"body": json.dumps(body, indent=2), "source": visit.request.query_params.get("source", "")}
    try:
        return await _form(visit, await _with_source(values))
    except ArmError as error:
        if error.message != MISTAKES:
            raise
        return await _form(visit, {**values, "source": ""}, error=error)


async def create(visit: Visit) -> Response:
    """Do what the button says: create, check, plan, or put the chosen source into the text; every mistake is shown."""
    values = {**EMPTY, **await visit.form()}
    action = values.get("action")
    text: ReadText | None = None
    try:
        values = await _with_source(values)
        text = await run_in_threadpool(read_text, values)  # it may have megabytes
        if action == "source":
            return await _form(visit, values, text, is_source_in=True)
        if (written := await run_in_threadpool(deployment_in, text.value)) is not None:
            return await _deployed(visit, values, text, written)
        if action == "check":
            return await _form(visit, values, text, warnings=await checked(visit, values, text))
        if action == "plan":
            warnings = await checked(visit, values, text)
            plan = await visit.api.ask("POST", f"{_template_id(values)}/{PLAN}", body=text.value)
            return await _form(visit, values, text, warnings=warnings, plan=plan_shown(plan))
        return done(Done.CREATE, values["name"], f"{PREFIX}{await created(visit, values, text)}")
    except ArmError as error:
        if error.status == 401:
            raise
        return await _form(visit, values, text, error=error)


async def _deployed(visit: Visit, values: Mapping[str, str], text: ReadText, written: Written) -> Response:
    """Make what a deployment template has, with the parameters of the form, or only check it. Raises: `ArmError`."""
    given, details = given_in(written, values)
    if details := [*field_mistakes(values), *details]:
        raise ArmError(400, "InvalidParameter", MISTAKES, details=details)
    group = group_id(values["subscription"], values["group"])
    deployment_id = f"{group}/{DEPLOYMENTS}/{values['name']}"
    body = {"properties": {"mode": "Incremental", "template": written.document, "parameters": given}}
    if not await _is_there(visit, group):
        raise ArmError(400, "ResourceGroupNotFound", MISTAKES, details=[{"target": "group", "message": NO_GROUP}])
    if values.get("action") in {"check", "plan"}:
        await visit.api.ask("POST", f"{deployment_id}/validate", body=body)
        return await _form(visit, values, text, warnings=[NO_PLAN] if values["action"] == "plan" else [])
    await visit.api.ask("PUT", deployment_id, body=body)
    return done(Done.DEPLOY, values["name"], f"{PREFIX}{deployment_id}")


async def _with_source(values: Mapping[str, str]) -> dict[str, str]:
    """The form with its chosen source in its text. Raises: `ArmError` where that cannot be."""
    try:
        return await run_in_threadpool(with_source, values)  # it may have megabytes
    except TemplateInvalid as error:
        details = [detail_of("source", one) for one in error.mistakes]
        raise ArmError(400, "InvalidParameter", MISTAKES, details=details) from None


async def _form(
    visit: Visit,
    values: Mapping[str, str],
    text: ReadText | None = None,
    *,
    error: ArmError | None = None,
    warnings: Sequence[str] | None = None,
    is_source_in: bool = False,
    plan: Mapping[str, Any] | None = None,
) -> Response:
    """The form as it was sent, with its mistakes, or with what there is to say of one that has none."""
    if text is None:
        text = await run_in_threadpool(read_text, values)
    written = await run_in_threadpool(deployment_in, text.value)
    parameters = written.parameters[:MOST_PARAMETERS] if written else ()
    fields = {*FIELDS, *(parameter.field for parameter in parameters)}
    details: Sequence[Mapping[str, Any]] = error.details if error else ()
    if error is not None and details and len(values["body"]) <= MOST_CHECKED_LETTERS:
        details = await run_in_threadpool(placed, text.places, details, fields=fields)
        error = ArmError(
            error.status, error.code, error.message, details=details, hint=error.hint, headers=error.headers
        )
    subscriptions = await subscriptions_of(visit)
    return await page(
        "new.html",
        status=error.status if error else 200,
        title="New image template",
        section="new",
        values={name: value for name, value in values.items() if not name.startswith(UNSEEN)},
        parameters=parameters,
        carried={} if written else {name: value for name, value in values.items() if name.startswith(OPEN)},
        subscriptions=subscriptions,
        examples=TITLES,
        sources=await sources_of(visit, subscriptions),
        error=error,
        warnings=warnings,
        is_source_in=is_source_in,
        may_make=may_make_templates(await allowed_to(visit)),
        plan=plan,
        wrong={detail["target"]: detail["message"] for detail in details if detail.get("target") in fields},
        lines=marked(values["body"], details),
        wrong_body=[detail for detail in details if detail.get("target") not in fields],
    )


async def sources_of(visit: Visit, subscriptions: Sequence[str]) -> dict[str, list[Choice]]:
    """What a template can start from, as far as the visitor may know; the newest images that were built, not all."""
    if not subscriptions:
        return {}
    platform, images = await asyncio.gather(
        visit.api.ask("GET", f"{subscription_scope(subscriptions[0])}/{SOURCES}"), visit.api.ask("GET", IMAGES)
    )
    return choices(platform["value"], images["value"])


async def checked(
    visit: Visit, values: Mapping[str, str], text: ReadText, *, beside: Sequence[dict[str, str]] = ()
) -> list[str]:
    """What there is to say of a form without mistakes; nothing is made. Raises: `ArmError` with every mistake.

    `beside` are mistakes that were found before.
    """
    if len(values["body"]) > MOST_CHECKED_LETTERS:
        message = f"The template has more than {MOST_CHECKED_LETTERS // 1024} KiB, too much to be checked here."
        raise ArmError(413, "RequestEntityTooLarge", message, target="body", hint="`vmkiln validate FILE` checks it")
    details, warnings = await run_in_threadpool(looked_at, text, [*beside, *mistakes_of(values, text)])
    has_name = not any(detail["target"] in FIELDS for detail in details)
    if has_name and await _is_there(visit, _template_id(values)) and not await _is_replaced(visit, values):
        details.append({"code": "Conflict", "target": "name", "message": IS_THERE})
    if details:
        count = len(details)
        told = f"The form has {count} mistakes; these are the first." if count > MOST_MISTAKES else MISTAKES
        raise ArmError(400, "InvalidParameter", told, details=details[:MOST_MISTAKES])
    return warnings[:MOST_MISTAKES]


def _template_id(values: Mapping[str, str]) -> str:
    return f"{group_id(values['subscription'], values['group'])}/{TYPE}/{values['name']}"


async def _is_there(visit: Visit, resource_id: str) -> bool:
    """Whether there is such a template or resource group. Raises: `ArmError` when the visitor may not look."""
    try:
        await visit.api.ask("GET", resource_id)
    except ArmError as error:
        if error.status != 404:
            raise
        return False
    return True


async def created(
    visit: Visit, values: Mapping[str, str], text: ReadText, *, beside: Sequence[dict[str, str]] = ()
) -> str:
    """Make what a form says, and its resource group where that is not there; gives the template's id.

    `beside` is as in `checked`. Raises: `ArmError` with every mistake, or with what the API refuses.
    """
    body, details = text.value, [*beside, *mistakes_of(values, text)]
    if len(values["body"]) <= MOST_CHECKED_LETTERS:  # in our words, not in Azure's
        details, _ = await run_in_threadpool(looked_at, text, details)
    if details:
        raise ArmError(400, "InvalidParameter", MISTAKES, details=details[:MOST_MISTAKES])
    group = group_id(values["subscription"], values["group"])
    await _ensure_group(visit, group, str(body.get("location", "")) if isinstance(body, dict) else "")
    template_id = _template_id(values)
    if await _is_replaced(visit, values):
        async with _as_it_was(HAS_CHANGED):
            await visit.api.ask("DELETE", template_id, asks_for={"If-Match": values["again"]})
        for _ in range(MOST_LOOKS):
            if not await _is_there(visit, template_id):
                break
            await asyncio.sleep(LOOK_SECONDS)
    async with _as_it_was(IS_THERE):
        await visit.api.ask("PUT", template_id, body=body, asks_for={"If-None-Match": "*"})
    return template_id


@contextlib.asynccontextmanager
async def _as_it_was(otherwise: str) -> AsyncIterator[None]:
    """What is asked for of one state of a template alone; in another it is refused in these words, at the name."""
    try:
        yield
    except ArmError as error:
        if error.status != 412:
            raise
        detail = {"code": "Conflict", "target": "name", "message": otherwise}
        raise ArmError(409, "Conflict", MISTAKES, details=[detail], headers=error.headers) from None


async def _is_replaced(visit: Visit, values: Mapping[str, str]) -> bool:
    """Whether the form is to take the place of a template that could not be provisioned: that has to be deleted."""
    if not values.get("again"):
        return False
    try:
        found = await visit.api.ask("GET", _template_id(values))
    except ArmError as error:
        if error.status != 404:
            raise
        return False
    return _has_failed(found)


def _has_failed(template: Mapping[str, Any]) -> bool:
    """Whether a template could not be provisioned; pure."""
    return bool(template["properties"]["provisioningState"] == ProvisioningState.FAILED)


async def _ensure_group(visit: Visit, group: str, location: str) -> None:
    if not await _is_there(visit, group):
        await visit.api.ask("PUT", group, body={"location": location})
