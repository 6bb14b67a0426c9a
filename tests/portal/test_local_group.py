"""What `vmkiln build` made has the pages of what a service's build made: network, container group, rules, storage."""

import uuid

import pytest
from in_process import InProcess
from local_build import LocalBuild, local_build
from page_visitor import Visitor

from vmkiln.azure_names import CONTAINER_GROUP, CUSTOMIZATION_LOG, SECURITY_GROUP, STORAGE_ACCOUNT
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.portal.resources import machine_stream
from vmkiln.portal.runs.log_view import CUT
from vmkiln.staging.storage_account import LOGS

RUN_ID = str(uuid.UUID(int=41))
RUN = f"/portal/providers/Vmkiln.Builds/runs/{RUN_ID}"


@pytest.fixture
def built(living: InProcess, browser: Visitor) -> LocalBuild:
    """A build of a command that goes on; the browser is of who reads and changes the whole service."""
    living.access.roles |= {"root": [("Owner", "/")], "watcher": [("Reader", "/")]}
    browser.token = "root"
    return local_build(living.service.settings.staging, living.service.store, RUN_ID)


def test_a_local_run_leads_to_its_network_and_what_was_refused(browser: Visitor, built: LocalBuild) -> None:
    assert f'href="/portal{built.group_id}#network"' in browser.get(RUN).text
    page = browser.get(f"/portal{built.group_id}").text
    assert '<section id="network"' in page
    assert "12 packets, 3.4 KiB" in page
    assert "10.0.1.4" in page
    assert "192.168.1.1:22" in page, "what the VM tried"
    assert f'<a href="{RUN}">run {RUN_ID[:8]}</a>' in page
    assert "<noscript><meta" in page, "it changes while the build goes on"
    assert "Delete" not in page, "it is the command's"
    assert '<a href="/portal/groups">Groups</a>' in page
    built.end()
    page = browser.get(f"/portal{built.group_id}").text
    assert "Network of the last build" in page
    assert "What is gone: 2" in page
    assert "192.168.1.1:22" in page


def test_its_container_group_is_live_with_log_events_and_usage(
    browser: Visitor, built: LocalBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_stream, "LOOK_SECONDS", 0.01)
    address = f"/portal{built.id_of(CONTAINER_GROUP)}"
    page = browser.get(address).text
    assert "PACKER OUT" not in page
    for words in ("hello from the command", "Started container packer", "CPU: 0.40 now", "Memory: 98 MiB now"):
        assert words in page, words
    assert f'data-follow="{address}/follow"' in page
    with built.account.blob(f"{LOGS}/{RUN_ID}/{CUSTOMIZATION_LOG}").open("a") as log:
        log.write("x" * 300_000 + "\n")
    page = browser.get(address).text
    assert f"xxx{CUT}" in page
    assert len(page) < 50_000, "each change of it is sent to each viewer"
    built.end()
    told = browser.get(f"{address}/follow").text
    assert "at the end" in told
    assert told.endswith("event: end\ndata: {}\n\n")


def test_its_rules_have_counters_that_are_read_anew_while_it_builds(browser: Visitor, built: LocalBuild) -> None:
    address = f"/portal{built.id_of(SECURITY_GROUP)}"
    page = browser.get(address).text
    assert '<td data-label="Packets" class="number">12</td>' in page
    assert 'data-refresh="5"' in page
    built.end()
    page = browser.get(address).text
    assert '<td data-label="Packets" class="number">12</td>' in page
    assert "data-refresh" not in page
    assert "securityRules.id" not in page, "a rule has no page: its table has all of it"


def test_its_storage_is_looked_into_and_only_who_may_act_downloads(browser: Visitor, built: LocalBuild) -> None:
    account = f"/portal{built.group_id}/providers/{STORAGE_ACCOUNT}/{built.account.name}"
    containers = f"{account}/blobServices/default/containers"
    page = browser.get(account).text
    for name in ("packerlogs", "scripts", "vhds"):
        assert f'href="{containers}/{name}"' in page
    log = f"{containers}/packerlogs/{RUN_ID}/customization.log"
    assert f'href="{log}"' in browser.get(f"{containers}/packerlogs").text
    assert "hello from the command" in browser.get(log).text
    assert "on the machine of the command" in browser.get(f"{containers}/scripts").text
    for token, may in (("root", True), ("watcher", False)):
        browser.token = token
        assert (f'href="{containers}/vhds/disk.vhd"' in browser.get(f"{containers}/vhds").text) is may
        assert ("Download the VHD" in browser.get(RUN).text) is may
        assert browser.get(f"{containers}/vhds/disk.vhd").status_code == (200 if may else 403)


def test_its_account_gives_no_keys_and_says_so(browser: Visitor, living: InProcess, built: LocalBuild) -> None:
    write_endpoint(living.service.settings.blob_endpoint, BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:10000"))
    account = f"{built.group_id}/providers/{STORAGE_ACCOUNT}/{built.account.name}"
    assert living.get(account, token="root").json()["properties"]["allowSharedKeyAccess"] is False
    assert living.request("POST", f"{account}/listKeys", token="root").status_code in {404, 405}
    page = browser.get(f"/portal{account}").text
    assert "<dt>creationTime</dt><dd><time datetime=" in page


def test_local_groups_are_in_the_list_of_who_may_see_them(browser: Visitor, built: LocalBuild) -> None:
    for token, may in (("root", True), ("watcher", True), ("owner", False)):
        browser.token = token
        page = browser.get("/portal/groups")
        assert (page.status_code, f'href="/portal{built.group_id}"' in page.text) == (200, may)
        assert browser.get(f"/portal{built.group_id}").status_code == (200 if may else 403)
    browser.token = "root"
    assert browser.send(f"/portal{built.group_id}", action="delete", name=built.group).status_code in {404, 405}
    assert browser.get("/portal/providers/Vmkiln.Builds/resourceGroups/none").status_code == 404
