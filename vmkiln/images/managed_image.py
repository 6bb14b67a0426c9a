"""Managed images: a qcow2 file under an ARM id; distributing to an existing id replaces it, as Azure does."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from vmkiln.azure_names import same_location
from vmkiln.errors import ImageConflict
from vmkiln.files.durable_file import reported
from vmkiln.images.image_store import Artifact, ImageFacts, folder_for, publish_linked, removed_on_error
from vmkiln.store.database import Store

KIND = "ManagedImage"
DISK = "disk.qcow2"


def check_fits(store: Store, image_id: str, *, location: str) -> None:
    """Refuse early what could not be published: an existing image stays where it is. Raises: `ImageConflict`."""
    existing = store.images.find(image_id)
    where = str(existing.detail.get("location", "")) if existing is not None else ""
    if where and not same_location(where, location):
        raise ImageConflict(
            f"the managed image {image_id} exists in {where}, so it cannot be written to {location}",
            hint="name that location, or another image",
        )


def publish(
    store_directory: Path, store: Store, facts: ImageFacts, *, image_id: str, location: str, tags: Mapping[str, str]
) -> Artifact:
    """Publish the flattened disk as the managed image `image_id`; an older image of that id is deleted afterwards.

    Finds what the same run has published before and is content.

    Raises: `ImageConflict` when there is one in another location (docs/reference/image-template.md#distribute-targets);
    `RunTakenOver`.
    """
    check_fits(store, image_id, location=location)
    place = folder_for(store_directory, image_id, facts.run_id, attempt=facts.attempt)
    existing = store.images.find(image_id)
    if existing is not None and existing.run_id == facts.run_id and existing.digest == facts.digest:
        return Artifact(image_id, "", existing.path)
    publish_linked(facts.flat, place, [DISK], others=facts.data_files(DISK))
    with reported(f"recording {image_id}"), removed_on_error(place, store):
        image = facts.recorded_as(
            image_id, KIND, place / DISK, tags=tags, detail={"location": location}, created=store.now()
        )
        replaced = store.images.replace(image, attempt=facts.attempt, documents=facts.documents_of(image))
    if replaced is not None and replaced.path.parent != place:
        shutil.rmtree(replaced.path.parent, ignore_errors=True)
    return Artifact(image_id, "", place / DISK)
