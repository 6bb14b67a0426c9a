"""A template inside something else that people have in files: requests, answers, and the files of other tools.

All pure. What is found is the body of a resource, or a deployment template with its parameters; of several, the one
that was asked for by name. Sources: the ARM reference of deployments (PUT, exportTemplate); the API specification's
examples; `az image builder show` (which brings `properties` to the top) and `list`; the azapi and azurerm providers'
attributes, as in `terraform show -json`; Pulumi's YAML and `azure-native`; Ansible's `azure_rm_resource` and
`azure_rm_deployment`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.deployment_context import IMAGE_TEMPLATE, IMAGE_TEMPLATE_TYPES, is_deployment_template
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
from vmkiln.arm_template.values import member
from vmkiln.errors import Mistake, TemplateInvalid

SHOWN_BY_AZ = "2023-07-01"  # whose names are read in any case: az writes `osDiskSizeGb`
_AROUND = {"id", "name", "type", "location", "tags", "identity", "systemdata", "resourcegroup", "apiversion", "etag"}
MOST_SHOWN_NAMES = 20
_PULUMI = re.compile(r"azure-native(?:_\w+)?:virtualmachineimages(?:/(v\d+\w*))?:VirtualMachineImageTemplate", re.I)
_OF_PULUMI = {"imagetemplatename", "resourcegroupname", "location", "tags", "identity"}
_OF_AZAPI = {  # members of an azapi_resource that are not the resource's own
    *("type", "body", "parent_id", "response_export_values", "schema_validation_enabled", "timeouts", "output", "id"),
    *("removing_special_chars", "ignore_casing", "ignore_missing_property", "ignore_null_property", "locks", "retry"),
    *("depends_on", "lifecycle", "provider", "count", "for_each", "provisioner", "connection"),
    *("replace_triggers_external_values", "replace_triggers_refs", "sensitive_body", "sensitive_body_version"),
    *(f"{act}_{part}" for act in ("create", "update", "read", "delete") for part in ("headers", "query_parameters")),
}


_FOR_PIPELINES = (
    "its task asks a service to build (`vmkiln serve`); what is built here is a template's JSON, YAML or Bicep"
)


def unwrapped_deployment(document: dict[str, Any]) -> tuple[dict[str, Any], list[ParameterFile]]:
    """The deployment template in a request to deploy it, or in the answer to an export, with the parameters beside it.

    Whatever else it is stays as it is.
    """
    properties = member(document, "properties")
    for around in (properties, document):
        template = member(around, "template") if isinstance(around, dict) else None
        if isinstance(template, dict) and is_deployment_template(template) and not is_deployment_template(document):
            parameters = member(around, "parameters")
            told = {"parameters": parameters} if isinstance(parameters, dict) else {}
            return template, [ParameterFile("the request", json.dumps(told))] if told else []
    return document, []


def unwrapped_body(document: dict[str, Any], file_name: str) -> dict[str, Any]:
    """The body of an image template, out of what is around it; the document itself if nothing is."""
    return _of_example(document) or of_azapi(document, file_name) or _of_az(document) or document


def hint_for_others(document: Mapping[str, Any]) -> str:
    """What to do with a document in which there is no template."""
    members = {name.lower() for name in document}
    if "deploymentparameters" in str(member(document, "$schema")).lower():
        return "this is a parameter file: name the template, and this with --parameters"
    if "builders" in members:
        return "this is a template of Packer: it says nothing that Azure's image templates say"
    if "jobs" in members or "runs-on" in members:
        return f"this is a workflow of GitHub: {_FOR_PIPELINES}"
    if members & {"steps", "stages", "trigger", "pool"}:
        return f"this is a pipeline of Azure DevOps: {_FOR_PIPELINES}"
    return "a body has `location`, `identity` and `properties`; a deployment template has `$schema` and `resources`"


def _of_example(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body in an example file of the API's specification, with its name and api-version."""
    call = document.get("parameters")
    body = call.get("parameters") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(body, dict) or "properties" not in body:
        return None
    return {"name": call.get("imageTemplateName"), "apiVersion": call.get("api-version"), **body}


def _of_az(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body in what `az image builder show` prints."""
    names = {name.lower() for name in document}
    if "properties" in names or not {"source", "distribute"} <= names:
        return None
    around = {name: value for name, value in document.items() if name.lower() in _AROUND - {"resourcegroup", "id"}}
    inside = {name: value for name, value in document.items() if name.lower() not in _AROUND}
    if "validation" in inside and "validate" not in inside:
        inside["validate"] = inside.pop("validation")
    return {"apiVersion": SHOWN_BY_AZ, **around, "properties": inside}


@dataclass(frozen=True)
class Inside:
    """A body, or a deployment template with the parameters beside it."""

    document: dict[str, Any]
    parameters: tuple[ParameterFile, ...] = ()

    @property
    def name(self) -> str:
        """What the body is called; '' where it has no name, or is a deployment."""
        found = member(self.document, "name")
        return found if isinstance(found, str) and not is_deployment_template(self.document) else ""


def chosen_inside(document: Any, file_name: str, template_name: str) -> Inside | None:
    """The one template inside a file that is none itself, or the one of that name; None where there is none.

    Raises TemplateInvalid when there are several.
    """
    if isinstance(document, list) and len(document) == 1 and isinstance(document[0], dict):
        document = document[0]
        if not (found := list(_found_in(document, file_name))):
            return Inside(document)
    else:
        found = list(_found_in(document, file_name))
    if template_name and len(found) > 1:
        named = [one for one in found if one.name.lower() == template_name.lower()]
        found = named or found
    if len(found) > 1:
        names = ", ".join(f"`{one.name}`" for one in found[:MOST_SHOWN_NAMES] if one.name)
        problem = f"holds {len(found)} image templates" + (f" called `{template_name}`" if template_name else "")
        hint = f"choose one with --template-name: {names}" if names else "give one of them alone"
        raise TemplateInvalid([Mistake(file_name, f"{problem}; exactly one is needed", hint)])
    return found[0] if found else None


def is_of_another_tool(document: Any) -> bool:
    """Whether a document with `resources` is no deployment: Terraform's state, Pulumi; pure."""
    resources = member(document, "resources")
    if member(document, "$schema") is not None or not resources:
        return False
    entries = (
        list(resources.values()) if isinstance(resources, dict) else resources if isinstance(resources, list) else []
    )
    kinds = [str(member(entry, "type") or "") for entry in entries if isinstance(entry, dict)]
    return bool(kinds) and not any("/" in kind.partition(":")[0] for kind in kinds)


def _found_in(document: Any, file_name: str) -> Iterator[Inside]:
    waiting = [document]
    for here in waiting:  # it grows meanwhile: what lies deeper comes behind all that does not
        if isinstance(here, list):
            waiting.extend(here)
        elif isinstance(here, dict):
            found = _inside(here, file_name)
            if found is not None:
                yield found
            else:
                waiting.extend(here.values())


def _inside(here: dict[str, Any], file_name: str) -> Inside | None:
    kind = member(here, "type")
    if isinstance(kind, str):
        if body := of_azapi(here, file_name):
            return Inside(body)
        is_whole = isinstance(member(here, "properties"), dict) or member(here, "distribute") is not None
        if kind.rstrip("/").lower() in IMAGE_TEMPLATE_TYPES and is_whole:
            return Inside(here)
        if found := _PULUMI.fullmatch(kind):
            return _of_pulumi(here, found[1] or "")
    elif _is_body(here) or (is_deployment_template(here) and "deploymenttemplate" in _schema(here)):
        return Inside(here)
    return _of_ansible(here) or _of_azurerm(here, file_name)


def _is_body(here: dict[str, Any]) -> bool:
    properties = member(here, "properties")
    return isinstance(properties, dict) and None not in (member(properties, "source"), member(properties, "distribute"))


def _schema(here: dict[str, Any]) -> str:
    return str(member(here, "$schema")).lower()


def of_azapi(document: Mapping[str, Any], file_name: str) -> dict[str, Any] | None:
    """The body in an azapi_resource, whose `type` has `@` and the api-version behind it. Raises TemplateInvalid."""
    kind, _, version = str(member(document, "type") or "").partition("@")
    body = member(document, "body")
    if kind.lower() not in IMAGE_TEMPLATE_TYPES or not (version or isinstance(body, dict)):
        return None
    if isinstance(body, str):
        if body.startswith("${"):
            message = "is an expression of Terraform, which is not evaluated here"
            hint = "give what `terraform show -json` prints of a plan, or apply it to `vmkiln serve`"
            raise TemplateInvalid([Mistake(f"{file_name}: body", message, hint)])
        body = read_json(body, file_name=f"{file_name}: body")
    around = {name: value for name, value in document.items() if name.lower() not in _OF_AZAPI and value is not None}
    block = around.get("identity")
    if isinstance(block, list) and len(block) < 2:
        block = block[0] if block else None
        around["identity"] = block
    if isinstance(block, dict) and "identity_ids" in block:
        around["identity"] = {"type": block.get("type"), "userAssignedIdentities": _as_members(block["identity_ids"])}
    return {"apiVersion": version, **around, **(body if isinstance(body, dict) else {})}


def _of_pulumi(here: dict[str, Any], version: str) -> Inside | None:
    given = member(here, "properties")
    if not isinstance(given, dict):
        return None
    body: dict[str, Any] = {
        name: member(given, name) for name in ("location", "tags") if member(given, name) is not None
    }
    body["name"] = member(given, "imageTemplateName")
    if isinstance(identity := member(given, "identity"), dict):
        assigned = member(identity, "userAssignedIdentities")
        body["identity"] = {"type": member(identity, "type"), "userAssignedIdentities": _as_members(assigned)}
    body["properties"] = {name: value for name, value in given.items() if name.lower() not in _OF_PULUMI}
    if dated := re.fullmatch(r"v(\d{4})(\d\d)(\d\d)(preview)?", version):
        body["apiVersion"] = f"{dated[1]}-{dated[2]}-{dated[3]}" + ("-preview" if dated[4] else "")
    return Inside(body)


def _of_ansible(here: dict[str, Any]) -> Inside | None:
    for name, task in here.items():
        last = name.rpartition(".")[2]
        if not isinstance(task, dict):
            continue
        body, template = task.get("body"), task.get("template")
        url = str(task.get("url") or "").partition("?")[0]
        is_one = str(task.get("resource_type")).lower() == "imagetemplates" or "/imagetemplates/" in url.lower()
        if last in ("azure_rm_resource", "azure_rm_resource_info") and is_one and isinstance(body, dict):
            called = task.get("resource_name") or url.rstrip("/").rpartition("/")[2]
            return Inside({"name": called, "apiVersion": task.get("api_version"), **body})
        if last == "azure_rm_deployment" and isinstance(template, dict) and is_deployment_template(template):
            return _deployment(template, task.get("parameters"))
    return None


def _of_azurerm(here: dict[str, Any], file_name: str) -> Inside | None:
    """A template that Terraform deploys: `template_content`, or `template_body` of older providers."""
    for name, parameters in (("template_content", "parameters_content"), ("template_body", "parameters_body")):
        text = here.get(name)
        if isinstance(text, str) and text.lstrip().startswith("{"):
            template = read_json(text, file_name=f"{file_name}: {name}")
            given = here.get(parameters)
            is_json = isinstance(given, str) and given.lstrip().startswith("{")
            told = read_json(str(given), file_name=f"{file_name}: {parameters}") if is_json else None
            if isinstance(template, dict) and is_deployment_template(template) and IMAGE_TEMPLATE in text.lower():
                return _deployment(template, told)
    return None


def _deployment(template: dict[str, Any], parameters: Any) -> Inside:
    told = {"parameters": parameters} if isinstance(parameters, dict) and parameters else {}
    return Inside(template, (ParameterFile("the parameters beside it", json.dumps(told)),) if told else ())


def _as_members(ids: Any) -> Any:
    """Identities as Azure's API has them: an object with a member for each id."""
    return {str(item): {} for item in ids} if isinstance(ids, list) else ids
