"""Microsoft.Compute: managed images, galleries, image definitions and the versions that were published to them.

Images and versions are the files of the image store: what a run published is there, and a deletion deletes the file.
Source: the ARM reference of Microsoft.Compute; docs/reference/behaviour.md#distributing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH
from vmkiln.api.protocol.listing import PAGE, page, readable
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.stored_resources import Kind, routes_of
from vmkiln.api.protocol.tags import refuse, tag_mistakes
from vmkiln.azure_names import (
    DEFINITION_NAME,
    GALLERY,
    GALLERY_NAME,
    IMAGE_DEFINITION,
    IMAGE_VERSION,
    MANAGED_IMAGE,
    Architecture,
    ProvisioningState,
    subscription_scope,
)
from vmkiln.errors import ArmError, Mistake
from vmkiln.images import gallery, managed_image
from vmkiln.images.data_disk import data_disks_of
from vmkiln.images.image_store import remove
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow, ResourceRow
from vmkiln.template.resource_id import parse_resource_id

GIB = 1024**3
MOST_REASON_LETTERS = 200
IMAGES = f"{GROUP_PATH}/{MANAGED_IMAGE}"


def _filled_gallery(_call: Call, properties: Mapping[str, Any], existing: ResourceRow | None) -> dict[str, Any]:
    unique = (existing.name if existing else _call.names["galleryName"]).upper()
    return {**properties, "identifier": {"uniqueName": f"{_call.names['subscriptionId']}-{unique}"}}


def _check_empty(call: Call, row: ResourceRow) -> None:
    inside = call.service.store.resources.list(parent=row.key, limit=1)
    if inside:
        message = f"Can not delete resource before nested resources are deleted: '{inside[0].name}' is in it."
        raise ArmError(409, "CannotDeleteResource", message)


GALLERIES = Kind(
    GALLERY,
    ("galleryName",),
    "Galleries",
    pattern=GALLERY_NAME,
    filled=_filled_gallery,
    before_delete=_check_empty,
)


# values are taken in any case and answered in Azure's; which members are needed
CHOICES: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "osType": (("Linux", "Windows"), True),
    "osState": (("Generalized",), True),
    "hyperVGeneration": (("V1", "V2"), False),
    "architecture": (tuple(Architecture), False),
}


def _definition_mistakes(call: Call, properties: Mapping[str, Any]) -> list[Mistake]:
    mistakes = []
    for member, (allowed, is_needed) in CHOICES.items():
        value, shown = properties.get(member), f"allowed are {', '.join(allowed)}"
        if value is None and is_needed:
            mistakes.append(Mistake.missing(f"properties.{member}", shown))
        elif value is not None and (not isinstance(value, str) or value.lower() not in map(str.lower, allowed)):
            mistakes.append(Mistake(f"properties.{member}", f"`{str(value)[:60]}` is not allowed", shown))
    identifier = properties.get("identifier")
    identifier = identifier if isinstance(identifier, dict) else {}
    names = [identifier.get(name) for name in ("publisher", "offer", "sku")]
    if not all(isinstance(name, str) and name for name in names):
        mistakes.append(Mistake("properties.identifier", "needs publisher, offer and sku"))
        return mistakes
    parent = call.resource_id.rsplit("/", 2)[0].lower()
    for other in call.service.store.resources.list(parent=parent, type=DEFINITION.type):
        theirs = [str(other.properties["identifier"][name]).lower() for name in ("publisher", "offer", "sku")]
        if other.key != call.resource_id.lower() and theirs == [str(name).lower() for name in names]:
            mistakes.append(Mistake("properties.identifier", f"is also that of the image definition {other.name}"))
    return mistakes


def _filled_definition(call: Call, properties: Mapping[str, Any], existing: ResourceRow | None) -> dict[str, Any]:
    made = {"hyperVGeneration": "V1", "architecture": Architecture.X64, **properties}
    for member, (allowed, _) in CHOICES.items():
        made[member] = next(word for word in allowed if word.lower() == str(made[member]).lower())
    store = call.service.store
    known = store.images.definition(call.resource_id)
    generation = _generation(made)
    if known is not None and (known.os_type, known.generation) != (made["osType"], generation):
        changed = existing is not None or gallery.versions_of(store, call.resource_id)
        if changed:
            message = (
                f"the image definition '{call.names['imageName']}' is {known.os_type} generation {known.generation}, "
                "and that cannot be changed"
            )
            raise ArmError(409, "PropertyChangeNotAllowed", message, target="properties.osType")
    return made


def _generation(properties: Mapping[str, Any]) -> int:
    return 2 if properties["hyperVGeneration"] == "V2" else 1


def _record_kind(call: Call, row: ResourceRow) -> None:
    """What its versions are to be."""
    made = row.properties
    call.service.store.images.define(call.resource_id, os_type=str(made["osType"]), generation=_generation(made))


def _check_no_version(call: Call, row: ResourceRow) -> None:
    versions = gallery.versions_of(call.service.store, row.id)
    if versions:
        message = (
            f"Can not delete resource before nested resources are deleted: version '{_name(versions[0][1])}' is in it."
        )
        raise ArmError(409, "CannotDeleteResource", message)
    call.service.store.images.undefine(row.key)


DEFINITION = Kind(
    IMAGE_DEFINITION,
    ("galleryName", "imageName"),
    "GalleryImages",
    pattern=DEFINITION_NAME,
    mistakes=_definition_mistakes,
    filled=_filled_definition,
    beside=_record_kind,
    before_delete=_check_no_version,
)
VERSIONS = f"{DEFINITION.path}/versions"
VERSION = f"{VERSIONS}/{{versionName}}"


def _name(image: ImageRow) -> str:
    return image.artifact_id.rsplit("/", 1)[-1]


def as_resource(image: ImageRow) -> ResourceRow:
    """A stored image as a resource, for lists of resources."""
    found = parse_resource_id(image.artifact_id)
    kind = IMAGE_VERSION if image.kind == gallery.KIND else MANAGED_IMAGE
    return ResourceRow(
        id=image.artifact_id,
        type=kind,
        name=found.name,
        subscription_id=found.subscription_id,
        resource_group=found.resource_group,
        location=str(image.detail.get("location") or "local"),
        tags=image.tags,
        properties={"provisioningState": ProvisioningState.SUCCEEDED},
        created=image.created,
        changed=image.created,
    )


def stored_images(store: Store, scope: str) -> list[ImageRow]:
    """The managed images and gallery versions whose ids begin with a scope."""
    rows = store.images.list(prefix=scope.rstrip("/").lower() + "/")
    return [row for row in rows if row.kind in {managed_image.KIND, gallery.KIND}]


def image_body(image: ImageRow) -> dict[str, Any]:
    """A managed image."""
    row = as_resource(image)
    return {
        "id": row.id,
        "name": row.name,
        "type": MANAGED_IMAGE,
        "location": row.location,
        "tags": dict(row.tags),
        "properties": {
            "provisioningState": ProvisioningState.SUCCEEDED,
            "hyperVGeneration": f"V{image.generation}",
            "storageProfile": {
                "osDisk": {
                    "osType": image.os_type,
                    "osState": "Generalized",
                    "diskSizeGB": -(-image.virtual_size_bytes // GIB),
                    "caching": "ReadWrite",
                    "storageAccountType": "Standard_LRS",
                },
                "dataDisks": [
                    {
                        "lun": disk.lun,
                        "diskSizeGB": -(-disk.virtual_size_bytes // GIB),
                        "caching": "ReadWrite",
                        "storageAccountType": "Standard_LRS",
                    }
                    for disk in data_disks_of(image)
                ],
                "zoneResilient": False,
            },
        },
    }


def version_body(image: ImageRow, *, expand: str = "") -> dict[str, Any]:
    """A gallery image version, with its replicas."""
    row = as_resource(image)
    regions = image.detail.get("regions") or [{"name": "local", "replica_count": 1}]
    targets = [
        {
            "name": region["name"],
            "regionalReplicaCount": region.get("replica_count", 1),
            "storageAccountType": region.get("storage_account_type", "Standard_LRS"),
        }
        for region in regions
    ]
    size = -(-image.virtual_size_bytes // GIB)
    properties: dict[str, Any] = {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "publishingProfile": {
            "targetRegions": targets,
            "replicaCount": 1,
            "excludeFromLatest": bool(image.detail.get("exclude_from_latest")),
            "publishedDate": time_text(image.created),
            "storageAccountType": "Standard_LRS",
            "replicationMode": image.detail.get("replication_mode", "Full"),
        },
        "storageProfile": {"osDiskImage": {"sizeInGB": size, "hostCaching": "ReadWrite"}},
        "safetyProfile": {"reportedForPolicyViolation": False, "allowDeletionOfReplicatedLocations": True},
    }
    if disks := data_disks_of(image):
        properties["storageProfile"]["dataDiskImages"] = [
            {"lun": disk.lun, "sizeInGB": -(-disk.virtual_size_bytes // GIB), "hostCaching": "ReadWrite"}
            for disk in disks
        ]
    if "replicationstatus" in expand.lower():
        summary = [{"region": item["name"], "state": "Completed", "details": "", "progress": 100} for item in targets]
        properties["replicationStatus"] = {"aggregatedState": "Completed", "summary": summary}
    return {
        "id": row.id,
        "name": row.name,
        "type": IMAGE_VERSION,
        "location": targets[0]["name"],
        "tags": dict(row.tags),
        "properties": properties,
    }


def find(call: Call, kind: str) -> ImageRow:
    """The image of a call's path. Raises: `ArmError` 404."""
    image = call.service.store.images.find(call.resource_id)
    if image is None or image.kind != kind:
        raise ArmError(404, "ResourceNotFound", f"The resource '{call.resource_id}' was not found.")
    return image


def get_image(call: Call) -> Answer:
    """GET a managed image."""
    return Answer(200, image_body(find(call, managed_image.KIND)))


def list_images(call: Call) -> Answer:
    """GET managed images of a subscription or group."""
    scope = subscription_scope(call.names["subscriptionId"])
    if group := call.names.get("resourceGroupName"):
        scope += f"/resourceGroups/{group}"
    images = {row.key: row for row in stored_images(call.service.store, scope) if row.kind == managed_image.KIND}
    return _page(call, images, image_body)


def _page(call: Call, images: Mapping[str, ImageRow], body: Any) -> Answer:
    def fetch(after: str, _scopes: Collection[str] | None) -> list[ResourceRow]:
        return [as_resource(images[key]) for key in sorted(images) if key > after][: PAGE + 1]

    return page(call, readable(call, fetch), lambda rows: [body(images[row.key]) for row in rows])


def put_image(call: Call) -> Answer:
    """PUT a managed image: only its tags may change; images are made by runs."""
    image = call.service.store.images.find(call.resource_id)
    if image is None or image.kind != managed_image.KIND:
        message = (
            "images are published by runs of image templates; there is no virtual machine or blob to make one from"
        )
        raise ArmError(400, "OperationNotAllowed", message, hint="distribute to a ManagedImage with this id")
    return Answer(200, image_body(tagged(call, image)))


def tagged(call: Call, image: ImageRow, **detail: Any) -> ImageRow:
    """The image with the tags of the body, and with `detail` changed; recorded."""
    tags = call.body.get("tags")
    refuse(tag_mistakes(tags))
    changed = replace(image, tags=image.tags if tags is None else tags, detail={**image.detail, **detail})
    call.service.store.images.replace(changed)
    return changed


def patch_image(call: Call) -> Answer:
    """PATCH a managed image's tags."""
    return Answer(200, image_body(tagged(call, find(call, managed_image.KIND))))


def delete_image(call: Call) -> Answer:
    """DELETE a managed image or a gallery version, with its file; 204 when there is none.

    The audit keeps the `reason` of the query.
    """
    image = call.service.store.images.find(call.resource_id)
    if image is None:
        return Answer(204)
    remove(image, call.service.store)
    if call.service.shared is not None:
        call.service.shared.delete_image(image)
    reason = call.query.get("reason", "")[:MOST_REASON_LETTERS]
    return Answer(200, detail={"reason": reason} if reason else {})


def get_version(call: Call) -> Answer:
    """GET a gallery image version."""
    return Answer(200, version_body(find(call, gallery.KIND), expand=call.query.get("$expand", "")))


def list_versions(call: Call) -> Answer:
    """GET the versions of an image definition, the lowest first."""
    definition = call.resource_id.rpartition("/")[0]
    store = call.service.store
    if store.resources.get(definition) is None and store.images.definition(definition) is None:
        raise ArmError(404, "ParentResourceNotFound", f"The image definition '{definition}' was not found.")
    found = sorted(gallery.versions_of(store, definition), key=lambda item: item[0])
    return Answer(200, {"value": [version_body(image) for _, image in found]})


def _routes() -> Sequence[Route]:
    one = f"{IMAGES}/{{imageName}}"
    everywhere = f"/subscriptions/{{subscriptionId}}/providers/{MANAGED_IMAGE}"
    return (
        Route("GET", everywhere, "Images_List", Permission.ANY, list_images),
        Route("GET", IMAGES, "Images_ListByResourceGroup", Permission.READ, list_images),
        Route("GET", one, "Images_Get", Permission.READ, get_image),
        Route("PUT", one, "Images_CreateOrUpdate", Permission.WRITE, put_image, Body.JSON),
        Route("PATCH", one, "Images_Update", Permission.WRITE, patch_image, Body.JSON),
        Route("DELETE", one, "Images_Delete", Permission.DELETE, delete_image),
        Route("GET", VERSIONS, "GalleryImageVersions_List", Permission.READ, list_versions),
        Route("GET", VERSION, "GalleryImageVersions_Get", Permission.READ, get_version),
        Route("DELETE", VERSION, "GalleryImageVersions_Delete", Permission.DELETE, delete_image),
    )


ROUTES = (*routes_of(GALLERIES), *routes_of(DEFINITION), *_routes())
