"""A mirror of Packer's releases on this machine, signed with a key of its own; also a proxy that knows only itself.

As a program, it serves a Packer of yours as the release it is:

    python3 tests/packer_mirror.py --program /usr/bin/packer --folder /tmp/mirror --port 8080
"""

import argparse
import hashlib
import io
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from served_listener import served

FAR_AWAY = "http://releases.example"  # what only the proxy knows


@dataclass
class Signer:
    """A key of one's own, in a folder of its own, for the agent's socket needs a short path."""

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpg-")))

    def gpg(self, *arguments: str, content: bytes = b"") -> bytes:
        """What gpg prints."""
        options = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*options, *arguments], input=content, capture_output=True, check=True).stdout

    def make_key(self) -> None:
        """A key without a passphrase."""
        self.gpg("--passphrase", "", "--quick-generate-key", "Mirror <mirror@example>", "ed25519", "sign", "never")

    def public_key(self) -> bytes:
        """The key as armored text."""
        return self.gpg("--armor", "--export")

    def signature(self, content: bytes) -> bytes:
        """A detached signature."""
        return self.gpg("--detach-sign", "--output", "-", content=content)

    def forget(self) -> None:
        """End the agent and delete the key."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def signing() -> Iterator[Signer]:
    """A signer until the block is left."""
    signer = Signer()
    try:
        signer.make_key()
        yield signer
    finally:
        signer.forget()


def archive_of(program: bytes) -> bytes:
    """A release's archive: the program and a licence."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LICENSE.txt", "of the stand-in\n")
        archive.writestr("packer", program, compresslevel=1)
    return file.getvalue()


def release_files(signer: Signer, version: str, program: bytes, *, architecture: str = "amd64") -> dict[str, bytes]:
    """A release as its maker's server has it: path and content of each file."""
    name = f"packer_{version}_linux_{architecture}.zip"
    archive = archive_of(program)
    checksums = (
        f"{'0' * 64}  packer_{version}_darwin_{architecture}.zip\n{hashlib.sha256(archive).hexdigest()}  {name}\n"
    )
    sums = f"/{version}/packer_{version}_SHA256SUMS"
    return {
        f"/{version}/{name}": archive,
        sums: checksums.encode(),
        f"{sums}.sig": signer.signature(checksums.encode()),
    }


@dataclass
class Mirror:
    """What is served by path, answers that come first (one for each request), and what was asked for."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[int | str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(port: int = 0) -> Iterator[Mirror]:
    """A mirror on 127.0.0.1 until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            mirror.asked.append(self.path)
            path = self.path.removeprefix(FAR_AWAY)
            answers = mirror.answers.get(path, [])
            answer = answers.pop(0) if answers else ""
            content = mirror.files.get(path)
            if isinstance(answer, int) or content is None:
                self.send_error(answer if isinstance(answer, int) else 404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if answer == "cut" else content)

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # who hangs up early is part of the tests

    listener = Listener(("127.0.0.1", port), Handler)
    listener.daemon_threads = True
    mirror = Mirror(f"http://127.0.0.1:{listener.server_address[1]}")
    with served(listener):
        yield mirror


def version_of(program: Path) -> str:
    """What the program says it is."""
    told = subprocess.run([program, "version"], capture_output=True, text=True, check=True, timeout=10).stdout
    found = re.match(r"Packer v(\d+\.\d+\.\d+)", told)
    if found is None:
        raise SystemExit(f"{program} is not HashiCorp's Packer")
    return found[1]


def main() -> None:
    """Serve a program until the process is ended; says address, version and key in the file `mirror` when it does."""
    parser = argparse.ArgumentParser(description="Serves a Packer as a mirror of its releases would.")
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the key and the file `mirror` go")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the key goes too
    version = version_of(given.program)
    with signing() as signer, serving(given.port) as mirror:
        mirror.files |= release_files(signer, version, given.program.read_bytes())
        key = given.folder / "key.asc"
        key.write_bytes(signer.public_key())
        ready = given.folder / ".mirror"
        ready.write_text(f"{mirror.address} {version} {key}\n")
        ready.rename(given.folder / "mirror")
        threading.Event().wait()


if __name__ == "__main__":
    main()
