"""Each publisher's layout, by https from a server on this machine: index, checksum file, signature, dated builds.

The catalogue is the built-in one, with the publishers' addresses led here and a key that can sign here.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest
from image_server import ImageServer, new_certificate, serving
from signing_publisher import Publisher, signing_publishers

from vmkiln.errors import DownloadFailed, ImageNotFound
from vmkiln.fetching.http_fetch import Patience
from vmkiln.platform_images import checksum_file, image_cache
from vmkiln.platform_images.checksum_file import json_checksum
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.platform_images.image_reference import PlatformImageReference
from vmkiln.platform_images.platform_image import check_published, obtain_platform_image

Files = dict[str, bytes]
Disks = Mapping[str, bytes]
UBUNTU_KEY = "/keyserver.ubuntu.com/pks/lookup?op=get&search=0xD2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81"


def gnu(name: str, content: bytes, *, kind: str = "sha256", between: str = "  ") -> str:
    return f"{hashlib.new(kind, content).hexdigest()}{between}{name}\n"


def bsd(name: str, content: bytes) -> str:
    return f"# {name}: {len(content)} bytes\nSHA256 ({name}) = {hashlib.sha256(content).hexdigest()}\n"


def listing(names: list[str]) -> bytes:
    lines = "".join(f'<a href="{name}">{name}</a>   2026-07-12 15:31    -\n' for name in ["../", *names])
    return f"<html><head><title>Index of /</title></head><body><pre>{lines}</pre></body></html>".encode()


def ubuntu(disks: Disks, publisher: Publisher) -> Files:
    folder, name = "/cloud-images.ubuntu.com/releases/bionic/", "ubuntu-18.04-server-cloudimg-amd64.img"
    files: Files = {UBUNTU_KEY: publisher.public_key("--armor")}
    files[folder] = listing(["release/", *(f"release-{build}/" for build in disks)])
    for place, content in [("release", next(iter(disks.values()))), *((f"release-{b}", d) for b, d in disks.items())]:
        sums = gnu("ubuntu-18.04-server-cloudimg-arm64.img", b"other", between=" *") + gnu(name, content, between=" *")
        files |= {
            f"{folder}{place}/{name}": content,
            f"{folder}{place}/SHA256SUMS": sums.encode(),
            f"{folder}{place}/SHA256SUMS.gpg": publisher.signature(sums.encode()),
        }
    return files


def debian(disks: Disks, _publisher: Publisher) -> Files:
    folder = "/cloud.debian.org/images/cloud/bullseye/"
    files: Files = {folder: listing(["daily/", *(f"{build}/" for build in disks), "latest/"])}
    for build, content in disks.items():
        name = f"debian-11-generic-amd64-{build}.qcow2"
        sums = gnu(f"debian-11-genericcloud-amd64-{build}.qcow2", b"other", kind="sha512")
        files[f"{folder}{build}/{name}"] = content
        files[f"{folder}{build}/SHA512SUMS"] = (sums + gnu(name, content, kind="sha512")).encode()
    return files


def almalinux(disks: Disks, publisher: Publisher) -> Files:
    folder = "/repo.almalinux.org/almalinux/9/cloud/x86_64/images/"
    named = {f"AlmaLinux-9-GenericCloud-{build}.x86_64.qcow2": content for build, content in disks.items()}
    sums = gnu("AlmaLinux-9-GenericCloud-ext4-9.8-20260526.x86_64.qcow2", b"other")
    sums += "".join(gnu(name, content) for name, content in named.items())
    key = {"/repo.almalinux.org/almalinux/RPM-GPG-KEY-AlmaLinux-9": publisher.public_key("--armor")}
    signed = {f"{folder}CHECKSUM": sums.encode(), f"{folder}CHECKSUM.asc": publisher.signature(sums.encode())}
    return {**key, **signed, **{f"{folder}{name}": content for name, content in named.items()}}


def beside(folder: str, stem: str, disks: Disks, suffix: str) -> Files:
    """A folder with images, each with a checksum file of its own, and others that must not be taken for builds."""
    files: Files = {}
    names = []
    for build, content in disks.items():
        name = f"{stem}{build}.x86_64.qcow2"
        files |= {f"{folder}{name}": content, f"{folder}{name}.{suffix}": bsd(name, content).encode()}
        names += [name, f"{name}.{suffix}"]
    return {**files, folder: listing([f"{stem}latest.x86_64.qcow2", f"Other-{stem}20990101.0.x86_64.qcow2", *names])}


def rocky(disks: Disks, _publisher: Publisher) -> Files:
    folder = "/dl.rockylinux.org/pub/rocky/9/images/x86_64/"
    return beside(folder, "Rocky-9-GenericCloud-Base-", disks, "CHECKSUM")


def centos_stream(disks: Disks, _publisher: Publisher) -> Files:
    folder = "/cloud.centos.org/centos/9-stream/x86_64/images/"
    return beside(folder, "CentOS-Stream-GenericCloud-9-", disks, "SHA256SUM")


def centos_7(disks: Disks, publisher: Publisher) -> Files:
    folder, name = "/cloud.centos.org/centos/7/images/", "CentOS-7-x86_64-GenericCloud-2009.qcow2"
    [content] = disks.values()
    sums = publisher.clear_signed((gnu(f"{name}.xz", b"other") + gnu(name, content)).encode())
    key = {"/www.centos.org/keys/RPM-GPG-KEY-CentOS-7": publisher.public_key()}
    return {**key, f"{folder}{name}": content, f"{folder}sha256sum.txt.asc": sums}


def oracle(disks: Disks, _publisher: Publisher) -> Files:
    base, name = "/templates/OracleLinux/OL9/u8/x86_64", "OL9U8_x86_64-kvm-b293.qcow2"
    [content] = disks.values()
    told = {"base_url": base, "kvm": {"image": name, "sha256": hashlib.sha256(content).hexdigest()}, "vagrant": {}}
    return {
        "/yum.oracle.com/templates/OracleLinux/ol9-template.json": json.dumps(told).encode(),
        f"/yum.oracle.com{base}/{name}": content,
    }


def fedora(disks: Disks, publisher: Publisher) -> Files:
    folder = "/dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images/"
    name = "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2"
    [content] = disks.values()
    sums = publisher.clear_signed(
        (bsd("Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2", b"o") + bsd(name, content)).encode()
    )
    key = {"/fedoraproject.org/fedora.gpg": publisher.public_key()}
    return {**key, f"{folder}{name}": content, f"{folder}Fedora-Cloud-43-1.6-x86_64-CHECKSUM": sums}


def opensuse(disks: Disks, publisher: Publisher) -> Files:
    folder = "/download.opensuse.org/distribution/leap/15.6/appliances/"
    name = "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2"
    [content] = disks.values()
    sums = gnu(name, content, between=" ").encode()
    return {
        f"{folder}{name}": content,
        f"{folder}{name}.sha256": sums,
        f"{folder}{name}.sha256.asc": publisher.signature(sums),
    }


@dataclass(frozen=True)
class Layout:
    """One publisher: a name of theirs, the builds they have (the newest first) and the version of each."""

    name: str
    files: Callable[[Disks, Publisher], Files]
    versions: dict[str, str]
    is_signed: bool = False


LAYOUTS = {
    "Ubuntu": Layout(
        "Canonical:UbuntuServer:18.04-LTS",
        ubuntu,
        {"20230607": "18.04.202306070", "20230525.1": "18.04.202305251", "20230525": "18.04.202305250"},
        is_signed=True,
    ),
    "Debian": Layout(
        "Debian:debian-11:11",
        debian,
        {"20260707-2532": "0.20260707.2532", "20260703-2528": "0.20260703.2528"},
    ),
    "AlmaLinux": Layout(
        "almalinux:almalinux-x86_64:9-gen2",
        almalinux,
        {"9.8-20260526": "9.8.20260526", "9.7-20251118": "9.7.20251118"},
        is_signed=True,
    ),
    "Rocky Linux": Layout(
        "resf:rockylinux-x86_64:9-base",
        rocky,
        {"9.8-20260525.0": "9.8.20260525", "9.7-20251123.2": "9.7.20251123"},
    ),
    "CentOS Stream": Layout(
        "CentOS:centos-stream-9:9", centos_stream, {"20260720.0": "9.20260720.0", "20260713.0": "9.20260713.0"}
    ),
    "CentOS 7": Layout("OpenLogic:CentOS:7_9", centos_7, {"": "7.9.2009"}, is_signed=True),
    "Oracle Linux": Layout("Oracle:Oracle-Linux:ol94-lvm-gen2", oracle, {"": "9.20261122.0"}),
    "Fedora": Layout("Fedora:fedora-43:43", fedora, {"": "43.1.6"}, is_signed=True),
    "openSUSE": Layout("SUSE:opensuse-leap-15-6:gen2", opensuse, {"": "15.6.20261122"}, is_signed=True),
}
DATED = [name for name, layout in LAYOUTS.items() if len(layout.versions) > 1]
SIGNED = [name for name, layout in LAYOUTS.items() if layout.is_signed]


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three images that can be told apart."""
    folder = tmp_path_factory.mktemp("disks")
    for size in (1, 2, 3):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", folder / f"{size}", f"{size}M"], check=True)
    return [(folder / f"{size}").read_bytes() for size in (1, 2, 3)]


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with signing_publishers(1) as (only,):
        yield only


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_certificate(tmp_path_factory.mktemp("tls") / "localhost.pem")


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(checksum_file, "KEYRING_FOLDERS", ())
    with serving(certificate=certificate) as running:
        yield running


class World:
    """A publisher that serves what a layout says, and a machine whose catalogue leads to it."""

    def __init__(
        self, layout: Layout, server: ImageServer, disks: list[bytes], publisher: Publisher, home: Path
    ) -> None:
        self.layout, self.server, self.home = layout, server, home
        server.files = layout.files(dict(zip(layout.versions, disks, strict=False)), publisher)
        self.lead_here(publisher.fingerprint)
        keyring = home / "keyrings/RPM-GPG-KEY-openSUSE-2022"
        keyring.parent.mkdir()
        keyring.write_bytes(publisher.public_key())
        self.told: list[str] = []

    def lead_here(self, fingerprint: str) -> None:
        """Write the built-in catalogue as the user's, with other addresses; and another key unless it is ''."""
        texts = []
        for file in resources.files("vmkiln.platform_images").joinpath("catalogue").iterdir():
            text = file.read_text(encoding="utf-8")
            publisher, offer, _ = self.layout.name.split(":")
            if "[[image]]" in text and f'"{publisher}:{offer}:' in text:
                texts.append(text)
        [text] = texts
        text = text.replace("https://", f"{self.server.address}/")
        if fingerprint:
            text = re.sub(r"^fingerprints = \[.*?\]$", f'fingerprints = ["{fingerprint}"]', text, flags=re.M | re.S)
        (self.home / "catalogue.toml").write_text(text)

    def reference(self, version: str = "latest", *, name: str = "") -> PlatformImageReference:
        publisher, offer, sku = (name or self.layout.name).split(":")
        return PlatformImageReference(publisher, offer, sku, version)

    async def obtain(self, version: str = "latest", *, name: str = "", refresh: bool = False) -> SourceImage:
        return await obtain_platform_image(
            self.reference(version, name=name),
            cache_directory=self.home / "cache",
            user_catalogue=self.home / "catalogue.toml",
            progress=self.told.append,
            patience=Patience(attempts=1, first_pause_seconds=0),
            refresh=refresh,
        )

    def fetched(self) -> list[str]:
        """The images that were asked for."""
        return [path for path, _ in self.server.asked if path.endswith((".qcow2", ".img"))]


@pytest.fixture
def world(
    request: pytest.FixtureRequest, server: ImageServer, disks: list[bytes], publisher: Publisher, tmp_path: Path
) -> World:
    return World(LAYOUTS[request.param], server, disks, publisher, tmp_path)


@pytest.mark.parametrize("world", list(LAYOUTS), indirect=True)
async def test_a_publishers_newest_image_comes_with_its_version_on_azure(world: World) -> None:
    image = await world.obtain()
    assert image.exact_version == next(iter(world.layout.versions.values()))
    assert image.virtual_size_bytes == 1 << 20
    assert image.origin.startswith(world.server.address) or "{" in image.origin
    assert len(world.fetched()) == 1
    assert any("is not signed" in line for line in world.told) is not world.layout.is_signed


@pytest.mark.parametrize("world", DATED, indirect=True)
async def test_an_older_version_is_fetched_and_does_not_become_the_latest(world: World) -> None:
    newest, older = list(world.layout.versions.values())[:2]
    image = await world.obtain(older)
    assert (image.exact_version, image.virtual_size_bytes) == (older, 2 << 20)
    assert (await world.obtain()).exact_version == newest
    assert (await world.obtain(older)).path == image.path
    assert len(world.fetched()) == 2


@pytest.mark.parametrize("world", DATED, indirect=True)
async def test_a_version_that_nobody_has_is_refused_with_those_there_are(world: World) -> None:
    versions = list(world.layout.versions.values())
    missing = re.sub(r"\d$", lambda last: str((int(last[0]) + 7) % 10), versions[0])
    with pytest.raises(ImageNotFound) as refused:
        await check_published(
            world.reference(missing), cache_directory=world.home / "cache", user_catalogue=world.home / "catalogue.toml"
        )
    assert all(version in (refused.value.hint or "") for version in versions)
    with pytest.raises(ImageNotFound):
        await world.obtain(missing)
    assert world.fetched() == []


@pytest.mark.parametrize("world", DATED, indirect=True)
async def test_a_version_of_another_form_is_refused_without_asking(world: World) -> None:
    with pytest.raises(ImageNotFound):
        await world.obtain("2.5")
    assert world.server.asked == []


@pytest.mark.parametrize("world", SIGNED, indirect=True)
async def test_a_signature_of_somebody_else_is_refused(world: World) -> None:
    world.lead_here("")
    with pytest.raises(DownloadFailed, match="is no key of its publisher"):
        await world.obtain()
    assert world.fetched() == []


@pytest.mark.parametrize("world", SIGNED, indirect=True)
async def test_a_checksum_file_that_was_changed_is_refused(world: World) -> None:
    signed = next(path for path in world.server.files if re.search(r"SUMS$|CHECKSUM$|\.sha256$|txt\.asc$", path))
    for path in [path for path in world.server.files if path.endswith(signed.rpartition("/")[2])]:
        content = world.server.files[path]
        digest = re.findall(rb"[0-9a-f]{64}", content)[-1]
        world.server.files[path] = content.replace(digest, b"0" * 64)
    with pytest.raises(DownloadFailed, match="signature"):
        await world.obtain()


@pytest.mark.parametrize("world", ["Ubuntu"], indirect=True)
async def test_both_generations_and_aliases_are_one_download(world: World) -> None:
    first = await world.obtain()
    second = await world.obtain(name="Canonical:UbuntuServer:18_04-lts-gen2")
    third = await world.obtain(name="Canonical:0001-com-ubuntu-pro-bionic:pro-18_04-lts")
    assert (first.generation, second.generation, third.generation) == (1, 2, 1)
    assert first.digest == second.digest
    assert len({image.path for image in (first, second, third)}) == 3
    assert len(world.fetched()) == 1
    assert await world.obtain(name="Canonical:UbuntuServer:18_04-lts-gen2") == second


@pytest.mark.parametrize("world", ["Ubuntu"], indirect=True)
async def test_an_image_with_no_newer_build_is_not_fetched_again(world: World) -> None:
    image = await world.obtain()
    image_cache.renew(image, now=datetime.now(UTC) - timedelta(days=40))
    again = await world.obtain()
    assert (again.exact_version, again.path) == (image.exact_version, image.path)
    assert again.age_days(datetime.now(UTC)) < 1
    assert len(world.fetched()) == 1


@pytest.mark.parametrize("world", ["Ubuntu"], indirect=True)
async def test_without_an_index_the_address_that_stays_the_same_is_taken(world: World) -> None:
    world.server.files["/cloud-images.ubuntu.com/releases/bionic/"] = b"<html>moved</html>"
    assert (await world.obtain()).exact_version == "18.4.20261122"
    del world.server.files["/cloud-images.ubuntu.com/releases/bionic/"]
    assert (await world.obtain(refresh=True)).exact_version == "18.4.20261122"
    assert any("taking the image at" in line for line in world.told)


@pytest.mark.parametrize("base", ["@elsewhere.example", "/a/../b", ":1/x", ".elsewhere.example/x", 7, None])
def test_an_index_leads_to_no_other_server(base: object) -> None:
    text = json.dumps({"base_url": base, "kvm": {"image": "disk.qcow2", "sha256": "a" * 64}})
    with pytest.raises(DownloadFailed, match="JSON"):
        json_checksum(text, member="kvm.sha256", url="https://yum.example{base_url}/{kvm.image}")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kvm": {"sha256": "short", "image": "i"}, "base_url": "/b"}'])
def test_an_index_that_says_no_checksum_is_an_error(text: str) -> None:
    with pytest.raises(DownloadFailed, match="JSON"):
        json_checksum(text, member="kvm.sha256", url="https://yum.example{base_url}/{kvm.image}")


@pytest.mark.parametrize("world", ["Ubuntu"], indirect=True)
async def test_what_the_image_lacks_is_told_before_it_is_used(world: World) -> None:
    await world.obtain()
    assert any("Ubuntu 18.04 is no longer maintained" in line for line in world.told)
