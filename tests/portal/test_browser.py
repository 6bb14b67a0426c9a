"""The portal in a real browser: log in, make a template, run it, follow its log as it is written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from in_process import SUBSCRIPTION, a_template
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

TESTS = Path(__file__).parents[1]
SECONDS = 60
FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--ignore-certificate-errors",
)  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A running service: its URL, and its owner's id and password."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    command = [sys.executable, "-m", "stub_service", str(tmp_path / "state")]
    (tmp_path / "state").mkdir()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("https://")
        owner = json.loads((tmp_path / "state/service/owner.json").read_text())
        yield SimpleNamespace(url=url, owner=owner, home=tmp_path / "state")
        process.terminate()


@pytest.fixture
def chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebDriver]:
    """Debian's Chromium without a screen; it keeps nothing outside the test's folder."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver, "chromedriver is missing: `script/bootstrap --with-tests` installs it"
    assert program, "chromium is missing: `script/bootstrap --with-tests` installs it"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def fill(browser: WebDriver, **fields: str) -> None:
    for name, text in fields.items():
        element = browser.find_element(By.NAME, name)
        browser.execute_script("arguments[0].value = arguments[1]", element, text)


def text_of(browser: WebDriver, selector: str) -> str:
    return "".join(
        str(element.get_attribute("textContent")) for element in browser.find_elements(By.CSS_SELECTOR, selector)
    )


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
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "main a[href*='/runs/']"))
    run = str(chromium.find_element(By.CSS_SELECTOR, "main a[href*='/runs/']").get_attribute("href"))

    chromium.get(run)
    wait.until(lambda found: "PACKER OUT wait" in text_of(found, "#live-log"))
    assert f"PACKER OUT {markup}" in text_of(chromium, "#live-log")
    assert not chromium.find_elements(By.ID, "owned"), "the log is text"
    assert "owned" not in chromium.title
    [log] = (service.home / "staging").glob("*/*/packerlogs/*/customization.log")
    with log.open("ab") as file:
        file.write(b"written while the page is open\n")
    wait.until(lambda found: "written while the page is open" in text_of(found, "#live-log"))

    chromium.find_element(By.CSS_SELECTOR, "button[value=cancel]").click()
    wait.until(lambda found: found.find_elements(By.CSS_SELECTOR, "td .Canceled"))
    chromium.get(run)
    assert not chromium.find_elements(By.ID, "live-log")
    assert "Customizing" in text_of(chromium, "#waterfall")
    complaints = [entry["message"] for entry in chromium.get_log("browser") if "401" not in entry["message"]]
    assert complaints == [], "the browser obeys the page's own policy without a complaint"
