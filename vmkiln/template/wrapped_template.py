"""A template inside something else that people have in files: requests, answers, examples, Terraform, what az shows.

All pure. Sources: the ARM reference of deployments (PUT, exportTemplate); the azapi provider's `azapi_resource`, also
in HCL's JSON syntax; the API specification's examples; `az image builder show`, which brings `properties` to the top.
"""

import json
from collections.abc import Mapping
from typing import Any

from vmkiln.arm_template.deployment_template import IMAGE_TEMPLATE_TYPES, is_deployment_template
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
from vmkiln.arm_template.values import member

SHOWN_BY_AZ = "2023-07-01"  # whose names are read in any case: az writes `osDiskSizeGb`
_OF_AZAPI = {  # members of an azapi_resource that are not the resource's own
    *("type", "body", "parent_id", "response_export_values", "schema_validation_enabled", "timeouts"),
    *(
        "removing_special_chars",
        "ignore_casing",
        "ignore_missing_property",
        "locks",
        "retry",
        "depends_on",
        "lifecycle",
    ),
}
_AROUND = {"id", "name", "type", "location", "tags", "identity", "systemdata", "resourcegroup", "apiversion", "etag"}


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
    return (
        _of_example(document)
        or _of_azapi(document, file_name)
        or _of_terraform(document, file_name)
        or _of_az(document)
        or document
    )


def hint_for_others(document: Mapping[str, Any]) -> str:
    """What to do with a document in which there is no template."""
    members = {name.lower() for name in document}
    if "deploymentparameters" in str(member(document, "$schema")).lower():
        return "this is a parameter file: name the template, and this with --parameters"
    if "builders" in members:
        return "this is a template of Packer: it says nothing that Azure's image templates say"
    return "a body has `location`, `identity` and `properties`; a deployment template has `$schema` and `resources`"


def _of_example(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body in an example file of the API's specification, with its name and api-version."""
    call = document.get("parameters")
    body = call.get("parameters") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(body, dict) or "properties" not in body:
        return None
    return {"name": call.get("imageTemplateName"), "apiVersion": call.get("api-version"), **body}


def _of_azapi(document: Mapping[str, Any], file_name: str) -> dict[str, Any] | None:
    """The body in an azapi_resource, whose `type` has `@` and the api-version behind it."""
    kind, _, version = str(member(document, "type") or "").partition("@")
    body = member(document, "body")
    if isinstance(body, str):
        body = read_json(body, file_name=f"{file_name}: body")
    if kind.lower() not in IMAGE_TEMPLATE_TYPES or not (version or isinstance(body, dict)):
        return None
    around = {name: value for name, value in document.items() if name.lower() not in _OF_AZAPI}
    if isinstance(blocks := around.get("identity"), list) and len(blocks) == 1 and isinstance(blocks[0], dict):
        ids = blocks[0].get("identity_ids")
        named: dict[str, Any] = {str(item): {} for item in ids} if isinstance(ids, list) else {}
        around["identity"] = {"type": blocks[0].get("type"), "userAssignedIdentities": named}
    return {"apiVersion": version, **around, **(body if isinstance(body, dict) else {})}


def _of_terraform(document: Mapping[str, Any], file_name: str) -> dict[str, Any] | None:
    """The body in the one azapi_resource of a `.tf.json` file that is an image template."""
    resources = document.get("resource")
    kinds = resources.get("azapi_resource") if isinstance(resources, dict) else None
    found = [
        body
        for one in (kinds.values() if isinstance(kinds, dict) else ())
        if isinstance(one, dict) and (body := _of_azapi(one, file_name)) is not None
    ]
    return found[0] if len(found) == 1 else None


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
