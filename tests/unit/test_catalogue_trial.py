"""What `script/try-catalogue` writes down: images that came, under all their names, and no others."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from catalogue_trial import read_options, try_all
from image_server import serving

from vmkiln.platform_images import catalogue
from vmkiln.platform_images.catalogue import is_tried, read_catalogue

ENTRY = """
[[image]]
recipe = "download"
format = "qcow2"
url = "{url}"
checksum_url = "{{file}}.sha256"
release = "1.2"
generation_1 = ["Acme:{offer}:1", "Acme:{offer}:one"]
generation_2 = ["Acme:{offer}:2"]
"""


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk", "1M"], check=True)
    return (tmp_path / "disk").read_bytes()


async def test_only_images_that_came_are_tried(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    written, own = tmp_path / "tried.json", tmp_path / "catalogue.toml"
    written.write_text(json.dumps({"acme:gone:1": {"url": "http://older"}, "other:o:s": {"url": "http://other"}}))
    with serving() as server:
        server.files = {"/disk": content, "/disk.sha256": f"{hashlib.sha256(content).hexdigest()}  disk\n".encode()}
        server.answers = {"/gone.sha256": [404] * 5}
        own.write_text("".join(ENTRY.format(url=server.url(f"/{name}"), offer=name) for name in ("disk", "gone")))
        options = read_options(["--catalogue", str(own), "--write", str(written), "--only", "acme:"])
        assert await try_all(options) == 1
    found = json.loads(written.read_text())
    assert sorted(found) == ["acme:disk:1", "acme:disk:2", "acme:disk:one", "other:o:s"]
    assert found["acme:disk:one"]["version"] == "1.2.20261122"
    monkeypatch.setattr(catalogue, "tried", lambda: found)
    entries = read_catalogue(own)
    assert is_tried(entries.find("acme", "disk", "2"))
    assert not is_tried(entries.find("acme", "gone", "1"))
    own.write_text(own.read_text().replace("/disk", "/other"))
    assert not is_tried(read_catalogue(own).find("acme", "disk", "2"))
