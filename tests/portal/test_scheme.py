"""The colours of the pages are the system's, or what the visitor chose for this browser."""

import pytest
from page_visitor import Visitor

from vmkiln.portal.scheme import COOKIE


def test_a_choice_is_kept_and_leads_back_to_the_page_where_it_was_made(browser: Visitor) -> None:
    assert '<html lang="en" data-scheme="system">' in browser.get("/portal/").text
    browser.headers["Referer"] = "https://localhost:8443/portal/runs?state=Failed"
    answer = browser.send("/portal/scheme", scheme="dark")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/runs?state=Failed")
    kept = answer.headers["set-cookie"]
    assert all(word in kept for word in (f"{COOKIE}=dark;", "HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    browser.cookies = {COOKIE: "dark"}
    page = browser.get("/portal/runs").text
    assert 'data-scheme="dark"' in page
    assert '<meta name="color-scheme" content="dark">' in page
    assert 'value="dark" aria-pressed="true"' in page
    assert page.count('aria-pressed="true"') == 1
    back = browser.send("/portal/scheme", scheme="system").headers["set-cookie"]
    assert f'{COOKIE}=""' in back
    assert "Max-Age=0" in back


@pytest.mark.parametrize("word", ["", "red", 'dark"><script>', "DARK"])
def test_a_word_that_is_no_scheme_is_the_systems(browser: Visitor, word: str) -> None:
    assert "Max-Age=0" in browser.send("/portal/scheme", scheme=word).headers["set-cookie"]
    browser.cookies = {COOKIE: "red"}
    assert 'data-scheme="system"' in browser.get("/portal/").text


def test_no_other_site_chooses_and_none_is_led_to(browser: Visitor) -> None:
    browser.headers["Referer"] = "https://evil.example/portal/../x"
    assert browser.send("/portal/scheme", scheme="dark").headers["location"] == "/portal/"
    browser.headers["Referer"] = "https://evil.example//evil.example/"
    assert browser.send("/portal/scheme", scheme="dark").headers["location"] == "/portal/"
    browser.headers |= {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = browser.send("/portal/scheme", scheme="dark")
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
