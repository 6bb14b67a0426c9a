"""The real Packer and a real ssh server on 127.0.0.1, run by whoever runs the tests, with keys made for one test."""

import contextlib
import getpass
import os
import shutil
import signal
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
RELAY = Path(__file__).parents[2] / "vmkiln/images/container_relay.pl"


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
    missing = [program for program in (SSHD, "packer", "perl") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    login, host = new_key("login"), new_key("host")
    for name, text in (("host", host.private), ("authorized", login.public + "\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    server_port, relay_port = free_port(), free_port()
    options = {
        "ListenAddress": "127.0.0.1",
        "Port": server_port,
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "LogLevel": "VERBOSE",
        "PidFile": "none",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
        "UsePAM": "no",
    }
    server = [SSHD, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
    relay = ["perl", str(RELAY), str(relay_port), "127.0.0.1", str(server_port)]
    with contextlib.ExitStack() as stack:
        for program in (relay, server):
            log = stack.enter_context((tmp_path / f"{Path(program[0]).name}.log").open("wb"))
            process = stack.enter_context(subprocess.Popen(program, stderr=log, start_new_session=True))
            # the relay's children are of its session
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        wait_until_heard(tmp_path / "sshd.log", b"Server listening")
        yield Bench(tmp_path, Connection(relay_port, getpass.getuser(), login.private, 20, str(tmp_path)))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_heard(log: Path, text: bytes) -> None:
    """Wait until a program has written that."""
    deadline = time.monotonic() + 10
    while text not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
