"""An image template as a caller sends it, to be put or to be planned: all that is checked of it before it is made.

Source: docs/reference/rest-api.md#operations; docs/reference/behaviour.md#two-phases.
"""

import re
from typing import Any

from vmkiln.api.protocol.arm import template_error
from vmkiln.api.protocol.route import Call
from vmkiln.api.protocol.tags import check_location, locations_beside_azures
from vmkiln.api.virtual_machine_images.references import check_references
from vmkiln.azure_names import IMAGE_TEMPLATE, group_id
from vmkiln.buildable.locations import location_mistakes
from vmkiln.errors import ArmError, Mistake, TemplateInvalid
from vmkiln.provisioning.kept_texts import sent_back
from vmkiln.provisioning.stored_template import Kept, kept_of, shown_body
from vmkiln.store.rows import ResourceRow
from vmkiln.template.api_version import is_strict
from vmkiln.template.azure_rules import needs_identity
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate

NAME = re.compile(r"[A-Za-z0-9\-_.]{1,64}")
ENVELOPE = {"id", "name", "type", "location", "tags", "identity", "properties", "systemdata"}


def check_name(name: str, what: str) -> None:
    """Raises: `ArmError` for a name outside Azure's pattern."""
    if not NAME.fullmatch(name):
        message = f"The {what} '{name[:80]}' is invalid: allowed are 1 to 64 letters, digits and `-_.`"
        raise ArmError(400, "InvalidResourceName", message, target="name")


def sent_template(call: Call, existing: ResourceRow | None) -> ImageTemplate:
    """The template that the body of a call means, all of whose references the caller may use.

    `existing` is what is at the address now. Raises: `ArmError` with every mistake, and with what may not be used.
    """
    _check_envelope(call, call.body)
    template = _checked(call, _with_secrets(call, existing))
    check_references(call, template)
    return template


def check_locations(call: Call, template: ImageTemplate) -> None:
    """A new template, and its images, go to locations that somebody has. Raises: `ArmError` 400."""
    check_location(call, template.location, IMAGE_TEMPLATE)
    group = group_id(call.names["subscriptionId"], call.names["resourceGroupName"])
    if mistakes := [*location_mistakes(template, lambda: locations_beside_azures(call, group))]:
        raise template_error(TemplateInvalid(mistakes), api_version=call.api_version)


def _checked(call: Call, body: dict[str, Any]) -> ImageTemplate:
    """The template in a body. Raises: `ArmError` with every mistake."""
    mistakes = []
    if is_strict(call.api_version):
        mistakes = [Mistake.unknown(name) for name in body if name.lower() not in ENVELOPE]
    if body.get("identity") is None and needs_identity(call.api_version):
        mistakes.append(Mistake.missing("identity", 'write {"type": "None"} for no identity'))
    try:
        template = check_image_template(body, api_version=call.api_version)
    except TemplateInvalid as error:
        mistakes += error.mistakes
    if mistakes:
        raise template_error(TemplateInvalid(list(dict.fromkeys(mistakes))), api_version=call.api_version)
    return template


def _check_envelope(call: Call, body: dict[str, Any]) -> None:
    for member, wanted in (
        ("name", call.names["imageTemplateName"]),
        ("type", IMAGE_TEMPLATE),
        ("id", call.resource_id),
    ):
        given = body.get(member)
        if isinstance(given, str) and given and given.lower().strip("/") != wanted.lower().strip("/"):
            message = f"the body's `{member}` is '{given[:300]}', but the address names '{wanted}'"
            raise ArmError(400, "InvalidRequestContent", message, target=member)


def _with_secrets(call: Call, existing: ResourceRow | None) -> dict[str, Any]:
    """The body of a call, with the secrets that it means in the place of their marks. Raises: `ArmError`."""
    kept = Kept() if existing is None else kept_of(call.service.store, existing)
    try:
        return sent_back_body(call, existing, kept)
    except TemplateInvalid as error:
        raise template_error(error, api_version=call.api_version) from None


def sent_back_body(call: Call, existing: ResourceRow | None, kept: Kept) -> dict[str, Any]:
    """The body of a call with the secrets that it means. Raises: `TemplateInvalid` for a mark that means none."""
    shown_now = {} if existing is None else shown_body(existing)
    body, mistakes = sent_back(call.body, shown_now, kept.texts, "")
    if mistakes:
        raise TemplateInvalid(mistakes)
    return dict(body)
