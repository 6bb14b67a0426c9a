"""What lies in the state directory is what docs/design.md says, nothing more and nothing less."""

import contextlib
import inspect
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from in_process import GROUP, TEMPLATE, a_template, wait_for

from vmkiln.cli import main
from vmkiln.settings import Settings

TESTS = Path(__file__).parents[1]
DESIGN = TESTS.parent / "docs/design.md"
NOT_MADE_HERE = {  # what neither a service with stand-ins for its virtual machines nor az-setup makes, and who does
    "azurite/": "vmkiln storage install",
    "reserve": "a build, or a service after a minute",
    "rooms/": "vmkiln image warm, while it goes on",
    "blobs/": "a service that has a blob server",
    "booting/": "vmkiln image boot, while it goes on",
    "command.lock": "vmkiln template run without a service",
    "kept/": "the first build that customizes a disk",
    "leases/": "a run whose failed VM is held",
    "visits/": "vmkiln run shell into a failed VM that another host holds",
    "cache/container-group/": "the first build on a machine",
    "cache/images/": "the first build of a platform image",
    "cache/saved-vms/": "the first build on a machine",
    "cache/shared-storage/": "a host of a fleet with an object store",
    "cache/source-contents/": "a build with a Linux image that was not built here",
    "catalogue.toml": "the user",
    "vmkiln.toml": "the user",
}
DATABASE_FILES = {"vmkiln.sqlite-wal", "vmkiln.sqlite-shm", "engine.sqlite-wal", "engine.sqlite-shm"}


def claimed() -> set[str]:
    """The first column of the table."""
    text = DESIGN.read_text().partition("## Where state lies")[2].partition("\n## ")[0]
    return {found[1] for line in text.splitlines() if (found := re.match(r"\| `([^`]+)` \|", line))}


def seen(home: Path) -> set[str]:
    """What is in a state directory, as the table has it: folders with a slash, those of `cache/` one by one."""
    found = [path for path in home.iterdir() if path.name != "cache"]
    if (home / "cache").is_dir():
        found += (home / "cache").iterdir()
    names = {str(path.relative_to(home)) + "/" * path.is_dir() for path in found}
    return names - DATABASE_FILES


@contextlib.contextmanager
def service(home: Path) -> Iterator[httpx.Client]:
    """A service as a process of its own; a client of it, logged in as its owner."""
    command = [sys.executable, "-m", "stub_service", str(home)]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "STUB_CPUS": "8"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            trusted = ssl.create_default_context(cafile=home / "service/tls/ca.pem")
            owner = json.loads((home / "service/owner.json").read_text())
            form = {"grant_type": "client_credentials", "client_id": owner["appId"], "client_secret": owner["password"]}
            form["scope"] = "https://management.azure.com/.default"
            with httpx.Client(base_url=url, verify=trusted, params={"api-version": "2025-10-01"}) as client:
                token = client.post("/common/oauth2/v2.0/token", data=form).raise_for_status().json()["access_token"]
                client.headers["Authorization"] = f"Bearer {token}"
                yield client
        finally:
            process.terminate()
            process.wait(30)


def begin_run(client: httpx.Client, name: str, *commands: str) -> None:
    """A template that runs once it is made."""
    body = a_template(*commands, autoRun={"state": "Enabled"})
    client.put(f"{TEMPLATE}-{name}", json=body).raise_for_status()


def state_of(client: httpx.Client, name: str) -> str:
    properties = client.get(f"{TEMPLATE}-{name}").json()["properties"]
    return str(properties.get("lastRunStatus", {}).get("runState", ""))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state directory of a service that did one run and is in the middle of another."""
    home = tmp_path_factory.mktemp("state")
    with service(home) as client:
        client.put(GROUP, json={"location": "westus2"}).raise_for_status()
        begin_run(client, "done", "publish")
        wait_for(lambda: state_of(client, "done") == "Succeeded")
        begin_run(client, "live", "wait")
        wait_for(lambda: list((home / "runs").glob("*/")) and state_of(client, "live") == "Running")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VMKILN_HOME", str(home))
            with pytest.raises(SystemExit) as ended:
                main.main(["az-setup", "--json"])
            assert not ended.value.code
        yield home


def test_the_state_table_is_what_a_service_leaves_on_disk(home: Path) -> None:
    assert seen(home) - claimed() == set(), "docs/design.md does not tell of these"
    assert claimed() - seen(home) == set(NOT_MADE_HERE), "docs/design.md tells of these, and nothing makes them"


def test_every_path_of_the_settings_is_in_the_state_table(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    properties = [name for name, value in inspect.getmembers(Settings) if isinstance(value, property)]
    paths = [value for name in properties if isinstance(value := getattr(settings, name), Path) and value != tmp_path]
    assert len(paths) > 8
    rows = claimed()
    beside = [path for path in paths if not path.is_relative_to(tmp_path)]
    assert beside == [settings.keys_folder], "docs/design.md tells of it below the table"
    inside = {str(path.relative_to(tmp_path)) for path in paths if path not in beside}
    untold = {name for name in inside if not any(name == row.rstrip("/") or name.startswith(row) for row in rows)}
    assert untold == set()
