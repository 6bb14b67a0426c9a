"""The audit, shown as Azure's activity log: its shape, its filters, its pages, and who sees what."""

import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    InProcess,
    InstantWork,
    TestAccess,
    add_group,
    code_of,
    started,
)
from postgresql import cluster

from vmkiln.api.identity.caller import Caller
from vmkiln.api.insights.activity_filter import parse_filter
from vmkiln.api.protocol.route import Origin
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.store.database import opened

LOG = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Insights/eventtypes/management/values"
TENANT_LOG = "/providers/Microsoft.Insights/eventtypes/management/values"
FROM = "eventTimestamp ge '2020-01-01'"


def identity(group: str, name: str) -> str:
    kind = "Microsoft.ManagedIdentity/userAssignedIdentities"
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{kind}/{name}"


def put_identities(service: InProcess, group: str, *names: str, token: str) -> None:
    add_group(service, SUBSCRIPTION, group)
    for name in names:
        path = identity(group, name)
        made = service.put(path, {"location": "westus2"}, api_version="2023-01-31", token=token)
        assert made.status_code in {200, 201}, made.text


def log(
    service: InProcess, more: str = "", *, path: str = LOG, since: str = "2020-01-01", **options: Any
) -> httpx.Response:
    select = f"&$select={quote(options.pop('select'))}" if "select" in options else ""
    asked = quote(f"eventTimestamp ge 2020-01-01{more}")
    return service.get(f"{path}?$filter={asked}{select}", api_version="2015-04-01", **options)


def seen(response: httpx.Response) -> set[str]:
    assert response.status_code == 200, response.text
    return {item["resourceId"].rpartition("/")[2] for item in response.json()["value"]}


@pytest.fixture
def told(service: InProcess) -> InProcess:
    """A service in which `aaa` and `bbb` were put in group `one`, and `ccc` in group `two`."""
    put_identities(service, "one", "aaa", "bbb", token="owner")
    put_identities(service, "two", "ccc", token="root")
    return service


def test_an_event_has_azures_shape(told: InProcess) -> None:
    event = log(told, " and resourceGroupName eq 'TWO'").json()["value"][0]
    path = identity("two", "ccc")
    operation = "Microsoft.ManagedIdentity/userAssignedIdentities/write"
    changing = {"correlationId", "eventDataId", "eventTimestamp", "submissionTimestamp", "id", "operationId"}
    assert {name: value for name, value in event.items() if name not in changing} == {
        "authorization": {"action": operation, "scope": path},
        "caller": "root",
        "category": {"value": "Administrative", "localizedValue": "Administrative"},
        "channels": "Operation",
        "claims": {
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name": "root",
            "http://schemas.microsoft.com/identity/claims/objectidentifier": "root",
            "idtyp": "app",
        },
        "description": "",
        "eventName": {"value": "EndRequest", "localizedValue": "End request"},
        "httpRequest": {"clientRequestId": "", "clientIpAddress": "127.0.0.1", "method": "PUT"},
        "level": "Informational",
        "operationName": {"value": operation, "localizedValue": "Create or update userAssignedIdentities"},
        "properties": {
            "statusCode": "Created",
            "serviceRequestId": event["operationId"],
            "eventCategory": "Administrative",
            "entity": path,
            "message": operation,
        },
        "resourceGroupName": "two",
        "resourceId": path,
        "resourceProviderName": {
            "value": "Microsoft.ManagedIdentity",
            "localizedValue": "Microsoft.ManagedIdentity",
        },
        "resourceType": {
            "value": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "localizedValue": "Microsoft.ManagedIdentity/userAssignedIdentities",
        },
        "status": {"value": "Succeeded", "localizedValue": "Succeeded"},
        "subStatus": {"value": "Created", "localizedValue": "Created (HTTP Status Code: 201)"},
        "subscriptionId": SUBSCRIPTION,
        "tenantId": told.service.issuer.tenant_id,
    }
    moment = datetime.fromisoformat(event["eventTimestamp"])
    assert datetime.now(UTC) - moment < timedelta(minutes=1)
    assert event["id"].startswith(f"{path}/events/{event['eventDataId']}/ticks/63")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("", {"aaa", "bbb", "ccc"}),
        (" and eventTimestamp le '2020-01-02T00:00:00.1234567Z'", set()),
        (" and eventTimestamp le 2099-01-01T00:00:00+00:00", {"aaa", "bbb", "ccc"}),
        (" and eventTimestamp le 2099-01-01T00:00:00 00:00 and status eq 'Succeeded'", {"aaa", "bbb", "ccc"}),
        (" and resourceGroupName eq 'ONE'", {"aaa", "bbb"}),
        (f" and resourceId eq '{identity('one', 'aaa').upper()}'", {"aaa"}),
        (f" and resourceUri eq '/subscriptions/{SUBSCRIPTION}/resourceGroups/one'", set()),
        (" and resourceProvider eq 'microsoft.managedidentity'", {"aaa", "bbb", "ccc"}),
        (" and resourceProvider eq 'Microsoft.Compute'", set()),
        (" and caller eq 'Owner'", {"aaa", "bbb"}),
        (" and caller eq 'own''er'", set()),
        (" and status eq 'Failed'", set()),
        (" and eventChannels eq 'Admin, Operation' and caller eq 'root'", {"ccc"}),
        (" AND caller EQ 'root'", {"ccc"}),
    ],
)  # fmt: skip
def test_a_filter_chooses(told: InProcess, more: str, found: set[str]) -> None:
    assert seen(log(told, more)) == found


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_callers_are_compared_in_any_case_whatever_their_letters(tmp_path: Path, kind: str) -> None:
    """SQLite has small letters of ASCII only, PostgreSQL those of its locale."""
    names = {"Jörgen Ångström": ("JÖRGEN ÅNGSTRÖM", "jörgen ångström", "Jo\u0308rgen A\u030angstro\u0308m"),
             "Żółć": ("ŻÓŁĆ", "żółć"), "ИВАН": ("иван", "Иван"), "o'neill": ("O'NEILL",)}  # fmt: skip
    with contextlib.ExitStack() as stack:
        place = tmp_path / "db" if kind == "SQLite" else stack.enter_context(cluster()).new_database()
        store = stack.enter_context(opened(place, home=tmp_path))
        service = started(store, tmp_path, TestAccess({name: [("Owner", "/")] for name in names}), InstantWork())
        for number, name in enumerate(names):
            origin = Origin(Caller(name, name), str(uuid.uuid4()), str(uuid.uuid4()))
            path = GROUP.replace("rg1", f"g{number}")
            body, query = {"location": "westus2"}, {"api-version": "2024-11-01"}
            service.service.dispatch("PUT", path, caller=origin.caller, query=query, body=body, origin=origin)
        assert service.service.audit.flush(10)
        for number, (name, spellings) in enumerate(names.items()):
            for spelling in (name, *spellings):
                query = parse_filter(f"{FROM} and caller eq '{spelling.replace(chr(39), chr(39) * 2)}'",
                                     subscription_id=SUBSCRIPTION, now=store.now())  # fmt: skip
                assert [row.resource_group for row in store.audit.find(query, limit=9)] == [f"g{number}"], spelling


def test_one_request_is_found_by_its_correlation_id(told: InProcess) -> None:
    first = log(told).json()["value"][0]
    assert seen(log(told, f" and correlationId eq '{first['correlationId'].upper()}'")) == {"ccc"}


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "eventTimestamp", "resourceGroupName eq 'rg1'", "eventTimestamp eq '2020-01-01'",
        "eventTimestamp ge 'yesterday'", "eventTimestamp ge '0001-01-01T00:00:00+23:59'",
        "eventTimestamp ge '2099-01-01'", f"{FROM} and", f"{FROM} or caller eq 'x'", f"{FROM} caller eq 'x'",
        f"{FROM} and color eq 'red'", f"{FROM} and caller ne 'x'", f"{FROM} and caller eq ''",
        f"{FROM} and caller eq 'x",
        f"{FROM} and caller eq 'x' and caller eq 'y'", f"{FROM} and eventTimestamp le '2019-01-01'",
        FROM + " " * 5000 + "x",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_used_is_told(service: InProcess, text: str) -> None:
    response = service.get(f"{LOG}?$filter={quote(text)}", api_version="2015-04-01")
    assert (response.status_code, code_of(response)) == (400, "BadRequest")
    assert response.json()["error"]["target"] == "$filter"
    assert "eventTimestamp ge" in response.json()["error"]["message"]


def test_members_are_chosen_as_az_writes_them(told: InProcess) -> None:
    (first, *_) = log(told, select="caller , resourceid").json()["value"]
    assert set(first) == {"caller", "resourceId"}
    response = log(told, select="caller , secret")
    assert (response.status_code, response.json()["error"]["target"]) == (400, "$select")


def test_pages_follow_each_other_though_new_acts_come(service: InProcess) -> None:
    names = [f"n{number:03}" for number in range(230)]
    put_identities(service, "one", *names, token="root")
    found: list[str] = []
    sizes = []
    response = log(service, " and resourceGroupName eq 'one'", select="resourceId")
    while True:
        body = response.json()
        found += [item["resourceId"].rpartition("/")[2] for item in body["value"]]
        sizes.append(len(body["value"]))
        if "nextLink" not in body:
            break
        put_identities(service, "one", "later", token="root")
        response = service.get(body["nextLink"], api_version=None)
    assert sizes == [100, 100, 30]
    assert found == list(reversed(names))


@pytest.mark.parametrize("token", ["x", "1-", "-1", "1-x", "9" * 30 + "-1", "9" * 99, "1-1-1", "\uff11-1"])
def test_a_wrong_page_is_told(service: InProcess, token: str) -> None:
    response = service.get(f"{LOG}?$filter=eventTimestamp%20ge%20'2020-01-01'&$skipToken={quote(token)}")
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("roles", "found"),
    [
        ([("Reader", f"/subscriptions/{SUBSCRIPTION}")], {"aaa", "bbb", "ccc"}),
        ([("Reader", "/")], {"aaa", "bbb", "ccc"}),
        ([("Reader", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ONE")], {"aaa", "bbb"}),
        ([("Reader", identity("one", "BBB"))], {"bbb"}),
        ([("Contributor", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/two"),
          ("Reader", identity("one", "AAA"))], {"aaa", "ccc"}),
        ([("Reader", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/three")], set()),
    ],
)  # fmt: skip
def test_who_reads_a_part_sees_that_part(told: InProcess, roles: list[tuple[str, str]], found: set[str]) -> None:
    told.access.roles["anna"] = roles
    assert seen(log(told, token="anna")) == found
    for group in ("one", "two"):
        asked = f" and resourceGroupName eq '{group}'"
        assert seen(log(told, asked, token="anna")) == found & ({"aaa", "bbb"} if group == "one" else {"ccc"})


def test_who_has_no_role_is_refused_whatever_they_ask(told: InProcess) -> None:
    for path in (LOG, LOG.replace(SUBSCRIPTION, str(uuid.UUID(int=5))), TENANT_LOG):
        for more in ("", " and resourceGroupName eq 'one'", " and nonsense"):
            assert log(told, more, path=path, token="stranger").status_code == 403


def test_a_resource_of_ones_own_opens_no_other_subscription(told: InProcess) -> None:
    own = f"/subscriptions/{OTHER_SUBSCRIPTION}/resourceGroups/one"
    told.access.roles["anna"] = [("Owner", f"/subscriptions/{OTHER_SUBSCRIPTION}"), ("Reader", f"{GROUP}9")]
    for more in ("", f" and resourceId eq '{own}'", " and resourceGroupName eq 'one'", " and caller eq 'owner'"):
        assert seen(log(told, more, token="anna")) == set()


def test_a_refusal_is_an_error_that_the_group_sees(told: InProcess) -> None:
    path = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/one/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a"
    )
    told.request("DELETE", path, token="stranger", api_version="2023-01-31")
    told.service.audit.flush(10)
    event = log(told, " and resourceGroupName eq 'one' and status eq 'Failed'").json()["value"][0]
    assert (event["level"], event["caller"], event["subStatus"]["value"]) == ("Error", "stranger", "Forbidden")
    assert event["properties"]["errorCode"] == "AuthorizationFailed"


def test_what_belongs_to_no_subscription_is_in_the_tenants_log(told: InProcess) -> None:
    content = b"grant_type=client_credentials&client_id=nobody&client_secret=x&scope=https://x/.default"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    told.request("POST", "/common/oauth2/v2.0/token", content=content, token=None, headers=form)
    told.service.audit.flush(10)
    assert log(told, path=TENANT_LOG).status_code == 403, "an owner of a subscription is no reader of everything"
    (event,) = log(told, path=TENANT_LOG, token="root").json()["value"]
    assert event["operationName"]["value"] == "Microsoft.Directory/signIns/action"
    assert event["claims"] == {}


def test_there_is_one_category_of_events(service: InProcess) -> None:
    found = service.get("/providers/Microsoft.Insights/eventcategories", api_version="2015-04-01").json()["value"]
    assert [item["value"] for item in found] == ["Administrative"]


def test_its_provider_is_in_the_list_of_providers(service: InProcess) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/providers"
    found = {item["namespace"]: item for item in service.get(path, api_version="2024-11-01").json()["value"]}
    types = [kind["resourceType"] for kind in found["Microsoft.Insights"]["resourceTypes"]]
    assert types == ["eventtypes/management/values", "eventcategories"]
    one = service.get(f"{path}/microsoft.insights", api_version="2024-11-01").json()
    assert one["registrationState"] == "Registered"


def test_every_provider_that_is_served_is_in_the_list(service: InProcess) -> None:
    served = {route.path.rpartition("/providers/")[2].partition("/")[0] for route in ALL_ROUTES
              if "/providers/" in route.path}  # fmt: skip
    listed = service.get(f"/subscriptions/{SUBSCRIPTION}/providers", api_version="2024-11-01").json()["value"]
    assert {name for name in served if not name.startswith("{")} <= {item["namespace"] for item in listed}
