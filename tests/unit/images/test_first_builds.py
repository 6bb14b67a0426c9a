"""The first things of a new host are made by eight processes at once, many times, and none of them fails."""

import asyncio
import hashlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiers
from alembic import command
from alembic.config import Config
from at_once import at_once
from image_server import serving
from postgresql import Cluster, cluster

from vmkiln.blobs.blob_server_install import install_azurite
from vmkiln.images import container_image
from vmkiln.images.container_image import obtain_container_image
from vmkiln.packer import waiting_packer
from vmkiln.platform_images.image_reference import PlatformImageReference
from vmkiln.platform_images.platform_image import obtain_platform_image
from vmkiln.store.database import opened
from vmkiln.store.engine import make_engine
from vmkiln.store.schema import REVISIONS

ROUNDS = tiers.tier().first_builds
RELEASE = "6.1.0-9-cloud-amd64"
META = "linux-image-cloud-amd64"
MODULES = " ".join(container_image.MODULES + sum(container_image.INSPECTOR_DRIVERS.values(), ()))
STAND_INS = {
    "apt-cache": f"""
for name; do :; done
case $name in
    {META}) printf 'Package: %s\\nVersion: 1\\nDepends: linux-image-{RELEASE}\\n' "$name" ;;
    linux-image-{RELEASE}) printf 'Package: %s\\nVersion: 1\\nSize: 2000000\\n' "$name" ;;
esac""",
    "apt-get": f'echo "$*" >> "${{0%/*}}/../record"; sleep 0.05; : > linux-image-{RELEASE}_1_amd64.deb',
    "dpkg-deb": f'mkdir -p "$3/boot" "$3/lib/modules/{RELEASE}/kernel"; echo kernel > "$3/boot/vmlinuz-{RELEASE}"',
    "depmod": f'cd "$2/lib/modules/$3"; touch modules.dep; printf "%s.ko\\n" {MODULES} > modules.builtin',
    "packer": ":",
    "node": ":",
    # as npm does: what is there goes first, and a second one at work in the same folder trips over the first
    "npm": """
echo "$*" >> "${0%/*}/../record"; rm -rf node_modules; mkdir node_modules || exit 1
mkdir node_modules/.bin && sleep 0.05 && echo azurite > node_modules/main.js || exit 1
ln -s ../main.js node_modules/.bin/azurite-blob""",
}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for apt, npm and Packer on PATH; returns the record of what was fetched."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")
    return tmp_path / "record"


def make_container_image(directory: Path, packer: Path) -> tuple[str, list[str]]:
    told: list[str] = []
    obtaining = obtain_container_image(
        directory, packer=packer, packer_version="1.9.5", waiting=waiting_packer.files(), progress=told.append
    )
    image = asyncio.run(obtaining)
    assert image.kernel.read_text() == "kernel\n"
    assert image.disk.stat().st_size > 0
    assert image.initramfs.stat().st_size > 0
    return image.digest, told


def test_eight_first_builds_make_one_kernel_and_one_container_image(tmp_path: Path, record: Path) -> None:
    directories = [tmp_path / "made" / str(number) for number in range(ROUNDS)]
    for found in at_once(make_container_image, [(directory, tmp_path / "bin/packer") for directory in directories]):
        assert len({digest for digest, _ in found}) == 1
        said = [text for _, told in found for text in told]
        assert sum(text.startswith("making the container image") for text in said) == 1
    assert len(record.read_text().splitlines()) == ROUNDS
    hidden = {path.name for directory in directories for path in directory.rglob(".*")}
    assert not [name for name in hidden if not name.startswith(".lock-")]


def fetch_platform_image(cache: Path, catalogue: Path) -> str:
    reference = PlatformImageReference("acme", "golden", "1")
    obtained = obtain_platform_image(
        reference, cache_directory=cache, user_catalogue=catalogue, progress=lambda _text: None
    )
    return asyncio.run(obtained).digest


def test_eight_first_builds_fetch_one_platform_image(tmp_path: Path) -> None:
    disk, catalogue = tmp_path / "made.qcow2", tmp_path / "catalogue.toml"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    caches = [tmp_path / "cache" / str(number) for number in range(ROUNDS)]
    with serving() as server:
        digest = hashlib.sha256(disk.read_bytes()).hexdigest()
        server.files = {"/disk": disk.read_bytes(), "/sums": f"{digest}  disk\n".encode()}
        catalogue.write_text(
            '[[image]]\npublisher = "Acme"\noffer = "golden"\nsku = "1"\nrecipe = "download"\ngeneration = 2\n'
            f'release = "22.04"\nurl = "{server.url("/disk")}"\nchecksum_url = "sums"\nformat = "qcow2"\n'
        )
        for found in at_once(fetch_platform_image, [(cache, catalogue) for cache in caches]):
            assert len(set(found)) == 1
        assert len(server.ranges("/disk")) == ROUNDS


def install_blob_server(directory: Path) -> str:
    main = asyncio.run(install_azurite(directory)).main
    assert main.read_text() == "azurite\n"
    return str(main)


def test_eight_installs_of_the_blob_server_do_not_trip_over_each_other(tmp_path: Path, record: Path) -> None:
    directories = [tmp_path / "installed" / str(number) for number in range(ROUNDS)]
    for directory, found in zip(
        directories, at_once(install_blob_server, [(directory,) for directory in directories]), strict=True
    ):
        assert set(found) == {str(directory / "node_modules/main.js")}
        assert {path.name for path in directory.iterdir() if not path.name.startswith(".lock-")} == {"node_modules"}
    # whoever comes when all others have ended installs again, as one who asks anew does
    assert len(record.read_text().splitlines()) <= 2 * ROUNDS


def open_database(place: Path | str) -> int:
    with opened(place) as store:
        return len(store.runs.list(limit=None)) + len(store.resources.list(type="x"))


def old(path: Path) -> None:
    """A database of the first schema."""
    connection = sqlite3.connect(path)
    columns = (
        "run_id VARCHAR(36) PRIMARY KEY, template_name VARCHAR(64), resource_group VARCHAR(90), template JSON, "
        "state VARCHAR(20), sub_state VARCHAR(20), message TEXT, error_code VARCHAR(64), staging_group VARCHAR(120), "
        "facts JSON, started DATETIME, ended DATETIME"
    )
    connection.execute(f"CREATE TABLE vmkiln_run ({columns})")
    connection.execute("CREATE TABLE vmkiln_staging_resource (number INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE vmkiln_schema_version (version INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO vmkiln_schema_version VALUES (1)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("kind", ["new", "old"])
def test_eight_processes_make_or_upgrade_one_sqlite_database(tmp_path: Path, kind: str) -> None:
    places = [tmp_path / str(number) / "vmkiln.sqlite" for number in range(ROUNDS)]
    for place in places:
        place.parent.mkdir()
        if kind == "old":
            old(place)
    assert at_once(open_database, [(place,) for place in places]) == [[0] * 8] * ROUNDS


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.mark.parametrize("kind", ["new", "old"])
def test_eight_processes_make_or_upgrade_one_postgresql_database(postgresql: Cluster, kind: str) -> None:
    urls = [postgresql.new_database() for _ in range(ROUNDS)]
    for url in urls if kind == "old" else []:
        engine = make_engine(url)
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "vmkiln.store:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, REVISIONS[0])
        engine.dispose()
    assert at_once(open_database, [(url,) for url in urls]) == [[0] * 8] * ROUNDS
