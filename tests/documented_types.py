"""Whether an answer is of the kind that the OpenAPI document names for its request; tests ask it of every answer."""

import functools
from typing import Any

import httpx

from vmkiln.api.about.openapi import document
from vmkiln.api.protocol.dispatcher import RouteTable
from vmkiln.api.protocol.reading import path_segments
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.errors import ArmError

REFUSED = {"application/json"}


@functools.cache
def _documented() -> tuple[RouteTable, dict[str, Any]]:
    return RouteTable(ALL_ROUTES), document(ALL_ROUTES, url="https://localhost:8443")["paths"]


def types_of(method: str, raw_path: bytes, status: int) -> set[str]:
    """The media types that an answer may have; JSON where no route is."""
    table, paths = _documented()
    try:
        route = table.match(method, path_segments(raw_path), has_existence=True).route
    except ArmError:
        return REFUSED
    answers = paths[route.path][route.method.lower()]["responses"]
    found = answers.get(str(status)) or answers.get(f"{status // 100}XX") or answers["default"]
    return set(found.get("content", REFUSED))


def check_type(answer: httpx.Response) -> None:
    """Fail for an answer whose media type is another than the document tells."""
    if answer.request.method == "HEAD" or not answer.content:
        return
    told = answer.headers.get("content-type", "").partition(";")[0]
    wanted = types_of(answer.request.method, answer.request.url.raw_path.partition(b"?")[0], answer.status_code)
    text = f"{answer.request.method} {answer.request.url} answered {answer.status_code} as {told}"
    assert told in wanted, f"{text}, and the OpenAPI document names {sorted(wanted)}"
