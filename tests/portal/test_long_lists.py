"""A list that the API gives as a whole is shown a page at a time, and names are asked for of that page alone."""

import asyncio
import re
from dataclasses import replace

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, provisioned
from page_visitor import Visitor, run_page

from vmkiln.api.protocol.listing import PAGE
from vmkiln.harmless_text import harmless
from vmkiln.portal.api_client import MOST_PAGES
from vmkiln.portal.overview import listed
from vmkiln.portal.runs import log_view, run_pages

NETWORK = "Microsoft.Network/networkSecurityGroups"


def rows_of(page: str) -> int:
    return len(re.findall(r"<tr><th scope=.row.>", page))


def test_groups_their_resources_and_roles_are_shown_a_page_at_a_time(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed.part_of, "__kwdefaults__", {"size": 3, "of": ()})
    add_group(living)
    store = living.service.store
    group = store.resources.get(GROUP)
    assert group is not None
    for number in range(4):
        name = f"many-{number}"
        store.resources.put(replace(group, id=f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}", name=name))
        inside = f"{GROUP}/providers/{NETWORK}/{name}"
        store.resources.put(replace(group, id=inside, type=NETWORK, name=name, resource_group="rg1"))
        store.principals.assign(f"principal-{number}", "Reader", GROUP)
    for path, rows in (("/portal/groups", (3, 2)), (f"/portal{GROUP}", (3, 1)), ("/portal/access", (3, 3))):
        pages = [browser.get(f"{path}?page={number}").text for number in (1, 2)]
        assert [rows_of(page) for page in pages] == [*rows], path
        assert ["Page 1 of " in pages[0], "Page 2 of " in pages[1]] == [True, True], path
        beyond = browser.get(f"{path}?page=99")
        assert (beyond.status_code, rows_of(beyond.text)) == (200, 0), path
    assert "<strong>4 resources</strong>" in browser.get(f"/portal{GROUP}").text
    assert "There are more than these" not in browser.get("/portal/groups").text
    monkeypatch.setattr(listed, "MOST_FOLLOWED", 4)
    for path in ("/portal/groups?q=many-2", f"/portal{GROUP}", "/portal/access"):
        assert "There are more than these" in browser.get(path).text, path
    found = browser.get("/portal/groups?q=MANY-2").text
    assert (rows_of(found), "1 group<" in found) == (1, True)
    assert "No resource group is like that." in browser.get("/portal/groups?q=none").text


def test_a_page_behind_the_last_is_not_told_as_no_template_at_all(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    words = ("No image template is like that.", "There is no image template yet.")
    assert [word in browser.get("/portal/?page=9").text for word in words] == [True, False]


def test_as_many_are_followed_as_the_pages_have() -> None:
    assert listed.MOST_FOLLOWED == MOST_PAGES * PAGE


def test_a_log_is_made_harmless_beside_the_event_loop(
    browser: Visitor, living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = run_page(living, "echo of a guest")
    on_loop: list[bool] = []

    def watched(text: str) -> str:
        if "of a guest" in text:
            on_loop.append(asyncio._get_running_loop() is not None)
        return harmless(text)

    for module in (log_view, run_pages):
        monkeypatch.setattr(module, "harmless", watched)
    for asked in ("", "?find=guest", "/find?text=guest", "/lines?kind=customization&line=1&count=9", "/follow"):
        assert "of a guest" in browser.get(f"{address}{asked}").text, asked
    assert len(on_loop) >= 5
    assert not any(on_loop), "a hostile log takes a tenth of a second each time"
