"""Galleries: image definitions with numbered versions, replicated to regions.

On the command line a gallery and a definition come into being with their first version; the service has them made
before, as Azure does. A later version must be of the same operating system, generation and CPUs.
Source: docs/reference/image-template.md#distribute-targets; docs/reference/behaviour.md#distributing (numbering). Where
that says nothing: the first version of an empty definition is 1.0.0, of an empty major M it is M.0.0, and scheme Source
takes the first three numbers of the source's exact version.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.azure_names import HIGHEST_VERSION_NUMBER, IMAGE_VERSION_RULE, image_version_numbers
from vmkiln.errors import ImageConflict, ImageNotFound, OtherImageKind
from vmkiln.files.durable_file import make_folder, reported, sync
from vmkiln.images.image_store import (
    Artifact,
    ImageFacts,
    architecture_of,
    folder_for,
    link_or_copy,
    publish_linked,
    removed_on_error,
)
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow

KIND = "SharedImageVersion"
DISK = "disk.qcow2"
ATTEMPTS = 20
_VERSION = re.compile(r"(.*/galleries/[^/]+/images/[^/]+)/versions/([^/]+)", re.IGNORECASE)
_DEFINITION = re.compile(r"(/[^/]+)+/galleries/[^/]+/images/[^/]+", re.IGNORECASE)

Version = tuple[int, int, int]
Kind = tuple[str, int, str]  # of an image: operating system, Hyper-V generation, CPUs


@dataclass(frozen=True)
class Region:
    """One target region."""

    name: str
    replica_count: int = 1
    storage_account_type: str = "Standard_LRS"


@dataclass(frozen=True)
class GalleryTarget:
    """What a SharedImage target asks for. `major` is -1 when unset; `scheme` is Latest or Source."""

    gallery_image_id: str
    scheme: str
    major: int
    regions: tuple[Region, ...]
    exclude_from_latest: bool
    replication_mode: str
    tags: Mapping[str, str]


def parse_version(text: str) -> Version | None:
    """`1.2.3` as numbers, each of 31 bits and without leading zeros; None for anything else."""
    return image_version_numbers(text)


def version_text(version: Version) -> str:
    """`1.2.3`."""
    return ".".join(str(number) for number in version)


def split_id(gallery_image_id: str) -> tuple[str, str]:
    """A definition's id, and the version (a number, `latest`, or '' when the id names the definition alone)."""
    found = _VERSION.fullmatch(gallery_image_id.rstrip("/"))
    return (found[1], found[2]) if found else (gallery_image_id.rstrip("/"), "")


def next_version(existing: Iterable[Version], *, major: int = -1) -> Version:
    """Scheme Latest: the patch after the highest version (of that major, when one is given).

    Raises: `ImageConflict` when no number is left.
    """
    candidates = [version for version in existing if major in {-1, version[0]}]
    if not candidates:
        return (1 if major == -1 else major, 0, 0)
    highest = max(candidates)
    following = [(highest[0], highest[1], highest[2] + 1), (highest[0], highest[1] + 1, 0)]
    if major == -1:
        following.append((highest[0] + 1, 0, 0))
    for version in following:
        if max(version) <= HIGHEST_VERSION_NUMBER:
            return version
    raise ImageConflict(f"there is no version after {version_text(highest)}", hint="name another version")


def source_version(exact_version: str) -> Version:
    """Scheme Source: the first three numbers of the source's exact version.

    Raises: `ImageConflict` when it has none.
    """
    last = exact_version.rsplit("/", 1)[-1]
    numbers = [int(number) % 10**9 for number in re.findall(r"\d+", last)][:3]
    if not numbers:
        raise ImageConflict(f"the source's version `{exact_version}` has no number to take a version from")
    major, minor, patch = (*numbers, 0, 0)[:3]
    return (major, minor, patch)


def versions_of(store: Store, definition_id: str) -> list[tuple[Version, ImageRow]]:
    """A definition's versions with their numbers, unordered."""
    prefix = f"{definition_id}/versions/"
    rows = [(parse_version(image.key[len(prefix) :]), image) for image in store.images.list(prefix=prefix)]
    return [(version, image) for version, image in rows if version is not None]


def find_version(store: Store, version_id: str) -> ImageRow:
    """The version of this id; `latest` is the highest that is not excluded. Raises: `ImageNotFound`."""
    definition, wanted = split_id(version_id)
    if wanted.lower() == "latest":
        usable = [
            (version, image)
            for version, image in versions_of(store, definition)
            if not image.detail.get("exclude_from_latest")
        ]
        if usable:
            return max(usable, key=lambda item: item[0])[1]
        raise ImageNotFound(f"the image definition {definition} has no version to be latest")
    image = store.images.find(version_id)
    if image is None or image.kind != KIND:
        raise ImageNotFound(f"there is no image version {version_id}", hint="`vmkiln image list` shows them")
    return image


def other_kind(store: Store, definition_id: str, kind: Kind) -> Kind | None:
    """What the image definition is, when it is recorded and an image of this kind does not fit it."""
    found = store.images.definition(definition_id)
    if found is None:
        return None
    has = (found.os_type, found.generation, _cpus_of(store, definition_id) or kind[2])
    return has if has != kind else None


def _cpus_of(store: Store, definition_id: str) -> str:
    """What CPUs the versions of an image definition are for: as it was put, else as its versions are; '' for none."""
    put = store.resources.get(definition_id)
    if put is not None and put.properties.get("architecture"):
        return str(put.properties["architecture"])
    return next((architecture_of(image) for _, image in versions_of(store, definition_id)), "")


def check_fits(store: Store, gallery_image_id: str, kind: Kind) -> None:
    """Refuse early what could not be published. Raises: `ImageConflict`."""
    definition, explicit = split_id(gallery_image_id)
    if _DEFINITION.fullmatch(definition) is None:
        raise ImageConflict(f"`{gallery_image_id}` is not the id of an image definition or version")
    if explicit and parse_version(explicit) is None:
        raise ImageConflict(f"`{explicit}` is not a version to publish as", hint=IMAGE_VERSION_RULE)
    if explicit and store.images.find(f"{definition}/versions/{explicit}") is not None:
        raise ImageConflict(f"the image version {gallery_image_id} exists already", hint="name another version")
    if existing := other_kind(store, definition, kind):
        raise OtherImageKind(definition, has=existing, image=kind)


def publish(store_directory: Path, store: Store, facts: ImageFacts, target: GalleryTarget) -> Artifact:
    """Publish the flattened disk as a new version, with a replica (a link, no copy) for each region.

    Raises: `ImageConflict` when an explicit version exists or the definition is of another kind; `RunTakenOver`.
    """
    definition, explicit = split_id(target.gallery_image_id)
    for _ in range(ATTEMPTS):
        check_fits(store, target.gallery_image_id, (facts.os_type, facts.generation, facts.architecture))
        version = explicit or version_text(_number(store, definition, facts, target))
        image_id = f"{definition}/versions/{version}"
        try:
            return _publish_as(image_id, store_directory, store, facts, target)
        except ImageConflict:
            # another run took the number between our look and our record; scheme Latest just takes the next
            if explicit or target.scheme == "Source":
                raise
    raise ImageConflict(f"no free version was found for {definition} in {ATTEMPTS} attempts")


def _number(store: Store, definition: str, facts: ImageFacts, target: GalleryTarget) -> Version:
    if target.scheme == "Source":
        return source_version(facts.source_version)
    return next_version((version for version, _ in versions_of(store, definition)), major=target.major)


def _publish_as(
    image_id: str, store_directory: Path, store: Store, facts: ImageFacts, target: GalleryTarget
) -> Artifact:
    place = folder_for(store_directory, image_id, facts.run_id, attempt=facts.attempt)
    publish_linked(facts.flat, place, [DISK, *_replicas(target.regions)], others=facts.data_files(DISK))
    with reported(f"recording {image_id}"), removed_on_error(place, store):
        detail = {
            "exclude_from_latest": target.exclude_from_latest,
            "replication_mode": target.replication_mode,
            "regions": [vars(region) for region in target.regions],
        }
        image = facts.recorded_as(image_id, KIND, place / DISK, tags=target.tags, detail=detail, created=store.now())
        store.images.add_version(
            image,
            definition_id=split_id(image_id)[0],
            attempt=facts.attempt,
            documents=facts.documents_of(image),
        )
    return Artifact(image_id, "", place / DISK)


def place_replicas(image: ImageRow, regions: Sequence[Region]) -> None:
    """Give a version the replicas of these regions, and take those of others away. Raises: `StorageFailed`."""
    folder = image.path.parent / "replicas"
    wanted = {name.partition("/")[2] for name in _replicas(regions)}
    with reported(f"replicating {image.artifact_id}"):
        if not image.path.is_file():
            return  # it is on another host, which links nothing either
        make_folder(folder)
        there = {path.name for path in folder.iterdir()}
        for name in wanted - there:
            link_or_copy(image.path, folder / name)
        for name in there - wanted:
            (folder / name).unlink(missing_ok=True)
        sync(folder)


def _replicas(regions: Sequence[Region]) -> list[str]:
    names = (re.sub(r"[^a-z0-9-]", "", region.name.lower()) or "region" for region in regions)
    return [f"replicas/{name}.qcow2" for name in dict.fromkeys(names)]
