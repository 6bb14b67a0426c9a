"""What is refused before a build VM starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable.targets import target_problems
from vmkiln.run.room import RUN_DISK_MIB, Room, need_of
from vmkiln.run.run_context import ResolvedSource
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.template.template_file import read_image_template

GALLERY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images"
IMAGE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/i"
SOURCE = ResolvedSource(Path("disk.qcow2"), "qcow2", "digest", "12.1", 2, "Linux", 1024, "somewhere")


def to_gallery(name: str) -> dict[str, Any]:
    return {
        "type": "SharedImage",
        "runOutputName": name,
        "galleryImageId": f"{GALLERY}/{name}",
        "replicationRegions": ["local"],
    }


def test_every_image_definition_of_another_kind_and_no_other_is_named(tmp_path: Path) -> None:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2"}
    targets = [to_gallery(name) for name in ("fits", "old", "new", "other-os")]
    properties = {"source": source, "distribute": [{"type": "VHD", "runOutputName": "vhd"}, *targets]}
    body = {"location": "local", "identity": {"type": "None"}, "properties": properties}
    template = read_image_template(json.dumps(body), file_name="t.json").image_template
    with opened(tmp_path / "db") as store:
        assert not list(target_problems(store, template, SOURCE.as_known))
        store.images.define(f"{GALLERY}/fits", os_type="Linux", generation=2)
        assert not list(target_problems(store, template, SOURCE.as_known))
        store.images.define(f"{GALLERY}/old", os_type="Linux", generation=1)
        store.images.define(f"{GALLERY}/other-os", os_type="Windows", generation=2)
        refused = list(target_problems(store, template, SOURCE.as_known))
    assert [f"{item.path}: {item.message}" for item in refused] == [
        f"properties.distribute[2].galleryImageId: the image definition {GALLERY}/old is Linux generation 1 for x64, "
        "but this image is Linux generation 2 for x64",
        f"properties.distribute[4].galleryImageId: the image definition {GALLERY}/other-os is Windows "
        "generation 2 for x64, but this image is Linux generation 2 for x64",
    ]


def test_a_source_of_no_known_size_still_needs_room(tmp_path: Path) -> None:
    disc = {"type": "ISO", "sourceURI": "https://example.com/x.iso", "sha256Checksum": "a" * 64}
    properties = {"source": disc, "distribute": [{"type": "VHD", "runOutputName": "vhd"}]}
    body = {"apiVersion": "2019-05-01-preview", "location": "here", "properties": properties}
    template = read_image_template(json.dumps(body), file_name="t.json").image_template
    with opened(tmp_path / "db") as store:
        need = need_of(Settings(home=tmp_path), store, template)
    assert need.cpus > 0


@pytest.mark.parametrize(
    ("targets", "profile", "data_disks", "disk_mib"),
    [
        (["ManagedImage"], {}, [], RUN_DISK_MIB),
        (["ManagedImage"], {"osDiskSizeGB": 30}, [], 2 * 30 * 1024),
        (["ManagedImage", "VHD"], {"osDiskSizeGB": 30}, [], 3 * 30 * 1024),
        (["ManagedImage"], {"osDiskSizeGB": 30}, [{"sizeGB": 10}], 2 * 40 * 1024),
    ],
    ids=["a size that is not known yet", "its own disk and the image", "a VHD as well", "a data disk"],
)
def test_a_run_reserves_what_its_disks_may_grow_to(
    targets: list[str], profile: dict[str, int], data_disks: list[dict[str, int]], disk_mib: int, tmp_path: Path
) -> None:
    made = {
        "ManagedImage": {"type": "ManagedImage", "runOutputName": "i", "imageId": IMAGE, "location": "here"},
        "VHD": {"type": "VHD", "runOutputName": "vhd"},
    }
    source = {"type": "PlatformImage", "publisher": "debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    properties: dict[str, Any] = {"source": source, "distribute": [made[name] for name in targets]}
    properties |= {"vmProfile": profile} if profile else {}
    properties |= {"additionalDataDisks": data_disks} if data_disks else {}
    body = {"apiVersion": "2025-10-01", "location": "here", "identity": {"type": "None"}, "properties": properties}
    template = read_image_template(json.dumps(body), file_name="t.json").image_template
    with opened(tmp_path / "db") as store:
        need = need_of(Settings(home=tmp_path), store, template)
    assert need.disk_mib == disk_mib


def test_a_run_that_may_need_more_disk_than_a_host_has_gets_it_for_itself() -> None:
    need, host = Room(1, 1, 100_000), Room(8, 8, 50_000)
    assert need.capped(host).missing(host) == ""
    assert need.capped(host).missing(Room(8, 8, 49_000)) != ""
    assert need.capped(Room(8, 8, 1000)).missing(Room(8, 8, 1000)) != ""  # too little for any build
