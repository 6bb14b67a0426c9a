"""A real browser drives real builds from end to end, as a person would.

One fails, is explained, linked and run again, and that is cancelled; of one the log and the VHD are downloaded.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import chromium, fill, log_in, text_of
from conftest import PLATFORM_IMAGE, shell, unchanged_world
from in_process import wait_for
from real_clients import SUBSCRIPTION
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait
from test_clients_build import serve_process

from vmkiln.settings import Settings

__all__ = ["chromium"]

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(3000)]
BUILD_SECONDS = 900
SECONDS = 120
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/browser-builds"


@pytest.fixture
def service(prepared: Settings, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where `vmkiln serve` answers, and its owner's login; all that it made is gone afterwards."""
    with unchanged_world(prepared), serve_process(prepared, tmp_path):
        url = (prepared.home / "service/endpoint").read_text().strip()
        owner = json.loads((prepared.home / "service/owner.json").read_text())
        yield url, owner
        with httpx.Client(base_url=url, verify=False, timeout=SECONDS) as client:  # noqa: S501 (on this machine)
            form = {"grant_type": "client_credentials", "client_id": owner["appId"], "scope": f"{url}/.default"}
            form["client_secret"] = owner["password"]
            token = client.post("/common/oauth2/v2.0/token", data=form).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.delete(f"{GROUP}?api-version=2024-03-01").status_code == 202
            wait_for(lambda: client.get(f"{GROUP}?api-version=2024-03-01").status_code == 404, seconds=SECONDS)


def until(browser: WebDriver, condition: Any, *, seconds: float = SECONDS) -> Any:
    ignored = [StaleElementReferenceException]  # the page changes in place
    return WebDriverWait(browser, seconds, ignored_exceptions=ignored).until(condition)


def a_template(*lines: str) -> dict[str, Any]:
    return {
        "location": "westus2",
        "identity": {"type": "None"},
        "properties": {
            "source": PLATFORM_IMAGE,
            "customize": [shell("echo a first line", name="say"), shell(*lines, name="second")],
            "distribute": [{"type": "VHD", "runOutputName": "disk"}],
        },
    }


def make(browser: WebDriver, url: str, name: str, body: dict[str, Any]) -> None:
    """Make a template on its page, and be there when it can be run."""
    browser.get(f"{url}/portal/new")
    fill(browser, subscription=SUBSCRIPTION, group="browser-builds", name=name, body=json.dumps(body))
    browser.find_element(By.CSS_SELECTOR, "main form button").click()
    until(browser, lambda found: found.find_elements(By.CSS_SELECTOR, "dd .Succeeded"))


def begin(browser: WebDriver) -> str:
    """Run the template whose page is open; gives the address of its run, whose page is open then."""
    browser.find_element(By.CSS_SELECTOR, "button[value=run]").click()
    until(browser, lambda found: "/runs/" in found.current_url)
    return browser.current_url.partition("#")[0]


def kept(folder: Path, ending: str) -> Path:
    """The file that the browser has downloaded to its end."""
    deadline = time.monotonic() + BUILD_SECONDS
    while not (found := list(folder.glob(f"*{ending}"))) or list(folder.glob("*.crdownload")):
        assert time.monotonic() < deadline, list(folder.iterdir())
        time.sleep(0.2)
    return found[0]


def test_a_mistake_is_explained_linked_and_run_again(service: tuple[str, dict[str, str]], chromium: WebDriver) -> None:
    url, owner = service
    log_in(chromium, url, owner)
    make(chromium, url, "web", a_template("echo E: Unable to locate package ngnix >&2", "exit 3"))
    failed = begin(chromium)
    chromium.execute_script("window.stayed = true")
    shown = "#log-customization .log-text"
    until(chromium, lambda found: "a first line" in text_of(found, shown), seconds=BUILD_SECONDS)
    until(chromium, lambda found: "Failed" in found.title, seconds=BUILD_SECONDS)
    until(chromium, lambda found: text_of(found, ".run-failure mark").endswith("E: Unable to locate package ngnix"))
    assert chromium.execute_script("return window.stayed"), "the page was not loaded anew"
    title = text_of(chromium, "#run-failure-title")
    assert "exit status 3" in title
    assert "second" in title
    chromium.find_element(By.CSS_SELECTOR, ".run-failure .to-line").click()
    until(chromium, lambda found: "ngnix" in text_of(found, ".log-line.chosen"))
    linked = chromium.current_url
    chromium.get(f"{url}/portal/")
    chromium.get(linked)
    until(chromium, lambda found: "ngnix" in text_of(found, ".log-line.chosen"))
    chromium.get(failed)
    chromium.find_element(By.CSS_SELECTOR, "#run-again button").click()
    until(chromium, lambda found: found.current_url not in {failed, linked} and "/runs/" in found.current_url)
    assert f"run {failed.rpartition('/')[2][:8]}" in text_of(chromium, "#run-head")
    until(chromium, lambda found: text_of(found, "#run-step"), seconds=BUILD_SECONDS)
    cancel(chromium)


def test_a_build_is_watched_to_a_vhd_that_is_downloaded(
    service: tuple[str, dict[str, str]], chromium: WebDriver, tmp_path: Path
) -> None:
    url, owner = service
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    keep = {"behavior": "allow", "downloadPath": str(downloads)}
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", keep)  # type: ignore[attr-defined]
    log_in(chromium, url, owner)
    make(chromium, url, "web", a_template("echo all is well"))
    built = begin(chromium)
    until(chromium, lambda found: text_of(found, "#run-step"), seconds=BUILD_SECONDS)
    chromium.get(str(chromium.find_element(By.CSS_SELECTOR, "a[href$='#network']").get_attribute("href")))
    assert "build-vm" in text_of(chromium, "main")
    chromium.get(built)
    until(chromium, lambda found: "Succeeded" in found.title, seconds=BUILD_SECONDS)
    until(chromium, lambda found: "all is well" in text_of(found, "#log-customization .log-text"))
    parts = text_of(chromium, "#waterfall th")
    assert all(part in parts for part in ("say", "second")), parts
    chromium.find_element(By.CSS_SELECTOR, "#log-customization a[href$='kind=customization']").click()
    assert "all is well" in kept(downloads, ".log").read_text()
    until(chromium, lambda found: found.find_elements(By.LINK_TEXT, "Download the VHD"))[0].click()
    with kept(downloads, ".vhd").open("rb") as file:
        file.seek(-512, os.SEEK_END)
        assert file.read(8) == b"conectix", "it is whole to its footer"


def cancel(browser: WebDriver) -> None:
    """Cancel the run whose page is open, and see it end so."""
    browser.find_element(By.CSS_SELECTOR, "#run-cancel button").click()
    until(browser, lambda found: found.find_elements(By.CSS_SELECTOR, "main .Canceled"))
