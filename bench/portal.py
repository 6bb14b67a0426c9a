"""What the page of a run with a long log costs: its first paint in a browser, its size, and what a viewer costs.

    python bench/portal.py [--lines 100000] [--viewers 50] [--seconds 20]

The service is the tests' own, whose builds need no virtual machines; the browser is Debian's Chromium.
"""

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from in_process import SUBSCRIPTION, a_template  # noqa: E402 (the path is set above)
from selenium import webdriver  # noqa: E402

from vmkiln.portal.session import COOKIE  # noqa: E402

MOST_SECONDS, MOST_BYTES = 0.5, 200_000  # of a page of 100,000 lines
FLAGS = ("--headless=new", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors", "--disable-dev-shm-usage")
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web"
STUB = "import sys, stub_build; stub_build.FLOOD_LINES = int(sys.argv.pop()); import runpy; runpy.run_module('stub_service', run_name='__main__')"  # noqa: E501 (one program)


def client(url: str, owner: dict[str, str]) -> tuple[httpx.Client, str]:
    """A client of the service's owner, and the token."""
    http = httpx.Client(base_url=url, verify=False, timeout=60, params={"api-version": "2024-02-01"})  # noqa: S501
    form = {"grant_type": "client_credentials", "client_id": owner["appId"], "client_secret": owner["password"]}
    answer = http.post("/common/oauth2/v2.0/token", data={**form, "scope": f"{url}/.default"})
    token = str(answer.json()["access_token"])
    http.headers["Authorization"] = f"Bearer {token}"
    return http, token


def run_with(http: httpx.Client, *commands: str) -> str:
    """The id of a run of a template with these commands."""
    http.put(GROUP, json={"location": "westus2"}, params={"api-version": "2024-03-01"}).raise_for_status()
    http.put(TEMPLATE, json=a_template(*commands)).raise_for_status()
    while http.get(TEMPLATE).json()["properties"]["provisioningState"] == "Creating":
        time.sleep(0.1)
    http.post(f"{TEMPLATE}/run").raise_for_status()
    runs = http.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    return str(runs[0]["id"])


def painted(url: str, token: str, run: str) -> list[dict[str, float]]:
    """What the browser itself says of each opening of a page; from the second on its scripts are kept.

    That is its first contentful paint in seconds, the page's bytes, and those of its scripts and sheets besides.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        browser.get(f"{url}/portal/login")
        cookie = {"name": COOKIE, "value": token, "path": "/", "secure": True, "sameSite": "Strict"}
        browser.add_cookie(cookie)
        found: list[dict[str, float]] = []
        for _ in range(3):
            browser.get(f"{url}/portal{run}")
            time.sleep(2)
            opened: dict[str, float] = browser.execute_script(
                "const page = performance.getEntriesByType('navigation')[0];"
                "const paint = performance.getEntriesByName('first-contentful-paint')[0];"
                "return {answered: page.responseEnd / 1000, paint: paint.startTime / 1000, bytes: page.transferSize, "
                "others: performance.getEntriesByType('resource').reduce((all, one) => all + one.transferSize, 0)}"
            )
            found.append(opened)
        return found
    finally:
        browser.quit()


def keeps(opened: dict[str, float]) -> bool:
    """Whether an opening of the page keeps to what is promised of its first paint."""
    return opened["paint"] <= MOST_SECONDS and opened["bytes"] + opened["others"] <= MOST_BYTES


def cpu_seconds(process_id: int) -> float:
    """What a process has taken (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def watched(url: str, token: str, run: str, *, viewers: int, seconds: float) -> None:
    """So many viewers of the stream of a run for so long."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    limits = httpx.Limits(max_connections=viewers)
    async with httpx.AsyncClient(base_url=url, verify=trust, cookies={COOKIE: token}, limits=limits) as http:

        async def view() -> None:
            async with http.stream("GET", f"/portal{run}/follow", timeout=60) as answer:
                async for _ in answer.aiter_bytes():
                    pass

        tasks = [asyncio.create_task(view()) for _ in range(viewers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
        command = [sys.executable, "-c", STUB, home, str(options.lines)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().strip()
                http, token = client(url, json.loads(Path(home, "service/owner.json").read_text()))
                run = run_with(http, "flood", "wait")
                outline: dict[str, Any] = {"lines": 0}
                while outline["lines"] < options.lines:
                    time.sleep(0.5)
                    outline = http.get(f"{run}/log/outline").json()
                shown = painted(url, token, run)
                for number, one in enumerate(shown, 1):
                    print(f"live page, {outline['lines']} lines, opening {number}: {one}")
                verdict = "kept" if all(map(keeps, shown)) else "missed"
                print(f"first paint <= {MOST_SECONDS} s and <= {MOST_BYTES} bytes: {verdict}")
                asyncio.run(watched(url, token, run, viewers=options.viewers, seconds=5))
                before = cpu_seconds(process.pid)
                asyncio.run(watched(url, token, run, viewers=options.viewers, seconds=options.seconds))
                per_viewer = (cpu_seconds(process.pid) - before) / options.seconds / options.viewers
                print(f"a viewer of {options.viewers}: {1000 * per_viewer:.1f} ms of CPU a second")
                http.post(f"{TEMPLATE}/cancel")
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
