"""The page of a container group or VM of a build: what it takes of its host, drawn, live, and said in words."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from in_process import GROUP, InProcess, run_with_blobs
from page_visitor import Visitor

from vmkiln.azure_names import CONTAINER_GROUP, RESOURCE_GROUP, VIRTUAL_MACHINE
from vmkiln.host.usage.machine_usage import FILE_NAME
from vmkiln.portal.resources import machine_stream
from vmkiln.portal.resources.usage_chart import HEIGHT, charts_of
from vmkiln.staging.staging_resource_group import HELD

RUN_ID = "00000000-0000-0000-0000-00000000000b"
DETAIL = {"containers": ["packer"], "memoryMiB": 400, "machine": "container-build-vm"}
POINTS = [[1000.0, 0.0, 1024], [1005.0, 4.0, 204800], [1010.0, 5.0, 102400]]


def staging_of(living: InProcess) -> tuple[str, str]:
    """The id and the name of the staging resource group of the template."""
    rows = living.service.store.resources.list(type=RESOURCE_GROUP)
    return next((row.id, row.state["staging_group"]) for row in rows if row.state.get("staging_group"))


def put(living: InProcess, points: Sequence[Sequence[float]]) -> None:
    """What was kept so far of both machines."""
    text = json.dumps({"run_id": RUN_ID, "machines": {"container-build-vm": points, "build-vm": points}})
    (living.service.settings.staging / staging_of(living)[1] / FILE_NAME).write_text(text)


def machines(living: InProcess, points: Sequence[Sequence[float]] = POINTS) -> dict[str, str]:
    """The ids of a live container group and its VM, of which these points were kept; by their types."""
    run_with_blobs(living, RUN_ID)
    group, name = staging_of(living)
    entries = [(CONTAINER_GROUP, "c", DETAIL), (VIRTUAL_MACHINE, "build-vm", {"cpus": 2, "memoryMiB": 2048})]
    living.service.store.staging.add_resources(name, run_id=RUN_ID, entries=entries, exist=True)
    put(living, points)
    return {type_name: f"{group}/providers/{type_name}/{one}" for type_name, one, _ in entries}


def test_what_a_machine_takes_is_told_to_who_may_read_it(living: InProcess) -> None:
    ids = machines(living)
    told = living.get(f"{ids[CONTAINER_GROUP]}/providers/Vmkiln.Builds/usage").json()
    assert [(one["cpus"], one["memoryBytes"]) for one in told["value"]] == [(0.8, 204800 * 1024), (0.2, 102400 * 1024)]
    assert (told["cpus"], told["memoryMiB"]) == (1, 400)
    assert living.get(f"{ids[VIRTUAL_MACHINE]}/providers/Vmkiln.Builds/usage").json()["cpus"] == 2
    living.access.roles["stranger"] = []
    for machine in ids.values():
        for token, status in (("stranger", 403), ("nobody", 401)):
            answer = living.request("GET", f"{machine}/providers/Vmkiln.Builds/usage", token=token)
            assert answer.status_code == status


def test_the_page_draws_it_and_says_the_same_in_words(browser: Visitor, living: InProcess) -> None:
    page = browser.get(f"/portal{machines(living)[CONTAINER_GROUP]}").text
    words = "CPU: 0.20 now, 0.80 at most in 5.0 s; it was given 1 processor"
    assert f"<figcaption>{words}</figcaption>" in page
    assert f'role="img" aria-label="{words}"' in page
    assert "Memory: 100 MiB now, 200 MiB at most in 5.0 s; it was given 400 MiB" in page
    assert len(re.findall(r'<polyline points="[0-9., ]+"/>', page)) == 2
    assert not re.search(r"<[^>]+ style=|<script>", page)
    assert f'data-follow="/portal{machines_id(page)}/follow"' in page
    assert "http-equiv" in page, "without scripts it is read anew"
    assert "data-refresh" not in page, "with scripts it is followed"


def machines_id(page: str) -> str:
    found = re.search(r'data-follow="/portal([^"]+)/follow"', page)
    return found[1] if found else ""


@pytest.mark.parametrize("points", [[], POINTS[:1], POINTS[:2]])
def test_before_there_is_a_line_the_page_says_so(
    browser: Visitor, living: InProcess, points: Sequence[Sequence[float]]
) -> None:
    page = browser.get(f"/portal{machines(living, points)[CONTAINER_GROUP]}").text
    assert "<polyline" not in page
    assert "shown here as soon as" in page


@pytest.mark.parametrize(
    ("name", "detail", "state"),
    [
        ("build-vm", {"cpus": 2}, "running"),
        ("inspection-vm", {"cpus": 1, "hasNetwork": False}, "running"),
        ("build-vm-held", {"state": HELD}, "deallocated"),
    ],
)
def test_of_a_vm_that_nobody_looks_at_the_page_promises_no_figures(
    browser: Visitor, living: InProcess, name: str, detail: dict[str, Any], state: str
) -> None:
    """One that looks into disks is over before; one that is held lies on disk, for hours, and takes nothing."""
    run_with_blobs(living, RUN_ID)
    group, staging = staging_of(living)
    living.service.store.staging.add_resources(
        staging, run_id=RUN_ID, entries=[(VIRTUAL_MACHINE, name, detail)], exist=True
    )
    found = living.get(f"{group}/providers/{VIRTUAL_MACHINE}/{name}").json()
    assert found["properties"]["instanceView"]["statuses"][0]["code"] == f"PowerState/{state}"
    page = browser.get(f"/portal{found['id']}").text
    assert bool(machines_id(page)) is (state == "running")
    assert ("shown here as soon as" in page) is (name == "build-vm")


def test_the_stream_tells_what_changed_and_ends_with_the_machine(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, looks = machines(living), []
    look = machine_stream.look

    async def looked(visit: object, machine_id: str) -> object:
        looks.append(machine_id)
        if len(looks) == 2:
            put(living, [*POINTS, [1015.0, 9.5, 1]])
        if len(looks) == 3:
            staging = living.service.store.staging
            staging.resources_deleted([one.number for one in staging.resources_of(staging_of(living)[1])])
        return await look(visit, machine_id)  # type: ignore[arg-type]

    monkeypatch.setattr(machine_stream, "look", looked)
    monkeypatch.setattr(machine_stream, "LOOK_SECONDS", 0.01)
    answer = browser.get(f"/portal{ids[CONTAINER_GROUP]}/follow")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(text.partition("data: ")[2]) for text in answer.text.split("\n\n") if "event: part\n" in text]
    assert [part["id"] for part in told] == [
        "resource-facts", "resource-containers", "resource-usage",
        "resource-usage",
        "resource-facts", "resource-containers", "resource-usage",
    ]  # fmt: skip
    assert "0.90 now" in told[3]["html"]
    assert "at the end" in told[-1]["html"]
    assert answer.text.endswith("event: end\ndata: {}\n\n")
    assert browser.request("GET", f"/portal{GROUP}/providers/{CONTAINER_GROUP}/none/follow").status_code == 404


def test_who_may_not_see_it_any_more_is_told_no_more_of_it(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, looks, look = machines(living), [], machine_stream.look

    async def looked(visit: object, machine_id: str) -> object:
        looks.append(machine_id)
        if len(looks) == 2:
            living.access.roles[browser.token] = []
        return await look(visit, machine_id)  # type: ignore[arg-type]

    monkeypatch.setattr(machine_stream, "look", looked)
    monkeypatch.setattr(machine_stream, "LOOK_SECONDS", 0.01)
    told = browser.get(f"/portal{ids[VIRTUAL_MACHINE]}/follow").text
    assert told.endswith('event: end\ndata: {"isGone":true}\n\n'), "which the page says"
    assert len(looks) == 2


def test_a_line_lies_within_its_picture_also_beyond_what_was_given() -> None:
    value = [{"time": f"2026-01-01T00:00:{at:02}Z", "cpus": cpus, "memoryBytes": 0} for at, cpus in ((0, 0), (5, 3))]
    cpu, memory = charts_of({"value": value, "cpus": 1, "memoryMiB": 0})
    assert cpu.points == f"0.0,{HEIGHT}.0 100.0,2.0"
    assert memory.points == f"0.0,{HEIGHT}.0 100.0,{HEIGHT}.0"
