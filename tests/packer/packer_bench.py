"""The real Packer and a real ssh server on 127.0.0.1, run by whoever runs the tests, with keys made for one test."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmkiln.packer.packer_template import INPUT, Connection, PackerInput
from vmkiln.staging.login_key import new_key

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Bench:
    """A folder, and an ssh server that lets this user in from this machine with the folder's key."""

    folder: Path
    connection: Connection

    def build(self, content: PackerInput) -> subprocess.CompletedProcess[bytes]:
        """Run Packer as the container instance does, but with its input in a folder of this test."""
        place = self.folder / "input"
        place.mkdir()
        for file in content.files:
            target = place / file.name
            target.write_bytes(file.source.read_bytes() if file.source else (file.text or "").encode())
        (place / "key").chmod(0o600)
        template = place / "template.json"
        template.write_text(template.read_text().replace(INPUT, str(place)))
        environment = dict(line.split("=", 1) for line in content.text_of("environment").splitlines())
        environment |= {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environment |= {"PACKER_CONFIG_DIR": str(self.folder), "PACKER_CACHE_DIR": str(self.folder / "cache")}
        arguments = content.text_of("arguments").replace(INPUT, str(place)).split()[1:]
        done = subprocess.run(
            ["packer", *arguments], env=environment, cwd=self.folder, capture_output=True, timeout=60, check=False
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.replace(str(place).encode(), INPUT.encode()), done.stderr
        )


@pytest.fixture(name="bench")
def bench_(tmp_path: Path) -> Iterator[Bench]:
    missing = [program for program in (SSHD, "packer") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    login, host = new_key("login"), new_key("host")
    for name, text in (("host", host.private), ("authorized", login.public + "\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
        "UsePAM": "no",
        "StrictModes": "no",
    }
    arguments = [SSHD, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
    with (tmp_path / "sshd.log").open("wb") as log, subprocess.Popen(arguments, stderr=log) as server:
        try:
            _wait_until_open(port)
            yield Bench(tmp_path, Connection(port, getpass.getuser(), login.private, 20))
        finally:
            server.terminate()


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no ssh server on port {port}")
