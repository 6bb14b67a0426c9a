"""What does not go with the images that are kept here is refused before anything is started."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing import COMPUTE, DEFINITION_ID, IMAGE_ID, a_flat_disk, a_gallery_target, to_managed_image

from vmkiln.azure_names import Architecture
from vmkiln.buildable.examination import template_problems
from vmkiln.buildable.known_source import known_source
from vmkiln.buildable.targets import data_disk_problems, kept_problems, target_problems
from vmkiln.errors import Mistake
from vmkiln.images import gallery
from vmkiln.images.image_store import ImageFacts
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.template.image_template import DataDisk, ImageTemplate
from vmkiln.template.template_file import read_image_template

VHD = {"type": "VHD", "runOutputName": "vhd"}
MANAGED = {"type": "ManagedImage", "imageId": IMAGE_ID}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


@pytest.fixture
def facts(tmp_path: Path) -> ImageFacts:
    return a_flat_disk(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def a_template(*targets: dict[str, Any], source: dict[str, Any] = MANAGED, **profile: Any) -> ImageTemplate:
    properties = {"source": source, "distribute": list(targets) or [VHD], "vmProfile": profile}
    body = {"location": "westus2", "identity": {"type": "None"}, "properties": properties}
    return read_image_template(json.dumps(body), file_name="t.json").image_template


def here(settings: Settings, store: Store, template: ImageTemplate) -> list[Mistake]:
    return list(kept_problems(settings, store, template))


def version_of(name: str) -> dict[str, Any]:
    return {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION_ID}/versions/{name}"}


def shared(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "SharedImage", "runOutputName": f"o{len(name)}", "galleryImageId": f"{DEFINITION_ID}{name}", **more}


def test_a_source_is_found_across_groups_subscriptions_and_cases(
    settings: Settings, store: Store, facts: ImageFacts, tmp_path: Path
) -> None:
    to_managed_image(tmp_path, store, facts)
    elsewhere = "/subscriptions/other/resourceGroups/far/providers/Microsoft.Compute/galleries/H/images/Db"
    for definition in (DEFINITION_ID, elsewhere):
        for version in ("1.0.9", "1.0.10"):
            gallery.publish(tmp_path / "images", store, facts, a_gallery_target(f"{definition}/versions/{version}"))
        for name in ("1.0.9", "latest", "Latest"):
            source = {"type": "SharedImageVersion", "imageVersionId": f"{definition.upper()}/versions/{name}"}
            found = known_source(settings, store, a_template(source=source).properties.source)
            assert found is not None
            assert found.exact_version == f"{definition}/versions/{'1.0.9' if name == '1.0.9' else '1.0.10'}"
    image = a_template(source={**MANAGED, "imageId": IMAGE_ID.lower()}).properties.source
    assert known_source(settings, store, image) is not None
    assert known_source(settings, None, image) is None


def test_a_disk_smaller_than_a_known_source_is_refused(
    settings: Settings, store: Store, facts: ImageFacts, tmp_path: Path
) -> None:
    to_managed_image(tmp_path, store, ImageFacts(**{**vars(facts), "virtual_size_bytes": 3 * 1024**3}))
    (problem,) = here(settings, store, a_template(osDiskSizeGB=2))
    assert problem.path == "properties.vmProfile.osDiskSizeGB"
    assert "2 GB is smaller than the source image (3.0 GB)" in problem.message
    for size in (0, 3, 30):
        assert here(settings, store, a_template(osDiskSizeGB=size)) == []


def test_a_taken_version_is_refused_however_it_is_named(
    settings: Settings, store: Store, facts: ImageFacts, tmp_path: Path
) -> None:
    to_managed_image(tmp_path, store, facts)
    for target in (a_gallery_target(f"{DEFINITION_ID}/versions/1.0.0"), a_gallery_target(scheme="Source")):
        gallery.publish(tmp_path / "images", store, facts, target)
    for target in (shared("/versions/1.0.0"), shared("", versioning={"scheme": "Source"})):
        (problem,) = here(settings, store, a_template(target))
        assert problem.path == "properties.distribute[0].galleryImageId"
        assert "exists already" in problem.message
        source = known_source(settings, store, a_template().properties.source)
        own = target_problems(store, a_template(target), source, run_id=facts.run_id)
        assert list(own) == [], "what the run itself has published is not in its way"
    for target in (shared("/versions/1.0.1"), shared(""), shared("", versioning={"scheme": "Latest", "major": 1})):
        assert here(settings, store, a_template(target)) == []


def test_every_reason_is_named_at_once(settings: Settings, store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    to_managed_image(tmp_path, store, facts, location="eastus")
    store.images.define(f"{COMPUTE}/galleries/G/images/Win", os_type="Windows", generation=2)
    gallery.publish(tmp_path / "images", store, facts, a_gallery_target(f"{DEFINITION_ID}/versions/1.0.0"))
    template = a_template(
        {"type": "ManagedImage", "runOutputName": "m", "imageId": IMAGE_ID, "location": "westus2"},
        shared("/versions/1.0.0"),
        {**shared(""), "galleryImageId": f"{COMPUTE}/galleries/G/images/Win"},
        source=version_of("9.9.9"),
    )
    assert [problem.path for problem in here(settings, store, template)] == [
        "properties.distribute[0].location",
        "properties.distribute[1].galleryImageId",
    ]
    known = here(settings, store, template.model_copy(update={"properties": a_template().properties}))
    assert known == []
    from_image = a_template({**shared(""), "galleryImageId": f"{COMPUTE}/galleries/G/images/Win"})
    (problem,) = here(settings, store, from_image)
    assert "is Windows generation 2 for x64, but this image is Linux generation 1 for x64" in problem.message


@pytest.mark.parametrize(
    ("sku", "size", "message"),
    [
        ("12", "Standard_D2ps_v5", "`Standard_D2ps_v5` has Arm64 CPUs, and the source is an x64 image"),
        ("12-arm64", "Standard_D2s_v5", "`Standard_D2s_v5` has x64 CPUs, and the source is an Arm64 image"),
        ("12-arm64", "Standard_D2ps_v5", ""),
        ("12-arm64", "", ""),
        ("12", "Standard_D2s_v5", ""),
    ],
)
def test_a_size_of_another_architecture_than_the_source_is_refused(
    settings: Settings, store: Store, sku: str, size: str, message: str
) -> None:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": sku}
    found = here(settings, store, a_template(source=source, vmSize=size))
    assert [(problem.path, problem.message) for problem in found] == (
        [("properties.vmProfile.vmSize", message)] if message else []
    )
    assert all(problem.hint and problem.hint.startswith("name a") for problem in found)


def test_the_architecture_of_an_image_is_kept_with_it(
    settings: Settings, store: Store, facts: ImageFacts, tmp_path: Path
) -> None:
    to_managed_image(tmp_path, store, ImageFacts(**{**vars(facts), "architecture": Architecture.ARM64}))
    (problem,) = here(settings, store, a_template(vmSize="Standard_D2s_v5"))
    assert "the source is an Arm64 image" in problem.message
    assert here(settings, store, a_template(vmSize="Standard_E2pds_v6")) == []


def with_data_disks(*sizes: int) -> ImageTemplate:
    template = a_template()
    disks = tuple(DataDisk(sizeGB=size) for size in sizes)
    return template.model_copy(
        update={"properties": template.properties.model_copy(update={"additional_data_disks": disks})}
    )


@pytest.mark.parametrize(("of_source", "is_refused"), [(1, False), (15, True), (16, True)])
def test_data_disks_with_those_of_the_source_have_a_limit(of_source: int, is_refused: bool) -> None:
    template = with_data_disks(1, 2)
    found = list(data_disk_problems(template, of_source))
    assert [mistake.path for mistake in found] == ["properties.additionalDataDisks"] * is_refused


def test_a_data_disk_without_a_size_is_refused_with_its_place() -> None:
    template = with_data_disks(1, 0, 40_000)
    paths = [mistake.path for mistake in template_problems(template, {})]
    assert paths == ["properties.additionalDataDisks[1].sizeGB", "properties.additionalDataDisks[2].sizeGB"]
