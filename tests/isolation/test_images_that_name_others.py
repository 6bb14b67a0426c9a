"""Images whose header names what is not theirs: with nobody looking at headers, the jail alone leaks nothing."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.host import confined_program
from vmkiln.host.disk import disk_image
from vmkiln.platform_images import inspection
from vmkiln.platform_images.inspection import inspected

KIB = 1024
SECRET = b"SECRET".ljust(64 * KIB, b".")
KINDS = ("a file", "a file as json:", "a file behind a link", "a data file", "a server")


@dataclass(frozen=True)
class Lure:
    """An image, what it names, and the server that it may lead to."""

    kind: str
    image: Path
    server: socket.socket

    @property
    def was_called(self) -> bool:
        self.server.settimeout(0.5)
        try:
            self.server.accept()[0].close()
        except TimeoutError:
            return False
        return True


def backing_of(kind: str, secret: Path, port: int) -> str:
    as_file = {"driver": "raw", "file": {"driver": "file", "filename": str(secret)}}
    link = secret.with_name("link")
    link.symlink_to(secret)
    return {
        "a file": str(secret),
        "a file as json:": f"json:{json.dumps(as_file)}",
        "a file behind a link": str(link),
        "a server": f"nbd://127.0.0.1:{port}/x",
    }[kind]


@pytest.fixture(params=KINDS)
def lure(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lure]:
    """Nobody looks at its header, and qemu-img is told no chain, so it follows what the header says."""
    monkeypatch.setattr(inspection, "_inspect", lambda _fetched, image_format: image_format)
    monkeypatch.setattr(
        disk_image, "graph", lambda disk: f'json:{{"driver": "{disk.format}", "file.filename": "{disk.path}"}}'
    )
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    image = tmp_path / "lure.qcow2"
    with socket.create_server(("127.0.0.1", 0)) as server:
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if request.param == "a data file":
            create += ["-o", f"data_file={secret},data_file_raw=on", str(image), str(len(SECRET))]
        else:
            backing = backing_of(request.param, secret, server.getsockname()[1])
            create += ["-u", "-b", backing, "-F", "raw", str(image), str(len(SECRET))]
        subprocess.run(create, check=True)
        secret.write_bytes(SECRET)
        yield Lure(request.param, image, server)


async def taken(lure: Lure, target: Path) -> bytes:
    """What is in the file that an import makes of the image; what a guest would read, as qemu-img finds it."""
    with contextlib.suppress(VmkilnError):
        await inspected(lure.image, "qcow2", target)
    return read_by_a_guest(target)


def read_by_a_guest(target: Path) -> bytes:
    if not target.exists() or target.stat().st_size == 0:
        return b""
    raw = target.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", target, raw], check=True)
    return raw.read_bytes() + target.read_bytes()


async def test_the_jail_alone_keeps_what_an_image_names(lure: Lure, tmp_path: Path) -> None:
    assert b"SECRET" not in await taken(lure, tmp_path / "taken")
    assert not lure.was_called


async def test_without_the_jail_such_an_image_gets_what_it_names(
    lure: Lure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined_program.program_jail, "enter", lambda _jail: None)
    monkeypatch.setattr(confined_program.program_jail, "limits", lambda **_options: {})
    if lure.kind != "a server":
        assert b"SECRET" in await taken(lure, tmp_path / "taken")
        return
    looking = ["qemu-img", "info", "--backing-chain", lure.image]
    with contextlib.suppress(VmkilnError):  # the server says nothing
        await confined_program.run(looking, confined_program.Reach(), timeout_seconds=1)
    assert lure.was_called
