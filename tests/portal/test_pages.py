"""The pages: they show what the API answers, in text that nothing obeys, to whom the API would show it."""

import contextlib
import html
import json
import os
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
import tiers
from in_process import (
    BASE,
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
from page_visitor import Visitor, run_page

from vmkiln.api.virtual_machine_images import run_logs
from vmkiln.images import gallery
from vmkiln.portal.session import COOKIE
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "</pre></main><iframe src=//evil.example>",
    "\x1b]52;c;aGk=\x07\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "before\rafter \u202etxt.exe \x00\x08",
    "\u2066\u2067 C1: \x9b31m\x9d0;title\x9c",
    "{{ 7 * 7 }} {% include 'x' %} &lt;b&gt;",
]


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_visitor_without_a_login_is_sent_to_it(browser: Visitor) -> None:
    for token in ("", "nobody"):
        browser.token = token
        for path in ("/portal/", "/portal/new", "/portal/groups", f"/portal{TEMPLATE}", f"/portal{GROUP}"):
            answer = browser.get(path)
            wanted = "" if path == "/portal/" else f"?next={quote(path, safe='')}"
            assert (answer.status_code, answer.headers["location"]) == (303, f"/portal/login{wanted}")
    assert browser.get("/portal/login").status_code == 200
    assert browser.get("/portal/none").status_code == 404


def test_who_asks_for_the_root_gets_the_portal_or_as_a_client_the_api(browser: Visitor) -> None:
    answer = browser.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/")
    assert browser.get("/portal").headers["location"] == "/portal/"
    assert browser.get("/", headers={"Accept": "application/json"}).headers["content-type"].startswith("application/j")


def test_a_token_is_a_session_that_scripts_and_other_sites_cannot_use(browser: Visitor) -> None:
    browser.token = ""
    wrong = browser.send("/portal/login", token="nobody")
    assert wrong.status_code == 401
    assert "AuthenticationFailed" in wrong.text
    assert "set-cookie" not in wrong.headers
    right = browser.send("/portal/login", token="owner")
    assert (right.status_code, right.headers["location"]) == (303, "/portal/")
    cookie = right.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=owner;")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age="))
    out = browser.send("/portal/logout")
    assert f'{COOKIE}=""' in out.headers["set-cookie"]


def test_a_template_is_made_run_and_deleted(browser: Visitor, living: InProcess) -> None:
    body = json.dumps(a_template("echo made by the portal"))
    made = browser.send("/portal/new", subscription=SUBSCRIPTION, group="rg1", name="web", body=body)
    assert made.headers["location"].lower() == f"/portal{TEMPLATE}".lower(), made.text
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
    assert ">web</a>" in browser.get("/portal/").text
    begun = browser.send(f"/portal{TEMPLATE}", action="run")
    assert begun.status_code == 303
    newest = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"][0]["id"]
    assert begun.headers["location"] == f"/portal{newest}", "one who runs it wants to see it run"
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    page = browser.get(f"/portal{TEMPLATE}").text
    assert "Succeeded" in page
    assert browser.send(f"/portal{TEMPLATE}", action="explode").status_code == 400
    assert browser.send(f"/portal{TEMPLATE}", action="cancel").status_code == 409
    assert browser.send(f"/portal{TEMPLATE}", action="delete", name="web").headers["location"] == "/portal/"
    wait_for(lambda: living.get(TEMPLATE).status_code == 404)


def test_every_mistake_is_shown_and_nothing_written_is_lost(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    wrong = json.dumps(a_template(source={"type": "PlatformImage"}, buildTimeoutInMinutes=-1, mine="kept <b>"))
    answer = browser.send("/portal/new", subscription=SUBSCRIPTION, group="rg1", name="web", body=wrong)
    assert answer.status_code == 400
    assert "publisher" in answer.text
    assert "buildTimeoutInMinutes" in answer.text
    assert "kept &lt;b&gt;" in answer.text
    answer = browser.send("/portal/new", subscription="x", group="a/b", name="", body="{")
    assert answer.status_code == 400
    assert answer.text.partition('<div class="error"')[2].count("<li>") == 4
    assert living.get(f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates").json()["value"] == []


def test_a_request_of_another_site_changes_nothing(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": BASE, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {},
    ):
        browser.headers = headers
        answer = browser.send(f"/portal{TEMPLATE}", action="delete", name="web")
        assert (answer.status_code, "ForeignRequest" in answer.text) == (403, True), headers
        assert browser.send("/portal/login", token="owner").status_code == 403
    assert living.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded"


def test_what_a_visitor_may_not_see_is_not_shown(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "echo secret-of-the-owner")
    assert "secret-of-the-owner" in browser.get(address).text
    browser.token = "reader"
    assert browser.get(address).status_code == 200
    assert browser.send(f"/portal{TEMPLATE}", action="run").status_code == 403
    browser.token = "stranger"
    for path in (address, f"{address}/log", f"{address}/follow", f"/portal{TEMPLATE}", f"/portal{GROUP}"):
        answer = browser.get(path)
        assert answer.status_code == 403, path
        assert "secret-of-the-owner" not in answer.text
        assert f'name="next" value="{path}"' in answer.text, "who logs in as another comes back"
    searched = f"/portal/new?from={TEMPLATE}&again=yes"
    assert f'name="next" value="{html.escape(searched)}"' in browser.get(searched).text, "with what was asked for"
    logged_out = browser.send("/portal/logout", next=address)
    assert logged_out.headers["location"] == f"/portal/login?next={quote(address, safe='')}"
    assert "web" not in browser.get("/portal/").text


def test_a_log_is_text_and_never_markup_or_an_escape_sequence(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "echo plain")
    harmless = Elements(browser.get(address).text)
    [log] = living.service.settings.staging.glob("*/*/packerlogs/*/customization.log")
    with log.open("ab") as file:
        file.write("".join(f"{line}\n" for line in HOSTILE).encode() + b"no text: \xff\xfe\n")
    page = browser.get(address)
    shown = Elements(page.text)
    assert sorted(set(shown.names) - set(harmless.names)) == []
    assert shown.names.count("script") == harmless.names.count("script")
    assert not any(name.startswith("on") for name, _ in shown.attributes)
    assert "<script>alert(1)</script>" in shown.text, "the probe is in the log"
    assert "{{ 7 * 7 }}" in shown.text
    assert not set(page.text) & {*"\x1b\x07\x00\x08\r\x9b\x9c\x9d\u202e\u2066\u2067"}
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    found = browser.get(f"{address}/find", params={"text": "before"}).json()["lines"]
    assert [line["text"] for line in found] == [r"before\rafter \u202etxt.exe \x00\x08"]
    raw = browser.get(f"{page.url.path}/log")
    assert raw.headers["content-type"].startswith("text/plain")
    assert raw.headers["content-disposition"].startswith("attachment;")
    assert HOSTILE[0] in raw.text


def test_the_page_of_a_run_reads_its_log_once_and_then_only_what_it_shows(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "echo plain")
    [log] = living.service.settings.staging.glob("*/*/packerlogs/*/customization.log")
    with log.open("ab") as file:
        file.truncate(100 * 1024**2)  # sparse
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(b"line %d\n" % number for number in range(5000)))
    assert len(browser.get(address).text) < 200_000
    before = read_bytes()
    page = browser.get(f"{address}?line=100000000").text
    assert read_bytes() - before < 8 * 1024**2
    page = browser.get(f"{address}?line=5000").text
    assert "line 4800" in page


def read_bytes() -> int:
    """What this process has read so far, from caches too (proc_pid_io(5))."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_run_shows_where_its_time_went(browser: Visitor, living: InProcess) -> None:
    page = browser.get(run_page(living, "echo one")).text
    for part in ("Waiting", "Staging", "first"):
        assert f'aria-label="{part}"' in page
    assert '<span class="log-text">echo one</span>' in page


def test_a_failed_run_says_first_where_and_why(browser: Visitor, living: InProcess) -> None:
    marker = living.service.settings.home / "broken"
    address = run_page(living, "echo fine", f"fail while {marker}")
    marker.touch()
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    body = a_template("echo fine", "stderr E: Unable to locate package <ngnix>", "fail")
    assert living.request("DELETE", TEMPLATE).status_code < 300
    wait_for(lambda: living.get(TEMPLATE).status_code == 404)
    provisioned(living, TEMPLATE, body)
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Failed"
    runs = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    address = f"/portal{runs[0]['id']}"
    page = browser.get(address).text
    box = page.partition('<section class="run-failure"')[2].partition("</section>")[0]
    assert "Failed in Customizing, step <code>first</code>, exit status 1" in box
    assert "There is no package <code>&lt;ngnix&gt;</code>" in box
    assert "<mark>E: Unable to locate package &lt;ngnix&gt;</mark>" in box
    assert 'href="?kind=customization&amp;line=2#L2"' in box
    assert page.index("run-failure") < page.index('id="log"')
    assert "log-group s-failed" in page


def test_the_log_is_searched_and_paged_without_scripts(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "flood", "stderr it broke")
    page = browser.get(address).text
    assert len(page) < 200_000
    page = browser.get(f"{address}?kind=customization&line=3000").text
    assert 'id="L3000"' in page
    assert 'class="log-more log-earlier" href="?kind=customization&amp;line=' in page
    assert 'id="L5002"' in browser.get(f"{address}?kind=customization&line=999999").text, "the last there is"
    found = browser.get(f"{address}?find=LINE+4711+of").text
    assert "1 found" in found
    assert 'href="?kind=customization&amp;line=4713#L4713"' in found
    assert (
        "it broke" in browser.get(f"{address}?errors=on").text.partition('id="log-found"')[2].partition("</details>")[0]
    )
    answer = browser.get(f"{address}/find", params={"text": "many"}).json()
    assert (answer["total"], len(answer["lines"])) == (5000, 500)
    with contextlib.ExitStack() as others:
        for _ in range(run_logs.MOST_SEARCHES):
            others.enter_context(run_logs._turns)
        assert browser.get(f"{address}/find", params={"text": "many"}).status_code == 429
    lines = browser.get(f"{address}/lines", params={"kind": "customization", "line": "2", "count": "3"}).json()["lines"]
    assert [line[0] for line in lines] == [2, 3, 4]
    assert browser.get(f"{address}/lines", params={"kind": "x", "line": "2", "count": "3"}).status_code == 400
    inline = browser.get(f"{address}/log?inline=1")
    assert inline.headers["content-disposition"].startswith("inline;")
    assert inline.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("name", ["providers/Microsoft.Storage/storageAccounts", "resources"])
def test_a_staging_group_shows_its_network_and_every_resource_has_a_page(
    browser: Visitor, living: InProcess, name: str
) -> None:
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template("echo one", "wait"))
    living.request("POST", f"{TEMPLATE}/run")
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    staging = str(found["properties"]["exactStagingResourceGroup"])
    page = browser.get(f"/portal{staging}").text
    assert "10.0.0.0/24" in page
    assert "<strong>build-vm</strong> <code>10.0.1.4</code>" in page
    for item in living.get(f"{staging}/{name}").json()["value"]:
        assert f'href="/portal{item["id"]}"' in page
        assert browser.get(f"/portal{item['id']}").status_code == 200
    live = browser.get(f"/portal{living.get(f'{TEMPLATE}/providers/Vmkiln.Builds/runs').json()['value'][0]['id']}")
    assert "/follow" in live.text
    living.request("POST", f"{TEMPLATE}/cancel")
    ended_run(living, TEMPLATE)


def test_no_address_or_form_ends_in_an_error_of_ours(browser: Visitor, living: InProcess) -> None:
    address = run_page(living, "echo one")
    message = living.get(TEMPLATE).json()["properties"]["exactStagingResourceGroup"]
    account = living.get(f"{message}/resources").json()["value"][0]["id"]
    log = f"{account}/blobServices/default/containers/packerlogs/{address[-36:]}/customization.log"
    assert "PACKER OUT echo one" in browser.get(f"/portal{log}").text
    pieces = [
        "..",
        "%00",
        "%2f",
        "a b",
        "%ff",
        "\u00e9",
        "x" * 3000,
        "?",
        "#",
        "'",
        '"',
        "<b>",
        "{{1}}",
        "providers",
        "runs",
    ]
    chosen = random.Random(tiers.seed())  # noqa: S311
    addresses = [address, f"/portal{TEMPLATE}", f"/portal{GROUP}", "/portal", "/portal/subscriptions", "/portal/static"]
    statuses = set()
    for _ in range(tiers.tier().portal_requests):
        parts = chosen.choice(addresses).split("/")
        for _ in range(chosen.randint(1, 3)):
            parts.insert(chosen.randint(2, len(parts)), chosen.choice(pieces))
        method = chosen.choice(["GET", "GET", "POST", "PUT", "HEAD"])
        body = chosen.choice([b"", b"action=run&x=%ff", b"\xff\xfe", b"a=1&" * 30, b"{}"])
        answer = browser.request(
            method, "/".join(parts).replace("#", "%23"), content=body if method == "POST" else None
        )
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (method, parts, answer.text[-300:])
    assert {200, 404} <= statuses, "the requests were not all the same"


@pytest.mark.parametrize("path", ["activity?until=0001-01-01T00:00:00Z", "runs?after=0001-01-01T00:00:00%2B14:00_x"])
def test_a_moment_before_all_others_is_no_error_of_ours(browser: Visitor, path: str) -> None:
    assert browser.get(f"/portal/{path}").status_code < 500


@pytest.mark.parametrize("token", ["", "owner"])
def test_a_form_that_is_nested_without_end_is_no_error_of_ours(browser: Visitor, token: str) -> None:
    browser.token = token
    assert browser.send("/portal/new", kept="[" * 200_000).status_code == 400
    assert browser.send("/portal/login", next="/portal/", kept="[" * 200_000, token="owner").status_code == 303


def test_the_forms_example_works_with_its_own_fields_filled_in(browser: Visitor, living: InProcess) -> None:
    shown = html.unescape(re.search(r"<textarea[^>]*>\n(.*)</textarea>", browser.get("/portal/new").text, re.S)[1])  # type: ignore[index]
    assert "/subscriptions/SUBSCRIPTION/" in shown
    body = shown.replace('"identity"', '// comments and trailing commas pass, as in files\n  "identity"')
    made = browser.send("/portal/new", subscription=SUBSCRIPTION, group="rg1", name="web", body=body)
    assert made.status_code == 303, made.text
    found = wait_for(
        lambda: (one := living.get(TEMPLATE).json())["properties"]["provisioningState"] != "Creating" and one
    )
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["distribute"][0]["imageId"] == IMAGE
    wrong = browser.send("/portal/new", subscription=SUBSCRIPTION, group="a/b", name="web", body="{")
    assert "the resource group cannot be named `a/b`" in wrong.text


def add_gallery(living: InProcess, definition: str) -> None:
    """Put an image definition, and the gallery that it lies in."""
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    properties = {"osType": "Linux", "osState": "Generalized", "identifier": identifier}
    for path, body in ((definition.rpartition("/images/")[0], {}), (definition, {"properties": properties})):
        made = living.put(path, {"location": "westus2", **body}, api_version="2024-03-03")
        assert made.status_code in {200, 201}, made.text


def test_a_gallery_leads_to_its_definitions_and_their_versions(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    above = f"{GROUP}/providers/Microsoft.Compute/galleries/gal"
    add_gallery(living, f"{above}/images/def")
    page = browser.get(f"/portal{above}").text
    assert f'href="/portal{above}/images/def"' in page
    assert "There is none yet." in browser.get(f"/portal{above}/images/def").text


def test_a_version_links_to_its_gallery_only_where_that_has_a_page(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    above = f"{GROUP}/providers/Microsoft.Compute/galleries/gal"
    definition = f"{above}/images/def"
    version, home = f"{definition}/versions/1.0.0", living.service.settings.home
    row = ImageRow(version, gallery.KIND, home / "x", "qcow2", "0" * 64, 1, 1, 1, "Linux", "", "", {}, {}, utc_now())
    living.service.store.images.add_version(row, definition_id=definition)

    def links() -> list[bool]:
        page = browser.get(f"/portal{version}")
        assert page.status_code == 200, "also of an image that no run made"
        assert "<li>Run: none</li>" in page.text
        found = page.text.partition('<nav class="trail"')[2].partition("</nav>")[0]
        assert "<li>def</li>" in found or ">def</a></li>" in found
        return [f'href="/portal{place}"' in found for place in (GROUP, above, definition)]

    assert links() == [True, False, False], "as `vmkiln build` publishes it"
    add_gallery(living, definition)
    assert links() == [True, True, True]
