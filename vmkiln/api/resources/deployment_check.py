"""Reads a deployment from a request, and finds what is wrong with it before anything is made."""

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.route import Call
from vmkiln.api.protocol.tags import location_problem
from vmkiln.api.resources.deployment_scripts import script_mistakes
from vmkiln.api.resources.providers import provider_bodies
from vmkiln.api.staging.staging_resources import ONLY_HERE
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan, Runtime
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.arm_template.planned_resource import PlannedResource, runtime_before, wrong_in
from vmkiln.azure_names import DEPLOYMENT, DEPLOYMENT_SCRIPT, IMAGE_TEMPLATE, RESOURCE_GROUP, subscription_scope
from vmkiln.buildable.locations import LOCATION_HINT
from vmkiln.errors import ArmError, Mistake, TemplateInvalid
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask
from vmkiln.secrecy.secret_search import MOST_SECRET_LETTERS
from vmkiln.secrecy.secret_values import SecretValues
from vmkiln.template.checked_template import check_image_template

BY_BUILDS = {name.lower() for name in ONLY_HERE}
BOOT_HINT = "`vmkiln image boot` starts a virtual machine from an image"


def scope_of(call: Call) -> str:
    """The subscription or resource group of a call."""
    found = subscription_scope(call.names["subscriptionId"])
    if group := call.names.get("resourceGroupName"):
        found += f"/resourceGroups/{group}"
    return found


def deployment_id_of(call: Call) -> str:
    """The id of the deployment of a call."""
    return f"{scope_of(call)}/providers/{DEPLOYMENT}/{call.names['deploymentName']}"


def location_of(call: Call) -> str:
    """The location deployments run in: the group's, or for a subscription the body's. Raises: `ArmError` 404, 400."""
    group = call.names.get("resourceGroupName")
    if not group:
        location = call.body.get("location") if isinstance(call.body, dict) else ""
        if call.body is not None and not isinstance(location, str):
            raise ArmError(400, "InvalidRequestContent", "`location` must be a string", target="location")
        return location or "local"
    return group_of(call).location


def check_secrets(plan: DeploymentPlan) -> None:
    """Raises: `TemplateInvalid` when there is more that is secret than can be looked for."""
    letters = sum(map(len, plan.secrets))
    if letters > MOST_SECRET_LETTERS:
        message = f"the values of secure parameters, and what is made of them, have {letters} letters"
        raise TemplateInvalid([Mistake("parameters", message, f"at most {MOST_SECRET_LETTERS} are allowed together")])


def invalid(error: TemplateInvalid, mask: SecretMask = NO_SECRETS) -> ArmError:
    """Every mistake of a deployment as one InvalidTemplate error with details, without secrets."""
    text = mask("; ".join(str(mistake) for mistake in error.mistakes))
    details = [{"code": "InvalidTemplate", "message": mask(str(m)), "target": mask(m.path)} for m in error.mistakes]
    return ArmError(400, "InvalidTemplate", f"Deployment template validation failed: '{text}'", details=details)


def mode_of(call: Call) -> str:
    """Incremental or Complete, in any case. Raises: `ArmError` for anything else."""
    given = call.body["properties"].get("mode") or "Incremental"
    for mode in ("Incremental", "Complete"):
        if isinstance(given, str) and given.lower() == mode.lower():
            return mode
    message = "`properties.mode` is Incremental or Complete"
    raise ArmError(400, "InvalidRequestContent", message, target="properties.mode")


def plan_of(call: Call) -> DeploymentPlan:
    """The deployment that a request's body describes. Raises: `ArmError` with every mistake of its declarations."""
    location = location_of(call)
    properties = call.body.get("properties")
    if not isinstance(properties, dict):
        raise ArmError(
            400, "InvalidRequestContent", "`properties` is required and must be an object", target="properties"
        )
    template = properties.get("template")
    if not isinstance(template, dict):
        linked = "templateLink" in properties or "template" not in properties
        hint = "templates are not fetched: put the template itself into the request" if linked else None
        message = "`properties.template` is required and must be an object"
        raise ArmError(400, "InvalidRequestContent", message, target="properties.template", hint=hint)
    mode_of(call)
    context = DeploymentContext(
        subscription_id=call.names["subscriptionId"],
        resource_group=call.names.get("resourceGroupName", ""),
        location=location,
        tenant_id=call.service.issuer.tenant_id,
        template_name=call.names["deploymentName"],
        deployer_id=call.caller.object_id,
        deployer_name=call.caller.name,
        location_of_group=functools.partial(_location_of_group, call),
    )
    secrets = SecretValues()
    try:
        given = _given(properties.get("parameters"))
        call.service.trials.check(template, {one.name: one.value for one in given.values()}, context)
        plan = DeploymentPlan(template, given, context, secrets=secrets)
        secrets.add(plan.secrets)
        check(call, plan)
        check_secrets(plan)
    except TemplateInvalid as error:
        raise invalid(error, SecretMask.of(secrets.texts)) from None
    except RecursionError:
        raise ArmError(400, "InvalidTemplate", "expressions are nested too deeply") from None
    return plan


def _location_of_group(call: Call, wanted: str) -> str:
    """The location of a resource group that is there already; '' when it is not, or may not be read."""
    group = call.service.store.resources.get(wanted)
    return group.location if group is not None and call.may(Permission.READ, group.id) else ""


def _given(parameters: Any) -> dict[str, GivenParameter]:
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise TemplateInvalid([Mistake("parameters", "must be an object")])
    if isinstance(parameters.get("parameters"), dict) and "$schema" in parameters:
        parameters = parameters["parameters"]
    found, mistakes = {}, []
    for name, entry in parameters.items():
        if isinstance(entry, dict) and "value" in entry:
            found[name.lower()] = GivenParameter(name, entry["value"], False)
        elif isinstance(entry, dict) and "reference" in entry:
            mistakes.append(
                Mistake(f"parameters.{name}", "is read from a key vault, and there is none here", "give its value")
            )
        else:
            mistakes.append(Mistake(f"parameters.{name}", 'must have the form {"value": ...}'))
    if mistakes:
        raise TemplateInvalid(mistakes)
    return found


def check(call: Call, plan: DeploymentPlan) -> list[PlannedResource]:
    """Everything that can be known before anything is made. Raises: `TemplateInvalid`, `ArmError`."""
    bodies: list[_Body] = []
    mistakes = _mistakes_in(call, plan, "", bodies)
    for body in bodies:  # last, in what is left of the budget: each has one of its own when it is made
        if plan.budget.is_spent:
            break
        wrong = _body_of(call, body.plan, body.resource)[1]
        mistakes += [] if plan.budget.is_spent else [_below(body.inside, mistake) for mistake in wrong]
    if mistakes:
        raise TemplateInvalid(list(dict.fromkeys(mistakes)))
    if plan.budget.is_spent:
        plan.budget.renew()
    return plan.planned()


@dataclass(frozen=True)
class _Body:
    """What is put for a resource of a deployment, whose place in the root's template is `inside`."""

    plan: DeploymentPlan
    resource: PlannedResource
    inside: str


def _mistakes_in(call: Call, plan: DeploymentPlan, inside: str, bodies: list[_Body]) -> list[Mistake]:
    """What is wrong in one deployment and in those nested in it; bodies that are looked at last are added to `bodies`.

    Raises: `TemplateInvalid` when its resources cannot be named, `ArmError`.
    """
    resources = plan.planned()
    served = provider_bodies(call.service.routes)
    mistakes: list[Mistake] = []
    nested: set[str] = set()
    for resource in resources:
        mistakes += [
            Mistake(f"{resource.path}.dependsOn", f"The resource '{item}' is not defined in the template")
            for item in resource.unknown
        ]
        if not resource.is_wanted or resource.is_existing:
            continue
        kind = type_of(resource)
        namespace, _, type_name = kind.lower().partition("/")
        types = {name.lower() for name in served.get(namespace, {"types": {}})["types"]}
        if kind.lower() not in {NESTED, RESOURCE_GROUP.lower()} and type_name not in types:
            mistakes.append(Mistake(f"{resource.path}.type", f"`{resource.type}` is not served here"))
        elif resource.type.lower() in BY_BUILDS:
            hint = BOOT_HINT if type_name == "virtualmachines" else None
            mistakes.append(Mistake(f"{resource.path}.type", f"`{resource.type}` is made by builds only", hint))
        elif not call.may(Permission.WRITE, resource.id):
            message = f"The client '{call.caller.name}' does not have permission to write '{resource.id}'."
            raise ArmError(403, "InvalidTemplateDeployment", message, target=resource.id)
        mistakes += _location_mistakes(call, plan, resource)
        if resource.type.lower() == IMAGE_TEMPLATE.lower():
            mistakes += _image_template_mistakes(call, plan, resource)
        elif resource.type.lower() == DEPLOYMENT_SCRIPT.lower():
            mistakes += _script_mistakes(call, plan, resource)
        elif resource.type.lower() != NESTED:
            bodies.append(_Body(plan, resource, inside))
        elif resource.path not in nested:
            nested.add(resource.path)  # instances of a loop are alike
            mistakes += _nested_mistakes(call, plan, resource, inside, bodies)
    mistakes += plan.output_mistakes(_before(call, plan))
    return mistakes


def _before(call: Call, plan: DeploymentPlan) -> Runtime:
    """What answers for the resources of a deployment before they are made, to this caller."""

    def is_there(resource_id: str) -> bool:
        return call.service.store.resources.get(resource_id) is not None and call.may(Permission.READ, resource_id)

    return runtime_before(plan, is_there=is_there)


def type_of(resource: PlannedResource) -> str:
    """The type of what is put; pure.

    Of a resource that belongs to another one, `Microsoft.Network/virtualNetworks/providers/roleAssignments` with the
    name `net/Microsoft.Authorization/GUID`, it is what follows the last provider: `Microsoft.Authorization/...`.
    """
    if "/providers/" not in resource.type.lower():
        return resource.type
    provider, *rest = resource.id.rpartition("/providers/")[2].split("/")
    return "/".join([provider, *rest[::2]])


def _location_mistakes(call: Call, plan: DeploymentPlan, resource: PlannedResource) -> list[Mistake]:
    """What is wrong with where a resource is to be made, unless it is there or waits for the state of other ones."""
    try:
        location = plan.location(resource, _before(call, plan))
    except TemplateInvalid:  # which whatever makes it says
        return []
    group = "/".join(resource.id.split("/")[:5])
    problem = location_problem(call, location, resource.type, group=group) if location else ""
    if not problem or call.service.store.resources.get(resource.id) is not None:
        return []
    return [Mistake(f"{resource.path}.location", problem, LOCATION_HINT)]


def _nested_mistakes(
    call: Call, plan: DeploymentPlan, resource: PlannedResource, around: str, bodies: list[_Body]
) -> list[Mistake]:
    """What is wrong in a nested deployment, but for what waits for the state of other resources."""
    inside = f"{resource.path}.properties.template"
    try:
        child = plan.child(resource, _before(call, plan))
    except TemplateInvalid as error:
        return _placed(wrong_in(error), inside, own=f"{resource.path}.properties")
    try:
        return _placed(_mistakes_in(call, child, f"{around}{inside}.", bodies), inside)
    except TemplateInvalid as error:
        return _placed(wrong_in(error), inside)


def _placed(mistakes: Sequence[Mistake], inside: str, *, own: str = "") -> list[Mistake]:
    """The mistakes with their paths from the root of the template; those that begin with `own` have them; pure."""
    return [mistake if own and mistake.path.startswith(own) else _below(f"{inside}.", mistake) for mistake in mistakes]


def _below(inside: str, mistake: Mistake) -> Mistake:
    return Mistake(f"{inside}{mistake.path}", mistake.message, mistake.hint)


def _body_of(
    call: Call, plan: DeploymentPlan, resource: PlannedResource
) -> tuple[dict[str, Any] | None, list[Mistake]]:
    """What is put for a resource, unless that waits for another one or is wrong: then what is wrong with it."""
    try:
        return plan.body(resource, _before(call, plan)), []
    except TemplateInvalid as error:
        return None, wrong_in(error)


def _image_template_mistakes(call: Call, plan: DeploymentPlan, resource: PlannedResource) -> list[Mistake]:
    """What is wrong with an image template, as far as it does not wait for the state of other resources."""
    body, mistakes = _body_of(call, plan, resource)
    if body is None:
        return mistakes
    try:
        check_image_template(body, api_version=resource.api_version.lower())
    except TemplateInvalid as error:
        return _placed(error.mistakes, resource.path, own=resource.path)
    return []


def _script_mistakes(call: Call, plan: DeploymentPlan, resource: PlannedResource) -> list[Mistake]:
    """Why a script would be refused, as far as it does not wait for the state of other resources."""
    body, mistakes = _body_of(call, plan, resource)
    if body is None:
        return mistakes
    _, refused = script_mistakes(body, subscription_id=resource.id.split("/")[2])
    return _placed(refused, resource.path)


def known_properties(call: Call, plan: DeploymentPlan, resources: list[PlannedResource]) -> dict[str, Any]:
    """The members of `properties` that are known from the start."""
    template = json.dumps(call.body["properties"]["template"], sort_keys=True)
    by_key = {item.key: item for item in resources}
    providers: dict[str, set[str]] = {}
    for item in resources:
        namespace, _, type_name = item.type.partition("/")
        providers.setdefault(namespace, set()).add(type_name)
    return {
        "templateHash": str(int(hashlib.sha256(template.encode()).hexdigest()[:16], 16)),
        "parameters": SecretMask.of(plan.secrets).value(plan.parameter_values()),
        "mode": mode_of(call),
        "correlationId": call.origin.correlation_id,
        "providers": [
            {"namespace": name, "resourceTypes": [{"resourceType": item} for item in sorted(types)]}
            for name, types in sorted(providers.items())
        ],
        "dependencies": [
            {
                "dependsOn": [
                    {"id": by_key[key].id, "resourceType": by_key[key].type, "resourceName": by_key[key].name}
                    for key in sorted(item.waits_for)
                ],
                "id": item.id,
                "resourceType": item.type,
                "resourceName": item.name,
            }
            for item in resources
            if item.waits_for
        ],
    }
