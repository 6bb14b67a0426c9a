"""Deployments that wait cost nothing meanwhile, are woken by what they wait for, and are few."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    RecordedWork,
    TestAccess,
    a_template,
    add_group,
    code_of,
    started,
    wait_for,
)

from vmkiln.api.protocol.background import MOST_OF_A_SUBSCRIPTION, BackgroundThreads
from vmkiln.store.database import opened

DEPLOYMENTS = "providers/Microsoft.Resources/deployments"
TYPE = "Microsoft.VirtualMachineImages/imageTemplates"


@pytest.fixture
def service(tmp_path: Path, access: TestAccess) -> Iterator[InProcess]:
    """A service whose templates stay in provisioning, and whose deployments go on in threads."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        found = started(store, tmp_path, access, RecordedWork(), background=BackgroundThreads())
        add_group(found)
        yield found
        for row in store.resources.list(type="Microsoft.Resources/deployments"):
            store.resources.change(row.id, lambda old: replace(old, state={**old.state, "cancel": True}))
        wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "background"])
        found.settled()


def deploy(service: InProcess, name: str, *, template: str = "web", scope: str = GROUP, **options: Any) -> Any:
    body = a_template("true")
    resource = {"type": TYPE, "apiVersion": "2025-10-01", "name": template, **body}
    document = {"$schema": "s", "contentVersion": "1.0.0.0", "resources": [resource]}
    wanted = {"properties": {"mode": "Incremental", "template": document}}
    return service.put(f"{scope}/{DEPLOYMENTS}/{name}", wanted, api_version="2024-11-01", **options)


def state_of(service: InProcess, name: str) -> str:
    found = service.get(f"{GROUP}/{DEPLOYMENTS}/{name}", api_version="2024-11-01").json()
    return str(found["properties"]["provisioningState"])


def provision(service: InProcess, resource_id: str = TEMPLATE) -> None:
    done = {"provisioningState": "Succeeded"}
    service.service.store.resources.change(resource_id, lambda row: replace(row, properties={**row.properties, **done}))


def test_a_deployment_that_waits_asks_nothing_and_is_woken_at_once(service: InProcess) -> None:
    assert deploy(service, "d").status_code == 201
    wait_for(lambda: service.service.store.resources.get(TEMPLATE))
    time.sleep(1)  # it has looked once more by now
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_arguments: object) -> None:
        statements.append(statement)

    engines = service.service.store.connections.engines
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", count)
    time.sleep(2)
    for engine in engines:
        sa.event.remove(engine, "before_cursor_execute", count)
    assert statements == []
    provision(service)
    began = time.monotonic()
    wait_for(lambda: state_of(service, "d") == "Succeeded")
    assert time.monotonic() - began < 10, "far less than the pause after which it looks unasked"


def test_a_cancel_wakes_a_deployment_that_waits(service: InProcess) -> None:
    deploy(service, "d")
    wait_for(lambda: service.service.store.resources.get(TEMPLATE))
    cancelled = service.request("POST", f"{GROUP}/{DEPLOYMENTS}/d/cancel", api_version="2024-11-01")
    assert cancelled.status_code == 204
    began = time.monotonic()
    wait_for(lambda: state_of(service, "d") == "Canceled")
    assert time.monotonic() - began < 10


def test_beyond_the_limit_a_deployment_is_refused_and_not_recorded(service: InProcess) -> None:
    for number in range(MOST_OF_A_SUBSCRIPTION):
        assert deploy(service, f"d{number}", template=f"t{number}").status_code == 201
    refused = deploy(service, "more")
    assert (refused.status_code, code_of(refused)) == (429, "TooManyRequests")
    assert int(refused.headers["Retry-After"]) > 0
    assert service.get(f"{GROUP}/{DEPLOYMENTS}/more", api_version="2024-11-01").status_code == 404
    group = service.request("DELETE", GROUP, api_version="2024-11-01")
    assert (group.status_code, code_of(group)) == (429, "TooManyRequests")
    assert service.get(GROUP, api_version="2024-11-01").json()["properties"]["provisioningState"] == "Succeeded"
    add_group(service, subscription=OTHER_SUBSCRIPTION)
    other = GROUP.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION)
    assert deploy(service, "theirs", scope=other, token="stranger").status_code == 201
    provision(service, TEMPLATE.replace("/web", "/t0"))
    wait_for(lambda: state_of(service, "d0") == "Succeeded")
    wait_for(lambda: deploy(service, "more").status_code == 201)
