"""A real build where the network has a proxy that ends TLS itself, with an authority of its own and a login.

Image, script and the guest's own requests come through it, and nothing of proxy, login or authority is in the image.
"""

import asyncio
import base64
import hashlib
import json
import mmap
import secrets
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import VMKILN, a_template, runner, shell
from intercepting_proxy import Authority, intercepting

from vmkiln.host.disk import disk_image
from vmkiln.host.qemu import Disk
from vmkiln.platform_images.image_cache import cached_images, remove
from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.long]

SOURCE = {"type": "PlatformImage", "publisher": "Behind", "offer": "proxy", "sku": "1", "version": "latest"}
CATALOGUE = """\
[[image]]
publisher = "Behind"
offer = "proxy"
sku = "1"
generation = 1
recipe = "download"
format = "qcow2"
release = "1.0"
url = "https://images.example/disk.qcow2"
checksum_url = "SHA256SUMS"
signature = "none"
"""
ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=60).read().decode())"
SCRIPT = b"#!/bin/sh\necho script from behind it\n"


def own_address() -> str:
    """This machine's address towards the Internet, which guests can be let reach; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.88.99.1", 9))
        except OSError:
            pytest.skip("this machine has no route to the Internet")
        return str(asked.getsockname()[0])


def found_in(disk: Path, words: dict[str, bytes]) -> list[str]:
    """The names of those that are somewhere in the bytes of a disk."""
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [name for name, word in words.items() if content.find(word) >= 0]


def test_all_is_fetched_behind_an_intercepting_proxy_and_nothing_stays(prepared: Settings, tmp_path: Path) -> None:
    mark, password = secrets.token_hex(8), f"geheim{secrets.token_hex(8)}"
    authority = Authority(tmp_path, f"authority {mark}")
    assert not prepared.catalogue.exists(), "the tests' user has none of its own"
    disk = next(image.path for image in cached_images(prepared.image_cache) if image.name == "debian:debian-12:12")
    with intercepting(own_address(), authority) as proxy:
        proxy.answers |= {
            "https://images.example/disk.qcow2": disk,
            "https://images.example/SHA256SUMS": f"{hashlib.sha256(disk.read_bytes()).hexdigest()}  disk.qcow2\n".encode(),
            "https://scripts.example/step.sh": SCRIPT,
            "https://inside.example/hello": b"hello from behind it",
            "http://inside.example/plain": b"plain from behind it",
        }
        with_login = proxy.url(f"builder:{password}@")
        settings = replace(
            prepared,
            https_proxy=with_login,
            http_proxy=with_login,
            ca_bundle=authority.bundle,
            guest_proxy=with_login,
            guest_ca_bundle=authority.bundle,
            private_servers="scripts.example",
        )
        steps = (
            {"type": "Shell", "name": "script", "scriptUri": "https://scripts.example/step.sh"},
            shell(
                f"python3 -c '{ASK}' https://inside.example/hello",
                f"sudo python3 -c '{ASK}' http://inside.example/plain",
                f"env -u SSL_CERT_FILE python3 -c '{ASK}' https://inside.example/hello 2>&1 | tail -n 1",
                "echo proxied by $https_proxy",
                "grep -c BEGIN.CERTIFICATE $SSL_CERT_FILE",
                name="asks",
            ),
        )
        prepared.catalogue.write_text(CATALOGUE)
        try:
            told = runner(settings, tmp_path)(a_template(*steps, name="behind-a-proxy", source=SOURCE))
        finally:
            prepared.catalogue.unlink()
    try:
        assert told.error is None, "\n".join([str(told.error), *told.log[-40:]])
        log = "\n".join(told.log)
        for text in ("script from behind it", "hello from behind it", "plain from behind it"):
            assert text in log
        assert "CERTIFICATE_VERIFY_FAILED" in log, "without the authority nothing is believed"
        assert "proxied by http://builder:***@" in log
        assert password not in log
        asked = {target for _, target, _ in proxy.asked}
        assert asked >= set(proxy.answers) | {"inside.example:443", "images.example:443", "scripts.example:443"}
        login = "Basic " + base64.b64encode(f"builder:{password}".encode()).decode()
        assert {given for method, _, given in proxy.asked if method == "CONNECT"} == {login}

        (output,) = told.summary["outputs"]
        said = subprocess.run(
            [*VMKILN, "image", "show", "--json", output["artifact_id"]], capture_output=True, check=True
        )
        raw = tmp_path / "raw"
        asyncio.run(disk_image.convert(Disk(Path(json.loads(said.stdout)["path"]), "qcow2"), raw, target_format="raw"))
        words = {
            "password": password.encode(),
            "proxy": f"{proxy.host}:{proxy.port}".encode(),
            "authority": mark.encode(),
            "authority in PEM": authority.bundle.read_bytes().splitlines()[2],
            "control: what every image has": b"debian",
        }
        assert found_in(raw, words) == ["control: what every image has"]
    finally:
        for image in cached_images(prepared.image_cache):
            if image.name == "behind:proxy:1":
                remove(image)
