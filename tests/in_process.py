"""The service in this process: requests go through the real application, without a socket; builds are stood in for."""

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from documented_types import check_type

from vmkiln.api.identity.caller import Caller, Permission, Rights
from vmkiln.api.identity.issuer import Issuer, issuer_of, new_key
from vmkiln.api.protocol.application import application
from vmkiln.api.protocol.background import Background
from vmkiln.api.protocol.dispatcher import Dispatcher, RouteTable
from vmkiln.api.protocol.route import Answer, Service
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.shells.meetings import Meetings
from vmkiln.audit.audit_log import AuditLog
from vmkiln.azure_names import ProvisioningState
from vmkiln.errors import ArmError
from vmkiln.fleet.admission import QueuePosition
from vmkiln.fleet.image_builder import DELETE, PROVISION
from vmkiln.fleet.placement.forecast import Forecast
from vmkiln.fleet.tally import Tally
from vmkiln.run.room import NOTHING, Room
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import Store, utc_now
from vmkiln.store.rows import ResourceRow, RunRow

BASE = "https://localhost:8443"
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
OTHER_SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
OWNER = "owner"
MOST_KEPT = 20
ALLOWED = {
    "Reader": {Permission.READ},
    "Contributor": set(Permission) - {Permission.ASSIGN},
    "Owner": set(Permission),
    "Runner": {Permission.READ, Permission.WRITE, Permission.DELETE, Permission.ACTION},  # none of Azure's
}


@dataclass
class TestAccess:
    """Roles by bearer token: token -> [(role, scope)]."""

    __test__ = False
    roles: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def authenticate(self, headers: Mapping[str, str], *, base_url: str) -> Caller:  # noqa: ARG002
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.roles:
            raise ArmError(
                401, "AuthenticationFailed", "Authentication failed.", headers={"WWW-Authenticate": "Bearer"}
            )
        return Caller(token, token)

    def is_own(self, host: str) -> bool:
        return host == "localhost"

    def keep(self, store: Store) -> None:
        """Record the roles where hosts look for those that a run has."""
        for token, roles in self.roles.items():
            for role, scope in roles[:MOST_KEPT]:  # who has thousands only reads
                store.principals.assign(token, role, scope)

    def rights(self, caller: Caller) -> Rights:
        roles = self.roles.get(caller.object_id, [])
        return Rights(tuple((frozenset(ALLOWED[role]), scope) for role, scope in roles), is_local=caller.is_local)


@dataclass
class RecordedWork:
    """Remembers what the service was asked to do by itself, and does none of it."""

    asked: list[tuple[str, ...]] = field(default_factory=list)

    def wake(self) -> None:
        self.asked.append(("wake",))

    def queued(self, run_id: str) -> None:
        self.asked.append(("queued", run_id))

    def queue(self) -> list[QueuePosition]:
        return []

    def forecast(self) -> Forecast:
        return Forecast()

    def room(self) -> tuple[Room, Room]:
        return Room(4, 8192, 100_000), NOTHING

    @property
    def tally(self) -> Tally:
        return Tally()

    def cancel(self, run_id: str) -> None:
        self.asked.append(("cancel", run_id))


@dataclass
class InstantWork(RecordedWork):
    """Provisions and deletes image templates at once; runs wait for ever."""

    store: Store | None = None

    def wake(self) -> None:
        assert self.store is not None
        for operation in self.store.operations.open_ones():
            if operation.kind == PROVISION:
                self.store.resources.change(operation.resource_id, made_ready)
            elif operation.kind == DELETE:
                self.store.resources.delete(operation.resource_id)
                self.store.runs.forget_template(operation.resource_id.lower())
            else:
                continue
            self.store.operations.end(operation.operation_id)


def made_ready(row: ResourceRow) -> ResourceRow:
    return replace(row, properties={**row.properties, "provisioningState": ProvisioningState.SUCCEEDED})


@dataclass
class InProcess:
    """The application and what is behind it; `request` asks as `owner` of SUBSCRIPTION unless told otherwise."""

    service: Service
    access: TestAccess
    builder: Any
    app: Any

    def settled(self) -> None:
        """Wait for what its audit's thread writes: that would make the database anew, which a test takes away."""
        self.service.audit.flush(10)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = OWNER,
        api_version: str | None = "2025-10-01",
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        url = path if path.startswith("https://") else BASE + path
        if api_version is not None and "api-version=" not in url:
            url += ("&" if "?" in url else "?") + f"api-version={api_version}"

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, url, content=content, headers=sent)

        answer = asyncio.run(ask())
        check_type(answer)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def put(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.request("PUT", path, body, **options)


@functools.cache
def an_issuer() -> Issuer:
    """An issuer of tokens; its key takes a while to make."""
    return issuer_of("99999999-9999-9999-9999-999999999999", new_key())


@functools.cache
def route_table() -> RouteTable:
    """Of all routes; made once, for it takes as long as some tests."""
    return RouteTable(ALL_ROUTES)


class AtOnce:
    """Does in the request what the service does after it."""

    @contextlib.contextmanager
    def reserved(self, subscription_id: str) -> Iterator[Callable[[Callable[[], None]], None]]:  # noqa: ARG002
        yield lambda function: function()


def started(
    store: Store,
    home: Path,
    access: TestAccess,
    work: Any,
    *,
    shared: SharedStorage | None = None,
    background: Background | None = None,
    shells: Meetings | None = None,
) -> InProcess:
    """A service with this store and this work; what goes on after an answer is done in the request, unless told."""
    dispatcher = Dispatcher(route_table())

    def dispatch(method: str, path: str, **options: Any) -> Answer:
        return dispatcher.answer_inside(service, method, path, **options)

    if isinstance(access, TestAccess):  # and not the real one, whose roles are there
        access.keep(store)
    audit = AuditLog(store.audit)
    after = background or AtOnce()
    service = Service(
        Settings(home),
        store,
        access,
        work,
        dispatch,
        after,
        an_issuer(),
        ALL_ROUTES,
        audit,
        shared=shared,
        shells=Meetings() if shells is None else shells,
    )
    return InProcess(service, access, work, application(service, dispatcher))


def code_of(response: httpx.Response) -> str:
    """The ARM error code of an answer."""
    return str(response.json()["error"]["code"])


GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/web"


def add_group(
    service: InProcess, subscription: str = SUBSCRIPTION, name: str = "rg1", location: str = "westus2"
) -> None:
    """A resource group, straight into the store."""
    row = ResourceRow(
        id=f"/subscriptions/{subscription}/resourceGroups/{name}",
        type="Microsoft.Resources/resourceGroups",
        name=name,
        subscription_id=subscription,
        resource_group=name,
        location=location,
        properties={"provisioningState": "Succeeded"},
    )
    service.service.store.resources.put(row)


def a_template(*commands: str, **properties: Any) -> dict[str, Any]:
    """The body of a small image template; `properties` replaces members."""
    return {
        "location": "westus2",
        "tags": {"team": "web"},
        "identity": {"type": "None"},
        "properties": {
            "source": {
                "type": "PlatformImage",
                "publisher": "Debian",
                "offer": "debian-12",
                "sku": "12",
                "version": "latest",
            },
            "customize": [{"type": "Shell", "name": "first", "inline": list(commands or ["true"])}],
            "distribute": [{"type": "ManagedImage", "runOutputName": "out", "imageId": IMAGE, "location": "westus2"}],
            **properties,
        },
    }


def wait_for(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """The first true value of `condition`, which is looked at the less often the longer it takes.

    Fifty questions a second took a tenth of a core beside a build of minutes.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        if found := condition():
            return found
        time.sleep(min(0.02 + waited / 20, 0.5))
    raise AssertionError("the condition did not come true in time")


def provisioned(service: InProcess, path: str, body: Any, **options: Any) -> dict[str, Any]:
    """PUT a template and wait until it is provisioned; gives it as it is then."""
    response = service.put(path, body, **options)
    reading = {name: value for name, value in options.items() if name == "token"}
    assert response.status_code == 201, response.text
    return dict(
        wait_for(
            lambda: (
                (found := service.get(path, **reading).json())["properties"]["provisioningState"] != "Creating"
                and found
            )
        )
    )


def ended_run(service: InProcess, path: str, **options: Any) -> dict[str, Any]:
    """Wait until a template's last run has ended; gives its status."""

    def ended() -> Any:
        status = service.get(path, **options).json()["properties"].get("lastRunStatus")
        return status if status and not status["endTime"].startswith("0001") else None

    return dict(wait_for(ended))


def run_with_blobs(living: InProcess, run_id: str) -> StorageAccount:
    """Put a run of the template that has ended; gives the storage account of its staging resource group."""
    add_group(living)
    provisioned(living, TEMPLATE, a_template("true"))
    settings, store = living.service.settings, living.service.store
    group = staging_resource_group.create(settings.staging, store, name="IT_x", run_id="", tags={})
    now = utc_now()
    store.runs.add(RunRow(run_id, "web", "rg1", {}, "Succeeded", "", "", "", "IT_x", {}, now, now, TEMPLATE.lower()))
    return group.storage_account


GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


def add_some_resources(service: InProcess, identity: Mapping[str, Any]) -> None:
    """Put a resource group with an identity, and a gallery with an image definition."""
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    definition = {"osType": "Linux", "osState": "Generalized", "identifier": identifier}
    add_group(service)
    for path, body in (
        (f"{IDENTITIES}/one", identity),
        (GALLERY, {"location": "westus2"}),
        (f"{GALLERY}/images/d", {"location": "westus2", "properties": definition}),
    ):
        assert service.put(path, body).status_code == 201
