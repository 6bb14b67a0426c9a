"""The control room and its pages: everything that a visitor may see is there, and nothing else."""

import json
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from in_process import (
    GROUP,
    IMAGE,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    ended_run,
    provisioned,
)
from page_visitor import Visitor

from vmkiln.blobs.account_containers import AccountContainers
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.portal.resources.resource_pages import MOST_TEXT_BYTES
from vmkiln.portal.templates.template_page import LISTED_RUNS
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run_state import RunState
from vmkiln.store import tables
from vmkiln.store.rows import HostRow, ImageRow, RunRow

PAGES = ("", "runs", "queue", "images", "hosts", "groups", "activity", "access")


def built(living: InProcess, browser: Visitor) -> None:
    """A template that was run once, and published its image."""
    add_group(living)
    provisioned(living, TEMPLATE, a_template("echo one"))
    browser.send(f"/portal{TEMPLATE}", action="run")
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    run = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"][0]["name"]
    path = living.service.settings.home / "web.qcow2"
    path.write_bytes(bytes(range(256)))
    image = ImageRow(
        artifact_id=IMAGE, kind="ManagedImage", path=path, format="qcow2", digest="ab" * 32, size_bytes=256,
        virtual_size_bytes=2 * 1024**3, generation=2, os_type="Linux", source_version="12.1", run_id=run, tags={},
        detail={}, created=datetime.now(UTC),
    )  # fmt: skip
    living.service.store.images.add(image)


def local_run(living: InProcess, name: str = "from-a-file", *, started: datetime | None = None) -> RunRow:
    """A run that `vmkiln build` made."""
    row = RunRow(
        run_id=str(uuid.uuid4()), template_name=name, resource_group="rg", template={}, state=RunState.FAILED,
        sub_state="Customizing", message="customizing failed", error_code="CustomizerFailed", staging_group="",
        facts={}, started=started or datetime.now(UTC), ended=datetime.now(UTC),
    )  # fmt: skip
    living.service.store.runs.add(row)
    return row


def test_every_page_is_there_and_says_where_one_is(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    browser.token = "root"
    for name in PAGES:
        answer = browser.get(f"/portal/{name}")
        assert answer.status_code == 200, name
        assert answer.text.count('aria-current="page"') == 1, name
    home = browser.get("/portal/").text
    assert ">web</a>" in home
    assert 'aria-label="Succeeded, ' in home, "a tick of the last run"
    assert f'href="/portal{IMAGE}"' in home, "the last image"
    assert "Run web" in home
    run = re.search(r'href="(/portal[^"]*/runs/[^"]*)"', browser.get("/portal/runs").text)
    assert run is not None
    assert "Log" in browser.get(run.group(1)).text or "log" in browser.get(run.group(1)).text


def test_a_row_says_who_began_its_run(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    [run] = living.request("GET", "/providers/Vmkiln.Builds/runs", token="root").json()["value"]
    assert run["properties"]["begunBy"] == "owner"
    for name in ("", "runs"):
        assert '<span class="fine">by owner</span>' in browser.get(f"/portal/{name}").text, name


def test_a_list_is_filtered_by_its_address(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    for query, is_there in (
        ("q=we", True), ("q=none", False), ("state=Succeeded", True), ("state=Failed", False), ("group=RG1", True),
        ("group=other", False), ("tag=team=web", True), ("tag=team=db", False), ("page=7", False), ("page=x", True),
    ):  # fmt: skip
        assert (f'href="/portal{TEMPLATE}"' in browser.get(f"/portal/?{query}").text) is is_there, query
    for query, is_there in (("q=we", True), ("q=none", False), ("state=Succeeded", True), ("state=Failed", False)):
        assert (">web</a>" in browser.get(f"/portal/runs?{query}").text) is is_there, query
    assert browser.get("/portal/runs?state=Odd").status_code == 400
    assert browser.get("/portal/runs?after=odd").status_code == 400
    assert "images/web" in browser.get("/portal/images?q=images/web&kind=ManagedImage").text
    assert "No image is like that" in browser.get("/portal/images?kind=VHD").text


def test_a_run_of_the_command_line_is_there_for_who_reads_the_whole(browser: Visitor, living: InProcess) -> None:
    run = local_run(living)
    address = f"/portal/providers/Vmkiln.Builds/runs/{run.run_id}"
    assert "from-a-file" not in browser.get("/portal/runs").text, "the owner of a subscription alone"
    assert browser.get(address).status_code == 404
    browser.token = "root"
    assert "from-a-file" in browser.get("/portal/runs").text
    assert "made by <code>vmkiln build</code>" in browser.get("/portal/").text
    page = browser.get(address).text
    assert "customizing failed" in page
    assert ">local</span>" in page


def test_a_held_run_says_until_when_and_an_ended_one_does_not(browser: Visitor, living: InProcess) -> None:
    browser.token = "root"
    until = "2030-01-01T10:00:00+00:00"
    for ended, is_told in ((None, True), (datetime.now(UTC), False)):
        run = replace(local_run(living), run_id=str(uuid.uuid4()), state=RunState.RUNNING, ended=ended)
        run.facts["held_until"] = until
        living.service.store.runs.add(run)
        body = living.request("GET", f"/providers/Vmkiln.Builds/runs/{run.run_id}", token="root").json()
        assert body["properties"]["heldUntil"] == (until if is_told else "")
        page = browser.get(f"/portal/providers/Vmkiln.Builds/runs/{run.run_id}").text
        assert (f"vmkiln run shell {run.run_id[:8]}" in page) == is_told


@pytest.mark.parametrize(("year", "is_told"), [(2100, True), (2020, False)])
def test_an_ended_run_says_until_when_its_failed_vm_lies_on_disk(
    browser: Visitor, living: InProcess, year: int, is_told: bool
) -> None:
    browser.token = "root"
    until = f"{year}-01-01T10:00:00+00:00"
    run = replace(local_run(living), run_id=str(uuid.uuid4()))
    run.facts["lease"] = {"until": until, "size_mib": 500, "host_id": "h"}
    living.service.store.runs.add(run)
    assert (
        f"vmkiln run shell {run.run_id[:8]}" in browser.get(f"/portal/providers/Vmkiln.Builds/runs/{run.run_id}").text
    ) == is_told
    built(living, browser)
    [of_service] = [one for one in living.service.store.runs.list() if one.template_id]
    living.service.store.runs.add_facts(of_service.run_id, lease=run.facts["lease"])
    address = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{of_service.run_id}"
    assert living.get(address).json()["properties"]["heldUntil"] == (until if is_told else None)
    assert (f"vmkiln run shell {of_service.run_id[:8]}" in browser.get(f"/portal{address}").text) == is_told


def test_a_run_outlives_its_template_and_is_not_taken_for_a_local_one(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    living.service.store.runs.forget_template(TEMPLATE.lower())
    browser.token = "root"
    [run] = living.request("GET", "/providers/Vmkiln.Builds/runs", token="root").json()["value"]
    assert (run["properties"]["origin"], run["properties"]["templateId"]) == ("service", "")
    for address in ("/portal/runs", f"/portal{run['id']}", f"/portal{IMAGE}"):
        page = browser.get(address).text
        assert (">deleted</span>" in page, ">local</span>" in page) == (True, False), address


def test_a_list_of_runs_reads_no_templates(living: InProcess) -> None:
    """Each may have megabytes, and a list looks at thousands of runs, whoever asks."""
    local_run(living)
    living.service.store.connections.change(tables.runs.update().values(template={"of": "megabytes"}))
    [run] = living.service.store.runs.older(None, limit=10)
    assert (run.template_name, run.template) == ("from-a-file", {})
    assert living.service.store.runs.by_id([run.run_id], has_template=False) == {run.run_id: run}
    assert living.service.store.runs.by_id([run.run_id])[run.run_id].template == {"of": "megabytes"}


def test_old_runs_are_pages_away_and_each_is_there_once(browser: Visitor, living: InProcess) -> None:
    browser.token = "root"
    begin = datetime.now(UTC) - timedelta(hours=3)
    made = {local_run(living, "old", started=begin + timedelta(seconds=at // 3)).run_id for at in range(120)}
    seen: list[str] = []
    path = "/providers/Vmkiln.Builds/runs?q=old"
    while path:
        answer = living.get(path, token="root").json()
        assert len(answer["value"]) <= 50
        seen += [run["name"] for run in answer["value"]]
        path = answer.get("nextLink", "")
    assert (len(seen), set(seen)) == (120, made)
    assert "after=" in browser.get("/portal/runs?q=old").text


def test_a_template_with_many_runs_says_where_the_older_ones_are(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("echo one"))
    row = replace(local_run(living, "web"), template_id=TEMPLATE.lower())
    for _ in range(LISTED_RUNS - 1):
        living.service.store.runs.add(replace(row, run_id=str(uuid.uuid4())))
    assert "are the newest" not in browser.get(f"/portal{TEMPLATE}").text
    living.service.store.runs.add(replace(row, run_id=str(uuid.uuid4())))
    text = browser.get(f"/portal{TEMPLATE}").text
    assert "the newest 100" in text
    assert 'href="/portal/runs?q=web"' in text


def test_a_stranger_sees_nothing_of_it_on_any_page(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    browser.token = "stranger"
    for name in PAGES:
        answer = browser.get(f"/portal/{name}")
        assert answer.status_code == (403 if name == "hosts" else 200), name
        assert "web" not in answer.text, name
        assert "rg1" not in answer.text, name
    run = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"][0]["name"]
    assert browser.get(f"/portal/providers/Vmkiln.Builds/runs/{run}").status_code == 404
    for below in ("", "/download", "/difference?from=x", "/providers/Vmkiln.Builds/documents/contents"):
        assert browser.get(f"/portal{IMAGE}{below}").status_code == 403, below
    browser.token = "reader"
    assert browser.get(f"/portal{IMAGE}").status_code == 200
    assert browser.get(f"/portal{IMAGE}/download").status_code == 403, "a file is for who may act on the image"
    assert browser.send(f"/portal{IMAGE}", action="delete", name="web").status_code == 403


def test_a_reader_of_one_group_sees_that_group_alone(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    add_group(living, name="rg2")
    other = TEMPLATE.replace("rg1", "rg2").replace("/web", "/concealed")
    provisioned(living, other, a_template("true"))
    living.access.roles["guest"] = [("Reader", GROUP)]
    browser.token = "guest"
    for name in ("", "runs", "queue", "images", "groups", "activity", "access"):
        answer = browser.get(f"/portal/{name}")
        assert answer.status_code == 200, name
        assert "concealed" not in answer.text, name
        assert "rg2" not in answer.text, name
    assert ">web</a>" in browser.get("/portal/").text


def test_an_image_shows_its_way_its_file_and_its_difference(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    store = living.service.store
    page = browser.get(f"/portal{IMAGE}").text
    assert "Where it comes from" in page
    assert f'href="/portal/new/guided?source={quote(IMAGE, safe="/")}"' in page
    assert f'href="/portal{TEMPLATE}"' in page
    image = store.images.find(IMAGE)
    assert image is not None
    assert image.digest in page
    whole = browser.get(f"/portal{IMAGE}/download")
    assert (whole.status_code, whole.content) == (200, image.path.read_bytes())
    assert whole.headers["content-disposition"].startswith("attachment;")
    part = browser.get(f"/portal{IMAGE}/download", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, image.path.read_bytes()[1:4])
    contents = {
        "one": ImageContents(packages=(Package("nginx", "amd64", "1.22"),), users={"root": 0}, boot_seconds=61.2),
        "two": ImageContents(packages=(Package("nginx", "amd64", "1.24"),), users={"root": 0, "<b>": 1000}),
    }
    for name, found in contents.items():
        row = replace(image, artifact_id=f"{IMAGE}-{name}", path=image.path.with_name(f"{name}.qcow2"))
        store.images.add(row, documents={CONTENTS: found.text})
    page = browser.get(f"/portal{IMAGE}-two").text
    assert f'<option value="{IMAGE}-one">' in page
    shown = browser.get(f"/portal{IMAGE}-two/difference?from={quote(f'{IMAGE}-one')}").text
    assert "1 user added, 1 package changed" in shown
    assert "&lt;b&gt;" in shown
    assert "61.2 s → not known" in shown
    assert "1.24" in browser.get(f"/portal{IMAGE}-two/providers/Vmkiln.Builds/documents/contents").text
    assert browser.get(f"/portal{IMAGE}-two/download").status_code == 404, "its file is not there"


def test_a_page_has_the_end_of_a_file_and_not_the_whole_of_it(browser: Visitor, living: InProcess) -> None:
    """Else who may read a log of 256 MiB, or an image's disk, could have the service hold all of it, many times."""
    built(living, browser)
    disk, [log] = living.service.settings.home / "web.qcow2", living.service.settings.staging.rglob("customization.log")
    with disk.open("ab") as file:
        file.truncate(16 * 1024**2)
    page = browser.get(f"/portal{IMAGE}/providers/Vmkiln.Builds/files/disk")
    assert (page.status_code, len(page.text) < 2 * 1024**2) == (200, True)
    staging = living.get(TEMPLATE).json()["properties"]["exactStagingResourceGroup"]
    account = living.get(f"{staging}/providers/Microsoft.Storage/storageAccounts").json()["value"][0]["id"]
    address = f"/portal{account}/blobServices/default/containers/packerlogs/{log.parent.name}/{log.name}"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100_000)))
    page = browser.get(address)
    assert ("line 99999" in page.text, len(page.text) < 2 * MOST_TEXT_BYTES) == (True, True)
    assert "This is its end" in page.text
    log.write_bytes(b"")
    assert browser.get(address).status_code == 200


def test_an_image_is_deleted_by_its_name_and_the_reason_is_kept(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    assert browser.send(f"/portal{IMAGE}", action="delete", name="other").status_code == 400
    assert browser.send(f"/portal{IMAGE}", action="explode", name="web").status_code == 400
    reason = "its key was lost <b>"
    gone = browser.send(f"/portal{IMAGE}", action="delete", name="web", reason=reason)
    assert (gone.status_code, gone.headers["location"]) == (303, "/portal/images")
    assert browser.get(f"/portal{IMAGE}").status_code == 404
    living.service.audit.flush(10)
    assert "its key was lost &lt;b&gt;" in browser.get("/portal/activity").text


def test_a_host_is_drained_and_taken_back_by_who_may(browser: Visitor, living: InProcess) -> None:
    host = HostRow("an-incarnation", "an-id", "worker-1", "x64", "emulated", "", 8, 65_536, 100_000)
    living.service.store.hosts.register(host, lease_seconds=600)
    browser.token = "root"
    assert "Drain worker-1" in browser.get("/portal/hosts").text
    assert browser.send("/portal/hosts", host="worker-1", action="drain").headers["location"] == "/portal/hosts"
    assert "Let worker-1 take runs" in browser.get("/portal/hosts").text
    assert browser.send("/portal/hosts", host="worker-1", action="undrain").status_code == 303
    assert browser.send("/portal/hosts", host="none", action="drain").status_code == 404
    assert browser.send("/portal/hosts", host="worker-1", action="explode").status_code == 400
    browser.token = "owner"
    assert browser.send("/portal/hosts", host="worker-1", action="drain").status_code == 403
    browser.token = "reader"
    assert browser.get("/portal/hosts").status_code == 403


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_anything_says_so(browser: Visitor, name: str) -> None:
    browser.token = "root"
    answer = browser.get(f"/portal/{name}")
    assert answer.status_code == 200
    assert json.dumps(SUBSCRIPTION) not in answer.text


def test_a_staging_groups_resources_have_pages_of_their_kind(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    staging = living.get(TEMPLATE).json()["properties"]["exactStagingResourceGroup"]

    def one(kind: str) -> str:
        return str(living.get(f"{staging}/providers/Microsoft.{kind}").json()["value"][0]["id"])

    group = browser.get(f"/portal{one('ContainerInstance/containerGroups')}").text
    assert "Created container" in group
    assert (">echo one" in group, "PACKER OUT" in group) == (True, False)
    account = one("Storage/storageAccounts")
    assert "packerlogs</a>" in browser.get(f"/portal{account}").text
    blobs = f"/portal{account}/blobServices/default/containers/packerlogs"
    found = re.search(r'href="(/portal[^"]*/customization.log)"', browser.get(blobs).text)
    assert found is not None
    shown, kept = browser.get(found.group(1)), browser.get(f"{found.group(1)}?download=1")
    assert "PACKER OUT echo one" in shown.text
    assert kept.headers["content-disposition"].startswith("attachment;")
    assert "PACKER OUT echo one" in kept.text
    browser.token = "stranger"
    for address in (f"/portal{account}", blobs, found.group(1), f"{found.group(1)}?download=1"):
        assert browser.get(address).status_code == 403, address


def test_a_users_storage_account_has_a_page_with_and_without_blobs(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_group(living)
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/scripts1"
    living.put(account, {"location": "westus2"})
    assert "They are not known here" in browser.get(f"/portal{account}").text
    write_endpoint(living.service.settings.blob_endpoint, BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:1"))
    away = browser.get(f"/portal{account}")
    assert (away.status_code, "the blob server does not do it" in away.text) == (200, True)
    monkeypatch.setattr(AccountContainers, "names", lambda _: ["steps"])
    monkeypatch.setattr(AccountContainers, "has", lambda _, name: name == "steps")
    container = f"/portal{account}/blobServices/default/containers/steps"
    assert f'href="{container}"' in browser.get(f"/portal{account}").text
    assert "<dt>publicAccess</dt><dd>None</dd>" in browser.get(container).text
    for address in (container.rpartition("/")[0], container.rpartition("/containers")[0]):
        assert browser.get(address).status_code == 200, address


def test_a_vhd_is_downloaded_from_its_runs_page_and_its_account(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("true", distribute=[{"type": "VHD", "runOutputName": "disk"}]))
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    [run] = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    page = browser.get(f"/portal{run['id']}").text
    found = re.search(r'href="(/portal[^"]*/vhds/disk.vhd)" download>Download the VHD', page)
    assert found is not None
    assert str(living.service.settings.home) not in page, "where it lies is nobody's business on another machine"
    whole = browser.get(found.group(1))
    assert (whole.status_code, whole.content) == (200, bytes(1024))
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''disk.vhd"
    assert len(browser.get(found.group(1), headers={"Range": "bytes=0-9"}).content) == 10
    assert f'href="{found.group(1)}" download' in browser.get(found.group(1).rpartition("/")[0]).text
    browser.token = "reader"
    assert browser.get(found.group(1)).status_code == 403, "a VHD is for who may read the account's keys"
    account = found.group(1).removeprefix("/portal").partition("/blobServices/")[0]
    browser.token = "guest"
    for role, may_download in (("Reader", False), ("Contributor", True)):
        living.access.roles["guest"] = [(role, account)]
        listed = browser.get(found.group(1).rpartition("/")[0])
        assert listed.status_code == 200, "who may look at the account alone"
        assert (f'href="{found.group(1)}"' in listed.text) is may_download, role


def test_a_run_shows_what_held_the_processes_of_its_vms(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    [run] = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    facts = [{"name": "root", "expected": "tmpfs", "found": "<ext4>", "holds": False, "required": True}]
    living.service.store.runs.add_facts(run["name"], **{"build-vm_confinement": facts})  # type: ignore[arg-type]
    page = browser.get(f"/portal{run['id']}").text
    assert "What holds the process of build-vm: 0 of 1 facts hold" in page
    assert "<td>root</td><td>no</td><td>&lt;ext4&gt;</td><td>tmpfs</td>" in page


def test_a_run_shows_what_was_made_for_it_and_is_gone(browser: Visitor, living: InProcess) -> None:
    built(living, browser)
    [run] = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    receipts = living.get(f"{run['id']}/receipts").json()["value"]
    gone = [receipt for receipt in receipts if receipt["verifiedGone"]]
    assert receipts != []
    page = browser.get(f"/portal{run['id']}").text
    assert f"{len(gone)} of {len(receipts)} seen to be gone" in page
    for receipt in receipts:
        assert f'<td data-label="Name">{receipt["name"]}</td>' in page
