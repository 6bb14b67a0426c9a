"""A template file as users have them, to one image template: a resource's body, or an ARM deployment that has one.

Pure: the text and the parameters are given, nothing is read or fetched. Source of the two forms:
docs/reference/image-template.md#template, and the ARM template syntax page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vmkiln.arm_template.deployment_context import (
    IMAGE_TEMPLATE,
    IMAGE_TEMPLATE_TYPES,
    DeploymentContext,
    is_deployment_template,
)
from vmkiln.arm_template.expression import is_expression
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.deployment_parameters import (
    GivenParameter,
    ParameterFile,
    ParameterUsed,
    given_parameters,
)
from vmkiln.arm_template.values import member
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.secrecy.encoded_forms import LEAST_LETTERS
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask
from vmkiln.template.api_version import known_api_version
from vmkiln.template.azure_rules import needs_identity
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.placeholder import PLAIN_VALUES, fill_placeholders, unfilled
from vmkiln.template.wrapped_template import (
    chosen_inside,
    hint_for_others,
    is_of_another_tool,
    unwrapped_body,
    unwrapped_deployment,
)

if TYPE_CHECKING:
    from vmkiln.arm_template.local_deployment import LocalDeployment
    from vmkiln.arm_template.local_outputs import LocalOutput

_NAME = re.compile(r"[A-Za-z0-9\-_.]{1,64}")


@dataclass(frozen=True)
class ResolvedTemplate:
    """One image template, ready to run.

    `resolved` is the plain JSON of the resource, without expressions; `mask` takes the values of secure parameters
    out of whatever is shown or kept of it. `parameters` are those that it was evaluated with, `outputs` what comes out
    of the deployment around it, without secrets.
    """

    image_template: ImageTemplate
    name: str
    api_version: str
    resolved: Mapping[str, Any]
    warnings: tuple[str, ...]
    mask: SecretMask = NO_SECRETS
    parameters: tuple[ParameterUsed, ...] = ()
    outputs: "tuple[LocalOutput, ...]" = ()


def read_image_template(
    text: str,
    *,
    file_name: str,
    parameters: Sequence[ParameterFile | str] = (),
    context: DeploymentContext | None = None,
    template_name: str = "",
    references: Sequence[ParameterFile | str] = (),
) -> ResolvedTemplate:
    """The image template that `text` holds; of several, the one that is called `template_name`.

    `parameters` are parameter files and `NAME=VALUE` strings; a later one wins. `references` tell the state of
    resources that are not in the file (`ID=JSON`, or files of them). `file_name` names the file in messages, and the
    template where it has no name of its own. Raises TemplateInvalid with every mistake found.
    """
    context = context or DeploymentContext()
    document = read_json(text, file_name=file_name, bare_placeholders=True)
    whole = document
    document, told_in_it = _unwrapped(document, file_name, template_name)
    given = given_parameters([*told_in_it, *parameters])
    if not is_deployment_template(document):
        body = _raw_body(document, file_name)
        if not _is_cut_out(body):
            resource, used = fill_placeholders(body, given)
            used |= fill_placeholders({"": whole}, given)[1]  # such as what stands in Terraform's `parent_id`
            _refuse_unused([parameter for name, parameter in given.items() if name not in used])
            typed = [source.partition("=")[0].strip() for source in references if isinstance(source, str)]
            return _with_unasked(_resolved(resource, file_name, context, NO_SECRETS), typed)
        document = {"parameters": _asked_for(text, given), "resources": [{"type": IMAGE_TEMPLATE, **body}]}
    from vmkiln.arm_template.local_deployment import LocalDeployment  # noqa: PLC0415
    from vmkiln.arm_template.parameters.given_references import (  # noqa: PLC0415 (most are no deployments)
        given_references,
    )

    declared = LocalDeployment(document, {}, context).parameter_names
    document, used = fill_placeholders(document, {name: given[name] for name in given if name not in declared})
    context = context_for(document, context)
    told = given_references(references)
    mine = {name: given[name] for name in given if name not in used}
    deployment = LocalDeployment(document, mine, context, references=told)
    try:
        deployment.check_given()
        return _with_unasked(_of_deployment(deployment, file_name, template_name, context), told.unasked())
    except TemplateInvalid as error:
        raise _masked(error, SecretMask.of(deployment.secrets)) from None


def _with_unasked(found: ResolvedTemplate, unasked: Sequence[str]) -> ResolvedTemplate:
    """The template, with a warning for each reference that was given and is of no use; pure."""
    told = [f"--reference {name}: nothing in the template asks for it" for name in unasked]
    return replace(found, warnings=(*found.warnings, *told))


def _of_deployment(
    deployment: "LocalDeployment", file_name: str, template_name: str, context: DeploymentContext
) -> ResolvedTemplate:
    """The image template of a deployment, and its outputs. Raises TemplateInvalid with the mistakes of both."""
    mistakes: list[Mistake] = []
    found = None
    try:
        resource = deployment.image_template_resource(template_name)
        found = _resolved(resource, file_name, context, SecretMask.of(deployment.secrets))
        found = replace(found, parameters=deployment.parameters_used)  # before outputs use others
    except TemplateInvalid as error:
        mistakes += error.mistakes
    from vmkiln.arm_template.local_outputs import outputs_of  # noqa: PLC0415 (most are no deployments)

    outputs: tuple[LocalOutput, ...] = ()
    try:
        outputs = outputs_of(deployment)
    except TemplateInvalid as error:
        mistakes += error.mistakes
    if mistakes or found is None:
        raise TemplateInvalid(list(dict.fromkeys(mistakes)))
    mask = SecretMask.of(deployment.secrets)  # of the values of secure outputs, too
    return replace(found, outputs=tuple(output.masked(mask) for output in outputs))


def _unwrapped(document: Any, file_name: str, template_name: str) -> tuple[dict[str, Any], Sequence[ParameterFile]]:
    """A body or a deployment out of what is around it, and the parameters beside it. Raises TemplateInvalid."""
    if isinstance(document, dict):
        document, told = unwrapped_deployment(document)
        is_one = told or (is_deployment_template(document) and not is_of_another_tool(document))
        if is_one or member(document, "properties") is not None or unwrapped_body(document, file_name) is not document:
            return document, told
    if (found := chosen_inside(document, file_name, template_name)) is not None:
        return found.document, found.parameters
    if not isinstance(document, dict):
        raise TemplateInvalid([Mistake(file_name, "must hold a JSON object")])
    return document, ()


def context_for(document: Mapping[str, Any], context: DeploymentContext) -> DeploymentContext:
    """Where the deployment takes place by its `$schema`: one of a subscription or above has no resource group; pure."""
    schema = str(member(document, "$schema")).lower()
    names = ("subscriptiondeploymenttemplate", "managementgroupdeploymenttemplate", "tenantdeploymenttemplate")
    return replace(context, resource_group="") if any(name in schema for name in names) else context


def _is_cut_out(body: Mapping[str, Any]) -> bool:
    """Whether the body was cut out of a deployment template: in a body of its own, `[...]` is plain text."""
    values = (member(body, name) for name in ("name", "apiVersion", "location"))
    return any(isinstance(value, str) and is_expression(value) for value in values)


def _asked_for(text: str, given: Mapping[str, GivenParameter]) -> dict[str, Any]:
    """Declarations of the parameters that a cut-out body asks for, each with the type that its value has.

    A text is an object or an array when it is written as one, and a number, true or false where it stands for one.
    """
    found = {}
    for name in re.findall(r"parameters\(\s*'([^'\"]+)'\s*\)", text):
        value = given[name.lower()].value if name.lower() in given else ""
        members = re.findall(rf'"(\w+)"\s*:\s*"\[parameters\(\s*\'{re.escape(name)}\'\s*\)\]"', text)
        is_plain = any(member_name.lower() in PLAIN_VALUES for member_name in members)
        found[name] = {"type": _type_of(value, is_plain=is_plain)}
    return found


def _type_of(value: Any, *, is_plain: bool) -> str:
    if not isinstance(value, str):
        kinds: dict[type, str] = {bool: "bool", int: "int", list: "array", dict: "object"}
        return kinds.get(type(value), "string")
    begins = value.strip()[:1]
    if begins in ("{", "["):
        return "object" if begins == "{" else "array"
    if is_plain:
        return "bool" if value.strip().lower() in ("true", "false") else "int"
    return "string"


def _refuse_unused(parameters: Sequence[GivenParameter]) -> None:
    """Parameters are never ignored in silence. Raises TemplateInvalid."""
    if parameters:
        hint = "this template is the body of a resource: a value can only replace a placeholder such as `<region>`"
        message = "was given, but the template does not ask for it"
        raise TemplateInvalid([Mistake(f"parameters.{parameter.name}", message, hint) for parameter in parameters])


def _masked(error: TemplateInvalid, mask: SecretMask) -> TemplateInvalid:
    """The same mistakes, telling no secret."""
    mistakes = []
    for mistake in error.mistakes:
        hint = mask(mistake.hint) if mistake.hint else None
        mistakes.append(Mistake(mask(mistake.path), mask(mistake.message), hint))
    return TemplateInvalid(mistakes)


def _raw_body(document: dict[str, Any], file_name: str) -> dict[str, Any]:
    document = unwrapped_body(document, file_name)
    members = {name.lower() for name in document}
    kind = str(member(document, "type") or IMAGE_TEMPLATE).rstrip("/").lower()
    if "properties" not in members or kind not in IMAGE_TEMPLATE_TYPES:
        message = "is neither the body of an image template nor an ARM deployment template"
        hint = hint_for_others(document)
        raise TemplateInvalid([Mistake(file_name, message, hint)])
    return document


def _resolved(
    resource: dict[str, Any], file_name: str, context: DeploymentContext, mask: SecretMask
) -> ResolvedTemplate:
    mistakes: list[Mistake] = []
    odd: list[str] = []
    if member(resource, "location") in (None, ""):
        resource = {key: value for key, value in resource.items() if key.lower() != "location"}
        resource["location"] = context.location
        odd.append(f"location: is not given; taken to be `{context.location}`")
    api_version, name, template = NEWEST_API_VERSION, "", None
    try:
        api_version = _api_version(member(resource, "apiVersion"))
    except TemplateInvalid as error:
        mistakes += error.mistakes
    try:
        name = _name(member(resource, "name"), file_name)
    except TemplateInvalid as error:
        mistakes += error.mistakes
    holes = [mistake for mistake in unfilled(resource) if not mistake.path.startswith(("name", "apiVersion"))]
    try:
        template = check_image_template(resource, api_version=api_version)
    except TemplateInvalid as error:
        mistakes += [mistake for mistake in error.mistakes if not _is_told(mistake.path, holes)]
    mistakes += holes
    if member(resource, "identity") is None and needs_identity(api_version):
        if member(resource, "apiVersion"):
            mistakes.append(Mistake.missing("identity", 'write {"type": "None"} for no identity'))
        else:
            odd.append("identity: is not given; Azure asks for one since api-version 2020-02-14")
    if mistakes or template is None:
        raise TemplateInvalid(mistakes)
    if mask.too_short:
        odd.append(
            f"parameters: the value of a secure parameter has fewer than {LEAST_LETTERS} characters, "
            "and is not masked inside longer texts such as log lines"
        )
    warnings = tuple(map(mask, (*odd, *template.warnings)))
    return ResolvedTemplate(template, name, api_version, resource, warnings, mask)


def _is_told(path: str, holes: Sequence[Mistake]) -> bool:
    """Whether what is wrong at a place is its placeholder: there, or in a name above or below it."""
    return any(path == hole.path or hole.path.startswith(f"{path}['") for hole in holes)


def _api_version(written: Any) -> str:
    if written is None or written == "":
        return NEWEST_API_VERSION
    if not isinstance(written, str):
        raise TemplateInvalid([Mistake("apiVersion", "must be a string")])
    return known_api_version(written)


def _name(written: Any, file_name: str) -> str:
    if written is None or written == "":
        stem = re.sub(r"\.(?:json|ya?ml|bicep|bicepparam)$", "", re.split(r"[/\\]", file_name)[-1], flags=re.IGNORECASE)
        return re.sub(r"[^A-Za-z0-9\-_.]", "-", stem)[:64] or "template"
    if holes := list(unfilled(written, "name")):
        raise TemplateInvalid(holes)
    if not isinstance(written, str) or not _NAME.fullmatch(written):
        raise TemplateInvalid([Mistake("name", f"`{written}` is not allowed: 1-64 letters, digits and `-_.`")])
    return written
