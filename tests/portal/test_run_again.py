"""Running a run again: the button of its page, the request behind it, who may, and what is told of it."""

import re

from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned
from page_visitor import Visitor

from vmkiln.store.run_facts import CheckpointFact

RUNS = f"{TEMPLATE}/providers/Vmkiln.Builds/runs"


def failed_run(living: InProcess) -> str:
    """The id of a run that has failed."""
    add_group(living)
    provisioned(living, TEMPLATE, a_template("fail"))
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Failed"
    [run] = living.get(RUNS).json()["value"]
    return str(run["id"])


def test_the_button_of_a_failed_run_leads_to_a_new_run_that_names_it(browser: Visitor, living: InProcess) -> None:
    first = failed_run(living)
    page = browser.get(f"/portal{first}").text
    assert f'action="/portal{first}" ><button name="action" value="retry">' in page
    answer = browser.send(f"/portal{first}", action="retry")
    assert answer.status_code == 303, answer.text
    second = answer.headers["location"].removeprefix("/portal")
    assert (second.rpartition("/")[0], second != first) == (first.rpartition("/")[0], True)
    facts = living.get(second).json()["properties"]["facts"]
    assert (facts["reason"], facts["retry_of"]) == ("retry", first.rpartition("/")[2])
    assert f'href="/portal{first}"' in browser.get(f"/portal{second}").text
    ended_run(living, TEMPLATE)
    assert len(living.get(RUNS).json()["value"]) == 2
    begun: CheckpointFact = {
        "key": "1" * 64,
        "run_id": first.rpartition("/")[2],
        "position": 2,
        "step": "<two>",
        "age_seconds": 60,
        "no_persistence": False,
    }
    living.service.store.runs.add_facts(second.rpartition("/")[2], checkpoint=begun)
    page = browser.get(f"/portal{second}").text
    assert "behind customizer 2 (<code>&lt;two&gt;</code>), as run" in page
    assert "of another template" not in page
    lender = f"{TEMPLATE.rpartition('/')[0]}/lender".lower()
    link = f', <a href="/portal{lender}">lender</a>,'
    for lent_by, told in ((lender, link), ("rg/<a>", " (rg/&lt;a&gt;)")):
        borrowed: CheckpointFact = {**begun, "lent_by": lent_by}
        living.service.store.runs.add_facts(second.rpartition("/")[2], checkpoint=borrowed)
        assert f"of another template{told} left it" in browser.get(f"/portal{second}").text


def test_the_activity_names_the_run_that_was_repeated(browser: Visitor, living: InProcess) -> None:
    first = failed_run(living)
    second = browser.send(f"/portal{first}", action="retry").headers["location"].removeprefix("/portal")
    living.settled()
    query = "$filter=eventTimestamp ge '2020-01-01T00:00:00Z'"
    path = f"/subscriptions/{first.split('/')[2]}/providers/Microsoft.Insights/eventtypes/management/values?{query}"
    events = living.get(path, api_version="2015-04-01").json()["value"]
    [event] = [one for one in events if one["operationName"]["value"] == "Vmkiln.Builds/runs/retry/action"]
    assert event["properties"]["retryOf"] == first.rpartition("/")[2]
    assert event["properties"]["runId"] == second.rpartition("/")[2]
    ended_run(living, TEMPLATE)


def test_running_again_needs_the_rights_of_any_run(living: InProcess) -> None:
    first = failed_run(living)
    living.access.roles["reader"] = [("Reader", GROUP)]
    assert living.request("POST", f"{first}/retry", token="reader").status_code == 403
    assert living.request("POST", f"{first}/retry", token="nobody").status_code == 401
    assert living.request("POST", f"{RUNS}/0123/retry").status_code == 404
    assert len(living.get(RUNS).json()["value"]) == 1


def test_a_run_that_goes_on_is_not_run_again(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("wait"))
    living.request("POST", f"{TEMPLATE}/run")
    [run] = living.get(RUNS).json()["value"]
    assert living.request("POST", f"{run['id']}/retry").json()["error"]["code"] == "OperationNotAllowed"
    assert browser.send(f"/portal{run['id']}", action="retry").status_code == 409
    assert browser.send(f"/portal{run['id']}", action="explode").status_code == 400
    living.request("POST", f"{TEMPLATE}/cancel")
    assert ended_run(living, TEMPLATE)["runState"] == "Canceled"


def test_another_site_runs_nothing_again(browser: Visitor, living: InProcess) -> None:
    first = failed_run(living)
    browser.headers = {"Origin": "https://evil.example"}
    assert browser.send(f"/portal{first}", action="retry").status_code == 403
    assert len(living.get(RUNS).json()["value"]) == 1


def said_of(page: str) -> str:
    """What the page of a run says of who did what with it, without their addresses."""
    found = re.search(r'<p id="run-by">(.*?)</p>', page)
    return re.sub(r" from [0-9a-f.:]+(?=[,.])", "", found[1]) if found else ""


def test_the_page_of_a_run_says_who_began_it_and_who_cancelled_it(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("wait"))
    first = browser.send(f"/portal{TEMPLATE}", action="run").headers["location"]
    living.settled()
    assert said_of(browser.get(first).text) == "Begun by owner."
    browser.send(f"/portal{TEMPLATE}", action="cancel")
    ended_run(living, TEMPLATE)
    living.settled()
    assert said_of(browser.get(first).text) == "Begun by owner, cancelled by owner."
    second = browser.send(first, action="retry").headers["location"]
    living.settled()
    assert said_of(browser.get(second).text) == "Begun by owner."
    assert said_of(browser.get(first).text) == "Begun by owner, cancelled by owner.", "each has its own"
    browser.send(f"/portal{TEMPLATE}", action="cancel")
    ended_run(living, TEMPLATE)
    page = browser.get(f"/portal{TEMPLATE}").text
    assert page.partition("What was done with it")[2].count('<th scope="row">') >= 3
    run_id = first.rpartition("/")[2]
    living.service.store.runs.add_facts(run_id, reason="trigger nightly")
    told = "Begun by the trigger nightly, for its source has a new version, cancelled by owner."
    assert said_of(browser.get(first).text) == told


def test_a_failure_shows_the_first_line_that_was_another_in_the_last_success(
    browser: Visitor, living: InProcess
) -> None:
    add_group(living)
    marker = living.service.settings.home / "broken"
    provisioned(living, TEMPLATE, a_template("echo one", f"fail while {marker}"))
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    [log] = living.service.settings.staging.glob("*/*/packerlogs/*/customization.log")
    log.write_bytes(log.read_bytes().replace(b"echo one", b"echo <uno>"))
    marker.touch()
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Failed"
    newest = living.get(RUNS).json()["value"][0]["id"]
    told = living.get(f"{newest}/failure").json()["value"]["differing"]
    assert told == {"line": 1, "text": "echo one", "was": "echo <uno>"}
    page = browser.get(f"/portal{newest}").text
    assert 'data-anchor="L1">Line 1</a> is the first' in page
    assert "<dd><code>echo &lt;uno&gt;</code></dd>" in page
