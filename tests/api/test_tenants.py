"""Two tenants: whatever route and whatever id, the one learns nothing of the other's, not even that it is there."""

from collections.abc import Iterator

import pytest
from in_process import GROUP, OTHER_SUBSCRIPTION, SUBSCRIPTION, InstantWork, Service, a_template, add_group, started
from service_fixtures import some_access

from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.route import Body, Permission, Route
from vmkiln.store.database import opened

VALUES = {"resourceGroupName": "rg1", "imageTemplateName": "web", "location": "local", "tenant": "t"}
IN_SUBSCRIPTION = [route for route in ALL_ROUTES if "{subscriptionId}" in route.path]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A subscription with something of many kinds in it, and the stranger's own; one for all tests of this file."""
    home = tmp_path_factory.mktemp("service")
    with opened(home / "vmkiln.sqlite") as store:
        yield filled_with_much(started(store, home, some_access(), InstantWork(store=store)))


@pytest.fixture
def filled(shared: Service) -> Iterator[Service]:
    """The shared service; after the test, everything in it is as it was, for nothing here may change anything."""
    before = shared.parts.store.resources.list()
    yield shared
    assert shared.parts.store.resources.list() == before


def filled_with_much(service: Service) -> Service:
    add_group(service)
    add_group(service, subscription=OTHER_SUBSCRIPTION)
    service.put(f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web", a_template())
    service.put(f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one", {"location": "westus2"})
    service.put(f"{GROUP}/providers/Microsoft.Compute/galleries/one", {"location": "westus2"})
    service.put(
        f"{GROUP}/providers/Microsoft.Network/virtualNetworks/one",
        {"location": "westus2", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}},
    )
    return service


def path_of(route: Route, subscription: str, name: str) -> str:
    return "/" + "/".join(
        {**VALUES, "subscriptionId": subscription}.get(part[1:-1], name) if part.startswith("{") else part
        for part in route.path.strip("/").split("/")
    )


@pytest.mark.parametrize("route", IN_SUBSCRIPTION, ids=lambda route: route.operation)
def test_a_stranger_gets_the_same_refusal_for_what_is_there_and_what_is_not(filled: Service, route: Route) -> None:
    body = None if route.body is Body.NONE else a_template()
    answers = []
    for subscription, name in ((SUBSCRIPTION, "one"), (SUBSCRIPTION, "nothing"), ("3" + SUBSCRIPTION[1:], "one")):
        response = filled.request(route.method, path_of(route, subscription, name), body, token="stranger")
        said = response.text.replace(subscription, "S").replace("nothing", "one")
        answers.append((response.status_code, said))
    statuses = {status for status, _ in answers}
    if "/providers/{resourceProviderNamespace}" in route.path or route.operation == "Providers_List":
        return  # what the service is able to do is the same for everybody
    assert statuses <= {403, 404}, answers
    assert len({text for _, text in answers}) == 1, answers


@pytest.mark.parametrize("route", IN_SUBSCRIPTION, ids=lambda route: route.operation)
def test_every_route_needs_a_login(filled: Service, route: Route) -> None:
    response = filled.request(route.method, path_of(route, SUBSCRIPTION, "one"), token=None)
    assert response.status_code == 401


@pytest.mark.parametrize(
    "route",
    [route for route in IN_SUBSCRIPTION if route.permission not in {Permission.READ, Permission.ANY}],
    ids=lambda route: route.operation,
)
def test_a_reader_changes_nothing(filled: Service, route: Route) -> None:
    body = None if route.body is Body.NONE else a_template()
    response = filled.request(route.method, path_of(route, SUBSCRIPTION, "one"), body, token="reader")
    assert response.status_code == 403


def test_lists_hold_nothing_of_the_other_tenant(filled: Service) -> None:
    for route in ALL_ROUTES:
        if route.method == "GET" and route.permission is not Permission.NONE:
            response = filled.get(path_of(route, OTHER_SUBSCRIPTION, "one"), token="stranger")
            assert SUBSCRIPTION not in response.text, route.operation
