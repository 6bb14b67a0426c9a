"""A real browser in tests: Debian's Chromium without a screen, and what is done with any page."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 60
TEXT = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent).join('')"
FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--ignore-certificate-errors",
)  # fmt: skip


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
    """Write into the fields of a form, by their names."""
    for name, text in fields.items():
        element = browser.find_element(By.NAME, name)
        browser.execute_script("arguments[0].value = arguments[1]", element, text)


def log_in(browser: WebDriver, url: str, owner: Mapping[str, str]) -> None:
    """Log in with an application's id and password, and be at the control room."""
    browser.get(f"{url}/portal/login")
    fill(browser, app_id=owner["appId"], password=owner["password"])
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(browser, SECONDS).until(lambda found: found.current_url == f"{url}/portal/")


def text_of(browser: WebDriver, selector: str) -> str:
    """What stands in the elements of a selector, read at one moment: the page may replace them meanwhile."""
    return str(browser.execute_script(TEXT, selector))
