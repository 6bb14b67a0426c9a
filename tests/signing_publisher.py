"""Somebody who signs what they publish, with the real gpg and a key of their own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Publisher:
    """Someone with a key of their own."""

    home: Path

    def gpg(self, *arguments: str, content: bytes = b"") -> bytes:
        options = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*options, *arguments], input=content, capture_output=True, check=True).stdout

    @property
    def fingerprint(self) -> str:
        lines = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def public_key(self, *options: str) -> bytes:
        return self.gpg(*options, "--export")

    def signature(self, content: bytes) -> bytes:
        return self.gpg("--detach-sign", "--output", "-", content=content)

    def clear_signed(self, content: bytes) -> bytes:
        return self.gpg("--clear-sign", "--output", "-", content=content)


def new_publisher(home: Path) -> Publisher:
    home.mkdir(mode=0o700)
    publisher = Publisher(home)
    publisher.gpg("--passphrase", "", "--quick-generate-key", "Test <test@example>", "ed25519", "sign", "never")
    return publisher


@contextmanager
def signing_publishers(count: int) -> Iterator[list[Publisher]]:
    """That many of them; the agents end with the block."""
    # the agent's socket needs a short path
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    publishers = [new_publisher(folder / str(number)) for number in range(count)]
    try:
        yield publishers
    finally:
        for publisher in publishers:
            subprocess.run(["gpgconf", "--homedir", publisher.home, "--kill", "all"], check=True)
        shutil.rmtree(folder, ignore_errors=True)
