"""Runs Microsoft's GitHub Action `Azure/build-vm-image` as it is published, against a service with stand-in builds.

    python -m github_action DIRECTORY [SOURCE]

`script/try-github-action` calls it and says what DIRECTORY has to hold.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from real_clients import CLIENTS, SUBSCRIPTION, Az, Login, az_of, login_of

SECONDS = 600
SOURCE = "Debian:debian-12:12:latest"
TESTS = Path(__file__).parent


@contextlib.contextmanager
def stand_in_service(home: Path) -> Iterator[Login]:
    """The service in a process of its own while the block lasts."""
    azurite = CLIENTS / "node_modules/.bin"
    paths = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": f"{azurite}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "stub_service", str(home)]
    with subprocess.Popen(command, env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield login_of(home, process.stdout.readline().strip())
        finally:
            process.terminate()
            process.wait(30)


def inputs(identity: str, source: str) -> dict[str, str]:
    """What a workflow gives the action, by the names of its `action.yml`; every one it declares is set."""
    return {
        "location": "westus2",
        "resource-group-name": "rg1",
        "image-builder-template-name": "from-the-action",
        "build-timeout-in-minutes": "60",
        "vm-size": "Standard_D1_v2",
        "managed-identity": identity,
        "source-image-type": "PlatformImage",
        "source-os-type": "linux",
        "source-image": source,
        "customizer-source": "",
        "customizer-script": "echo from the action",
        "customizer-windows-update": "false",
        "dist-type": "ManagedImage",
        "dist-resource-id": "",
        "dist-location": "",
        "run-output-name": "",
        "dist-image-tags": "made:by-the-action",
    }


def run(directory: Path, az: Az, login: Login, workspace: Path, source: str) -> subprocess.CompletedProcess[str]:
    """One run of the action; its outputs are commands on standard output."""
    az("group", "create", "-n", "rg1", "-l", "westus2")
    identity = az("identity", "create", "-g", "rg1", "-n", "builder")["id"]
    given = {f"INPUT_{name.upper()}": value for name, value in inputs(identity, source).items()}
    github = {
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_RUN_ID": "1",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "you/yours",
        "GITHUB_SHA": "0" * 40,
    }
    trust = {"NODE_EXTRA_CA_CERTS": str(login.authority), "PATH": f"{CLIENTS / 'az/bin'}:{os.environ['PATH']}"}
    environment = {**os.environ, **az.environment, **github, **given, **trust}
    return subprocess.run(
        ["node", directory / "lib/index.js"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=workspace,
    )


def main(directory: Path, source: str) -> int:
    work = Path(tempfile.mkdtemp(prefix="vmkiln-action-"))
    try:
        (work / "workspace").mkdir()
        with stand_in_service(work / "home") as login:
            az = az_of(work / "home", work / "azure")
            done = run(directory, az, login, work / "workspace", source)
            left = az("image", "builder", "list", "-g", "rg1")
    finally:
        shutil.rmtree(work)
    sys.stdout.write(done.stdout + done.stderr)
    image = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Compute/images/"
    wrong = [
        text
        for is_wrong, text in (
            (done.returncode != 0, f"the action ended with {done.returncode}"),
            ("imagebuilder-run-status::succeeded" not in done.stdout, "it does not say that the run succeeded"),
            (f"custom-image-uri::{image}" not in done.stdout, "it does not name the image"),
            ("Error in cleanup" in done.stdout, "it could not clean up"),
            (bool(left), "its image template is still there"),
        )
        if is_wrong
    ]
    told = [f"wrong: {text}" for text in wrong] or ["the action built an image and cleaned up"]
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else SOURCE))
