"""The catalogue as `az vm image` asks for it: publishers, offers, SKUs, versions; and its short names."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import SUBSCRIPTION, InProcess, code_of

from vmkiln.platform_images import image_cache
from vmkiln.platform_images.catalogue_entry import DebianEntry
from vmkiln.platform_images.image_reference import IMPORTED, recipe_of

HERE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westus2/publishers"
SOURCES = f"/subscriptions/{SUBSCRIPTION}/providers/Vmkiln.Builds/sources"
DEBIAN = f"{HERE}/Debian/artifacttypes/vmimage/offers/debian-12/skus/12/versions"
MADE = DebianEntry("Debian", "debian-12", "12", 1, "bookworm", "12")


def names(service: InProcess, path: str) -> list[str]:
    found = service.get(path, api_version="2024-11-01")
    assert found.status_code == 200, found.text
    assert all(set(item) >= {"location", "name", "id"} for item in found.json())
    return [item["name"] for item in found.json()]


def keep(service: InProcess, tmp_path: Path, version: str, *, age_days: float = 0, **facts: Any) -> None:
    """Put an image into the cache, as if it had been made or imported."""
    file = tmp_path / version
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "3G"], check=True)
    with file.open("ab") as opened:
        opened.write(version.encode())
    known = {
        "name": "debian:debian-12:12", "exact_version": version, "format": "qcow2", "generation": 1,
        "os_type": "Linux", "virtual_size_bytes": 3 << 30, "origin": "a test", "recipe": recipe_of(MADE),
        "created": datetime.now(UTC) - timedelta(days=age_days),
    }  # fmt: skip
    image_cache.add(service.service.settings.image_cache, file, **{**known, **facts})


def test_publishers_offers_and_skus_are_the_catalogues(service: InProcess) -> None:
    assert {"Canonical", "Debian", "resf", "Oracle"} <= set(names(service, HERE))
    offers = names(service, f"{HERE}/canonical/artifacttypes/vmimage/offers")
    assert {"UbuntuServer", "0001-com-ubuntu-server-jammy", "ubuntu-24_04-lts"} <= set(offers)
    skus = names(service, f"{HERE}/Canonical/artifacttypes/vmimage/offers/ubuntuserver/skus")
    assert {"18.04-LTS", "18_04-lts-gen2", "16.04-LTS", "14.04.5-LTS"} <= set(skus)
    assert len(set(skus)) == len(skus)


def test_one_list_has_every_image_that_a_template_can_name(service: InProcess, tmp_path: Path) -> None:
    facts = {"name": "contoso:base:1", "title": "Contoso:base:1", "recipe": IMPORTED, "os_type": "Windows"}
    keep(service, tmp_path, "9.1", is_imported=True, **facts)
    found = service.get(SOURCES, api_version="2024-03-01")
    assert found.status_code == 200, found.text
    by_name = {item["name"].lower(): item["properties"] for item in found.json()["value"]}
    assert (by_name["debian:debian-12:12"]["how"], by_name["debian:debian-12:12"]["isTried"]) == ("made here", True)
    assert by_name["canonical:ubuntuserver:18.04-lts"]["how"] == "fetched"
    assert (by_name["contoso:base:1"]["how"], by_name["contoso:base:1"]["osType"]) == ("imported", "Windows")
    assert len(by_name) == len(found.json()["value"]) > 300
    assert service.get(SOURCES, token="stranger").status_code == 403


def test_an_image_that_nobody_had_yet_has_the_version_latest(service: InProcess) -> None:
    assert names(service, f"{DEBIAN}?$orderby=name%20desc&$top=1") == ["latest"]
    [whole] = service.get(f"{DEBIAN}?$expand=properties").json()
    assert whole["properties"]["hyperVGeneration"] == "V1"
    assert whole["properties"]["architecture"] == "x64"
    assert whole["properties"]["osDiskImage"] == {"operatingSystem": "Linux"}
    assert service.get(f"{DEBIAN}/latest").json()["name"] == "latest"


def test_versions_are_those_in_the_cache_in_order(service: InProcess, tmp_path: Path) -> None:
    for version, age in (("12.20261126.214", 2), ("12.20261101.9", 27), ("12.20261126.30", 3)):
        keep(service, tmp_path, version, age_days=age)
    assert names(service, DEBIAN) == ["12.20261101.9", "12.20261126.30", "12.20261126.214"]
    assert names(service, f"{DEBIAN}?$orderby=name%20desc&$top=1") == ["12.20261126.214"]
    assert "properties" not in service.get(DEBIAN).json()[0]
    one = service.get(f"{DEBIAN}/12.20261126.30").json()
    assert one["properties"]["osDiskImage"] == {"operatingSystem": "Linux", "sizeInGb": 3}
    assert service.get(f"{DEBIAN}/Latest").json()["name"] == "12.20261126.214"


def test_beside_a_stale_image_there_is_a_latest(service: InProcess, tmp_path: Path) -> None:
    keep(service, tmp_path, "12.20260101.1", age_days=300)
    assert names(service, f"{DEBIAN}?$orderby=name%20desc&$top=1") == ["latest"]
    assert names(service, DEBIAN) == ["12.20260101.1", "latest"]


def test_an_imported_image_is_told_with_its_plan(service: InProcess, tmp_path: Path) -> None:
    facts = {"name": "redhat:rhel:9-lvm", "title": "RedHat:RHEL:9-lvm", "generation": 2, "recipe": IMPORTED}
    keep(service, tmp_path, "9.4.1", is_imported=True, plan=("rhel-9", "rhel", "redhat"), **facts)
    assert "RedHat" in names(service, HERE)
    place = f"{HERE}/RedHat/artifacttypes/vmimage/offers/RHEL/skus/9-lvm/versions"
    assert names(service, place) == ["9.4.1"]
    properties = service.get(f"{place}/9.4.1").json()["properties"]
    assert properties["plan"] == {"name": "rhel-9", "product": "rhel", "publisher": "redhat"}
    aliases = service.get("/vmkiln/aliases.json", token=None, api_version=None).json()["outputs"]["aliases"]["value"]
    assert aliases["Linux"]["RHEL-9-lvm"]["version"] == "latest"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (f"{HERE}/Nobody/artifacttypes/vmimage/offers", "Nobody"),
        (f"{HERE}/Debian/artifacttypes/vmimage/offers/debian-99/skus", "debian-99"),
        (f"{HERE}/RedHat/artifacttypes/vmimage/offers/RHEL/skus/9-lvm/versions", "vmkiln image import FILE --as"),
        (f"{DEBIAN}/1.2.3", "there is no version 1.2.3"),
    ],
)
def test_what_is_not_there_is_404_and_says_what_to_do(service: InProcess, path: str, told: str) -> None:
    found = service.get(path)
    assert (found.status_code, code_of(found)) == (404, "NotFound")
    assert told in found.text


@pytest.mark.parametrize(
    "query",
    ["$top=0", "$top=x", "$top=-1", "$top=99999999999", "$top=00000000199999", "$orderby=size", "$orderby=a%20b"],
)
def test_a_question_that_makes_no_sense_is_refused(service: InProcess, query: str) -> None:
    refused = service.get(f"{DEBIAN}?{query}")
    assert (refused.status_code, code_of(refused)) == (400, "InvalidParameter")


def test_short_names_are_azs_own_and_say_the_architecture(service: InProcess) -> None:
    document = service.get("/vmkiln/aliases.json", token=None, api_version=None).json()
    linux = document["outputs"]["aliases"]["value"]["Linux"]
    members = {"publisher", "offer", "sku", "version", "architecture"}
    assert all(set(urn) == members for urn in linux.values())
    for alias, sku in (("Ubuntu2204", "22_04-lts-gen2"), ("Ubuntu2404", "server"), ("Debian12", "12-gen2")):
        assert linux[alias]["sku"] == sku
    assert linux["debian-12-12"]["offer"] == "debian-12"
    assert "RHELRaw8LVMGen2" not in linux
