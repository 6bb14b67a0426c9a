"""What one subscription may have at once: runs that wait, and images."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import (
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    InProcess,
    InstantWork,
    TestAccess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    started,
)
from postgresql import Cluster, cluster
from service_fixtures import living_service, some_access
from test_triggers import DEFINITION, publish

from vmkiln.settings import Settings
from vmkiln.store.database import opened


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def path_of(name: str, subscription: str = SUBSCRIPTION) -> str:
    group = f"/subscriptions/{subscription}/resourceGroups/rg1"
    return f"{group}/providers/Microsoft.VirtualMachineImages/imageTemplates/{name}"


def put(service: InProcess, name: str, subscription: str = SUBSCRIPTION) -> str:
    """A template that is ready to run, with an image of its own."""
    path = path_of(name, subscription)
    image = f"{path.partition('/providers/')[0]}/providers/Microsoft.Compute/images/{name}"
    target = {"type": "ManagedImage", "runOutputName": "out", "imageId": image, "location": "westus2"}
    provisioned(service, path, a_template(distribute=[target]), token="root")
    return path


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_subscription_has_its_quotas_and_others_have_theirs(
    server: Cluster, tmp_path: Path, access: TestAccess, kind: str
) -> None:
    place = server.new_database() if kind == "postgresql" else tmp_path / "vmkiln.sqlite"
    with opened(place) as store:
        service = started(store, tmp_path, access, InstantWork(store=store))
        few = replace(service.service.settings, most_waiting_runs=2, most_images=3)
        object.__setattr__(service.service, "settings", few)
        for subscription in (SUBSCRIPTION, OTHER_SUBSCRIPTION):
            add_group(service, subscription)
        paths = [put(service, f"t{number}") for number in range(3)]
        assert [service.request("POST", f"{path}/run").status_code for path in paths[:2]] == [202, 202]
        full = service.request("POST", f"{paths[2]}/run")
        assert (full.status_code, code_of(full)) == (409, "QuotaExceeded")
        words = "exceeding approved WaitingRuns quota. Additional details - Location: westus2, Current Limit: 2"
        assert words in full.text
        other = put(service, "other", OTHER_SUBSCRIPTION)
        assert service.request("POST", f"{other}/run", token="root").status_code == 202
        assert service.request("POST", f"{paths[0]}/cancel").status_code == 204
        for number in range(3):
            publish(service, f"1.0.{number}")
        full = service.request("POST", f"{paths[2]}/run")
        assert (full.status_code, code_of(full)) == (409, "QuotaExceeded")
        assert "exceeding approved Images quota" in full.text
        assert "Current Usage: 3, Additional Required: 1" in full.text
        store.images.remove(f"{DEFINITION}/versions/1.0.0")
        assert service.request("POST", f"{paths[2]}/run").status_code == 202


def test_a_run_that_nobody_asked_for_fails_by_the_name_of_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "__init__", _with_few(Settings.__init__))
    with living_service(tmp_path, some_access(), tmp_path / "vmkiln.sqlite") as service:
        add_group(service)
        publish(service, "1.0.0")
        path = path_of("auto")
        provisioned(service, path, a_template(autoRun={"state": "Enabled"}))
        status = ended_run(service, path)
        assert status["runState"] == "Failed"
        assert "exceeding approved Images quota" in status["message"]


def _with_few(init: object) -> object:
    def few(self: Settings, *arguments: object, **named: object) -> None:
        init(self, *arguments, **{"most_images": 1, **named})  # type: ignore[operator]

    return few
