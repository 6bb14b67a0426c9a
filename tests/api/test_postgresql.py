"""The service with its database in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import TEMPLATE, InProcess, TestAccess, a_template, add_group, ended_run, provisioned, wait_for
from postgresql import Cluster, cluster
from service_fixtures import living_service


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def test_templates_live_and_run_in_postgresql(server: Cluster, tmp_path: Path, access: TestAccess) -> None:
    place = server.new_database()
    with living_service(tmp_path, access, place) as service:
        life(service)
    with living_service(tmp_path, access, place) as service:
        assert service.get(TEMPLATE).json()["properties"]["lastRunStatus"]["runState"] == "Succeeded"
        assert service.request("DELETE", TEMPLATE).status_code == 202
        wait_for(lambda: service.get(TEMPLATE).status_code == 404)


def life(service: InProcess) -> None:
    add_group(service)
    provisioned(service, TEMPLATE, a_template("echo in PostgreSQL"))
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
    assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
    assert service.request("PATCH", TEMPLATE, {"tags": {"a": "b"}}).status_code in {200, 202}
    found = service.get(TEMPLATE.rpartition("/")[0]).json()["value"]
    assert [item["name"] for item in found] == ["web"]


def test_a_restart_of_the_database_is_survived(server: Cluster, tmp_path: Path, access: TestAccess) -> None:
    with living_service(tmp_path, access, server.new_database()) as service:
        add_group(service)
        provisioned(service, TEMPLATE, a_template("true"))
        server.control("-m", "fast", "restart")
        assert service.get(TEMPLATE).status_code == 200
        assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
        assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
