"""Fixtures of the tests with real clients: a service with stand-in builds, and az set up for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked_server import OUR_SERVERS
from real_clients import CLIENTS, SUBSCRIPTION, Az, Login, az_of, login_of

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of the service."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def login(home: Path) -> Iterator[Login]:
    """A running service."""
    azurite = CLIENTS / "node_modules/.bin"
    assert (azurite / "azurite-blob").exists(), f"{azurite} has no Azurite: `script/test-clients` installs it"
    path = f"{azurite}:{os.environ['PATH']}"
    environment = {**os.environ, **OUR_SERVERS, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": path}
    command = [sys.executable, "-m", "stub_service", str(home)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield login_of(home, process.stdout.readline().strip())
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def az(home: Path, login: Login, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """az, and the resource group `rg1`."""
    found = az_of(home, tmp_path_factory.mktemp("azure"))
    found("group", "create", "-n", "rg1", "-l", "westus2")
    return found


@pytest.fixture
def group_id() -> str:
    """The id of the resource group `rg1`."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
