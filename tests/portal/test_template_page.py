"""The page of an image template: what it does without its JSON, and the way to another one like it."""

import html
import json
import re
from dataclasses import replace
from datetime import timedelta

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
    wait_for,
)
from page_visitor import Visitor

from vmkiln.run_state import RunState, new_run_id
from vmkiln.store import tables
from vmkiln.store.database import utc_now
from vmkiln.store.rows import RunOutputRow


def test_a_template_says_what_it_does_and_how_it_is_run(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    body = a_template("echo one", "echo two", buildTimeoutInMinutes=77, vmProfile={"vmSize": "Standard_D2s_v3"})
    provisioned(living, TEMPLATE, {**body, "tags": {"team": "<b>web"}})
    page = browser.get(f"/portal{TEMPLATE}").text
    assert "<code>echo one (and 1 more line)</code>" in page
    assert "<dd>77 minutes</dd>" in page
    assert "<dd>Standard_D2s_v3</dd>" in page
    assert "team=&lt;b&gt;web" in page
    assert "az image builder run -n web -g rg1" in page


def test_another_template_begins_as_one_that_is_there(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("echo of the first"))
    [link] = re.findall(r'href="(/portal/new[?]from=[^"]+)"', browser.get(f"/portal{TEMPLATE}").text)
    page = browser.get(html.unescape(link)).text
    body = html.unescape(page.partition('spellcheck="false">')[2].partition("</textarea>")[0])
    assert "echo of the first" in body
    assert json.loads(body)["properties"].keys().isdisjoint({"provisioningState", "lastRunStatus"})
    assert f'value="{SUBSCRIPTION}"' in page
    made = browser.send("/portal/new", subscription=SUBSCRIPTION, group="rg1", name="web2", body=body)
    assert made.status_code == 303, made.text
    second = f"{TEMPLATE}2"
    wait_for(lambda: living.get(second).json()["properties"]["provisioningState"] == "Succeeded")
    for wrong in ("/subscriptions/x", f"{TEMPLATE}-none", f"{GROUP}/../x", f"{TEMPLATE}/runOutputs/x"):
        assert browser.get("/portal/new", params={"from": wrong}).status_code == 404


def test_what_is_wrong_in_a_form_is_told_at_its_field(browser: Visitor) -> None:
    page = browser.send("/portal/new", subscription=SUBSCRIPTION, group="a/b", name="", body="{}").text
    assert page.count('aria-invalid="true"') == 3, "group, name and text at once"
    assert page.count(" autofocus") == 1, "the first of them"
    assert 'aria-describedby="group-wrong" autofocus>' in page
    assert '<p class="bad" id="name-wrong">the template needs a name</p>' in page


def test_a_staging_group_leads_to_its_template(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template("echo one"))
    page = browser.get(f"/portal{found['properties']['exactStagingResourceGroup']}").text
    assert f'builds of <a href="/portal{TEMPLATE}">web</a>' in page
    assert "builds of" not in browser.get(f"/portal{GROUP}").text


def test_a_template_is_given_a_trigger_and_loses_it_again(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    page = f"/portal{TEMPLATE}"
    assert "Run it for each new version" in browser.get(page).text
    made = browser.send(page, action="trigger", trigger="new-source")
    assert (made.status_code, made.headers["location"]) == (303, page)
    [trigger] = living.get(f"{TEMPLATE}/triggers").json()["value"]
    assert (trigger["name"], trigger["properties"]["kind"]) == ("new-source", "SourceImage")
    shown = browser.get(page).text
    assert 'aria-label="Delete the trigger new-source"' in shown
    assert "Run it for each new version" not in shown, "a template has one at most"
    assert browser.send(page, action="untrigger", trigger="new-source").status_code == 303
    assert living.get(f"{TEMPLATE}/triggers").json()["value"] == []
    for wrong in ("", "..", "a/b", "x" * 65, "../../x"):
        assert browser.send(page, action="untrigger", trigger=wrong).status_code == 400
    assert living.get(TEMPLATE).status_code == 200
    browser.token = "reader"
    assert browser.send(page, action="trigger", trigger="new-source").status_code == 403


def test_a_template_says_why_it_can_have_no_trigger(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    body = a_template()
    body["properties"]["source"]["version"] = "1.2.3"
    living.put(TEMPLATE, body)
    page = browser.get(f"/portal{TEMPLATE}").text
    assert "A trigger needs a source with the version `latest`." in page
    assert "Run it for each new version" not in page


def test_the_times_of_the_last_runs_are_a_chart_with_a_table_behind(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    page = f"/portal{TEMPLATE}"
    for _ in range(2):
        assert 'id="how-long"' not in browser.get(page).text, "there is nothing to compare"
        living.request("POST", f"{TEMPLATE}/run")
        ended_run(living, TEMPLATE)
    chart = browser.get(page).text.partition('id="how-long"')[2].partition("</section>")[0]
    assert chart.count('<rect class="column ok"') == 2
    assert 'role="img"' in chart
    assert chart.count('<th scope="row"><a href="/portal/subscriptions/') == 2
    assert "style=" not in chart


def test_what_the_last_success_made_stays_there_while_a_run_goes_on(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("publish"))
    assert 'id="last-outputs"' not in browser.get(f"/portal{TEMPLATE}").text
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    store = living.service.store
    [good] = store.runs.of_template(TEMPLATE.lower())
    asked = utc_now() - timedelta(seconds=90)
    earlier = {"started": asked - timedelta(hours=1)}
    store.connections.change(tables.runs.update().where(tables.runs.c.run_id == good.run_id).values(earlier))
    now = replace(good, run_id=new_run_id(), state=RunState.RUNNING, started=asked, ended=None)
    store.runs.add(now)
    page = browser.get(f"/portal{TEMPLATE}").text.partition('id="last-outputs"')[2].partition("</ul>")[0]
    assert f'<a href="/portal{IMAGE}">web</a>' in page
    run = f"/portal{TEMPLATE}/providers/Vmkiln.Builds/runs/{now.run_id}"
    assert "of which it waited" not in browser.get(run).text
    store.runs.begin_phase(now.run_id, "Building")
    assert "of which it waited 1 min 30 s" in browser.get(run).text
    store.connections.change(tables.runs.update().where(tables.runs.c.run_id == now.run_id).values(state="Queued"))
    waits = browser.get(run).text
    assert "<dt>Waits since</dt>" in waits
    assert "of which it waited" not in waits, "it waits again, as when its host was lost"


def test_what_a_failed_run_left_is_not_what_the_last_success_made(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("publish"))
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    store, asked = living.service.store, utc_now()
    [good] = store.runs.of_template(TEMPLATE.lower())
    failed = [
        replace(good, run_id=new_run_id(), state=state, started=asked - timedelta(minutes=1))
        for state in (RunState.FAILED, RunState.PARTIALLY_SUCCEEDED)
    ]
    store.runs.add_many([*failed, replace(good, run_id=new_run_id(), state=RunState.QUEUED, started=asked, ended=None)])
    earlier = {"started": asked - timedelta(hours=1)}
    store.connections.change(tables.runs.update().where(tables.runs.c.run_id == good.run_id).values(earlier))
    for run in failed:
        store.images.put_output(RunOutputRow(run.run_id, "half", IMAGE, "", "Succeeded", ""))

    def shown() -> str:
        return browser.get(f"/portal{TEMPLATE}").text.partition("None yet.")[2].partition("</ul>")[0]

    assert good.run_id[:8] in shown()
    assert "half" not in shown()
    assert f'href="/portal{IMAGE}"' in shown()
    assert living.request("DELETE", IMAGE, api_version="2024-07-01").status_code in {200, 202, 204}
    wait_for(lambda: living.get(IMAGE, api_version="2024-07-01").status_code == 404)
    assert f'href="/portal{IMAGE}"' not in shown()
    assert "not there any more" in shown()


def test_tags_are_written_as_lines(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    page = f"/portal{TEMPLATE}"
    assert ">\nteam=web</textarea>" in browser.get(page).text
    written = browser.send(page, action="tags", tags="team = <b>\r\n\r\nempty=\nsum=1+1=2")
    assert (written.status_code, written.headers["location"]) == (303, page)
    assert living.get(TEMPLATE).json()["tags"] == {"team": "<b>", "empty": "", "sum": "1+1=2"}
    assert "team=&lt;b&gt;" in browser.get(page).text
    for wrong in ("no mark", "=value", "a=1\nA=2"):
        answer = browser.send(page, action="tags", tags=wrong)
        assert answer.status_code == 400
    assert len(living.get(TEMPLATE).json()["tags"]) == 3
    browser.token = "reader"
    assert browser.send(page, action="tags", tags="a=b").status_code == 403
