"""What needs attention stands on top of the control room, and each counter leads to what it counted."""

import html
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, code_of, ended_run, provisioned
from page_visitor import Visitor

from vmkiln import __version__
from vmkiln.portal.overview.control_room import Order
from vmkiln.run_state import RunState
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import LeaseFact

RUNS = "/providers/Vmkiln.Builds/runs"


def template(name: str, state: str = "", *, began: int = 0, provisioning: str = "Succeeded") -> dict[str, Any]:
    """As much of a template as its place depends on."""
    status = {"runState": state, "startTime": f"2026-01-01T00:00:{began:02}Z"} if state else None
    return {
        "id": f"/T/{name}",
        "name": name,
        "properties": {"provisioningState": provisioning, "lastRunStatus": status},
    }


def test_what_needs_attention_is_first_the_newest_on_top_then_what_goes_on() -> None:
    given = [
        template("a", "Succeeded", began=50),
        template("b", "Failed", began=1),
        template("c", "Running", began=9),
        template("d"),
        template("e", "PartiallySucceeded", began=5),
        template("f", "Succeeded", began=2),
        template("g", "Queued", began=30),
        template("h", provisioning="Failed"),
        template("i", "Canceled", began=40),
    ]
    names = [item["name"] for item in Order(frozenset({"/t/f"})).sorted(given)]
    assert names == ["e", "f", "b", "h", "g", "c", "a", "d", "i"]


def some_runs(living: InProcess, *names: str) -> RunRow:
    """A run with each of these names, and a template and its run that failed; gives that run."""
    add_group(living)
    for name, command in (("failing", "fail"), ("another", "true")):
        path = TEMPLATE.replace("/web", f"/{name}")
        provisioned(living, path, a_template(command))
        living.request("POST", f"{path}/run")
        ended_run(living, path)
    [run] = [one for one in living.service.store.runs.list() if one.template_name == "failing"]
    for name in names:
        old = datetime.now(UTC) - timedelta(days=3)
        living.service.store.runs.add(replace(run, run_id=str(uuid.uuid4()), template_name=name, started=old))
    return run


def names_on(page: str) -> list[str]:
    """The templates of the control room, in order."""
    return re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)</a>', page)


def test_a_failed_template_is_above_others_with_its_reason(browser: Visitor, living: InProcess) -> None:
    run = some_runs(living)
    page = browser.get("/portal/").text
    assert names_on(page) == ["failing", "another"]
    assert names_on(browser.get("/portal/?sort=name").text) == ["another", "failing"]
    assert names_on(browser.get("/portal/?needs=attention").text) == ["failing"]
    assert '<b>1</b><a href="/portal/?needs=attention">needs attention</a>' in page
    assert "VM held until" not in page
    until = datetime.now(UTC) + timedelta(hours=1)
    lease: LeaseFact = {"until": until.isoformat(), "size_mib": 500, "host_id": "h"}
    living.service.store.runs.add_facts(run.run_id, lease=lease)
    page = browser.get("/portal/").text
    assert '<b>1</b><a href="/portal/runs?held=true">held, to look into</a>' in page
    held = browser.get("/portal/runs?held=true").text
    for text in (page, held):
        assert re.search(r"VM held until <time [^>]*data-comes>", text), "scripts make no `now` of what is to come"
    assert (run.run_id[:8] in held, ">another</a>" in held) == (True, False)


def test_a_template_that_is_not_built_by_itself_any_more_says_so(browser: Visitor, living: InProcess) -> None:
    some_runs(living)
    path = TEMPLATE.replace("/web", "/failing")
    body = {"properties": {"kind": "SourceImage"}}
    assert living.put(f"{path}/triggers/one", body).status_code in {200, 201}
    assert ">Suspended</span>" not in browser.get("/portal/").text
    for _ in range(2):
        living.request("POST", f"{path}/run")
        ended_run(living, path)
    page = browser.get("/portal/").text
    assert ">Suspended</span>" in page
    assert "because the last 3 builds failed" in page


def test_each_counter_leads_to_what_it_counted(browser: Visitor, living: InProcess) -> None:
    some_runs(living, "older")
    page = browser.get("/portal/").text
    links = [html.unescape(one) for one in re.findall(r'<li><b>[^<]*</b><a href="([^"]*)"', page)]
    assert "/portal/runs?state=Running,Canceling" in links
    assert "/portal/runs?state=Failed&days=1" in links
    assert [browser.get(link).status_code for link in links if "hosts" not in link] == [200] * 4
    failed = browser.get("/portal/runs?state=Failed&days=1").text
    assert (">failing</a>" in failed, ">older</a>" in failed) == (True, False)
    assert ">older</a>" in browser.get("/portal/runs?state=Failed&days=7").text
    assert ">older</a>" in browser.get("/portal/runs?state=Failed&days=odd").text, "as if nothing was asked"
    assert '<option selected value="Running,Canceling">' in browser.get(links[1]).text


@pytest.mark.parametrize("since", ["odd", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_none_is_refused_by_name(living: InProcess, since: str) -> None:
    answer = living.request("GET", RUNS, headers={}, api_version="2024-03-01&since=" + since.replace("+", "%2B"))
    assert (answer.status_code, code_of(answer)) == (400, "InvalidParameter")
    assert answer.json()["error"]["target"] == "since"


def test_a_link_to_more_runs_asks_for_the_same(living: InProcess) -> None:
    run = some_runs(living)
    for _ in range(51):
        living.service.store.runs.add(replace(run, run_id=str(uuid.uuid4()), state=RunState.FAILED))
    path = f"{RUNS}?since=2020-01-01T00:00:00%2B00:00&state=Failed&q=failing"
    first = living.get(path).json()
    rest = living.get(first["nextLink"]).json()
    assert (len(first["value"]), len(rest["value"]), "nextLink" in rest) == (50, 2, False)


def test_roles_are_shown_with_the_names_of_who_has_them(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    principals = living.service.store.principals
    row, _ = principals.create("the <b> builders")
    principals.assign(row.object_id, "Reader", GROUP)
    principals.assign("00000000-0000-0000-0000-00000000dead", "Reader", GROUP)
    page = browser.get("/portal/access").text
    cell = page.partition("the &lt;b&gt; builders")[2].partition("</th>")[0]
    assert f'data-copy="{row.object_id}"' in cell
    assert 'data-copy="00000000-0000-0000-0000-00000000dead"' in page, "nobody's, and shown all the same"


def test_the_foot_of_a_page_has_the_version_and_ways_to_what_machines_read(browser: Visitor) -> None:
    page = browser.get("/portal/").text
    foot = page.partition('<footer class="foot">')[2].partition("</footer>")[0]
    assert f"vmkiln {__version__}" in foot
    for address in re.findall(r'href="([^"]*)"', foot):
        assert browser.get(address).status_code in {200, 403, 503}, address
    assert browser.get("/portal/metrics").status_code == 403, "of a subscription alone"
    browser.token = "root"
    numbers = browser.get("/portal/metrics")
    assert numbers.headers["content-type"].startswith("text/plain")
    assert "vmkiln_info{" in numbers.text
    browser.token = ""
    assert __version__ not in browser.get("/portal/login").text, "not told to strangers"
