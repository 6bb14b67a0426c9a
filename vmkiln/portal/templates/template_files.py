"""An image template as a file for deployments elsewhere: an ARM template, or Bicep; with no secret in it.

Where a secret was kept apart stands a secure parameter of its own, for a deployment to be given.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.arm_template.expression import escaped, quoted
from vmkiln.azure_names import IMAGE_TEMPLATE, NEWEST_API_VERSION
from vmkiln.portal.rendering import HEADERS
from vmkiln.portal.templates.bicep_text import Joined, Named, text_of
from vmkiln.portal.templates.template_face import copied
from vmkiln.portal.visit import Visit
from vmkiln.provisioning.kept_texts import KEPT

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
NAME, LOCATION = Named("name"), Named("location")
ABOUT = {NAME.name: "The name of the image template.", LOCATION.name: "Where it is, and where it builds."}


async def arm(visit: Visit) -> Response:
    """The template as an ARM deployment template, to be kept."""
    found = await visit.api.ask("GET", visit.id.removesuffix("/arm"))
    return _file(f"{found['name']}.json", await run_in_threadpool(arm_text, found), "application/json")


async def bicep(visit: Visit) -> Response:
    """The same in Bicep."""
    found = await visit.api.ask("GET", visit.id.removesuffix("/bicep"))
    return _file(f"{found['name']}.bicep", await run_in_threadpool(bicep_text, found), "text/plain; charset=utf-8")


def _file(name: str, text: str, kind: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(text, media_type=kind, headers={**HEADERS, "Content-Disposition": disposition})


def arm_text(template: Mapping[str, Any]) -> str:
    """The text of an ARM deployment template that makes this image template; pure."""
    resource, secrets = _parts(template)
    parameters: dict[str, Any] = {
        name: {"type": "string", "defaultValue": str(template[name]), "metadata": {"description": ABOUT[name]}}
        for name in ABOUT
    }
    parameters |= {
        name: {"type": "securestring", "metadata": {"description": about}} for name, about in secrets.items()
    }
    kind = {"type": IMAGE_TEMPLATE, "apiVersion": NEWEST_API_VERSION}
    document = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": parameters,
        "resources": [{**kind, **_expressions(resource)}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def bicep_text(template: Mapping[str, Any]) -> str:
    """The same in Bicep; pure."""
    resource, secrets = _parts(template)
    declared = [
        f"@description({text_of(about)})\nparam {name} string = {text_of(str(template[name]))}\n"
        for name, about in ABOUT.items()
    ]
    declared += [f"@secure()\n@description({text_of(about)})\nparam {name} string\n" for name, about in secrets.items()]
    made = f"resource imageTemplate '{IMAGE_TEMPLATE}@{NEWEST_API_VERSION}' = {text_of(resource)}\n"
    return "\n".join([*declared, made])


def _parts(template: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The resource with its parameters in their places, and what the secure ones are for, by their names."""
    secrets: dict[str, str] = {}

    def told(value: Any, place: str) -> Any:
        if isinstance(value, Mapping):
            return {name: told(inner, f"{place}.{name}" if place else str(name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [told(inner, f"{place}[{at}]") for at, inner in enumerate(value)]
        if not isinstance(value, str) or KEPT not in value:
            return value
        first, *others = value.split(KEPT)
        pieces: list[str | Named] = [first]
        for other in others:
            name = f"secret{len(secrets) + 1}"
            secrets[name] = f"What is kept apart in {place}."
            pieces += [Named(name), other]
        kept = [piece for piece in pieces if piece]
        return kept[0] if len(kept) == 1 else Joined(tuple(kept))

    resource = told(copied(template), "")
    return {"name": NAME, **resource, "location": LOCATION}, secrets


def _expressions(value: Any) -> Any:
    """A value as ARM has it: parameters are expressions, and no text is taken for one."""
    match value:
        case Named(name):
            return f"[parameters('{name}')]"
        case Joined(pieces):
            found = (f"parameters('{one.name}')" if isinstance(one, Named) else quoted(one) for one in pieces)
            return f"[concat({', '.join(found)})]"
        case Mapping():
            return {name: _expressions(inner) for name, inner in value.items()}
        case list():
            return [_expressions(inner) for inner in value]
        case str():
            return escaped(value)
    return value
