"""The service's OpenAPI document: every route with its parameters, and the bodies as far as they have a schema; pure.

Source: the OpenAPI specification, version 3.1.
"""

import re
from collections.abc import Sequence
from typing import Any

from vmkiln import __version__
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.arm import WRAPPED_SINCE
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.template.image_template import ImageTemplate

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "target": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}
UNWRAPPED = ERROR["properties"]["error"]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
TRIGGER = {
    "type": "object",
    "required": ["properties"],
    "properties": {"properties": {"type": "object", "properties": {"kind": {"enum": ["SourceImage"]}}}},
}


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    if route.needs_api_version:
        schema: dict[str, Any] = {"type": "string"}
        if route.api_versions:
            schema["enum"] = list(route.api_versions)
        else:
            schema["examples"] = ["2024-11-01"]
        found.append({"name": "api-version", "in": "query", "required": True, "schema": schema})
    return found


def _request_schema(route: Route) -> dict[str, Any]:
    if route.operation == "VirtualMachineImageTemplates_CreateOrUpdate":
        return {"$ref": "#/components/schemas/ImageTemplate"}
    return TRIGGER if route.operation == "Triggers_CreateOrUpdate" else {"type": "object"}


def _operation(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {media_type: {"schema": {}} for media_type in route.media_types}
    refusal: dict[str, Any] = {"$ref": "#/components/schemas/Error"}
    if any(item < WRAPPED_SINCE for item in route.api_versions):
        refusal = {"anyOf": [refusal, {"$ref": "#/components/schemas/UnwrappedError"}]}
    success = "200" if route.method in {"GET", "PATCH"} else "2XX"
    found: dict[str, Any] = {
        "operationId": route.operation,
        "tags": [route.operation.partition("_")[0]],
        "parameters": _parameters(route),
        "responses": {
            **({} if route.method == "HEAD" else {success: {"description": "done, or begun", "content": content}}),
            **(
                {"206": {"description": "the part that `Range` asks for", "content": content}}
                if route.has_parts
                else {}
            ),
            "202": {"description": "begun; ask where the headers say"},
            "204": {"description": "done, and nothing to tell"},
            "default": {
                "description": "refused",
                "content": {"application/json": {"schema": {} if route.body is Body.FORM else refusal}},
            },
        },
    }
    if route.method == "HEAD":
        found["responses"]["default"] = {"description": "it is not there, or may not be seen"}
    if route.body is Body.FORM:
        form = {"type": "object", "additionalProperties": {"type": "string"}}
        found["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    elif route.body is not Body.NONE:
        found["requestBody"] = {
            "required": route.body is not Body.OPTIONAL_JSON,
            "content": {"application/json": {"schema": _request_schema(route)}},
        }
    if route.permission is Permission.NONE:
        found["security"] = []
    return found


def document(routes: Sequence[Route], *, url: str) -> dict[str, Any]:
    """The whole document for a service that is reached at `url`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    template = ImageTemplate.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    definitions = template.pop("$defs", {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "vmkiln", "version": __version__},
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**definitions, "ImageTemplate": template, "Error": ERROR, "UnwrappedError": UNWRAPPED},
        },
    }


def get_document(call: Call) -> Answer:
    """GET the document; it says what is served, nothing of what is kept."""
    return Answer(200, document(call.service.routes, url=call.base_url))


ROUTES = (Route("GET", "/openapi.json", "OpenApi_Get", Permission.NONE, get_document, needs_api_version=False),)
