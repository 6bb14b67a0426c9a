"""What a form has done is said by the next page, once, in words of ours alone."""

import json
import re
from urllib.parse import quote

import httpx
import pytest
from in_process import SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned
from page_visitor import Visitor

from vmkiln.portal.told import COOKIE, Done, text_of
from vmkiln.store.rows import HostRow

RUNS = f"{TEMPLATE}/providers/Vmkiln.Builds/runs"


def cookie_of(answer: httpx.Response) -> str:
    """What an answer has the browser keep for the next page."""
    [found] = [text for text in answer.headers.get_list("set-cookie") if text.startswith(f"{COOKIE}=")]
    assert all(word in found for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age=60"))
    return found.partition("=")[2].partition(";")[0]


def told_by(page: httpx.Response) -> str:
    """What a page says was done; '' for nothing."""
    found = re.search(r'<p id="told" class="note" role="status">(.*)</p>', page.text)
    return found[1] if found else ""


def said_after(browser: Visitor, path: str, **fields: str) -> str:
    """What the page says that a form leads to."""
    answer = browser.send(path, **fields)
    assert answer.status_code == 303, answer.text
    browser.cookies = {COOKIE: cookie_of(answer)}
    return told_by(browser.get(answer.headers["location"]))


def test_the_page_after_each_act_on_a_template_says_what_was_done(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("wait"))
    assert said_after(browser, f"/portal{TEMPLATE}", action="run") == "A run of web was begun: this is it."
    assert said_after(browser, f"/portal{TEMPLATE}", action="cancel") == "The run of web is being cancelled."
    ended_run(living, TEMPLATE)
    [run] = living.get(RUNS).json()["value"]
    assert said_after(browser, f"/portal{run['id']}", action="retry") == "web is run again: this is the new run."
    living.request("POST", f"{TEMPLATE}/cancel")
    ended_run(living, TEMPLATE)
    deleted = said_after(browser, f"/portal{TEMPLATE}", action="delete", name="web")
    assert deleted.startswith("The image template web is being deleted")


def test_it_is_said_once_and_not_to_a_script(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("wait"))
    browser.cookies = {COOKIE: "cancel.web"}
    reading = browser.get("/portal/", headers={"Sec-Fetch-Mode": "cors"})
    assert (told_by(reading), "set-cookie" in reading.headers) == ("", False), "a page of another tab, read anew"
    page = browser.get(f"/portal{TEMPLATE}", headers={"Sec-Fetch-Mode": "navigate"})
    assert told_by(page) == "The run of web is being cancelled."
    assert f'{COOKIE}=""' in page.headers["set-cookie"]
    missing = browser.get(f"/portal{TEMPLATE}-none")
    assert (missing.status_code, told_by(missing)) == (404, told_by(page))
    assert f'{COOKIE}=""' in missing.headers["set-cookie"]
    browser.cookies = {}
    assert told_by(browser.get(f"/portal{TEMPLATE}")) == ""


@pytest.mark.parametrize(
    "value", ["", "cancel", "cancel.", "odd.web", "cancel.<b>", "cancel.a b", f"cancel.{'a' * 91}"]
)
def test_nothing_but_a_word_of_ours_and_a_name_is_said(browser: Visitor, value: str) -> None:
    assert text_of(value) == ""
    browser.cookies = {COOKIE: quote(value, safe=".")}
    assert told_by(browser.get("/portal/")) == ""
    assert told_by(browser.get(f"/portal/?told={value}")) == ""


def test_every_word_has_its_sentence() -> None:
    assert all("web" in text_of(f"{word}.web") for word in Done)


def test_what_was_refused_or_sent_by_others_is_not_said(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    assert "set-cookie" not in browser.send(f"/portal{TEMPLATE}", action="cancel").headers
    browser.headers = {"Origin": "https://evil.example"}
    assert "set-cookie" not in browser.send(f"/portal{TEMPLATE}", action="run").headers


def test_a_template_that_was_made_and_a_host_that_is_drained_are_named(browser: Visitor, living: InProcess) -> None:
    body = json.dumps(a_template())
    made = said_after(browser, "/portal/new", subscription=SUBSCRIPTION, group="rg1", name="web", body=body)
    assert made == "The image template web was accepted."
    host = HostRow("an-incarnation", "an-id", "worker-1", "x64", "emulated", "", 8, 65_536, 100_000)
    living.service.store.hosts.register(host, lease_seconds=600)
    browser.token = "root"
    drained = said_after(browser, "/portal/hosts", host="worker-1", action="drain")
    assert drained == "worker-1 gets no new runs; those that it has go on."
    again = said_after(browser, "/portal/hosts", host="worker-1", action="undrain")
    assert again == "worker-1 takes runs again."
