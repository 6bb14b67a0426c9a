"""A template file as users have them, to one image template: a resource's body, or an ARM deployment that has one.

Pure: the text and the parameters are given, nothing is read or fetched. Source of the two forms: aib-reference.md,
section 2, and the ARM template syntax page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.template.api_version import NEWEST, known_api_version
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.deployment_context import DeploymentContext
from vmkiln.template.deployment_parameters import ParameterFile, given_parameters
from vmkiln.template.deployment_template import is_deployment_template
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.lenient_json import read_json
from vmkiln.template.placeholder import fill_placeholders

_NAME = re.compile(r"[A-Za-z0-9\-_.]{1,64}")
_TYPES = ("microsoft.virtualmachineimages/imagetemplates", "microsoft.virtualmachineimages")


@dataclass(frozen=True)
class ResolvedTemplate:
    """One image template, ready to run.

    `resolved` is the plain JSON of the resource, without expressions; `secrets` are the values of secure parameters,
    which must be masked wherever `resolved` or a log is shown.
    """

    image_template: ImageTemplate
    name: str
    api_version: str
    resolved: Mapping[str, Any]
    warnings: tuple[str, ...]
    secrets: tuple[str, ...] = field(default=(), repr=False)


def read_image_template(
    text: str,
    *,
    file_name: str,
    parameters: Sequence[ParameterFile | str] = (),
    context: DeploymentContext | None = None,
) -> ResolvedTemplate:
    """The image template that `text` holds.

    `parameters` are parameter files and `NAME=VALUE` strings; a later one wins. `file_name` names the file in
    messages, and the template where it has no name of its own. Raises TemplateInvalid with every mistake found.
    """
    _ = context
    document = read_json(text, file_name=file_name)
    if not isinstance(document, dict):
        raise TemplateInvalid([Mistake(file_name, "must hold a JSON object")])
    given = given_parameters(parameters)
    warnings: list[str] = []
    secrets: tuple[str, ...] = ()
    if is_deployment_template(document):
        raise TemplateInvalid([Mistake("resources", "deployment templates are not read yet")])
    resource = fill_placeholders(_raw_body(document, file_name), given)
    return _resolved(resource, file_name, warnings, secrets)


def _raw_body(document: dict[str, Any], file_name: str) -> dict[str, Any]:
    members = {name.lower() for name in document}
    kind = str(_member(document, "type") or _TYPES[0]).rstrip("/").lower()
    if "properties" not in members or kind not in _TYPES:
        message = "is neither the body of an image template nor an ARM deployment template"
        hint = "a body has `location`, `identity` and `properties`; a deployment template has `$schema` and `resources`"
        raise TemplateInvalid([Mistake(file_name, message, hint)])
    return document


def _resolved(
    resource: dict[str, Any], file_name: str, warnings: list[str], secrets: tuple[str, ...]
) -> ResolvedTemplate:
    written = _member(resource, "apiVersion")
    if written is not None and not isinstance(written, str):
        raise TemplateInvalid([Mistake("apiVersion", "must be a string")])
    api_version = known_api_version(written) if written else NEWEST
    template = check_image_template(resource, api_version=api_version)
    name = _name(_member(resource, "name"), file_name)
    warnings += template.warnings
    return ResolvedTemplate(template, name, api_version, resource, tuple(warnings), secrets)


def _name(written: Any, file_name: str) -> str:
    if written is None or written == "":
        stem = re.sub(r"\.json$", "", re.split(r"[/\\]", file_name)[-1], flags=re.IGNORECASE)
        return re.sub(r"[^A-Za-z0-9\-_.]", "-", stem)[:64] or "template"
    if not isinstance(written, str) or not _NAME.fullmatch(written):
        raise TemplateInvalid([Mistake("name", f"`{written}` is not allowed: 1-64 letters, digits and `-_.`")])
    return written


def _member(body: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in body.items() if key.lower() == name.lower()), None)
