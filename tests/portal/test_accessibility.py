"""Every page in a real browser, light and dark, each wide and 320 px: axe finds nothing, nothing scrolls sideways.

A page is loaded once, and looked at in each way. None scrolls sideways at a middle width either. With
`--portal-shots FOLDER` a picture of each page is kept there, in each scheme and width.
"""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from browser import SECONDS, chromium, fill
from in_process import GROUP, IMAGE, TEMPLATE, a_template
from local_build import local_build
from login_issuer import LoginIssuer
from real_clients import CLIENTS
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait
from starlette.applications import Starlette
from starlette.routing import Route
from test_browser import issuer, service

from vmkiln.azure_names import CONTAINER_GROUP, SECURITY_GROUP
from vmkiln.host.usage.machine_usage import FILE_NAME
from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.portal.application import portal
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run_state import new_run_id
from vmkiln.store import tables
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import HostRow, RunRow

__all__ = ["chromium", "issuer", "service"]

AXE = CLIENTS / "node_modules/axe-core/axe.min.js"
SOURCE_IMAGE = {"properties": {"kind": "SourceImage"}}
VERSIONS = "?api-version=2024-03-01"
PARAMETERS = {"p": {"type": "securestring"}, "q": {"type": "int"}}
DEPLOYMENT = json.dumps({"parameters": PARAMETERS, "resources": []})
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ASK = """
const [rules, done] = arguments;
axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']}).then((found) => done(
  found.violations.map((one) =>
    `${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => node.html).join(' | ')}`)
));
"""
NO_PAGES = (
    "/provider",
    "/back",
    "/log",
    "/lines",
    "/find",
    "/follow",
    "/download",
    "/{picture}",
    "/metrics",
    "/arm",
    "/bicep",
)  # go on, files, data
LOOKS = tuple((scheme, width) for width in (1366, 320) for scheme in ("light", "dark"))
MIDDLE = tuple((scheme, 768) for scheme in ("light", "dark"))


@pytest.fixture
def asking(service: SimpleNamespace) -> Iterator[httpx.Client]:
    """A client of the service's API, logged in as its owner."""
    form = {
        "grant_type": "client_credentials",
        "client_id": service.owner["appId"],
        "client_secret": service.owner["password"],
        "scope": f"{service.url}/.default",
    }
    with httpx.Client(base_url=service.url, verify=False, timeout=60) as client:  # noqa: S501 (on this machine)
        token = client.post("/common/oauth2/v2.0/token", data=form).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def until(condition: Any) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def ended(asking: httpx.Client, template: str, body: dict[str, Any], state: str) -> dict[str, Any]:
    """Makes a template, runs it until it has ended so, and gives the template's properties."""
    address = f"{template}?api-version=2025-10-01"
    asking.put(address, json=body).raise_for_status()

    def properties() -> dict[str, Any]:
        return dict(asking.get(address).json()["properties"])

    until(lambda: properties()["provisioningState"] == "Succeeded")
    asking.post(f"{template}/run?api-version=2025-10-01").raise_for_status()
    until(lambda: (properties().get("lastRunStatus") or {}).get("runState") == state)
    return properties()


def built(asking: httpx.Client, service: SimpleNamespace) -> dict[str, str]:
    """A template that was run and published an image, and one that failed; gives the addresses of pages by name."""
    asking.put(f"{GROUP}{VERSIONS}", json={"location": "westus2"}).raise_for_status()
    failing = f"{TEMPLATE}-failing-{'x' * 40}"  # of as many letters as a name may have, nearly
    lines = ("stderr E: Unable to locate package ngnix", "fail")
    properties = ended(asking, TEMPLATE, a_template("publish"), "Succeeded")
    ended(asking, failing, a_template(*lines), "Failed")
    asking.put(f"{failing}/triggers/own?api-version=2025-10-01", json=SOURCE_IMAGE).raise_for_status()
    asking.post(f"{failing}/run?api-version=2025-10-01").raise_for_status()  # of two there is a chart
    runs = f"{failing}/providers/Vmkiln.Builds/runs{VERSIONS}"
    until(lambda: [one["properties"]["runState"] for one in asking.get(runs).json()["value"]] == ["Failed", "Failed"])
    staging = str(properties["exactStagingResourceGroup"])
    names = ("runs", "queue", "images", "hosts", "groups", "activity", "access", "new", "new/guided")
    pages = {"home": "/portal/", **{name.replace("/", "-"): f"/portal/{name}" for name in names}}
    pages |= {"template": f"/portal{TEMPLATE}", "group": f"/portal{staging}", "chart": f"/portal{failing}"}
    pages["plan"] = f"/portal{TEMPLATE}/plan"
    pages |= {"image": f"/portal{IMAGE}", "missing": f"/portal{IMAGE}-none", "unknown": "/portal/unknown"}
    for name, template in (("run", TEMPLATE), ("failed-run", failing)):
        run = asking.get(f"{template}/providers/Vmkiln.Builds/runs{VERSIONS}").json()["value"][0]
        pages[name] = f"/portal{run['id']}"
    for kind in ("Network/networkSecurityGroups", "ContainerInstance/containerGroups", "Storage/storageAccounts"):
        listed = asking.get(f"{staging}/providers/Microsoft.{kind}{VERSIONS}").json()["value"]
        if listed:
            pages[kind.partition("/")[2]] = f"/portal{listed[0]['id']}"
    give_course(service, staging.rpartition("/")[2])
    account = pages.get("storageAccounts", "")
    pages["blobs"] = f"{account}/blobServices/default/containers/packerlogs"
    with opened(service.home / "vmkiln.sqlite") as store:
        image = store.images.find(IMAGE)
        assert image is not None
        for name, version in (("one", "1.22"), ("two", "1.24")):
            contents = ImageContents(packages=(Package("nginx", "amd64", version),), users={"root": 0})
            row = replace(image, artifact_id=f"{IMAGE}-{name}")
            store.images.add(row, documents={CONTENTS: contents.text})
        local = RunRow(
            new_run_id(), "hello", "local", {}, "Failed", "", "it failed", "", "", {}, utc_now(), utc_now(), ""
        )
        store.runs.add(local)
        name = f"builder-02.{'x' * 20}.example"
        store.hosts.register(HostRow("other", "id2", name, "x64", "kvm", "", 64, 262_144, 9_999_999), lease_seconds=600)
        store.hosts.drain(name, is_draining=True)
        build = local_build(service.home / "staging", store, new_run_id())
        build.end()
        done = {"state": "Succeeded", "ended": utc_now()}
        store.connections.change(tables.runs.update().where(tables.runs.c.run_id == build.run_id).values(done))
    pages["local-group"] = f"/portal{build.group_id}"
    pages["local-rules"] = f"/portal{build.id_of(SECURITY_GROUP)}"
    pages["image-beside-others"] = f"/portal{IMAGE}-two"
    pages["difference"] = f"/portal{IMAGE}-two/difference?from={IMAGE}-one"
    pages["document"] = f"/portal{IMAGE}-two/providers/Vmkiln.Builds/documents/contents"
    pages["local-run"] = f"/portal/providers/Vmkiln.Builds/runs/{local.run_id}"
    return pages


def undrawn(chromium: WebDriver, name: str) -> list[str]:
    """What keeps the charts of a container group's page from being seen."""
    strokes = "return [...document.querySelectorAll('.course polyline')].map((line) => getComputedStyle(line).stroke)"
    found: list[str] = chromium.execute_script(strokes) if name == "containerGroups" else ["", ""]
    wrong = [f"{len(found)} charts, and not CPU and memory"] if len(found) != 2 else []
    return [*wrong, *("a chart has no colour" for stroke in found if stroke == "none")]


def give_course(service: SimpleNamespace, group: str) -> None:
    """Of the container group of a staging resource group there is something to draw."""
    with opened(service.home / "vmkiln.sqlite") as store:
        items = [one for one in store.staging.resources_of(group) if one.type == CONTAINER_GROUP]
    points = [[1e9 + 5 * at, 2.5 * at, 150_000 + 1000 * at] for at in range(20)]
    course = {"run_id": items[-1].run_id, "machines": {items[-1].name: points}}
    (service.home / "staging" / group / FILE_NAME).write_text(json.dumps(course))


def overlooked(addresses: list[str]) -> set[str]:
    """The routes of pages that none of the addresses asks for."""
    routes = [
        route for route in portal(Starlette()).routes if isinstance(route, Route) and "GET" in (route.methods or ())
    ]

    def asked_for(address: str) -> str:
        return next(route.path for route in routes if route.path_regex.match(address.partition("?")[0]))

    # a version of a gallery has the pages of a managed image
    pages = {path for path in (route.path for route in routes) if "/versions/" not in path}
    return {path for path in pages if not path.endswith(NO_PAGES)} - {asked_for(address) for address in addresses}


def wrong_in_a_chosen_scheme(chromium: WebDriver) -> list[str]:
    """What axe finds on the page that is open, in the colours that are chosen at its foot, one after the other."""
    wrong: list[str] = []
    chromium.execute_script("window.stayed = true")
    for word, ground in (("dark", "rgb(15, 20, 26)"), ("light", "rgb(246, 247, 249)")):
        chromium.find_element(By.CSS_SELECTOR, f"#scheme button[value={word}]").click()
        until(lambda: chromium.execute_script("return getComputedStyle(document.body).backgroundColor") == ground)  # noqa: B023
        wrong += [f"{word}, by choice: {found}" for found in chromium.execute_async_script(ASK, RULES)]
    assert chromium.execute_script("return window.stayed") is True, "what is written in a form stays"
    chromium.refresh()
    assert chromium.find_element(By.TAG_NAME, "html").get_attribute("data-scheme") == "light"
    return wrong


def wrong_in_the_editor(chromium: WebDriver) -> list[str]:
    """What is amiss where a template of one line has a mistake: its number is marked, its link goes into it."""
    chromium.find_element(By.CSS_SELECTOR, "a[href='#line-1']").click()
    found = chromium.execute_script(
        "return [document.querySelector('.numbers').textContent, document.activeElement.id, "
        "document.activeElement.selectionEnd]"
    )
    return [] if found == ["✗ 1", "body", 1] else [f"the editor: {found}"]


def send_fields_with_mistakes(chromium: WebDriver, address: str) -> None:
    """Add a row to the guided form, and check it with mistakes."""
    chromium.get(address)
    fill(chromium, group="a/b", minutes="many")
    chromium.find_element(By.CSS_SELECTOR, "button[value='add.target.SharedImage']").click()
    until(lambda: chromium.find_elements(By.ID, "target.1.to"))
    chromium.find_elements(By.CSS_SELECTOR, "button[value=check]")[-1].click()
    until(lambda: chromium.find_elements(By.ID, "group-wrong"))


def check_text(chromium: WebDriver, text: str, shown: str) -> None:
    """Check a text in the form of a new template, until the page has what is shown then."""
    fill(chromium, body=text)
    chromium.find_element(By.CSS_SELECTOR, "button[value=check]").click()
    until(lambda: chromium.find_elements(By.ID, shown))


def test_axe_finds_nothing_on_any_page_and_none_scrolls_sideways(
    issuer: LoginIssuer,
    service: SimpleNamespace,
    asking: httpx.Client,
    chromium: WebDriver,
    pytestconfig: pytest.Config,
) -> None:
    assert AXE.is_file(), f"{AXE} is missing: `script/test-clients` installs it"
    axe, shots, pages = AXE.read_text(), pytestconfig.getoption("--portal-shots"), built(asking, service)
    chromium.set_script_timeout(SECONDS)
    wrong: list[str] = []

    def look(name: str, address: str) -> None:
        chromium.get(f"{service.url}{address}")
        chromium.execute_script("document.getElementById('durations')?.setAttribute('open', '')")
        look_at(name)

    def look_at(name: str) -> None:
        """The page that is open."""
        chromium.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})  # type: ignore[attr-defined]
        for scheme, width in (*LOOKS, *MIDDLE):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})  # type: ignore[attr-defined]
            chromium.execute_cdp_cmd(  # type: ignore[attr-defined]
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
            )
            where = f"{name}, {scheme}, {width} px: "
            if (scheme, width) in LOOKS:
                wrong.extend(
                    where + found for found in (*chromium.execute_async_script(ASK, RULES), *undrawn(chromium, name))
                )
            page_width = chromium.execute_script("return document.documentElement.scrollWidth")
            if page_width > width:
                wrong.append(f"{where}it is {page_width} px wide")
            if shots:
                Path(shots).mkdir(parents=True, exist_ok=True)
                command = {"format": "webp", "quality": 80}
                taken = chromium.execute_cdp_cmd("Page.captureScreenshot", command)  # type: ignore[attr-defined]
                (Path(shots) / f"{name}-{scheme}-{width}.webp").write_bytes(base64.b64decode(taken["data"]))

    look("login", "/portal/login")
    assert chromium.find_elements(By.LINK_TEXT, f"Log in at 127.0.0.1:{issuer.port}")
    chromium.get(f"{service.url}/portal/login")
    fill(chromium, app_id=service.owner["appId"], password=service.owner["password"])
    chromium.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(chromium, SECONDS).until(lambda found: found.current_url == f"{service.url}/portal/")
    for name, address in pages.items():
        look(name, address)
    send_fields_with_mistakes(chromium, f"{service.url}/portal/new/guided")
    look_at("guided-with-mistakes")
    chromium.get(f"{service.url}/portal/new")
    check_text(chromium, "{", "body-wrong")
    look_at("form-with-mistakes")
    wrong += wrong_in_the_editor(chromium)
    check_text(chromium, DEPLOYMENT, "parameters")
    look_at("form-of-a-deployment")
    chromium.get(f"{service.url}/portal{TEMPLATE}")
    chromium.find_element(By.CSS_SELECTOR, "#delete summary").click()
    chromium.find_element(By.CSS_SELECTOR, "button[value=run]").click()
    until(lambda: chromium.find_elements(By.ID, "told"))
    look_at("what-was-done")
    wrong.extend(wrong_in_a_chosen_scheme(chromium))
    assert wrong == [], "\n".join(wrong)
    assert overlooked(["/portal/login", *pages.values()]) == set(), "no page is looked at"
