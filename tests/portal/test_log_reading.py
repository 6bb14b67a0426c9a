"""Who reads a log while it grows is left in peace: focus, chosen text, the place in it, and single keys."""

from pathlib import Path
from types import SimpleNamespace

from browser import SECONDS, chromium, log_in, text_of
from in_process import a_template
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait
from test_browser import run_template, service

__all__ = ["chromium", "service"]

AT_COPY = "return document.activeElement.matches('#run-head button.copy')"
CHOOSE = "getSelection().selectAllChildren(document.querySelector('#run-head code'))"
LET_GO = "getSelection().removeAllRanges()"


def is_on(chromium: WebDriver, name: str) -> bool:
    return bool(chromium.execute_script("return document.getElementById(arguments[0]).checked", name))


def test_who_reads_a_growing_log_is_left_in_peace(service: SimpleNamespace, chromium: WebDriver) -> None:
    wait = WebDriverWait(chromium, SECONDS)
    log_in(chromium, service.url, service.owner)
    run_template(chromium, service.url, a_template("echo one", "wait"))
    wait.until(lambda found: "wait" in text_of(found, ".log-group.s-live .log-text"))
    wait.until(lambda found: "2 lines" in text_of(found, "#run-head"))
    [log] = (service.home / "staging").glob("*/*/packerlogs/*/customization.log")

    def grow(text: str) -> None:
        write(log, text)
        wait.until(lambda found: text in text_of(found, ".log-text"))

    chromium.execute_script("document.querySelector('#run-head button.copy').focus()")
    grow("the third")
    wait.until(lambda found: "3 lines" in text_of(found, "#run-head"))
    assert chromium.execute_script(AT_COPY), "the part is another, and the button in it has the focus"

    chromium.execute_script(CHOOSE)
    grow("the fourth")
    chromium.execute_async_script("setTimeout(arguments[0], 1500)")
    assert chromium.execute_script("return getSelection().toString()") != "", "what is chosen can be copied"
    chromium.execute_script(LET_GO)
    wait.until(lambda found: "4 lines" in text_of(found, "#run-head"))

    chromium.find_element(By.ID, "log-follow").click()
    grow("the fifth")
    new = chromium.find_element(By.ID, "log-new")
    wait.until(lambda _: new.is_displayed() and new.text.startswith("1 new line "))
    new.click()
    assert not new.is_displayed()
    assert is_on(chromium, "log-follow")

    body = chromium.find_element(By.TAG_NAME, "body")
    for has_keys in (False, True):
        chromium.find_element(By.ID, "log-has-keys").click()
        before = is_on(chromium, "log-wrap")
        body.send_keys("w")
        assert (is_on(chromium, "log-wrap") != before) is has_keys

    chromium.get(f"{chromium.current_url.partition('#')[0]}#L99999")
    chromium.refresh()
    wait.until(lambda found: "the fifth" in text_of(found, "#L5 .log-text"))


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(f"{text}\n")
