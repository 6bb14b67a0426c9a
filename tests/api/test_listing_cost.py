"""A list costs as much for whoever may read a part of it as for whoever may read all, and shows exactly that part."""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from in_process import BASE, GROUP, SUBSCRIPTION, InProcess, InstantWork, TestAccess, add_group, an_issuer, started

from vmkiln import azure_names
from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.caller import Permission, Rights
from vmkiln.api.protocol.listing import MOST_SCOPES, container_of
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.azure_names import ProvisioningState
from vmkiln.run_state import RunState
from vmkiln.staging import staging_resource_group
from vmkiln.store import database
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow, ResourceRow, RunOutputRow, RunRow

TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
LISTS = (f"/subscriptions/{SUBSCRIPTION}/providers/{TYPE}", f"/subscriptions/{SUBSCRIPTION}/resources")
MANY, SOME = 5000, 150


def template(group: str, number: int) -> ResourceRow:
    name = f"t{number:05}"
    resource_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{TYPE}/{name}"
    properties = {"source": {}, "provisioningState": "Succeeded"}
    return ResourceRow(resource_id, TYPE, name, SUBSCRIPTION, group, location="l", properties=properties)


@contextlib.contextmanager
def heard(store: database.Store, listener: Callable[..., None]) -> Iterator[None]:
    """Tell a listener of every statement while the block lasts."""
    for engine in store.connections.engines:
        sa.event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        for engine in store.connections.engines:
            sa.event.remove(engine, "before_cursor_execute", listener)


class Lists:
    """A service with many templates, and principals with roles in a part of them."""

    def __init__(self, home: Path, store: database.Store) -> None:
        self._store = store
        issuer = an_issuer()
        self._service: InProcess = started(store, home, AccessControl(store, issuer), InstantWork(store=store))  # type: ignore[arg-type]
        rows = [*(template("rg1", number) for number in range(MANY)), *(template("rg2", n) for n in range(SOME))]
        store.resources.insert_many(rows)

    def token(self, *scopes: str) -> str:
        principal, _ = self._store.principals.create("caller")
        for scope in scopes:
            self._store.principals.assign(principal.object_id, "Reader", scope)
        return self._store.principals.add_token(principal.object_id, "t")

    def page(self, url: str, token: str) -> tuple[dict[str, Any], int]:
        """A page, and how many statements it took."""
        count = 0

        def counted(*_arguments: object) -> None:
            nonlocal count
            count += 1

        with heard(self._store, counted):
            answer = self._service.get(url, token=token)
        assert answer.status_code == 200, answer.text
        return answer.json(), count

    def all(self, url: str, token: str) -> list[str]:
        found: list[str] = []
        following: str | None = url
        while following:
            body, _ = self.page(following, token)
            found += [item["id"] for item in body["value"]]
            following = body.get("nextLink")
        return found


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lists]:
    home = tmp_path_factory.mktemp("home")
    with database.opened(home / "vmkiln.sqlite", home=home) as store:
        yield Lists(home, store)


@pytest.mark.parametrize("url", LISTS)
def test_a_reader_of_one_group_pays_for_a_list_what_the_owner_pays(lists: Lists, url: str) -> None:
    _, owner = lists.page(url, lists.token("/"))
    assert owner <= 20
    for scopes in (
        [GROUP.replace("rg1", "zz")],
        [GROUP.replace("rg1", "rg2")],
        [template("rg1", MANY - 1).id],
        [GROUP.replace("rg1", f"rg{number}") for number in range(2, 50)],
    ):
        _, reader = lists.page(url, lists.token(*scopes))
        assert reader <= owner


@pytest.mark.parametrize("url", LISTS)
def test_a_reader_of_one_group_sees_all_of_it_and_nothing_else(lists: Lists, url: str) -> None:
    token = lists.token(GROUP.replace("rg1", "RG2"), template("rg1", 7).id.upper())
    wanted = {template("rg1", 7).id, *(template("rg2", number).id for number in range(SOME))}
    found = lists.all(url, token)
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_a_list_of_runs_asks_as_often_for_many_as_for_one(lists: Lists) -> None:
    """Phases and outputs were asked for run by run."""
    counts = []
    for number, most in ((1, 1), (2, 30)):
        row = template("rg2", number)
        for index in range(most):
            run = f"{uuid.UUID(int=1000 * number + index)}"
            lists._store.runs.add(
                RunRow(run, row.name, "rg2", {}, RunState.QUEUED, "", "", "", "", {}, utc_now(), None, row.key)
            )
            lists._store.runs.begin_phase(run, "Building")
            lists._store.runs.begin_phase(run, "Customizing")
            lists._store.images.put_output(RunOutputRow(run, "out", "", "", ProvisioningState.SUCCEEDED, ""))
        body, count = lists.page(f"{row.id}/providers/Vmkiln.Builds/runs", lists.token("/"))
        found = [run["properties"] for run in body["value"]]
        assert [[phase["name"] for phase in run["phases"]] for run in found] == [["Building", "Customizing"]] * most
        assert [[output["name"] for output in run["outputs"]] for run in found] == [["out"]] * most
        counts.append(count)
    assert counts[0] == counts[1]


def test_the_roles_of_a_caller_are_read_once_a_request(lists: Lists) -> None:
    asked: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_arguments: object) -> None:
        asked.append(statement)

    token = lists.token(GROUP)
    with heard(lists._store, seen):
        lists._service.get(LISTS[0], token=token)
    assert len([statement for statement in asked if "vmkiln_role_assignment" in statement]) == 1


def test_more_scopes_than_a_statement_takes_are_compared_here(tmp_path: Path) -> None:
    with database.opened(tmp_path / "vmkiln.sqlite", home=tmp_path) as store:
        scopes = [("Reader", GROUP.replace("rg1", f"rg{number}")) for number in range(2, MOST_SCOPES + 3)]
        service = started(store, tmp_path, TestAccess({"owner": [("Owner", "/")], "many": scopes}), InstantWork())
        store.resources.insert_many([template("rg1", 1), template("rg2", 2)])
        found = service.get(f"{BASE}{LISTS[0]}", token="many").json()["value"]
        assert [item["id"] for item in found] == [template("rg2", 2).id]


@pytest.mark.parametrize(
    ("path", "container"),
    [
        ("/subscriptions/s/providers/M.X/things", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups", "/subscriptions/s"),
        ("/subscriptions/s/resources", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups/g/resources", "/subscriptions/s/resourceGroups/g"),
        ("/subscriptions/s/resourceGroups/g/providers/M.X/things", "/subscriptions/s/resourceGroups/g"),
        (
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t/parts",
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t",
        ),
        (
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t/providers/V.B/runs",
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t",
        ),
    ],
)
def test_a_list_knows_what_its_things_lie_in(path: str, container: str) -> None:
    assert container_of(path) == container


def test_scopes_below_another_are_those_with_the_permission() -> None:
    read = frozenset({Permission.READ})
    rights = Rights(((read, GROUP), (frozenset(), f"{GROUP}x"), (read, "/subscriptions/other/resourceGroups/a")))
    assert rights.scopes_below(f"/subscriptions/{SUBSCRIPTION}", Permission.READ) == {GROUP.lower()}


TYPES = (
    azure_names.CONTAINER_GROUP, azure_names.VIRTUAL_MACHINE, azure_names.DISK, azure_names.NETWORK_INTERFACE,
    azure_names.PRIVATE_ENDPOINT, azure_names.PRIVATE_LINK_SERVICE, azure_names.LOAD_BALANCER,
    azure_names.SECURITY_GROUP, azure_names.VIRTUAL_NETWORK, azure_names.STORAGE_ACCOUNT,
)  # fmt: skip


def fill(service: InProcess, number: int) -> None:
    """A staging resource group with a resource of each type, and one of all that users keep, in a group of its own."""
    store, settings = service.service.store, service.service.settings
    run = f"run-{number}"
    store.runs.add(RunRow(run, "web", "rg", {}, "Succeeded", "", "", "", "", {}, utc_now(), utc_now()))
    name = f"IT_rg_web_{number}"
    staging_resource_group.create(settings.staging, store, name=name, run_id=run, tags={})
    for kind in TYPES:
        detail = {"rules": [], "prefix": "10.0.0.0/24", "subnets": [], "generation": 1, "cpus": 1, "memory_mib": 1}
        store.staging.add_resource(name, run_id=run, type=kind, name=f"n{number}", detail=detail)
    store.resources.put(
        ResourceRow(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}", azure_names.RESOURCE_GROUP, name,
                    SUBSCRIPTION, name, location="westus2", state={"staging_group": name})
    )  # fmt: skip
    group = f"rg{number}"
    add_group(service, SUBSCRIPTION, group)
    base = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers"
    at = {"location": "westus2"}
    image = f"{base}/Microsoft.Compute/galleries/g/images/i"
    kind_of_image = {"osType": "Linux", "osState": "Generalized",
                     "identifier": {"publisher": f"p{number}", "offer": "o", "sku": "s"}}  # fmt: skip
    net = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
           "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.1.0/24"}}]}  # fmt: skip
    for path, body in (
        (f"{base}/Microsoft.ManagedIdentity/userAssignedIdentities/one", at),
        (f"{base}/Microsoft.Compute/galleries/g", at),
        (image, {**at, "properties": kind_of_image}),
        (f"{base}/Microsoft.Network/virtualNetworks/v", {**at, "properties": net}),
        (f"{base}/Microsoft.Network/networkSecurityGroups/n", {**at, "properties": {}}),
    ):
        made = service.put(path, body, api_version="2024-11-01")
        assert made.status_code in {200, 201}, made.text
    store.resources.insert_many([template(group, number)])
    row = ImageRow("", "", settings.home / "x", "qcow2", "0" * 64, 1, 1, 1, "Linux", "", run, {}, {}, utc_now())
    store.images.add(replace(row, kind="ManagedImage", artifact_id=f"{base}/Microsoft.Compute/images/m"))
    store.images.add_version(
        replace(row, kind="SharedImage", artifact_id=f"{image}/versions/1.0.0"), definition_id=image
    )


LISTED = [
    route
    for route in ALL_ROUTES
    if route.method == "GET" and "{subscriptionId}" in route.path and not set(re.findall(r"{(.*?)}", route.path))
    - {"subscriptionId", "location"}
]  # fmt: skip


def test_no_list_of_a_subscription_asks_for_each_of_its_things(tmp_path: Path) -> None:
    """As many statements with six times as much: found from the table of routes."""
    with database.opened(tmp_path / "vmkiln.sqlite", home=tmp_path) as store:
        access = TestAccess({"owner": [("Owner", "/")]})
        service = started(store, tmp_path, access, InstantWork(store=store))
        costs: list[dict[str, int]] = []
        items: list[dict[str, int]] = []
        for numbers in (range(1), range(1, 6)):
            for number in numbers:
                fill(service, number)
            costs.append({})
            items.append({})
            for route in LISTED:
                statements: list[str] = []
                path = route.path.format(subscriptionId=SUBSCRIPTION, location="westus2")
                version = (route.api_versions or ("2024-11-01",))[-1]
                with heard(store, lambda _c, _u, statement, *_r, found=statements: found.append(statement)):
                    answer = service.get(path, api_version=version)
                assert answer.status_code < 500, (route.operation, answer.text)
                costs[-1][route.operation] = len(statements)
                found = answer.json() if answer.content else []
                items[-1][route.operation] = len(found if isinstance(found, list) else found.get("value", []))
    assert costs[0] == costs[1]
    grown = {name for name, count in items[1].items() if count > items[0][name]}
    assert {"StorageAccounts_List", "ContainerGroups_List", "VirtualMachines_List", "Disks_List"} <= grown
    assert len(grown) > 12, grown
