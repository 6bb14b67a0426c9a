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
        "image[0].format: `vmdk` is not allowed; allowed are qcow2, raw, vhd, vhdx",
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


WANTED = [
    *(f"Canonical:UbuntuServer:{sku}" for sku in ("14.04.5-LTS", "16.04-LTS", "16_04-lts-gen2", "18.04-LTS")),
    *(f"Canonical:UbuntuServer:{sku}" for sku in ("18_04-lts-gen2", "20.04-LTS", "22.04-LTS", "22_04-lts-gen2")),
    *(f"Canonical:0001-com-ubuntu-{kind}" for kind in ("minimal-jammy:minimal-22_04-lts-gen2", "server-lunar:23_04")),
    *(f"Canonical:0001-com-ubuntu-pro-{name}" for name in ("bionic:pro-18_04-lts", "jammy:pro-22_04-lts-gen2")),
    *(f"Canonical:ubuntu-{name}" for name in ("24_04-lts:ubuntu-pro", "22_04-lts:server", "25_10:minimal-arm64")),
    *(f"Debian:debian-{name}" for name in ("10:10", "10:10-backports-gen2", "11:11-backports-gen2", "11-daily:11")),
    *(f"Debian:debian-{name}" for name in ("12-daily:12-gen2", "13:13-backports", "13-daily:13-arm64")),
    *("Oracle:Oracle-Linux:ol94-lvm-gen2", "OpenLogic:CentOS:7.6", "CentOS:centos-stream-10:10-gen2"),
    *("SUSE:opensuse-leap-15-6:gen2", "Fedora:fedora-43:43", "resf:rockylinux-x86_64:9-lvm"),
    *("almalinux:almalinux-arm:9-arm-gen2", "resf:rockylinux-aarch64:9-base"),
]


@pytest.mark.parametrize("name", WANTED)
def test_names_that_templates_have_are_there(tmp_path: Path, name: str) -> None:
    entry = read_catalogue(tmp_path / "none.toml").find(*name.split(":"))
    assert isinstance(entry, DownloadEntry)
    assert entry.generation == (2 if "gen2" in name or entry.architecture == "Arm64" else entry.generation)
    assert ("arm" in name or "aarch64" in name) is (entry.architecture == "Arm64")


def test_every_address_is_https_and_no_digest_stands_in_the_catalogue(tmp_path: Path) -> None:
    for entry in read_catalogue(tmp_path / "none.toml").entries.values():
        if isinstance(entry, DownloadEntry):
            addresses = [entry.url, entry.checksum_url, entry.signature_url, entry.key_url]
            addresses += [entry.builds.index_url, entry.builds.url] if entry.builds else []
            assert all(address.startswith("https://") for address in addresses if address), entry


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RedHat:RHEL:9-lvm-gen2", "Red Hat gives its images to its customers only"),
        ("SUSE:sles-15-sp5:gen2", "SUSE gives the images of SUSE Linux Enterprise to its customers only"),
        ("OpenLogic:CentOS:8_5-gen2", "CentOS has ended"),
        ("MicrosoftCBLMariner:azure-linux-3:azure-linux-3-gen2", "no disk image of Azure Linux"),
    ],
)
def test_an_image_that_nobody_gives_away_says_why_and_the_command(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageNotFound) as refused:
        read_catalogue(tmp_path / "none.toml").find(*name.split(":"))
    assert reason in refused.value.message
    assert f"`vmkiln image import FILE --as {name}`" in (refused.value.hint or "")


def test_the_mistakes_of_builds_keys_and_names_are_named() -> None:
    text = """
[common]
recipe = "download"
format = "qcow2"
url = "https://acme.example/disk"
checksum_url = "sums"

[[image]]
generation_1 = ["Acme:one"]
build_url = "../disk"
architecture = "sparc"

[[image]]
generation_2 = ["Acme:two:2"]
key_url = "key"
plan = { name = "one" }

[[image]]
generation_2 = ["Acme:three:3"]
fingerprints = ["short"]

[aliases]
Golden = "Acme:one"

[[closed]]
publisher = "Acme"
"""
    with pytest.raises(InputError) as refused:
        parse_catalogue(text, name="own.toml")
    for place in (
        "image[0].generation_1: must be a list of PUBLISHER:OFFER:SKU",
        "image[0].index_url: is missing",
        "image[0].build_url: has no {build}",
        "image[0].architecture: `sparc`",
        "image[1].fingerprints: is missing",
        "image[1].plan: must be a table of name, product, publisher",
        "image[2].fingerprints: `short`",
        "aliases.Golden: must be PUBLISHER:OFFER:SKU",
        "closed[0].reason: is missing",
    ):
        assert place in refused.value.message, place


def test_short_names_may_be_added(tmp_path: Path) -> None:
    own = tmp_path / "catalogue.toml"
    own.write_text(OWN + '\n[aliases]\nGolden = "Acme:golden:1"\n')
    assert read_catalogue(own).aliases["Golden"] == "Acme:golden:1"
    assert read_catalogue(own).aliases["Ubuntu2204"].startswith("Canonical:")
