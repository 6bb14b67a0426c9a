"""NUL and halves of surrogate pairs, wherever a request can carry them, on both databases: refused, never a failure.

PostgreSQL holds neither, SQLite no half of a pair; so the service refuses both before it asks its database.
"""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tiers
from api.test_audit import path_of
from api.test_generated_requests import FITTING, GOOD_BODIES, check_shape
from in_process import BASE, GROUP, SUBSCRIPTION, InProcess, InstantWork, TestAccess, an_issuer, route_table, started
from postgresql import cluster
from service_fixtures import fill_pool

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.insights.activity_log import MANAGEMENT
from vmkiln.api.protocol.dispatcher import Dispatcher, Request
from vmkiln.api.protocol.route import Answer, Body, Route
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.resources import resource_groups
from vmkiln.store.database import opened

IN_URL = {"NUL": "%00", "half a pair": "%ED%A0%80"}
IN_JSON = {"NUL": "\\u0000", "half a pair": "\\ud800"}
IN_HEADER = {"NUL": "\x00", "half a pair": "\ud800", "Latin-1": "\xff"}
PARAMETERS = ("$filter", "$skipToken", "$top", "$expand", "$select", "api-version", "tail", "another")
ROUTES = tiers.half(ALL_ROUTES)
LOG = f"/subscriptions/{SUBSCRIPTION}/{MANAGEMENT}"


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    home = tmp_path_factory.mktemp("home")
    with contextlib.ExitStack() as stack:
        place: Path | str = home / "vmkiln.sqlite"
        if request.param == "PostgreSQL":
            place = stack.enter_context(cluster()).new_database()
        store = stack.enter_context(opened(place, home=home))
        fill_pool(store)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(resource_groups, "WAIT_SECONDS", 0.0)
        yield started(store, home, TestAccess({"root": [("Owner", "/")]}), InstantWork(store=store))


def ask(
    service: InProcess,
    route: Route,
    path: str,
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """What is answered, which is no failure of the service in any case."""
    version = "" if "api-version=" in query else f"api-version={(route.api_versions or ('2024-11-01',))[-1]}"
    if content is None:
        fitting = next((body for word, body in FITTING.items() if word in route.operation), GOOD_BODIES[4])
        content = b"" if route.body is Body.NONE else json.dumps(fitting).encode()
    kind = "application/x-www-form-urlencoded" if route.body is Body.FORM else "application/json"
    request = Request(
        route.method,
        path.encode(),
        "&".join(filter(None, (version, query))).encode(),
        {"authorization": "Bearer root", "content-type": kind, **(headers or {})},
        content,
        BASE,
    )
    answer = Dispatcher(route_table()).answer(service.service, request)
    assert answer.status < 500, f"{request} -> {answer}"
    if answer.status >= 400 and request.method != "HEAD":
        check_shape(request, answer.body)
    return answer


@pytest.mark.parametrize("letter", IN_URL)
def test_in_a_path(service: InProcess, letter: str) -> None:
    for route in ROUTES:
        parts = route.path.split("/")
        for number, part in enumerate(parts):
            if part.startswith("{"):
                odd = path_of(route).split("/")
                odd[number] = f"a{IN_URL[letter]}b"
                assert ask(service, route, "/".join(odd)).status == 400, (route.operation, part)


@pytest.mark.parametrize("letter", IN_URL)
def test_in_a_query(service: InProcess, letter: str) -> None:
    for route in ROUTES:
        for name in PARAMETERS:
            query = f"{quote(name)}=a{IN_URL[letter]}"
            assert ask(service, route, path_of(route), query=query).status == 400, (route.operation, query)
        assert ask(service, route, path_of(route), query=f"a{IN_URL[letter]}=a").status == 400, route.operation


@pytest.mark.parametrize("letter", IN_HEADER)
def test_in_a_header(service: InProcess, letter: str) -> None:
    names = ("if-match", "if-none-match", "x-ms-client-request-id", "x-ms-correlation-request-id", "content-type",
             "accept", "host", "accept-language")  # fmt: skip
    for route in ROUTES:
        ask(service, route, path_of(route), headers=dict.fromkeys(names, f"a{IN_HEADER[letter]}b"))


@pytest.mark.parametrize("letter", IN_JSON)
def test_in_a_body(service: InProcess, letter: str) -> None:
    odd = IN_JSON[letter]
    for route in ROUTES:
        if route.body in {Body.JSON, Body.LENIENT_JSON, Body.OPTIONAL_JSON}:
            for text in (f'{{"a":"x{odd}"}}', f'{{"x{odd}":1}}', f'{{"properties":{{"a":[{{"b":"{odd}"}}]}}}}'):
                assert ask(service, route, path_of(route), content=text.encode()).status == 400, route.operation


@pytest.mark.parametrize("letter", IN_URL)
def test_in_a_form_and_in_a_login(service: InProcess, letter: str) -> None:
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b", "scope": "https://x/.default"}
    for route in ROUTES:
        if route.body is not Body.FORM:
            continue
        for name in form:
            text = "&".join(f"{key}={value}{IN_URL[letter] if key == name else ''}" for key, value in form.items())
            assert ask(service, route, path_of(route), content=text.encode()).status == 400
        login = base64.b64encode(f"a{IN_URL[letter]}:b{IN_URL[letter]}".encode()).decode()
        text = "grant_type=client_credentials&scope=https://x/.default"
        basic = {"authorization": f"Basic {login}"}
        refused = {400, 401, 404}  # 404: this service has no issuer at which people log in
        assert ask(service, route, path_of(route), headers=basic, content=text.encode()).status in refused


@pytest.mark.parametrize("letter", IN_HEADER)
def test_in_a_token(service: InProcess, letter: str) -> None:
    store = service.service.store
    access = AccessControl(store, an_issuer())
    owner = started(store, service.service.settings.home, access, InstantWork(store=store))  # type: ignore[arg-type]
    for token in (f"vmk_{IN_HEADER[letter]}", f"a.{IN_HEADER[letter]}.b", IN_HEADER[letter]):
        for route in ALL_ROUTES[:30]:
            ask(owner, route, path_of(route), headers={"authorization": f"Bearer {token}"})


def test_what_a_templates_functions_make(service: InProcess) -> None:
    assert service.put(GROUP, {"location": "westus2"}, api_version="2024-11-01", token="root").status_code < 300
    for number, odd in enumerate((r"json('\"\u0000\"')", r"json('\"\ud800\"')", "base64ToString('AA==')",
                                  "uriComponentToString('%00')")):  # fmt: skip
        identity: dict[str, Any] = {
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "apiVersion": "2023-01-31",
            "name": f"one{number}",
            "location": "westus2",
        }
        for resource, outputs in (
            ({**identity, "tags": {"a": f"[{odd}]"}}, {}),
            ({**identity, "name": f"[concat('a', {odd})]"}, {}),
            (identity, {"x": {"type": "string", "value": f"[{odd}]"}}),
        ):
            template = {"$schema": "x", "contentVersion": "1.0.0.0", "resources": [resource], "outputs": outputs}
            for action in ("validate", "whatIf", ""):
                route = next(
                    route for route in ALL_ROUTES
                    if route.operation == {"validate": "Deployments_Validate", "whatIf": "Deployments_WhatIf"}.get(
                        action, "Deployments_CreateOrUpdate")
                )  # fmt: skip
                path = f"{GROUP}/providers/Microsoft.Resources/deployments/d{number}{f'/{action}' if action else ''}"
                content = json.dumps({"properties": {"mode": "Incremental", "template": template}}).encode()
                ask(service, route, path, content=content)
    got = service.get(f"{GROUP}/resources", api_version="2024-11-01", token="root")
    assert got.status_code == 200
    service.service.store.resources.in_provisioning_state("Microsoft.Resources/deployments", ["Succeeded"])


def test_in_the_filter_of_the_activity_log_it_is_told_which_parameter(service: InProcess) -> None:
    asked = f"{LOG}?$filter=eventTimestamp%20ge%202026-01-01T00:00:00Z%20and%20caller%20eq%20'a%00'"
    answer = service.get(asked, api_version="2015-04-01", token="root")
    assert answer.status_code == 400
    assert answer.json()["error"]["target"] == "$filter"
    assert "NUL" in answer.json()["error"]["message"]
