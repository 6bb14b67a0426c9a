"""Galleries: numbering, what fits, what latest means, replicas."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import COMPUTE, DEFINITION_ID, a_flat_disk, a_gallery_target

from vmkiln.azure_names import Architecture
from vmkiln.errors import ImageConflict, ImageNotFound
from vmkiln.images.gallery import (
    GalleryTarget,
    Region,
    Version,
    check_fits,
    find_version,
    next_version,
    parse_version,
    publish,
    source_version,
    split_id,
)
from vmkiln.images.image_store import ImageFacts, remove
from vmkiln.store.database import Store, opened

# the gallery of the reference's example
EXAMPLE = [(0, 1, 1), (0, 1, 2), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 0, 0), (2, 0, 1), (2, 1, 0)]
VERSIONS = st.tuples(*[st.integers(min_value=0, max_value=999_999_999)] * 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


@pytest.fixture
def facts(tmp_path: Path) -> ImageFacts:
    return a_flat_disk(tmp_path)


@pytest.mark.parametrize(
    ("existing", "major", "expected"),
    [
        (EXAMPLE, -1, (2, 1, 1)),
        (EXAMPLE, 2, (2, 1, 1)),
        (EXAMPLE, 1, (1, 2, 1)),
        (EXAMPLE, 0, (0, 1, 3)),
        (EXAMPLE, 7, (7, 0, 0)),
        ([], -1, (1, 0, 0)),
        ([], 0, (0, 0, 0)),
        ([], 3, (3, 0, 0)),
        ([(1, 0, 9), (1, 0, 10)], -1, (1, 0, 11)),
        ([(1, 2, 2147483647)], 1, (1, 3, 0)),
        ([(1, 2147483647, 2147483647)], -1, (2, 0, 0)),
    ],
)
def test_scheme_latest_takes_the_next_patch(existing: list[Version], major: int, expected: Version) -> None:
    assert next_version(existing, major=major) == expected


@given(st.lists(VERSIONS), st.integers(min_value=-1, max_value=3))
def test_the_next_version_is_new_and_the_highest_of_its_major(existing: list[Version], major: int) -> None:
    found = next_version(existing, major=major)
    assert found not in existing
    assert all(found > version for version in existing if version[0] == found[0])
    assert major in {-1, found[0]}


@pytest.mark.parametrize(
    ("exact_version", "expected"),
    [
        ("18.04.202401161", (18, 4, 202401161)),
        ("12.20260102.30", (12, 20260102, 30)),
        ("20260102-1999", (20260102, 1999, 0)),
        ("3", (3, 0, 0)),
        ("1.2.3.4", (1, 2, 3)),
        (f"{DEFINITION_ID}/versions/4.5.6", (4, 5, 6)),
        ("9.20240101123456.1", (9, 101123456, 1)),
    ],
)
def test_scheme_source_takes_the_sources_numbers(exact_version: str, expected: Version) -> None:
    assert source_version(exact_version) == expected
    assert parse_version(".".join(map(str, expected))) == expected


def test_a_source_version_without_a_number_is_an_error() -> None:
    with pytest.raises(ImageConflict, match="no number"):
        source_version("latest")


@pytest.mark.parametrize(
    "text", ["1.2", "1.2.3.4", "01.2.3", "1.2.x", "-1.2.3", " 1.2.3", "1.2.2147483648", "", "1.2.٣"]
)
def test_what_is_not_a_version_has_no_numbers(text: str) -> None:
    assert parse_version(text) is None


@settings(max_examples=tiers.cheap_examples())
@given(VERSIONS)
def test_a_version_is_read_back(version: Version) -> None:
    assert parse_version(".".join(map(str, version))) == version


@pytest.mark.parametrize(
    ("gallery_image_id", "expected"),
    [
        (DEFINITION_ID, (DEFINITION_ID, "")),
        (f"{DEFINITION_ID}/", (DEFINITION_ID, "")),
        (f"{DEFINITION_ID}/versions/1.2.3", (DEFINITION_ID, "1.2.3")),
        (f"{DEFINITION_ID}/Versions/latest/", (DEFINITION_ID, "latest")),
    ],
)
def test_an_id_names_a_definition_and_perhaps_a_version(gallery_image_id: str, expected: tuple[str, str]) -> None:
    assert split_id(gallery_image_id) == expected


def test_versions_of_one_definition_count_up(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    ids = [publish(tmp_path / "images", store, facts, a_gallery_target()).artifact_id for _ in range(3)]
    assert ids == [f"{DEFINITION_ID}/versions/1.0.{patch}" for patch in range(3)]


def test_definitions_with_similar_names_are_numbered_apart(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    publish(tmp_path / "images", store, facts, a_gallery_target(f"{DEFINITION_ID}/versions/8.0.0"))
    for name in ("Web2", "We%", "We_"):
        target = a_gallery_target(f"{COMPUTE}/galleries/G/images/{name}")
        assert publish(tmp_path / "images", store, facts, target).artifact_id.endswith("/versions/1.0.0")


def test_a_definition_is_found_whatever_its_case(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    publish(tmp_path / "images", store, facts, a_gallery_target())
    second = publish(tmp_path / "images", store, facts, a_gallery_target(DEFINITION_ID.upper()))
    assert second.artifact_id.endswith("/versions/1.0.1")


def test_an_explicit_version_is_published_once(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    target = a_gallery_target(f"{DEFINITION_ID}/versions/4.5.6")
    first = publish(tmp_path / "images", store, facts, target)
    assert first.artifact_id == f"{DEFINITION_ID}/versions/4.5.6"
    with pytest.raises(ImageConflict, match="exists already"):
        publish(tmp_path / "images", store, facts, target)
    assert first.path.is_file()


def test_scheme_source_refuses_a_version_that_exists(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    target = a_gallery_target(scheme="Source")
    first = publish(tmp_path / "images", store, facts, target)
    assert first.artifact_id.endswith("/versions/12.20260102.30")
    with pytest.raises(ImageConflict):
        publish(tmp_path / "images", store, facts, target)
    assert first.path.is_file()


@pytest.mark.parametrize("version", ["latest", "1.2", "..", "01.0.0"])
def test_only_three_numbers_can_be_published(version: str, store: Store) -> None:
    with pytest.raises(ImageConflict, match="not a version"):
        check_fits(store, f"{DEFINITION_ID}/versions/{version}", ("Linux", 1, "x64"))


@pytest.mark.parametrize("gallery_image_id", ["", "/x", f"{DEFINITION_ID}/versions/../x", f"{DEFINITION_ID}/more/x"])
def test_only_an_image_definition_is_published_to(gallery_image_id: str, store: Store) -> None:
    with pytest.raises(ImageConflict, match="not the id"):
        check_fits(store, gallery_image_id, ("Linux", 1, "x64"))


def test_a_definition_takes_one_generation_until_its_last_version_is_gone(
    store: Store, facts: ImageFacts, tmp_path: Path
) -> None:
    other = a_flat_disk(tmp_path, run_id="22222222-gen2", generation=2)
    publish(tmp_path / "images", store, facts, a_gallery_target())
    with pytest.raises(
        ImageConflict, match="is Linux generation 1 for x64, but this image is Linux generation 2 for x64"
    ):
        publish(tmp_path / "images", store, other, a_gallery_target(f"{DEFINITION_ID}/versions/9.0.0"))
    assert [row.generation for row in store.images.definitions()] == [1]
    remove(store.images.list()[0], store)
    publish(tmp_path / "images", store, other, a_gallery_target())
    assert [row.generation for row in store.images.definitions()] == [2]


def test_a_definition_takes_images_for_one_kind_of_cpu(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    arm64 = replace(facts, architecture=Architecture.ARM64)
    publish(tmp_path / "images", store, facts, a_gallery_target())
    with pytest.raises(
        ImageConflict, match="is Linux generation 1 for x64, but this image is Linux generation 1 for Arm64"
    ):
        publish(tmp_path / "images", store, arm64, a_gallery_target(f"{DEFINITION_ID}/versions/9.0.0"))
    remove(store.images.list()[0], store)
    publish(tmp_path / "images", store, arm64, a_gallery_target())
    with pytest.raises(ImageConflict, match="for Arm64, but"):
        publish(tmp_path / "images", store, facts, a_gallery_target(f"{DEFINITION_ID}/versions/9.0.0"))


def test_the_record_itself_refuses_another_generation(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    publish(tmp_path / "images", store, facts, a_gallery_target())
    row = store.images.list()[0]
    windows = type(row)(**{**vars(row), "artifact_id": f"{DEFINITION_ID}/versions/2.0.0", "os_type": "Windows"})
    with pytest.raises(ImageConflict, match="but this image is Windows"):
        store.images.add_version(windows, definition_id=DEFINITION_ID)
    assert len(store.images.list()) == 1


def test_latest_is_the_highest_version_that_is_not_excluded(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for version, excluded in (("1.0.9", False), ("1.0.10", False), ("2.0.0", True)):
        target = a_gallery_target(f"{DEFINITION_ID}/versions/{version}", exclude_from_latest=excluded)
        publish(images, store, facts, target)
    assert find_version(store, f"{DEFINITION_ID}/versions/latest").artifact_id.endswith("/1.0.10")
    assert find_version(store, f"{DEFINITION_ID.upper()}/versions/Latest").artifact_id.endswith("/1.0.10")
    assert find_version(store, f"{DEFINITION_ID}/versions/2.0.0").artifact_id.endswith("/2.0.0")


def test_an_excluded_version_counts_for_the_next_number(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    publish(tmp_path / "images", store, facts, a_gallery_target(exclude_from_latest=True))
    with pytest.raises(ImageNotFound, match="no version to be latest"):
        find_version(store, f"{DEFINITION_ID}/versions/latest")
    second = publish(tmp_path / "images", store, facts, a_gallery_target())
    assert second.artifact_id.endswith("/versions/1.0.1")


@pytest.mark.parametrize("version", ["1.0.0", "latest"])
def test_a_version_that_is_not_there_is_not_found(version: str, store: Store) -> None:
    with pytest.raises(ImageNotFound):
        find_version(store, f"{DEFINITION_ID}/versions/{version}")


def test_every_region_has_its_replica_and_its_count(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    regions = (Region("West Europe", 2, "Standard_ZRS"), Region("../../x", 1))
    artifact = publish(tmp_path / "images", store, facts, a_gallery_target(regions=regions))
    folder = artifact.path.parent / "replicas"
    assert {path.name for path in folder.iterdir()} == {"westeurope.qcow2", "x.qcow2"}
    assert all(path.read_bytes() == artifact.path.read_bytes() for path in folder.iterdir())
    detail = store.images.list()[0].detail
    assert detail["replication_mode"] == "Full"
    assert detail["regions"][0] == {"name": "West Europe", "replica_count": 2, "storage_account_type": "Standard_ZRS"}


def test_the_tags_and_the_run_are_recorded(store: Store, facts: ImageFacts, tmp_path: Path) -> None:
    target: GalleryTarget = a_gallery_target()
    publish(tmp_path / "images", store, facts, target)
    image = store.images.list()[0]
    assert image.tags == {"team": "web"}
    assert (image.run_id, image.digest, image.source_version) == (facts.run_id, facts.digest, "12.20260102.30")
