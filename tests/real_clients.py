"""The real clients in tests: a service in a process of its own, and az, Python and JavaScript to ask it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.identity import ClientSecretCredential
from azure.mgmt.imagebuilder import ImageBuilderClient

CLIENTS = Path(os.environ.get("VMKILN_TEST_CLIENTS") or Path.home() / ".cache/vmkiln-test-clients")
AZ_SECONDS = 120
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Login:
    """Where a service is, and what its owner logs in with."""

    url: str
    tenant: str
    app_id: str
    secret: str
    authority: Path


@dataclass(frozen=True)
class Az:
    """The real az with a configuration of its own."""

    environment: dict[str, str]

    def run(self, *arguments: str, seconds: float = AZ_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        program = CLIENTS / "az/bin/az"
        assert program.exists(), f"{program} is missing: `script/test-clients` installs it"
        return subprocess.run(
            [program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command that goes on for a while."""
        return subprocess.Popen(
            [CLIENTS / "az/bin/az", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, *arguments: str) -> Any:
        """What a command prints, as data; it must succeed."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, f"az {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None


def login_of(home: Path, url: str) -> Login:
    """The owner's login of a service with this state directory."""
    owner = json.loads((home / "service/owner.json").read_text())
    authority = home / "service/tls/ca.pem"
    return Login(url, owner["tenant"], owner["appId"], owner["password"], authority)


def az_of(home: Path, directory: Path) -> Az:
    """az, set up by `vmkiln az-setup`."""
    environment = {**os.environ, "VMKILN_HOME": str(home)}
    command = [sys.executable, "-m", "vmkiln", "az-setup", "--dir", str(directory), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return Az({**environment, **json.loads(done.stdout), "AZURE_CORE_COLLECT_TELEMETRY": "no"})


def python_sdk(login: Login) -> ImageBuilderClient:
    """The Azure SDK for Python, logged in."""
    trust: dict[str, Any] = {"connection_verify": str(login.authority)}
    credential = ClientSecretCredential(
        login.tenant, login.app_id, login.secret, authority=login.url, disable_instance_discovery=True, **trust
    )
    scopes = [f"{login.url}/.default"]
    return ImageBuilderClient(
        credential, SUBSCRIPTION, base_url=login.url, credential_scopes=scopes, polling_interval=1, **trust
    )


def javascript(login: Login, *, group: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """The life of an image template in a resource group, by the Azure SDK for JavaScript; it prints `done`."""
    assert (CLIENTS / "node_modules").is_dir(), f"{CLIENTS} is not complete: `script/test-clients` fills it"
    environment = {
        **os.environ,
        "NODE_EXTRA_CA_CERTS": str(login.authority),
        "CLIENTS": str(CLIENTS),
        "SERVICE_URL": login.url,
        "TENANT": login.tenant,
        "APP_ID": login.app_id,
        "APP_SECRET": login.secret,
        "SUBSCRIPTION": SUBSCRIPTION,
        "GROUP": group,
    }
    program = Path(__file__).parent / "clients/life.mjs"
    return subprocess.run(
        ["node", program], env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
