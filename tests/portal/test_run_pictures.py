"""The pictures of a Windows VM's screen: listed and shown to whoever may read the run, on its page, too."""

import os
import uuid
from collections.abc import Callable

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, run_with_blobs
from page_visitor import Visitor

from vmkiln.run.guest.screen import name_of
from vmkiln.store.rows import ResourceRow

RUN_ID = str(uuid.UUID(int=11))
RUN = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN_ID}"
PNG = b"\x89PNG\r\n\x1a\n"
Keep = Callable[[int, bytes], str]


@pytest.fixture
def keep(living: InProcess) -> Keep:
    """Keeps a picture of an ended run's build VM; gives its name. Later ones have higher numbers."""
    account = run_with_blobs(living, RUN_ID)

    def kept(number: int, content: bytes) -> str:
        path = account.blob(f"packerlogs/{RUN_ID}/{name_of('build-vm', number)}")
        path.write_bytes(content)
        os.utime(path, (number, number))
        return path.name

    return kept


def test_the_newest_picture_is_the_first_and_each_is_given_as_png(living: InProcess, keep: Keep) -> None:
    names = [keep(number, PNG + bytes([number])) for number in (1, 2)]
    found = living.get(f"{RUN}/pictures").json()["value"]
    assert [one["name"] for one in found] == names[::-1]
    assert (found[1]["vm"], found[1]["sizeBytes"], found[1]["time"][:19]) == ("build-vm", 9, "1970-01-01T00:00:01")
    answer = living.get(f"{RUN}/pictures/{names[0]}")
    assert (answer.content, answer.headers["content-type"]) == (PNG + b"\1", "image/png")


def test_nothing_but_pictures_of_the_run_is_given(living: InProcess, keep: Keep) -> None:
    keep(1, PNG)
    for name in ("customization.log", name_of("build-vm", 2)):
        assert living.get(f"{RUN}/pictures/{name}").status_code == 404


def test_whoever_may_not_read_the_run_sees_no_picture(living: InProcess, keep: Keep) -> None:
    name = keep(1, PNG)
    living.access.roles["reader"] = [("Reader", GROUP)]
    living.access.roles["stranger"] = []
    for path in (f"{RUN}/pictures", f"{RUN}/pictures/{name}"):
        assert living.request("GET", path, token="reader").status_code == 200
        assert living.request("GET", path, token="stranger").status_code == 403
        assert living.request("GET", path, token="nobody").status_code == 401


def test_the_page_of_a_run_shows_the_newest_and_leads_to_the_others(
    browser: Visitor, living: InProcess, keep: Keep
) -> None:
    assert "run-screen" not in browser.get(f"/portal{RUN}").text
    names = [keep(number, PNG + bytes([number])) for number in (1, 2)]
    page = browser.get(f"/portal{RUN}").text
    assert f'<img src="/portal{RUN}/pictures/{names[1]}"' in page
    assert f'href="/portal{RUN}/pictures/{names[0]}"' in page
    answer = browser.get(f"/portal{RUN}/pictures/{names[1]}")
    assert (answer.content, answer.headers["content-type"]) == (PNG + b"\2", "image/png")
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store", "a screen may show what nobody is to find on a disk"
    lost = browser.get(f"/portal{RUN}/pictures/{name_of('build-vm', 3)}")
    assert (lost.status_code, lost.headers["content-type"][:16]) == (404, "application/json")


def test_a_picture_among_the_blobs_of_a_build_is_shown_as_one(browser: Visitor, living: InProcess, keep: Keep) -> None:
    name = keep(1, PNG)
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/IT_x"
    kind, state = "Microsoft.Resources/resourceGroups", {"staging_group": "IT_x"}
    living.service.store.resources.put(ResourceRow(group, kind, "IT_x", SUBSCRIPTION, "IT_x", "westus2", state=state))
    [logs] = living.service.settings.staging.glob("IT_x/*/packerlogs")
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/{logs.parent.name}"
    address = f"/portal{account}/blobServices/default/containers/packerlogs/{RUN_ID}/{name}"
    answer = browser.get(address)
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    told = living.get(address.removeprefix("/portal"))
    assert (told.content, told.headers["content-type"]) == (PNG, "image/png")
    part = living.get(address.removeprefix("/portal"), headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, PNG[:4], "image/png")
    lost = browser.get(address.replace("00001", "00002"))
    assert (lost.status_code, lost.headers["content-type"][:9]) == (404, "text/html")
