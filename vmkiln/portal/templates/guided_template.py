"""The guided form of a new template: a source, customizers, validations and targets in fields of their own.

It is filled, checked and made without scripts; its JSON is shown, and goes on as the text of the other form.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.errors import ArmError
from vmkiln.portal.overview.allowed import allowed_to, may_make_templates
from vmkiln.portal.rendering import page
from vmkiln.portal.templates.guided_fields import (
    GROUPS,
    Written,
    acted_on,
    begun,
    body_of,
    field_of,
    fields_of,
    written_in,
)
from vmkiln.portal.templates.new_template import checked, created, sources_of
from vmkiln.portal.templates.read_text import read_text
from vmkiln.portal.templates.template_page import subscriptions_of
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, done

BUTTONS = {"check", "create"}


async def guided(visit: Visit) -> Response:
    """The form as it is opened, with a source where the address names one."""
    subscriptions = await subscriptions_of(visit)
    source = visit.request.query_params.get("source", "")
    values = {"subscription": (subscriptions or [""])[0], "group": "images", "source": source}
    return await _form(visit, begun(values), is_begun=True)


async def act(visit: Visit) -> Response:
    """Do what the button says: add, move or take away a row, check, or create; every mistake is at its field."""
    sent = await visit.form()
    written, action = written_in(sent), sent.get("action", "check")
    if action not in BUTTONS:
        try:
            changed, focus = acted_on(written, action)
        except ArmError as error:
            return await _form(visit, written, error=error)
        return await _form(visit, changed, focus=focus)
    body, details = await run_in_threadpool(body_of, written)
    shown = json.dumps(body, indent=2, ensure_ascii=False)
    values = {**written.values, "body": shown}
    text = await run_in_threadpool(read_text, values)
    try:
        if action == "create":
            template_id = await created(visit, values, text, beside=details)
            return done(Done.CREATE, values["name"], f"{PREFIX}{template_id}")
        warnings = await checked(visit, values, text, beside=details)
    except ArmError as error:
        if error.status == 401:
            raise
        return await _form(visit, written, error=_at_fields(error, written, details), body=shown)
    return await _form(visit, written, body=shown, warnings=warnings)


def _at_fields(error: ArmError, written: Written, own: Sequence[Mapping[str, str]]) -> ArmError:
    """The error with the field of each mistake, in the page's order; what only follows from one is left out; pure."""
    mistaken, fields = {detail["target"] for detail in own}, fields_of(written)
    found: list[Mapping[str, object]] = []
    for detail in error.details:
        field = field_of(str(detail.get("target") or ""), written)
        if not field:
            found.append(detail)
        elif field not in mistaken or detail in own:
            found.append({**detail, "field": field, "label": fields.get(field, field)})
    order = {field: at for at, field in enumerate(fields)}
    found.sort(key=lambda detail: order.get(str(detail.get("field", "")), len(order)))
    return ArmError(error.status, error.code, error.message, details=found, hint=error.hint, headers=error.headers)


async def _form(
    visit: Visit,
    written: Written,
    *,
    error: ArmError | None = None,
    focus: str = "",
    body: str = "",
    warnings: Sequence[str] | None = None,
    is_begun: bool = False,
) -> Response:
    subscriptions = await subscriptions_of(visit)
    wrong: dict[str, Any] = {}
    for detail in error.details if error else ():
        if "field" in detail:
            wrong.setdefault(str(detail["field"]), detail.get("message", ""))
    return await page(
        "guided.html",
        status=error.status if error else 200,
        title="New image template",
        section="new",
        values=written.values,
        groups=GROUPS,
        rows=written.rows,
        subscriptions=subscriptions,
        sources=await sources_of(visit, subscriptions),
        error=error,
        wrong=wrong,
        focus=focus or next(iter(wrong), ""),
        body=body,
        is_begun=is_begun,
        warnings=warnings,
        may_make=may_make_templates(await allowed_to(visit)),
    )
