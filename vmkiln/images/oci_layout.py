"""An image as an OCI artifact on disk, which `oras`, `skopeo` and registries take: its disks and documents by digest.

Everything in it follows from the image: the same image gives the same bytes, whenever and wherever it is written.
Source: OCI Image Format Specification 1.1 (image layout, manifest, artifacts, annotations).
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.azure_names import utc_text
from vmkiln.errors import ImageUnsafe, InputError
from vmkiln.files.durable_file import reported, sync
from vmkiln.files.sparse_file import copy_sparse
from vmkiln.images.data_disk import data_disks_of, parts_of
from vmkiln.images.image_store import architecture_of, sha256_of, to_the_end, verified
from vmkiln.store.rows import ImageRow
from vmkiln.waiting.off_loop import off_loop

ARTIFACT_TYPE = "application/vnd.vmkiln.image.v1"
CONFIG_TYPE = "application/vnd.vmkiln.image.config.v1+json"
DISK_TYPE = "application/vnd.vmkiln.disk.v1"  # with the disk's format behind a plus
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYOUT_FILE, INDEX_FILE = "oci-layout", "index.json"
UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")  # what a reference's name does not have
TITLE = "org.opencontainers.image.title"
# documents that are kept with an image: the type and the ending of a file
DOCUMENTS = {
    "provenance": ("application/vnd.dsse.envelope.v1+json", ".intoto.json"),
    "sbom": ("application/vnd.cyclonedx+json", ".cdx.json"),
    "contents": ("application/json", ".contents.json"),
}


@dataclass(frozen=True)
class OciLayout:
    """A layout that was written: the manifest's digest (`sha256:...`), and the bytes of all blobs."""

    digest: str
    size_bytes: int


def name_of(image: ImageRow) -> str:
    """What the image is called there: the end of its id, with the definition's name before a version's; pure."""
    parts = image.artifact_id.strip("/").split("/")
    is_version = len(parts) > 2 and parts[-2].lower() == "versions"
    return UNNAMED.sub("-", f"{parts[-3]}-{parts[-1]}" if is_version else parts[-1])


async def export_layout(
    image: ImageRow, documents: Mapping[str, str], target: Path, *, may_overwrite: bool
) -> OciLayout:
    """Write the folder `target`, whole or not at all; the disks as they are kept, each read again and matched.

    Raises: `InputError` when the folder is there and may not be overwritten, or is no layout; `ImageUnsafe` when an
    image's file was changed, or is not what was written; `StorageFailed` when it cannot be written.
    """
    if target.name in {"", ".."}:
        raise InputError(f"{target} ends in no name", hint="name the folder itself")
    if target.exists() and not (may_overwrite and (target / LAYOUT_FILE).is_file()):
        hint = "--force overwrites it" if (target / LAYOUT_FILE).is_file() else "name a folder that is not there"
        raise InputError(f"{target} exists", hint=hint)
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}")
    await verified(image)
    mark = uuid.uuid4().hex[:8]
    temporary, old = target.with_name(f".{target.name}.{mark}"), target.with_name(f".{target.name}.{mark}.old")
    with reported(f"writing {target}"):
        try:
            written = await to_the_end(_write, image, documents, temporary)
            await off_loop(_put, temporary, target, old)
        finally:
            for folder in (temporary, old):
                await off_loop(shutil.rmtree, folder, ignore_errors=True)
    return written


def _write(image: ImageRow, documents: Mapping[str, str], folder: Path) -> OciLayout:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    name = name_of(image)
    layers = []
    luns = [disk.lun for disk in data_disks_of(image)]
    for lun, part in zip([*luns, None], parts_of(image), strict=True):
        title = f"{name}.{part.format}" if lun is None else f"{name}-data-{lun}.{part.format}"
        layers.append(_disk_blob(blobs, part, title))
    layers.insert(0, layers.pop())  # the OS disk first
    for kind, (media_type, ending) in DOCUMENTS.items():
        if kind in documents:
            layers.append(_blob(blobs, documents[kind].encode(), media_type, title=name + ending))
    config = _blob(blobs, _json(_config(image, luns)), CONFIG_TYPE)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": layers,
        "annotations": {"org.opencontainers.image.created": utc_text(image.created), TITLE: name},
    }
    described = _blob(blobs, _json(manifest), MANIFEST_TYPE)
    size = sum(item["size"] for item in (*layers, config, described))
    named = {**described, "artifactType": ARTIFACT_TYPE, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [named]}
    (folder / INDEX_FILE).write_bytes(_json(index))
    (folder / LAYOUT_FILE).write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    for place in (*blobs.iterdir(), blobs, blobs.parent, *folder.iterdir(), folder):
        sync(place)
    return OciLayout(str(described["digest"]), size)


def _config(image: ImageRow, luns: list[int]) -> dict[str, Any]:
    """What a machine for the image has to know; pure."""
    return {
        "architecture": str(architecture_of(image)),
        "generation": image.generation,
        "osType": image.os_type,
        "format": image.format,
        "virtualSizeBytes": image.virtual_size_bytes,
        "dataDisks": luns,
        "sourceVersion": image.source_version,
    }


def _disk_blob(blobs: Path, part: ImageRow, title: str) -> dict[str, Any]:
    digest = part.digest.removeprefix("sha256:")
    blob = blobs / digest
    if not blob.exists():
        copy_sparse(part.path, blob)
        if sha256_of(blob).removeprefix("sha256:") != digest:
            raise ImageUnsafe(f"what was written of {part.path} is not what was published")
    media_type = f"{DISK_TYPE}+{part.format}"
    return _descriptor(media_type, digest, blob.stat().st_size, title=title)


def _blob(blobs: Path, content: bytes, media_type: str, *, title: str = "") -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return _descriptor(media_type, digest, len(content), title=title)


def _descriptor(media_type: str, digest: str, size: int, *, title: str) -> dict[str, Any]:
    annotations = {"annotations": {TITLE: title}} if title else {}
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size, **annotations}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _put(temporary: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():  # else what was there would be deleted, and nothing be in its place
            old.rename(target)
        raise
    sync(target.parent)
