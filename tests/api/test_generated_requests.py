"""Many requests nobody would send: none may end in an answer of class 5xx, every error has ARM's shape.

The requests follow from the table of routes and a seed (tests/tiers.py); a failure prints the request, which is all it
takes to see it again. Work of the service itself is stood in for; everything else is real.
"""

import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiers
from in_process import (
    BASE,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    InProcess,
    InstantWork,
    TestAccess,
    a_template,
    add_group,
    route_table,
    started,
)

from vmkiln.api.protocol.dispatcher import Dispatcher, Request
from vmkiln.api.protocol.route import Body, Route
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.resources import resource_groups
from vmkiln.store.database import opened

PARTS = 4
ODD_TEXTS = (
    "", " ", ".", "..", "%2e%2e", "%2f", "%00", "%ff", "%c3%28", "a%20b", "x" * 300, "'", '"', "{}", "[]", "null", "*",
    "a/b", "%0d%0aX: y", "ü", "%F0%9F%92%A9", "-", "_", "0", "-1", "1e999", "True", "${x}", "[concat('a')]", "%5c", ";",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**400, "", " ", "x" * 70_000, "\x00", "\ud800", "é", [], {}, [[]],
    [None], {"a": None}, {"": ""}, {"type": None}, {"type": []}, {"type": {}}, "/subscriptions/x", "/", "[", "[x]",
    "[concat('a', parameters('b'))]", "[[x]", "10.0.0.0/8", "10.0.0.1/8", "::/0", "300.1.1.1/8", {"$ref": "#/x"},
)  # fmt: skip
RAW_BODIES = (
    b"", b" ", b"{", b"}", b"null", b"1", b'"x"', b"[]", b"{}", b"NaN", b'{"a":NaN}', b'{"a":1,"a":2}', b"\xff\xfe",
    b"\xef\xbb\xbf{}", b"{" * 5000, b"[" * 5000, b'{"a":' * 3000, b'{"a":' + b"9" * 5000 + b"}", b"a=b&c=d",
    b"a" * 9999,
    b'{"properties":{"template":{"resources":[}}}', b"{template:{a:1}}", b"grant_type=client_credentials&client_id=%ff",
)  # fmt: skip
TOKENS = ("root", "root", "root", "root", "owner", "reader", "nobody")
VERSIONS = ("2025-10-01", "2020-02-14", "2023-07-01", "2024-11-01", "", "x", "9999-99-99", "2019-05-01-preview")
METHODS = ("GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "GETT")
CONTENT_TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "",
    "application/x-www-form-urlencoded",
)


def deployment() -> dict[str, Any]:
    template = {
        "$schema": "x",
        "languageVersion": "2.0",
        "parameters": {"name": {"type": "string", "defaultValue": "id"}},
        "variables": {"a": "[parameters('name')]"},
        "resources": {
            "one": {
                "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
                "apiVersion": "2023-01-31",
                "name": "[variables('a')]",
                "location": "[resourceGroup().location]",
                "copy": {"name": "loop", "count": 2},
                "condition": True,
                "dependsOn": [],
            }
        },
        "outputs": {"x": {"type": "string", "value": "[reference('one').clientId]"}},
    }
    return {"location": "westus2", "properties": {"mode": "Incremental", "template": template, "parameters": {}}}


GOOD_BODIES: tuple[Any, ...] = (
    a_template(),
    deployment(),
    {"location": "westus2", "tags": {"a": "b"}},
    {"properties": {"kind": "SourceImage"}},
    {
        "location": "westus2",
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.1.0/24"}}],
            "securityRules": [
                {
                    "name": "r",
                    "properties": {
                        "direction": "Inbound",
                        "access": "Allow",
                        "protocol": "Tcp",
                        "priority": 100,
                        "sourceAddressPrefix": "*",
                        "destinationAddressPrefix": "Internet",
                        "sourcePortRange": "*",
                        "destinationPortRange": "22",
                    },
                }
            ],
            "osType": "Linux",
            "osState": "Generalized",
            "identifier": {"publisher": "p", "offer": "o", "sku": "s"},
        },
    },
    {"properties": {"roleDefinitionId": "/x/acdd72a7-3385-48ef-bd42-f606fba81ae7", "principalId": "p"}},
    {"tags": {}, "properties": {"distribute": [], "vmProfile": {}}},
)


FITTING = {
    "ImageTemplates_Update": GOOD_BODIES[6],
    "ImageTemplates": GOOD_BODIES[0],
    "Deployments": GOOD_BODIES[1],
    "ResourceGroups": GOOD_BODIES[2],
    "Triggers": GOOD_BODIES[3],
    "Role": GOOD_BODIES[5],
}


class Generator:
    """Requests from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 (no secret)

    def name(self, placeholder: str) -> str:
        if self.random.random() < 0.12:
            return self.random.choice(ODD_TEXTS)
        known = {
            "subscriptionId": (SUBSCRIPTION, SUBSCRIPTION, SUBSCRIPTION.upper(), OTHER_SUBSCRIPTION),
            "resourceGroupName": ("rg1", "RG1", "rg1", "rg2"),
            "imageTemplateName": ("web", "db", "WEB"),
            "resourceProviderNamespace": ("Microsoft.Compute", "Microsoft.VirtualMachineImages", "x"),
            "virtualNetworkName": ("v1",),
            "roleAssignmentName": ("11111111-1111-1111-1111-111111111111", "x"),
        }
        return self.random.choice(known.get(placeholder, ("one", "two", "1.0.0")))

    def mutated(self, value: Any, depth: int = 0) -> Any:
        chance = self.random.random()
        if chance < 0.04 or depth > 8:
            return self.random.choice(ODD_VALUES)
        if isinstance(value, dict):
            found = {
                (self.random.choice(ODD_TEXTS) if self.random.random() < 0.02 else name): self.mutated(item, depth + 1)
                for name, item in value.items()
                if self.random.random() > 0.03
            }
            if self.random.random() < 0.04:
                found[self.random.choice(("extra", "type", "copy", "condition", "$ref"))] = self.random.choice(
                    ODD_VALUES
                )
            return found
        if isinstance(value, list):
            found_list = [self.mutated(item, depth + 1) for item in value]
            return found_list * self.random.choice((1, 1, 1, 2))
        return value

    def content(self, route: Route) -> bytes:
        if route.body is Body.NONE and self.random.random() < 0.9:
            return b""
        if self.random.random() < 0.15:
            return self.random.choice(RAW_BODIES)
        fitting = next((body for word, body in FITTING.items() if word in route.operation), GOOD_BODIES[4])
        body = fitting if self.random.random() < 0.8 else self.random.choice(GOOD_BODIES)
        text = json.dumps(self.mutated(body) if self.random.random() < 0.6 else body)
        content = text.encode()
        if self.random.random() < 0.05:
            content = content[: self.random.randrange(len(content) + 1)]
        return content

    def request(self) -> Request:
        route = self.random.choice(ALL_ROUTES)
        parts = [self.name(part[1:-1]) if part.startswith("{") else part for part in route.path.strip("/").split("/")]
        path = "/" + "/".join(parts) + self.random.choice(("", "", "", "/", "//"))
        query = f"api-version={self.random.choice(VERSIONS[:4] if self.random.random() < 0.9 else VERSIONS)}"
        if self.random.random() < 0.2:
            key = self.random.choice(("$filter", "$expand", "$skipToken", "$top", "tail", "x"))
            query += f"&{key}={self.random.choice((*ODD_TEXTS, 'resourceType%20eq%20%27x%27', 'ReplicationStatus'))}"
        method = route.method if self.random.random() < 0.95 else self.random.choice(METHODS)
        headers = {
            "authorization": f"Bearer {self.random.choice(TOKENS)}",
            "content-type": CONTENT_TYPES[0] if self.random.random() < 0.9 else self.random.choice(CONTENT_TYPES),
        }
        if self.random.random() < 0.05:
            headers["if-match"] = self.random.choice(("*", '"x"', "\xff", ""))
        raw_path = path.encode("utf-8", "surrogateescape")
        return Request(method, raw_path, query.encode("utf-8", "replace"), headers, self.content(route), BASE)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder in memory where there is one: they commit often."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="vmkiln-generated-", dir=memory if memory.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_ends_in_an_error_of_ours(
    home: Path, access: TestAccess, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(resource_groups, "WAIT_SECONDS", 0.0)
    generator = Generator(tiers.seed() * PARTS + part)
    statuses: dict[int, int] = {}
    made = 0
    (home / str(part)).mkdir(mode=0o700)
    with opened(home / f"{part}.sqlite") as store:
        service: InProcess = started(store, home / str(part), access, InstantWork(store=store))
        add_group(service)
        dispatcher = Dispatcher(route_table())
        for number in range(tiers.tier().requests // PARTS):
            request = generator.request()
            answer = dispatcher.answer(service.service, request)
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            made += request.method == "PUT" and answer.status in {200, 201, 202}
            assert answer.status < 500, f"request {number}: {request} -> {answer}"
            if answer.status >= 400 and request.method != "HEAD":
                check_shape(request, answer.body)
            json.dumps(answer.body) if not isinstance(answer.body, bytes) else None
    assert statuses.get(200, 0) > 100, f"hardly anything got through: {statuses}"
    assert made > 0, f"hardly anything was made: {made} in {statuses}"


def check_shape(request: Request, body: Any) -> None:
    if b"/oauth2/" in request.raw_path.lower() and isinstance(body.get("error"), str):
        assert body["error_description"]
        return
    error = body.get("error", body)  # the first api-version answers without the wrapper
    assert isinstance(error["code"], str), f"{request} -> {body}"
    assert error["code"], f"{request} -> {body}"
    assert isinstance(error["message"], str), f"{request} -> {body}"
