"""The OpenAPI document is whole, and requests made from it are answered as it says."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openapi_document
import pytest
import schemathesis
import tiers
from documented_types import check_type
from hypothesis import HealthCheck, settings
from in_process import InProcess, InstantWork, RecordedWork, TestAccess, add_group, started
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from service_fixtures import fill_pool

from vmkiln.api.about.openapi import document
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.store.database import opened

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(document(tiers.half(ALL_ROUTES), url="https://localhost:8443"))


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    """A service with a resource group, whose own work is done at once."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as directory, opened(Path(directory) / "vmkiln.sqlite") as store:
        access = TestAccess({"owner": [("Owner", "/")]})
        service = started(store, Path(directory), access, InstantWork(store=store))
        add_group(service)
        fill_pool(store)  # of a busy machine it would open more in the middle of a test, which then left them open
        yield service.app


@SCHEMA.parametrize()
@settings(
    max_examples=tiers.tier().document_examples,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_requests_of_the_document_are_answered_as_it_says(case: Any, app: Any) -> None:
    case.headers = {**(case.headers or {}), "Authorization": "Bearer owner"}
    response = case.call(app=app)
    case.validate_response(response, checks=CHECKS)


def test_the_document_in_the_docs_is_the_services_own() -> None:
    kept = openapi_document.FILE.read_text()
    assert kept == openapi_document.wanted(), "the interface changed: `script/openapi` writes it anew; read the diff"
    assert json.loads(kept)["paths"].keys() == document(ALL_ROUTES, url="https://localhost:8443")["paths"].keys()


def test_every_route_is_in_the_document(service: InProcess) -> None:
    found = service.get("/openapi.json", token=None, api_version=None).json()
    listed = {(path, method.upper()) for path, item in found["paths"].items() for method in item}
    assert listed == {(route.path, route.method) for route in ALL_ROUTES}
    names = [route.operation for route in ALL_ROUTES]
    assert len(names) == len(set(names))
    assert json.dumps(found)
    assert isinstance(service.builder, RecordedWork)


def test_what_is_answered_with_something_else_than_json_is_told_as_that() -> None:
    found = {
        operation["operationId"]: " ".join(operation["responses"]["200"]["content"])
        for path in document(ALL_ROUTES, url="https://localhost:8443")["paths"].values()
        for operation in path.values()
        if "200" in operation["responses"]
    }
    disk = "application/octet-stream"
    assert {name: kind for name, kind in found.items() if kind != "application/json"} == {
        "AllRuns_GetPicture": "image/png",
        "Blobs_GetDisk": disk,
        "Blobs_GetLog": "text/plain image/png",
        "ImageFile_Get": disk,
        "ImageVersionFile_Get": disk,
        "LocalBlobs_GetDisk": disk,
        "LocalBlobs_GetLog": "text/plain image/png",
        "Metrics_Get": "text/plain",
        "Runs_GetPicture": "image/png",
    }


@pytest.mark.parametrize(
    ("path", "status", "told", "is_told"),
    [
        ("/metrics", 200, "text/plain; version=1.0.0", True),
        ("/metrics", 200, "application/json", False),
        ("/metrics", 403, "application/json", True),
        ("/metrics", 403, "text/plain", False),
        ("/nowhere/at/all", 404, "text/html", False),
    ],
)
def test_an_answer_of_another_type_is_noticed(path: str, status: int, told: str, *, is_told: bool) -> None:
    request = httpx.Request("GET", f"https://localhost:8443{path}")
    answer = httpx.Response(status, headers={"Content-Type": told}, content=b"{}", request=request)
    with contextlib.nullcontext() if is_told else pytest.raises(AssertionError, match="the OpenAPI document names"):
        check_type(answer)
