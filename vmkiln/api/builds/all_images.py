"""All images with what Azure has no member for: digest, size, what it was made of, by which run, and where it is used.

A file is read by whoever may act on the image, as the keys of a storage account are: it may hold what its makers put
there.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vmkiln.api.builds.all_runs import template_id_of
from vmkiln.api.compute.compute_images import IMAGES, VERSION
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.storage.byte_range import BYTES, file_answer
from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.errors import ArmError
from vmkiln.provenance.documents import CONTENTS, PROVENANCE, SBOM, SOURCE_CONTENTS
from vmkiln.store.rows import ImageRow, ResourceRow, RunRow

TYPE = "Vmkiln.Builds/images"
ALL = f"/providers/{TYPE}"
DETAILS = "providers/Vmkiln.Builds/details"
FILE = "providers/Vmkiln.Builds/files/disk"
PAGE = 50
MOST_USES = 200  # that are told of one image
MOST_WORDS = 100
NONE: Mapping[str, Any] = {}


def summary(image: ImageRow, run: RunRow | None) -> dict[str, Any]:
    """An image in a list; pure."""
    return {
        "id": image.artifact_id,
        "name": image.artifact_id.rpartition("/")[2],
        "type": TYPE,
        "tags": dict(image.tags),
        "properties": {
            "kind": image.kind,
            "format": image.format,
            "digest": image.digest,
            "sizeBytes": image.size_bytes,
            "virtualSizeBytes": image.virtual_size_bytes,
            "generation": image.generation,
            "osType": image.os_type,
            "sourceVersion": image.source_version,
            "created": time_text(image.created),
            "runId": image.run_id,
            "templateId": template_id_of(run) if run else "",
            "templateName": run.template_name if run else "",
        },
    }


def list_images(call: Call) -> Answer:
    """GET images that the caller may read, the newest first: {value, nextLink}; `q` is a part of the id, `kind` a kind.

    A page has 50 images.
    """
    words, kind = call.query.get("q", "").strip().lower()[:MOST_WORDS], call.query.get("kind", "")
    skipped = call.query.get("$skiptoken", "0")
    if not skipped.isdecimal() or len(skipped) > 9:
        raise ArmError(400, "BadRequest", "The $skipToken is not one of ours.", target="$skipToken")
    store, start = call.service.store, int(skipped)
    rows = [
        row
        for row in store.images.list()
        if words in row.key and kind in {"", row.kind} and call.may(Permission.READ, row.artifact_id)
    ]
    shown = rows[start : start + PAGE]
    runs = store.runs.by_id(sorted({row.run_id for row in shown}), has_template=False)
    body: dict[str, Any] = {"value": [summary(row, runs.get(row.run_id)) for row in shown]}
    if len(rows) > start + PAGE:
        more = "".join(f"&{name}={call.query[name]}" for name in ("kind", "q") if call.query.get(name))
        body["nextLink"] = f"{call.base_url}{ALL}?api-version={call.api_version}{more}&$skipToken={start + PAGE}"
    return Answer(200, body)


def _image(call: Call) -> ImageRow:
    image_id = call.resource_id.lower().partition("/providers/vmkiln.builds/")[0]
    image = call.service.store.images.find(image_id)
    if image is None:
        raise ArmError(404, "ResourceNotFound", f"The resource '{image_id}' was not found.")
    return image


def get_details(call: Call) -> Answer:
    """GET an image's digest, size, source, run, documents, and what uses it, as far as the caller may read that."""
    image, store = _image(call), call.service.store
    run = store.runs.by_id([image.run_id]).get(image.run_id)
    found = summary(image, run)
    documents = store.images.documents_of(image.artifact_id)
    source = dict((run.template.get("properties") or NONE).get("source") or NONE) if run else {}
    may_see = run is not None and call.may(Permission.READ, run.template_id or "/")
    found["properties"] |= {
        "source": source if may_see else {},
        "documents": [name for name in (PROVENANCE, SBOM, CONTENTS, SOURCE_CONTENTS) if name in documents],
        "usedBy": list(itertools.islice(_uses(call, image), MOST_USES)),
        "isThere": image.path.is_file(),
    }
    return Answer(200, found)


def _uses(call: Call, image: ImageRow) -> Iterator[dict[str, str]]:
    """The image templates that an image is the source of, and the images that were built of it."""
    templates = call.service.store.resources.list(type=IMAGE_TEMPLATE)
    using = {row.key: row for row in templates if image.key in _sources(row)}
    for template in using.values():
        if call.may(Permission.READ, template.id):
            yield {"id": template.id, "how": "source of the image template"}
    images = call.service.store.images.list() if using else []
    runs = call.service.store.runs.by_id(sorted({row.run_id for row in images}), has_template=False)
    for other in images:
        run = runs.get(other.run_id)
        if run is not None and run.template_id in using and call.may(Permission.READ, other.artifact_id):
            yield {"id": other.artifact_id, "how": "built of it"}


def _sources(template: ResourceRow) -> set[str]:
    source = template.properties.get("source") or NONE
    found = (source.get("imageId"), source.get("imageVersionId"))
    return {str(text).lower() for text in found if isinstance(text, str)}


def get_file(call: Call) -> Answer:
    """GET an image's disk as it is kept, whole or a part of it (`Range`). Raises: `ArmError` 404, 416."""
    image = _image(call)
    if not image.path.is_file():
        message = "the image's file is not on this host: `vmkiln image export` there, or the shared storage, has it"
        raise ArmError(404, "FileNotFound", message)
    name = f"{image.artifact_id.rpartition('/')[2]}.{image.format}"
    return file_answer(image.path, call.headers, BYTES, kept_as=name)


def _below_each(path: str, operation: str, permission: Permission, handler: Any) -> tuple[Route, Route]:
    return (
        Route("GET", f"{IMAGES}/{{imageName}}/{path}", f"Image{operation}", permission, handler),
        Route("GET", f"{VERSION}/{path}", f"ImageVersion{operation}", permission, handler),
    )


ROUTES = (
    # May read: which images, is decided image by image
    Route("GET", ALL, "AllImages_List", Permission.ANY, list_images),
    *_below_each(DETAILS, "Details_Get", Permission.READ, get_details),
    *(
        replace(route, media_types=(BYTES,), has_parts=True)
        for route in _below_each(FILE, "File_Get", Permission.ACTION, get_file)
    ),
)
