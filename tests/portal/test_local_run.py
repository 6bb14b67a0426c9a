"""The page of a run that `vmkiln build` made has what the page of a service's run has: steps, failure, live changes."""

import pytest
from in_process import InProcess
from page_visitor import Visitor, run_page

from vmkiln.store import tables

LINES = ("echo one", "stderr E: Unable to locate package ngnix", "fail")
BELOW = (
    "", "/timeline", "/log", "/log/outline", "/log/lines", "/log/search?text=one", "/failure", "/flows", "/confinement",
    "/receipts", "/pictures", "/pictures/none",
)  # fmt: skip
EVERY = "/providers/Vmkiln.Builds/runs"


def failed_of_command(living: InProcess, browser: Visitor) -> tuple[str, str]:
    """A failed run as it is after `vmkiln build`; its page while it was one of a template, and its id among all."""
    address = run_page(living, *LINES)
    page, run_id = browser.get(address).text, address.rpartition("/")[2]
    facts = {"host_id": "h", "begun_by": "maria", "built_of": {"template": "/t.json"}}
    living.service.store.connections.change(tables.runs.update().values(template_id="", facts=facts))
    return page, f"{EVERY}/{run_id}"


def section(page: str, begin: str, end: str) -> str:
    """What a page has between two marks."""
    return page.partition(begin)[2].partition(end)[0]


def test_both_kinds_of_run_have_the_same_failure_and_steps(browser: Visitor, living: InProcess) -> None:
    before, path = failed_of_command(living, browser)
    browser.token = "root"
    page = browser.get(f"/portal{path}").text
    for begin, end in (('<section class="run-failure"', "</section>"), ('<div class="log-groups">', "</section>")):
        assert section(page, begin, end) == section(before, begin, end) != "", begin
    failure = section(page, '<section class="run-failure"', "</section>")
    assert "Failed in Customizing, step <code>first</code>" in failure
    assert "Likely cause:" in failure
    assert "Unable to locate package ngnix" in failure
    assert '<span class="log-name">first</span> <span class="log-word">failed</span>' in page
    assert "Built with <code>vmkiln build</code> by maria." in page
    assert ">vmkiln build by maria</span>" in browser.get("/portal/runs").text
    assert "Run again" not in page, "its template file is another user's"


def test_its_stream_and_its_log_are_those_of_any_run(browser: Visitor, living: InProcess) -> None:
    _, path = failed_of_command(living, browser)
    browser.token = "root"
    told = browser.get(f"/portal{path}/follow").text
    assert "event: groups\n" in told
    assert "event: lines\n" in told
    assert told.endswith("event: end\ndata: {}\n\n")
    assert "ngnix" in browser.get(f"/portal{path}/log?kind=customization").text
    assert browser.get(f"/portal{path}/lines?kind=customization&line=1&count=1").json()["lines"][0][3] == ["echo one"]
    assert browser.get(f"/portal{path}/find?text=ngnix").json()["total"] == 1


def test_a_run_that_no_build_made_is_not_offered_to_be_built_again(browser: Visitor, living: InProcess) -> None:
    """Such as the one in which `vmkiln image import --check` looks for a way to log in."""
    _, path = failed_of_command(living, browser)
    living.service.store.connections.change(tables.runs.update().values(facts={"host_id": "h"}))
    browser.token = "root"
    page = browser.get(f"/portal{path}").text
    assert "Begun by a command on its machine." in page
    assert "vmkiln build" not in page
    assert "run retry" not in page
    assert ">by a command</span>" in browser.get("/portal/runs").text


@pytest.mark.parametrize("below", BELOW)
def test_only_who_reads_the_whole_service_reads_it(browser: Visitor, living: InProcess, below: str) -> None:
    _, path = failed_of_command(living, browser)
    assert living.request("GET", f"{path}{below}", token="owner").status_code == 404
    assert living.request("GET", f"{path}{below}", token="nobody").status_code == 401
    found = living.request("GET", f"{path}{below}", token="root").status_code
    assert found == (404 if below in {"/pictures/none", "/flows"} else 200)


def test_one_that_ended_before_its_first_phase_was_in_no_queue(browser: Visitor, living: InProcess) -> None:
    _, path = failed_of_command(living, browser)
    living.service.store.connections.change(tables.phases.delete())
    browser.token = "root"
    page = browser.get(f"/portal{path}").text
    assert "Failed before its first phase" in page
    assert "in the queue" not in page
