"""The service is killed again and again: what it accepted ends, once, and nothing is left behind."""

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tiers
from in_process import SUBSCRIPTION, a_template, wait_for

from vmkiln.listener import GRACE_SECONDS
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened

TESTS = Path(__file__).parents[1]
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
RUNS, KILLS = tiers.tier().killed_runs, tiers.tier().kills
SECONDS = 180 + RUNS
STANDSTILL_SECONDS = 120


class KilledService:
    """A service as a process of its own, which can be killed and started anew on the same state."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "STUB_CPUS": "8"}
        self.environment["VMKILN_MOST_RUN_ATTEMPTS"] = str(KILLS + 2)  # each kill may meet the same run
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "stub_service", str(self.home)]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("https://")

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def token(self) -> str:
        owner = json.loads((self.home / "service/owner.json").read_text())
        form = {"grant_type": "client_credentials", "client_id": owner["appId"], "client_secret": owner["password"]}
        form["scope"] = "https://management.azure.com/.default"
        answer = self.web.post(f"{self.url}/common/oauth2/v2.0/token", data=form)
        return str(answer.raise_for_status().json()["access_token"])

    def login(self) -> None:
        self.web = httpx.Client(verify=ssl.create_default_context(cafile=self.home / "service/tls/ca.pem"), timeout=10)
        self.web.headers["Authorization"] = f"Bearer {self.token()}"

    def put(self, path: str, body: object) -> None:
        """PUT until it was accepted, whoever dies meanwhile."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self.web.put(f"{self.url}{path}", json=body, params={"api-version": "2024-02-01"})
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            assert answer.status_code in {200, 201}, answer.text
            return
        raise AssertionError(f"{path} was never accepted")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KilledService]:
    found = KilledService(tmp_path)
    try:
        found.login()
        yield found
    finally:
        if hasattr(found, "web"):
            found.web.close()
        if found.process.poll() is None:
            found.kill()


@pytest.fixture
def store(service: KilledService) -> Iterator[Store]:
    with opened(Settings(service.home).database) as found:
        yield found


def auto_run_template() -> dict[str, object]:
    target = {
        "type": "SharedImage",
        "runOutputName": "out",
        "galleryImageId": f"{GALLERY}/images/d",
        "replicationRegions": ["westus2"],
    }
    return a_template("publish", distribute=[target], autoRun={"state": "Enabled"})


def make_gallery(service: KilledService) -> None:
    service.put(GROUP, {"location": "westus2"})
    service.put(GALLERY, {"location": "westus2", "properties": {}})
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    properties = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1", "identifier": identifier}
    service.put(f"{GALLERY}/images/d", {"location": "westus2", "properties": properties})


@pytest.mark.timeout(SECONDS * 4)
def test_runs_end_once_each_though_the_service_is_killed_again_and_again(service: KilledService, store: Store) -> None:
    make_gallery(service)

    def submit() -> None:
        for number in range(RUNS):
            service.put(
                f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/t{number}", auto_run_template()
            )

    client = threading.Thread(target=submit)
    client.start()
    chosen = random.Random(tiers.seed())  # noqa: S311
    for _ in range(KILLS):
        time.sleep(chosen.uniform(0.3, 1.2))
        service.kill()
        service.start()
    client.join(SECONDS)
    assert not client.is_alive()

    def all_ended() -> bool:
        runs = store.runs.list(limit=None)
        return len(runs) >= RUNS and all(run.ended for run in runs) and not store.operations.open_ones()

    ended, since = -1, time.monotonic()
    while not all_ended():  # on a busy machine that takes as long as it takes, but it goes on
        if (now := sum(run.ended is not None for run in store.runs.list(limit=None))) > ended:
            ended, since = now, time.monotonic()
        assert time.monotonic() - since < STANDSTILL_SECONDS, f"{ended} of {RUNS} runs ended, and no more since"
        time.sleep(0.2)
    runs = store.runs.list(limit=None)
    assert Counter((run.state, run.error_code) for run in runs) == {("Succeeded", ""): RUNS}
    assert len({run.template_id for run in runs}) == RUNS, "none was lost and none doubled"
    attempts = Counter(int(run.facts.get("attempt", 1)) for run in runs)
    assert max(attempts) > 1, "the kills met runs"
    images = store.images.list(prefix=f"{GALLERY}/images/d/versions/")
    assert Counter(image.run_id for image in images) == Counter(run.run_id for run in runs)
    numbers = sorted(int(image.key.rsplit(".", 1)[1]) for image in images)
    assert numbers == list(range(RUNS)), "no version was published for nothing"
    for run in runs:
        assert [output.state for output in store.images.outputs_of(run.run_id)] == ["Succeeded"]
        assert all(
            item.state == "deleted"
            for item in store.staging.resources_of(run.staging_group)
            if "torage" not in item.type
        )
    service.kill(signal.SIGTERM)
    settings = Settings(service.home)
    assert list(settings.runs.iterdir()) == []
    on_disk = set(settings.image_store.iterdir())
    assert on_disk == {image.path.parent for image in images}


def test_a_service_that_ends_hands_its_runs_to_the_next_one(service: KilledService, store: Store) -> None:
    service.put(GROUP, {"location": "westus2"})
    template = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/waits"
    service.put(template, a_template("wait", autoRun={"state": "Enabled"}))
    wait_for(lambda: any(run.sub_state == "Customizing" for run in store.runs.list()))
    service.kill(signal.SIGTERM)
    [run] = store.runs.list()
    assert (run.state, run.ended, run.facts["attempt"]) == ("Queued", None, 2)
    assert list(Settings(service.home).runs.iterdir()) == []
    service.start()
    wait_for(lambda: store.runs.find(run.run_id).sub_state == "Customizing")
    answer = service.web.post(f"{service.url}{template}/cancel", params={"api-version": "2024-02-01"})
    assert answer.status_code == 204
    wait_for(lambda: store.runs.find(run.run_id).state == "Canceled")


def test_a_client_that_keeps_its_connection_does_not_hold_up_the_end(service: KilledService) -> None:
    service.put(GROUP, {"location": "westus2"})  # the connection stays open behind it
    begin = time.monotonic()
    service.kill(signal.SIGTERM)
    assert time.monotonic() - begin < GRACE_SECONDS / 2
