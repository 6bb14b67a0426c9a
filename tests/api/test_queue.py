"""Runs that wait: where they stand, why, and what Prometheus hears of it."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.errors import StorageFull
from vmkiln.fleet import hosting, image_builder
from vmkiln.fleet.admission import QueuePosition
from vmkiln.run_state import RunState
from vmkiln.store.database import utc_now
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import RunFacts


def template_id(name: str, subscription: str = SUBSCRIPTION) -> str:
    group = f"/subscriptions/{subscription}/resourceGroups/rg1"
    return f"{group}/providers/Microsoft.VirtualMachineImages/imageTemplates/{name}"


def queued(service: InProcess, name: str, *commands: str, subscription: str = SUBSCRIPTION) -> str:
    """Make a template and ask for its run."""
    path = template_id(name, subscription)
    image = f"{path.partition('/providers/')[0]}/providers/Microsoft.Compute/images/{name}"
    target = {"type": "ManagedImage", "runOutputName": "out", "imageId": image, "location": "westus2"}
    provisioned(service, path, a_template(*commands, distribute=[target]), token="root")
    assert service.request("POST", f"{path}/run", token="root").status_code == 202
    return path


def place(service: InProcess, path: str) -> dict[str, object]:
    runs = service.get(f"{path}/providers/Vmkiln.Builds/runs", token="root").json()["value"]
    return dict(runs[0]["properties"].get("queue", {}))


def test_a_run_whose_launcher_ended_begins_again_by_itself(living: InProcess, tmp_path: Path) -> None:
    """As after the death of the whole service: neither the run nor the host is blamed."""
    add_group(living)
    once = tmp_path / "once"
    once.touch()
    path = queued(living, "first", f"lose the launcher with {once}")
    assert ended_run(living, path, token="root")["runState"] == "Succeeded"
    store = living.service.store
    (run,) = store.runs.of_template(path.lower())
    assert (run.message, run.facts["attempt"], run.facts.get("host_faults", {})) == ("", 2, {})
    assert [row.unready for row in store.hosts.all() if row.unready] == []
    assert not once.exists()


def test_waiting_runs_know_their_place_and_subscriptions_take_turns(
    living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_group(living)
    add_group(living, OTHER_SUBSCRIPTION)
    first = queued(living, "first", "wait")
    wait_for(lambda: living.get(first).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    second, third = queued(living, "second"), queued(living, "third")
    other = queued(living, "other", subscription=OTHER_SUBSCRIPTION)
    assert place(living, other)["position"] == 1, "its subscription has nothing going on"
    assert "CPUs (0 free)" in str(place(living, other)["reason"])
    assert place(living, second) == {"position": 2, "reason": "waits behind 1 other", "expectedStart": None}
    assert place(living, third) == {"position": 3, "reason": "waits behind 2 others", "expectedStart": None}
    monkeypatch.setenv("VMKILN_HOME", str(living.service.settings.home))
    listed = CliRunner().invoke(app, ["run", "list"]).stdout
    assert "(place 1: " in listed
    assert "(place 3: " in listed
    living.request("POST", f"{first}/cancel")
    for path in (other, second, third):
        assert ended_run(living, path, token="root")["runState"] == "Succeeded"
    starts = [living.service.store.runs.of_template(path.lower())[0].started for path in (other, second, third)]
    assert starts == sorted(starts)


def test_names_of_hosts_are_for_those_who_may_list_them(living: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    add_group(living)
    path = provisioned(living, TEMPLATE, a_template("true"), token="root")["id"]
    runs, now = living.service.store.runs, utc_now()
    facts: RunFacts = {"placement": "kiln-7 is the emptiest", "host_faults": {"kiln-8": 1}, "attempt": 1}
    run_id = str(uuid.uuid4())
    group = TEMPLATE.split("/")[4]
    runs.add(RunRow(run_id, "web", group, {}, RunState.QUEUED, "", "", "", "", facts, now, None, path.lower()))
    named, told = "waits for 2 CPUs on kiln-7 or another host", "waits for 2 CPUs"
    monkeypatch.setattr(living.service.builder, "queue", lambda: [QueuePosition(run_id, 1, named, told)])
    living.access.roles["tenant"] = [("Owner", f"/subscriptions/{SUBSCRIPTION}")]
    below = f"{path}/providers/Vmkiln.Builds/runs"
    every = "/providers/Vmkiln.Builds"
    asked = (f"{below}/{run_id}", below, f"{every}/runs", f"{every}/runs/{run_id}", f"{every}/queue")
    for address in asked:
        answer = living.get(address, token="tenant")
        assert answer.status_code == 200, answer.text
        assert told in answer.text
        assert "kiln-" not in answer.text
        assert named in living.get(address, token="root").text, "who may list the hosts is told which"
    assert living.get(f"{every}/hosts", token="tenant").status_code == 403
    assert "kiln-8" in living.get(f"{below}/{run_id}", token="root").text


def test_prometheus_reads_queue_capacity_phases_and_failures(living: InProcess) -> None:
    add_group(living)
    failed = queued(living, "failed", "fail")
    ended_run(living, failed)
    waits = queued(living, "waits", "wait")
    wait_for(lambda: living.get(waits).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    queued(living, "behind")
    text = living.get("/metrics", token="root").text
    for line in (
        'vmkiln_runs{state="Running"} 1.0',
        'vmkiln_runs{state="Queued"} 1.0',
        'vmkiln_runs_ended_total{code="PackerBuildFailed",state="Failed"} 1.0',
        'vmkiln_phase_seconds_count{phase="Customizing"} 1.0',
        "vmkiln_capacity_cpus 2.0",
        "vmkiln_promised_cpus 2.0",
        "vmkiln_leftovers 0.0",
        'vmkiln_hosts{state="Ready"} 1.0',
        'vmkiln_hosts{state="Dead"} 0.0',
    ):
        assert line in text, text
    assert "vmkiln_queue_oldest_seconds 0.0\n" not in text
    living.request("POST", f"{waits}/cancel")


def test_only_who_may_read_the_whole_service_reads_its_metrics(living: InProcess) -> None:
    assert living.get("/metrics", token=None).status_code == 401
    for token in ("owner", "reader", "stranger"):
        assert living.get("/metrics", token=token).status_code == 403
    assert living.get("/metrics", token="root").headers["content-type"].startswith("text/plain; version=1.0.0")


def test_what_a_dead_run_left_is_cleaned_up_while_the_service_goes_on(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "JANITOR_SECONDS", 0.05)
    living: InProcess = request.getfixturevalue("living")
    left: Path = living.service.settings.runs / "00000000-dead"
    left.mkdir(parents=True)
    (left / "overlay.qcow2").write_bytes(b"x" * 1000)
    wait_for(lambda: not left.exists())
    wait_for(lambda: "vmkiln_cleaned_up_total 1.0" in living.get("/metrics", token="root").text)


def test_a_full_disk_does_not_end_the_service(living: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    add_group(living)
    operations, failures = living.service.store.operations, [StorageFull("the disk is full")] * 2
    real = operations.front

    def full_at_first(*arguments: Any, **named: Any) -> object:
        if failures:
            raise failures.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(image_builder, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(operations, "front", full_at_first)
    path = queued(living, "goes-on")
    assert ended_run(living, path)["runState"] == "Succeeded"
    wait_for(lambda: not failures)  # a try that failed waits for a while, which the run did not


def test_a_request_on_a_full_disk_may_be_sent_again(living: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise StorageFull("the disk is full")

    add_group(living)
    monkeypatch.setattr(living.service.store.resources, "insert", full)
    refused = living.put(TEMPLATE, a_template())
    assert (refused.status_code, code_of(refused)) == (503, "InsufficientStorage")
    assert int(refused.headers["Retry-After"]) > 0
