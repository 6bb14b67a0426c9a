"""From the body of an image template to an ImageTemplate, or to every mistake in it at once.

Source of the rules: docs/reference/image-template.md#template (at most one identity);
docs/reference/behaviour.md#customizing (a Linux image takes no Windows customizers), #time-out.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vmkiln.arm_template.json_path import member_path
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import InputError, Mistake, MistakeKind, TemplateInvalid
from vmkiln.template.api_version import is_preview
from vmkiln.template.azure_rules import (
    identity_mistakes,
    needless_versionings,
    tag_mistakes,
    target_mistakes,
    text_mistakes,
)
from vmkiln.template.canonical_body import Findings, canonical_body
from vmkiln.template.customizers.file import destination_mistake
from vmkiln.template.image_template import OS_OF_CUSTOMIZER, ImageTemplate
from vmkiln.template.source import OsType, os_type_of_platform_image
from vmkiln.template.vm_size import find_vm_size, unlisted

# Members of a resource that say nothing about the build; the first three are read by template_file.py.
ENVELOPE = {
    *("name", "type", "apiversion", "id", "systemdata", "dependson", "condition", "comments", "metadata", "scope"),
    *("copy", "$schema", "contentversion", "etag", "existing", "import", "zones", "sku", "kind", "asserts"),
}
NEAR = 0.6  # of 1, how alike a value is to one that is allowed
_BELOW = {"greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}"}
_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def check_image_template(
    body: Mapping[str, Any], *, api_version: str = NEWEST_API_VERSION, is_kept: bool = False
) -> ImageTemplate:
    """The template that `body` (location, identity, tags, properties) describes.

    Of one that `is_kept` nothing is said of members that came after its api-version: that was said when it was taken.

    Raises TemplateInvalid with every mistake found.
    """
    findings = Findings()
    plain = {name: value for name, value in body.items() if name.lower() not in ENVELOPE}
    clean = canonical_body(plain, ImageTemplate, api_version=api_version, findings=findings, is_kept=is_kept)
    between = _mistakes_between_parts(clean, is_preview(api_version))
    mistakes = [*findings.mistakes, *text_mistakes(clean), *between]
    findings.warnings.extend((*_warnings_of_sizes(clean), *_warnings_of_identities(clean)))
    findings.warnings.extend(needless_versionings(clean.get("properties")))
    template = None
    try:
        template = ImageTemplate.model_validate_json(json.dumps(clean | {"warnings": findings.warnings}), strict=True)
    except ValidationError as error:
        mistakes += [_mistake(detail, clean) for detail in error.errors(include_url=False)]
    if mistakes or template is None:
        raise TemplateInvalid(list(dict.fromkeys(mistakes)))
    return template


def _mistake(detail: ErrorDetails, body: Any) -> Mistake:
    path = _path(detail["loc"], body)
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "refused":
        return Mistake(path, context["message"], context["hint"] or None)
    if kind == "missing":
        return Mistake.missing(path)
    if kind == "union_tag_not_found":
        return Mistake.missing(member_path(path, context["discriminator"].strip("'")))
    if kind == "union_tag_invalid":
        where = member_path(path, context["discriminator"].strip("'"))
        return Mistake(where, f"`{context['tag']}` is not known", _allowed(context["tag"], context["expected_tags"]))
    if kind in ("literal_error", "enum"):
        return Mistake(path, f"`{detail['input']}` is not allowed here", _allowed(detail["input"], context["expected"]))
    if kind in _BELOW:
        text = f"`{detail['input']}` is out of range: allowed is {_BELOW[kind].format(**context)}"
        hint = "0 means the default of 240" if path.endswith("buildTimeoutInMinutes") else None
        return Mistake(path, text, hint)
    if kind in _KINDS:
        found = detail["input"]
        return Mistake(path, f"must be {_KINDS[kind]}, not {_kind_of(found)}", _kind_hint(kind, found))
    return Mistake(path, detail["msg"])


def _kind_hint(wanted: str, given: Any) -> str | None:
    """What to write in place of a value of another kind."""
    if wanted == "tuple_type" and isinstance(given, str | dict):
        return "put it in brackets: [...]"
    if wanted == "string_type" and isinstance(given, int | float):
        return f"put it in quotes: {json.dumps(json.dumps(given))}"
    return None


def _allowed(given: Any, expected: str) -> str:
    """What may stand in place of a value, of pydantic's list of them; first the one that is near it."""
    near = difflib.get_close_matches(str(given), re.findall(r"'([^']*)'", expected), n=1, cutoff=NEAR)
    return f"did you mean `{near[0]}`? allowed are {expected}" if near else f"allowed are {expected}"


def _kind_of(value: Any) -> str:
    if isinstance(value, float):
        return f"{value}"
    names = {bool: "true or false", int: "a number", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _path(location: tuple[int | str, ...], body: Any) -> str:
    """The JSON path of a pydantic location, in which the type of a chosen part stands between the members."""
    path, here = "", body
    for step in location:
        if isinstance(here, dict) and step not in here and step in (here.get("type"), here.get("scheme")):
            continue
        path = member_path(path, step)
        if isinstance(here, dict):
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            here = here[step] if step < len(here) else None
    return path or "the template"


def _mistakes_between_parts(body: Mapping[str, Any], preview: bool) -> Iterator[Mistake]:
    identity, properties = body.get("identity"), body.get("properties")
    assigned = identity.get("userAssignedIdentities") if isinstance(identity, dict) else None
    if isinstance(assigned, dict) and len(assigned) > 1:
        message = f"has {len(assigned)} identities; an image template has at most one"
        yield Mistake("identity.userAssignedIdentities", message)
    yield from identity_mistakes(identity, is_preview=preview)
    yield from tag_mistakes(body)
    if not isinstance(properties, dict):
        return
    yield from target_mistakes(properties)
    source = properties.get("source")
    if isinstance(source, dict) and source.get("type") == "ISO" and not preview:
        hint = "allowed are PlatformImage, ManagedImage, SharedImageVersion"
        yield Mistake("properties.source.type", "`ISO` existed in the preview api-versions only", hint)
    validate = properties.get("validate")
    steps = [
        *_steps(properties.get("customize"), "properties.customize"),
        *_steps(validate.get("inVMValidations") if isinstance(validate, dict) else None, _VALIDATIONS),
    ]
    yield from _mistakes_of_os(steps, source)
    for path, name in _sizes(properties.get("vmProfile")):
        try:
            find_vm_size(name)
        except InputError as error:
            yield Mistake(path, error.message, error.hint)


_VALIDATIONS = "properties.validate.inVMValidations"


def _steps(steps: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            yield member_path(path, index), step


def _mistakes_of_os(steps: list[tuple[str, Mapping[str, Any]]], source: Any) -> Iterator[Mistake]:
    """Every customizer fits the source's operating system; where that is unknown, the first customizer tells."""
    os_type, because = _os_of_source(source), "the source is"
    if os_type is None:
        telling = ((path, _os_of_step(step)) for path, step in steps)
        first, os_type = next((found for found in telling if found[1]), ("", None))
        because = f"{first} makes it"
    is_after_shell = False
    for path, step in steps:
        kind, destination = step.get("type"), step.get("destination")
        wanted = _os_of_step(step)
        if wanted and os_type and wanted is not os_type:
            article = "a Windows" if os_type is OsType.WINDOWS else "a Linux"
            yield Mistake(
                member_path(path, "type"),
                f"Customizer {kind} is not supported on {os_type} images",
                f"{because} {article} image",
                kind=MistakeKind.CUSTOMIZER_OF_ANOTHER_SYSTEM,
            )
        if kind == "File" and isinstance(destination, str) and destination:
            wrong = destination_mistake(destination, os_type, is_after_shell=is_after_shell)
            if wrong:
                yield Mistake(member_path(path, "destination"), wrong)
        is_after_shell = is_after_shell or kind == "Shell"


def _os_of_step(step: Mapping[str, Any]) -> OsType | None:
    kind = step.get("type")
    return OS_OF_CUSTOMIZER.get(kind) if isinstance(kind, str) else None


def _os_of_source(source: Any) -> OsType | None:
    if not isinstance(source, dict) or source.get("type") not in ("PlatformImage", "ISO"):
        return None
    if source["type"] == "ISO":
        return OsType.LINUX
    publisher, offer = source.get("publisher"), source.get("offer")
    if not isinstance(publisher, str) or not isinstance(offer, str):
        return None
    return os_type_of_platform_image(publisher, offer)


def _sizes(profile: Any) -> Iterator[tuple[str, str]]:
    """Each VM size that a profile names, with its place."""
    network = profile.get("vnetConfig") if isinstance(profile, dict) else None
    for path, part, member in (("", profile, "vmSize"), (".vnetConfig", network, "proxyVmSize")):
        name = part.get(member) if isinstance(part, dict) else None
        if isinstance(name, str) and name:
            yield f"properties.vmProfile{path}.{member}", name


def _warnings_of_identities(body: Mapping[str, Any]) -> Iterator[str]:
    """Identities of the build VM are kept, and no use to what runs in it: it reaches nobody who would give tokens."""
    properties = body.get("properties")
    profile = properties.get("vmProfile") if isinstance(properties, dict) else None
    if isinstance(profile, dict) and profile.get("userAssignedIdentities"):
        path = "properties.vmProfile.userAssignedIdentities"
        yield f"{path}: no tokens are given inside a build VM; steps that log in with an identity will fail"


def _warnings_of_sizes(body: Mapping[str, Any]) -> Iterator[str]:
    """Sizes whose shape is taken from their names."""
    properties = body.get("properties")
    for path, name in _sizes(properties.get("vmProfile") if isinstance(properties, dict) else None):
        with contextlib.suppress(InputError):  # which is a mistake already
            if sentence := unlisted(find_vm_size(name)):
                yield f"{path}: {sentence}"
