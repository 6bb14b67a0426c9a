"""The portal in a real browser: log in, make a template, run it, follow its log as it is written."""

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import SECONDS, chromium, fill, log_in, text_of
from in_process import SUBSCRIPTION, a_template
from login_issuer import CLIENT, SECRET, SUBJECT, LoginIssuer, login_issuer
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait
from served_listener import served

from vmkiln.store.database import opened
from vmkiln.store.rows import KeyKind

__all__ = ["chromium"]

TESTS = Path(__file__).parents[1]

SEEN = """
window.scrollTo(0, document.body.scrollHeight);
document.body.style.paddingBottom = "200vh";
arguments[0].scrollIntoView();
const box = arguments[0].getBoundingClientRect();
const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
document.body.style.paddingBottom = "";
return top === arguments[0];
"""

CLICK_TWICE = """
arguments[0].click();
return !arguments[0].form.dispatchEvent(new SubmitEvent("submit", {bubbles: true, cancelable: true}));
"""

RECORD_NOTICES = """
window.noticed = [];
window.Notification = class extends Notification {
  static requestPermission() { window.noticed.push("asked"); return super.requestPermission(); }
  constructor(title, options) { super(title, options); window.noticed.push(title); }
};
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A running service: its URL, and its owner's id and password."""
    with serving(tmp_path) as found:
        yield found


@contextlib.contextmanager
def serving(tmp_path: Path, *, port: str = "0") -> Iterator[SimpleNamespace]:
    """The same, for as long as the block."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "STUB_PORT": port}
    command = [sys.executable, "-m", "stub_service", str(tmp_path / "state")]
    (tmp_path / "state").mkdir(exist_ok=True)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("https://")
            owner = json.loads((tmp_path / "state/service/owner.json").read_text())
            yield SimpleNamespace(url=url, owner=owner, home=tmp_path / "state")
        finally:  # what fails in the block is told, and not waited behind
            process.terminate()


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginIssuer]:
    """An issuer that the service knows as the one at which people log in."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with login_issuer() as found:
        monkeypatch.setenv("VMKILN_LOGIN_ISSUER", found.url)
        monkeypatch.setenv("VMKILN_LOGIN_CLIENT_ID", CLIENT)
        monkeypatch.setenv("VMKILN_LOGIN_CLIENT_SECRET_FILE", str(secret))
        yield found


def run_template(browser: WebDriver, url: str, body: object) -> None:
    """Make the template `web` by the form, run it, and be at the run's page."""
    wait = WebDriverWait(browser, SECONDS)
    browser.get(f"{url}/portal/new")
    fill(browser, subscription=SUBSCRIPTION, group="rg1", name="web", body=json.dumps(body))
    browser.find_element(By.CSS_SELECTOR, "main form button").click()
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "dd .Succeeded"))
    run = browser.find_element(By.CSS_SELECTOR, "button[value=run]")
    assert browser.execute_script(CLICK_TWICE, run), "of a double click one is sent"
    wait.until(lambda found: "/runs/" in found.current_url)


def test_a_browser_logs_in_at_an_issuer_on_another_site(
    issuer: LoginIssuer, service: SimpleNamespace, chromium: WebDriver
) -> None:
    with opened(service.home / "vmkiln.sqlite") as store:
        trust = {"issuer": issuer.url, "subject": SUBJECT, "audiences": [CLIENT]}
        store.principals.add_key(service.owner["appId"], KeyKind.FEDERATED, "portal", trust)
    chromium.get(f"{service.url}/portal/groups")
    chromium.find_element(By.LINK_TEXT, f"Log in at 127.0.0.1:{issuer.port}").click()
    wait = WebDriverWait(chromium, SECONDS)
    wait.until(lambda found: found.current_url == f"{service.url}/portal/groups")
    assert chromium.execute_script("return document.cookie") == ""
    assert [form["code_verifier"] != "" for form in issuer.asked] == [True]
    chromium.find_element(By.CSS_SELECTOR, "form[action='/portal/logout'] button").click()
    wait.until(lambda found: found.current_url == f"{service.url}/portal/login")
    chromium.get(f"{service.url}/portal/groups")
    assert "/portal/login" in chromium.current_url
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def test_a_build_is_followed_in_a_browser(service: SimpleNamespace, chromium: WebDriver) -> None:
    wait = WebDriverWait(chromium, SECONDS)
    chromium.get(service.url)
    assert chromium.current_url == f"{service.url}/portal/login"
    fill(chromium, app_id=service.owner["appId"], password="wrong")
    chromium.find_element(By.CSS_SELECTOR, "form button").click()
    wait.until(lambda found: found.find_elements(By.CLASS_NAME, "error"))
    fill(chromium, app_id=service.owner["appId"], password=service.owner["password"])
    chromium.find_element(By.CSS_SELECTOR, "form button").click()
    wait.until(lambda found: found.current_url == f"{service.url}/portal/")
    assert chromium.execute_script("return document.cookie") == "", "no script can read the session"

    chromium.find_element(By.LINK_TEXT, "New template").click()
    markup = "<script>document.title = 'owned'</script><b id=owned>bold</b>"
    body = json.dumps(a_template("echo first line", markup, "wait"))
    fill(chromium, subscription=SUBSCRIPTION, group="rg1", name="web", body=body)
    chromium.find_element(By.CSS_SELECTOR, "main form button").click()
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "dd .Succeeded"))
    chromium.find_element(By.CSS_SELECTOR, "button[value=run]").click()
    wait.until(lambda found: "/runs/" in found.current_url)
    run = chromium.current_url
    wait.until(lambda found: "wait" in text_of(found, ".log-group.s-live .log-text"))
    assert markup in text_of(chromium, ".log-group.s-live .log-text")
    assert not chromium.find_elements(By.ID, "owned"), "the log is text"
    assert "Running" in chromium.title
    [log] = (service.home / "staging").glob("*/*/packerlogs/*/customization.log")
    with log.open("ab") as file:
        file.write(b"\x1b[31mwritten while the page is open\x1b[0m\n")
    wait.until(lambda found: "written while the page is open" in text_of(found, ".log-text .ansi-red"))
    assert text_of(chromium, "#waterfall tr.s-live th") == "first"
    chromium.execute_script("window.stayed = true; document.getElementById('log-wrap').focus()")

    chromium.find_element(By.CSS_SELECTOR, "#log").click()
    chromium.find_element(By.TAG_NAME, "body").send_keys("/")
    chromium.switch_to.active_element.send_keys("FIRST line\n")
    wait.until(lambda found: text_of(found, "#log-count") == "1 of 1")
    assert text_of(chromium, ".log-line.now .log-text") == "echo first line"
    chromium.find_element(By.CSS_SELECTOR, "#L2 .log-number").click()
    assert chromium.current_url.endswith("#L2")

    link = chromium.find_element(By.CSS_SELECTOR, "#log-customization a[href$='kind=customization']")
    for width in (1366, 1040, 800):
        chromium.set_window_size(width, 900)
        assert chromium.execute_script(SEEN, link), f"at {width} px what is gone to by Tab is below the log's bar"

    chromium.execute_script("document.querySelector('#run-cancel button').click()")
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "main .Canceled"))
    chromium.get(f"{run}#L2")
    wait.until(lambda found: "Canceled" in found.title)
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "#L2.chosen"))
    assert "first" in text_of(chromium, "#waterfall tr.s-over")
    assert str(chromium.find_element(By.ID, "icon").get_attribute("href")).endswith("state-over.svg")
    complaints = [entry["message"] for entry in chromium.get_log("browser") if "401" not in entry["message"]]
    assert complaints == [], "the browser obeys the page's own policy without a complaint"


def test_a_page_stays_while_its_run_fails_and_leads_to_the_line(
    service: SimpleNamespace, chromium: WebDriver, tmp_path: Path
) -> None:
    wait = WebDriverWait(chromium, SECONDS)
    log_in(chromium, service.url, service.owner)
    marker = tmp_path / "held"
    marker.touch()
    body = a_template("flood", f"hold while {marker}", "stderr E: Unable to locate package ngnix", "fail")
    run_template(chromium, service.url, body)
    run = chromium.current_url
    [log] = wait.until(lambda _: list((service.home / "staging").glob("*/*/packerlogs/*/customization.log")))
    wait.until(lambda _: b"hold while" in log.read_bytes())

    chromium.get(run)
    wait.until(lambda found: "hold while" in text_of(found, ".log-group.s-live .log-text"))
    shown = chromium.find_elements(By.CSS_SELECTOR, ".log-line")
    assert 0 < len(shown) <= 1000, "a live page begins with the last lines"
    chromium.execute_script("window.stayed = true")
    chromium.execute_script(RECORD_NOTICES)
    chromium.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Browser.grantPermissions", {"origin": service.url, "permissions": ["notifications"]}
    )
    assert chromium.execute_script("return window.noticed") == [], "nobody is asked before the press"
    chromium.find_element(By.ID, "run-notice").click()
    wait.until(lambda found: "You are told" in text_of(found, "#run-notice-told"))
    marker.unlink()
    wait.until(lambda found: "Failed" in found.title)
    asked, shown_notice = chromium.execute_script("return window.noticed")
    assert asked == "asked"
    assert shown_notice.endswith("web \N{MIDDLE DOT} Failed"), "told once, with the run's name and state"
    assert not chromium.find_element(By.ID, "run-notice").is_displayed()
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, ".run-failure mark"))
    assert chromium.execute_script("return window.stayed"), "the page was not loaded anew"
    assert text_of(chromium, ".run-failure mark") == "E: Unable to locate package ngnix"
    assert str(chromium.find_element(By.ID, "icon").get_attribute("href")).endswith("state-failed.svg")
    chromium.execute_script("document.activeElement.blur()")
    chromium.find_element(By.TAG_NAME, "body").send_keys("f")
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, ".log-line.chosen.stderr"))
    chromium.get(f"{run}#L17")
    chromium.refresh()
    wait.until(lambda found: "line 15 of many" in text_of(found, "#L17.chosen"))
    complaints = [entry["message"] for entry in chromium.get_log("browser") if "401" not in entry["message"]]
    assert complaints == []


def test_a_page_says_that_nobody_answers_and_goes_on_by_itself(tmp_path: Path, chromium: WebDriver) -> None:
    wait = WebDriverWait(chromium, SECONDS)
    with serving(tmp_path) as service:
        log_in(chromium, service.url, service.owner)
        run_template(chromium, service.url, a_template("wait"))
        wait.until(lambda found: "wait" in text_of(found, ".log-group.s-live .log-text"))
        chromium.execute_script("window.stayed = true")
        assert text_of(chromium, "#stands-still") == ""
    wait.until(lambda found: "does not answer" in text_of(found, "#stands-still"))
    took = text_of(chromium, "#run-took")
    chromium.execute_async_script("setTimeout(arguments[0], 2100)")
    assert text_of(chromium, "#run-took") == took, "its clock does not say that the run goes on"
    with serving(tmp_path, port=service.url.rpartition(":")[2]):
        wait.until(lambda found: text_of(found, "#stands-still") == "")
        assert chromium.execute_script("return window.stayed"), "what was read is still there"


@contextlib.contextmanager
def unavailable(tmp_path: Path, port: int) -> Iterator[Counter[str]]:
    """A proxy whose service is away: it answers 503 to everything, and counts the ends of the paths asked for."""
    asked: Counter[str] = Counter()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path.partition("?")[0].rpartition("/")[2]] += 1
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is told."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "state/service/tls/server.pem", tmp_path / "state/service/tls/server-key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with served(server):
        yield asked


def test_every_live_page_comes_back_after_errors_of_a_proxy(tmp_path: Path, chromium: WebDriver) -> None:
    wait = WebDriverWait(chromium, SECONDS)
    with serving(tmp_path) as service:
        log_in(chromium, service.url, service.owner)
        run_template(chromium, service.url, a_template("wait"))
        wait.until(lambda found: "wait" in text_of(found, ".log-group.s-live .log-text"))
        run = chromium.current_window_handle
        chromium.switch_to.new_window("window")
        chromium.get(f"{service.url}/portal/runs")
        runs = chromium.current_window_handle
        for window in (run, runs):
            chromium.switch_to.window(window)
            chromium.execute_script("window.stayed = true")
    port = int(service.url.rpartition(":")[2])
    with unavailable(tmp_path, port) as asked:
        for window, path in ((run, "follow"), (runs, "runs")):
            chromium.switch_to.window(window)
            wait.until(lambda _, path=path: asked[path] >= 2)
            assert "does not answer" in text_of(chromium, "#stands-still")
    with serving(tmp_path, port=str(port)):
        for window in (run, runs):
            chromium.switch_to.window(window)
            wait.until(lambda found: text_of(found, "#stands-still") == "")
            assert chromium.execute_script("return window.stayed"), "it came back by itself"
        chromium.switch_to.window(run)
        took = text_of(chromium, "#run-took")
        wait.until(lambda found: text_of(found, "#run-took") != took)
