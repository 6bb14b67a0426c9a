"""The catalogue: what is built in, what a user may add, and what is said about mistakes."""

from pathlib import Path

import pytest

from vmkiln.errors import ImageNotFound, InputError
from vmkiln.platform_images.catalogue import read_catalogue
from vmkiln.platform_images.catalogue_entry import CatalogueEntry, DebianEntry, DownloadEntry
from vmkiln.platform_images.catalogue_text import parse_catalogue as parse_text

OWN = """
[[image]]
publisher = "Acme"
offer = "golden"
sku = "1"
recipe = "download"
generation = 2
url = "https://images.acme.example/golden/disk.qcow2"
checksum_url = "SHA256SUMS"
format = "qcow2"
"""


def parse_catalogue(text: str, *, name: str) -> tuple[CatalogueEntry, ...]:
    return parse_text(text, name=name).entries


def built_in(tmp_path: Path) -> list[str]:
    return read_catalogue(tmp_path / "none.toml").names()


@pytest.mark.parametrize(
    ("name", "suite", "generation"),
    [
        ("Debian:debian-12:12", "bookworm", 1),
        ("Debian:debian-12:12-gen2", "bookworm", 2),
        ("debian:DEBIAN-13:13", "trixie", 1),
        ("DEBIAN:debian-13:13-GEN2", "trixie", 2),
    ],
)
def test_debian_is_made_here_under_its_names_in_azure(tmp_path: Path, name: str, suite: str, generation: int) -> None:
    entry = read_catalogue(tmp_path / "none.toml").find(*name.split(":"))
    assert isinstance(entry, DebianEntry)
    assert (entry.suite, entry.generation) == (suite, generation)


@pytest.mark.parametrize(
    "name",
    [
        "Canonical:0001-com-ubuntu-server-focal:20_04-lts",
        "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2",
        "Canonical:ubuntu-24_04-lts:server",
        "Canonical:ubuntu-24_04-lts:server-gen1",
        "Canonical:ubuntu-26_04-lts:server",
        "almalinux:almalinux-x86_64:9-gen2",
        "resf:rockylinux-x86_64:9-base",
        "Debian:debian-12:12-upstream",
    ],
)
def test_upstream_images_are_there_under_their_names_in_azure(tmp_path: Path, name: str) -> None:
    entry = read_catalogue(tmp_path / "none.toml").find(*name.split(":"))
    assert isinstance(entry, DownloadEntry)
    assert entry.url.startswith("https://")
    assert entry.checksum_url.startswith("https://")
    assert entry.release


def test_each_built_in_signature_names_its_file_and_how_to_get_the_keys(tmp_path: Path) -> None:
    catalogue = read_catalogue(tmp_path / "none.toml")
    signed = [
        entry for entry in catalogue.entries.values() if isinstance(entry, DownloadEntry) and entry.signature != "none"
    ]
    assert signed
    assert all(entry.keyring and entry.keyring_hint and entry.fingerprints for entry in signed)
    assert all(entry.signature_url for entry in signed if entry.signature == "detached")


def test_an_unknown_image_comes_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound) as unknown:
        read_catalogue(tmp_path / "none.toml").find("Debian", "debian-12", "12-gen3")
    assert "Debian:debian-12:12-gen3" in unknown.value.message
    assert "Debian:debian-12:12-gen2" in (unknown.value.hint or "")
    assert "how to add one" in (unknown.value.hint or "")


def test_addresses_may_be_written_relative_to_the_image() -> None:
    (entry,) = parse_catalogue(OWN, name="own")
    assert isinstance(entry, DownloadEntry)
    assert entry.checksum_url == "https://images.acme.example/golden/SHA256SUMS"


def test_an_entry_of_the_user_wins_over_a_built_in_one(tmp_path: Path) -> None:
    own = tmp_path / "catalogue.toml"
    own.write_text(OWN.replace("Acme", "debian").replace("golden", "Debian-12").replace('sku = "1"', 'sku = "12"'))
    catalogue = read_catalogue(own)
    assert isinstance(catalogue.find("Debian", "debian-12", "12"), DownloadEntry)
    assert len(catalogue.names()) == len(built_in(tmp_path))


def test_an_entry_of_the_user_is_added(tmp_path: Path) -> None:
    own = tmp_path / "catalogue.toml"
    own.write_text(OWN)
    assert read_catalogue(own).find("ACME", "golden", "1").generation == 2


def test_every_mistake_is_named_at_once_with_its_place() -> None:
    text = """
[[image]]
publisher = "Acme"
offer = ""
sku = 7
recipe = "download"
generation = true
url = "ftp://acme.example/disk"
format = "vmdk"
signature = "detached"
os_type = "Plan9"
colour = "red"

[[image]]
publisher = "Acme"
offer = "o"
sku = "s"
recipe = "debian"
generation = 3
suite = "bookworm"
release = "12"
packages = "vim"

[[image]]
recipe = "magic"
"""
    with pytest.raises(InputError) as refused:
        parse_catalogue(text, name="own.toml")
    message = refused.value.message
    assert message.startswith("own.toml has 13 mistakes:")
    for place in (
        "image[0].checksum_url: is missing",
        "image[0].colour: is unknown",
        "image[0].offer: must be a text that is not empty",
        "image[0].sku: must be",
        "image[0].generation: must be a number",
        "image[0].url: `ftp://acme.example/disk` is not",
        "image[0].format: `vmdk` is not allowed; allowed are qcow2, raw, vhd",
        "image[0].os_type: `Plan9`",
        "image[0].keyring: is missing",
        "image[0].signature_url: is missing",
        "image[1].generation: `3` is not allowed",
        "image[1].packages: must be a list of texts",
        "image[2].recipe: `magic` is not allowed; allowed are debian, download",
    ):
        assert place in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[image", "is not TOML"),
        ("image = 3", "array of tables"),
        ("[images]\nx = 1", "unknown member `images`"),
        (OWN + OWN, "is there twice"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_catalogue(text, name="own.toml")


def test_with_a_publisher_all_of_its_images_are_read_and_little_else(tmp_path: Path) -> None:
    whole = read_catalogue(tmp_path / "none.toml")
    for publisher in {entry.publisher for entry in whole.entries.values()}:
        part = read_catalogue(tmp_path / "none.toml", publisher=publisher.upper())
        own = {key: entry for key, entry in whole.entries.items() if entry.publisher == publisher}
        assert own.items() <= part.entries.items(), publisher
    assert len(read_catalogue(tmp_path / "none.toml", publisher="Debian").entries) < len(whole.entries) / 2
    assert read_catalogue(tmp_path / "none.toml", publisher="nobody").entries == {}


def test_the_users_images_are_read_whichever_publisher_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    assert len(read_catalogue(tmp_path / "own.toml", publisher="nobody").entries) == 1
