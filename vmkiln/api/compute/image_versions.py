"""Image versions that clients make themselves from a managed image or another version, and change.

Nothing is copied: a version made from an image is another name of its file.
Source: the ARM reference of Microsoft.Compute (galleries/images/versions); docs/reference/behaviour.md#distributing.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.api.compute.compute_images import VERSION, find, tagged, version_body
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import check_location, location_mistakes, refuse, tag_mistakes
from vmkiln.azure_names import IMAGE_VERSION, IMAGE_VERSION_RULE, image_version_numbers, plain_location
from vmkiln.errors import ArmError, ImageConflict, ImageNotFound, Mistake
from vmkiln.images import gallery, managed_image
from vmkiln.images.data_disk import SHARED_OBJECT, data_disks_of
from vmkiln.images.gallery import GalleryTarget, Region
from vmkiln.images.image_store import ImageFacts, architecture_of
from vmkiln.provisioning import quotas
from vmkiln.run_failures import QuotaExceeded
from vmkiln.store.rows import ImageRow
from vmkiln.template.distribute_target import MOST_REGIONS, MOST_REPLICAS, ReplicationMode, StorageAccountType

PROFILE = "properties.publishingProfile"
SOURCE = "properties.storageProfile.source.id"
TRIES = 3
# where the older and the newer api-versions have the id of what a version is made from
PLACES = (
    ("storageProfile", "source", "id"),
    ("storageProfile", "osDiskImage", "source", "id"),
    ("publishingProfile", "source", "managedImage", "id"),
)


def put_version(call: Call) -> Answer:
    """PUT: make a version from an image; of one that is there tags, regions and excludeFromLatest may change."""
    image = call.service.store.images.find(call.resource_id)
    return _changed(call, image) if image is not None and image.kind == gallery.KIND else _made(call)


def patch_version(call: Call) -> Answer:
    """PATCH: tags, target regions and excludeFromLatest."""
    return _changed(call, find(call, gallery.KIND))


def _profile(call: Call) -> Mapping[str, Any]:
    properties = call.body.get("properties")
    profile = properties.get("publishingProfile") if isinstance(properties, dict) else None
    return profile if isinstance(profile, dict) else {}


def _mistakes(profile: Mapping[str, Any]) -> Iterator[Mistake]:
    excluded, mode = profile.get("excludeFromLatest"), profile.get("replicationMode")
    if excluded is not None and not isinstance(excluded, bool):
        yield Mistake(f"{PROFILE}.excludeFromLatest", "must be true or false")
    if mode is not None and mode not in list(ReplicationMode):
        hint = f"allowed are {', '.join(ReplicationMode)}"
        yield Mistake(f"{PROFILE}.replicationMode", f"`{str(mode)[:60]}` is not allowed", hint)
    targets = profile.get("targetRegions")
    if targets is not None and not (isinstance(targets, list) and targets):
        yield Mistake(f"{PROFILE}.targetRegions", "must be a list with a region at least")
    if isinstance(targets, list) and len(targets) > MOST_REGIONS:
        message = f"has {len(targets)} regions; at most {MOST_REGIONS} are allowed"
        yield Mistake(f"{PROFILE}.targetRegions", message)
        return
    seen: set[str] = set()
    for index, target in enumerate(targets if isinstance(targets, list) else []):
        where = f"{PROFILE}.targetRegions[{index}]"
        if not isinstance(target, dict) or not isinstance(target.get("name"), str) or not target["name"].strip():
            yield Mistake(f"{where}.name", "must be the name of a region")
            continue
        if plain_location(target["name"]) in seen:
            yield Mistake(f"{where}.name", f"the region `{target['name']}` is given twice")
        seen.add(plain_location(target["name"]))
        count, account = target.get("regionalReplicaCount"), target.get("storageAccountType")
        if count is not None and (type(count) is not int or not 1 <= count <= MOST_REPLICAS):
            yield Mistake(f"{where}.regionalReplicaCount", f"must be a whole number up to {MOST_REPLICAS}")
        if account is not None and account not in list(StorageAccountType):
            hint = f"allowed are {', '.join(StorageAccountType)}"
            yield Mistake(f"{where}.storageAccountType", f"`{str(account)[:60]}` is not allowed", hint)


def _regions(profile: Mapping[str, Any]) -> tuple[Region, ...]:
    """The target regions of a profile without mistakes; what a region leaves out is the profile's."""
    count, account = profile.get("replicaCount"), profile.get("storageAccountType")
    return tuple(
        Region(
            target["name"],
            target.get("regionalReplicaCount") or (count if type(count) is int and count > 0 else 1),
            target.get("storageAccountType") or (account if account in list(StorageAccountType) else "Standard_LRS"),
        )
        for target in profile.get("targetRegions") or ()
    )


def _changed(call: Call, image: ImageRow) -> Answer:
    profile = _profile(call)
    refuse([*_mistakes(profile), *tag_mistakes(call.body.get("tags"))])
    detail: dict[str, Any] = {}
    if profile.get("excludeFromLatest") is not None:
        detail["exclude_from_latest"] = profile["excludeFromLatest"]
    if regions := _regions(profile):
        gallery.place_replicas(image, regions)
        detail["regions"] = [vars(region) for region in regions]
    return Answer(200, version_body(tagged(call, image, **detail)))


def _made(call: Call) -> Answer:
    store, profile, body = call.service.store, _profile(call), call.body
    definition = call.resource_id.rpartition("/versions/")[0]
    if store.resources.get(definition) is None and store.images.definition(definition) is None:
        raise ArmError(404, "ParentResourceNotFound", f"The image definition '{definition}' was not found.")
    mistakes = [*location_mistakes(body), *_mistakes(profile), *tag_mistakes(body.get("tags"))]
    name = call.names["versionName"]
    if image_version_numbers(name) is None:
        mistakes.append(Mistake("name", f"`{name[:60]}` is not a version", IMAGE_VERSION_RULE))
    wanted = _source_id(call.body)
    if not wanted:
        hint = "the id of a managed image or of an image version; VMs, snapshots and VHDs cannot be sources here"
        mistakes.append(Mistake.missing(SOURCE, hint))
    refuse(mistakes)
    check_location(call, body["location"], IMAGE_VERSION)
    source = _source(call, wanted)
    try:
        quotas.check_image(call.service.settings, store, call.names["subscriptionId"], str(body["location"]))
    except QuotaExceeded as error:
        raise ArmError(409, error.code, error.message, hint=error.hint) from None
    target = GalleryTarget(
        gallery_image_id=call.resource_id,
        scheme="Latest",
        major=-1,
        regions=_regions(profile) or (Region(str(body["location"])),),
        exclude_from_latest=bool(profile.get("excludeFromLatest")),
        replication_mode=str(profile.get("replicationMode") or ReplicationMode.FULL),
        tags=body.get("tags") or {},
    )
    return Answer(201, version_body(_published(call, source, target)))


def _source_id(body: Mapping[str, Any]) -> str:
    for place in PLACES:
        found: Any = body.get("properties")
        for member in place:
            found = found.get(member) if isinstance(found, dict) else None
        if isinstance(found, str) and found:
            return found
    return ""


def _source(call: Call, wanted: str) -> ImageRow:
    """The image that a version is made from, with its file here. Raises: `ArmError`."""
    if not call.may(Permission.READ, wanted):
        message = (
            f"The client '{call.caller.name}' with object id '{call.caller.object_id}' does not have permission to "
            f"perform '{Permission.READ}' on the linked scope '{wanted}' ({SOURCE}), or the linked scope is invalid."
        )
        raise ArmError(403, "LinkedAuthorizationFailed", message, target=SOURCE)
    store, shared = call.service.store, call.service.shared
    try:
        if "/versions/" in wanted.lower():
            image = gallery.find_version(store, wanted)
        else:
            found = store.images.find(wanted)
            if found is None or found.kind != managed_image.KIND:
                raise ImageNotFound(f"there is no managed image {wanted}")
            image = found
        if shared is not None:
            return shared.images.fetch(image)
        if not image.path.is_file():
            raise ImageNotFound(f"the file of the image {wanted} is gone")
    except ImageNotFound as error:
        raise ArmError(404, "NotFound", error.message, target=SOURCE) from None
    return image


def _published(call: Call, source: ImageRow, target: GalleryTarget) -> ImageRow:
    store, settings = call.service.store, call.service.settings
    for _ in range(TRIES):
        # nothing that a run published: its id is new, so that the folder is of nobody else
        facts = ImageFacts(
            flat=source.path,
            digest=source.digest,
            virtual_size_bytes=source.virtual_size_bytes,
            generation=source.generation,
            os_type=source.os_type,
            source_version=source.source_version,
            run_id=str(uuid.uuid4()),
            shared_object=str(source.detail.get(SHARED_OBJECT, "")),
            architecture=architecture_of(source),
            data_disks=data_disks_of(source),
            documents_of=lambda _image: store.images.documents_of(source.artifact_id),
        )
        try:
            gallery.publish(settings.image_store, store, facts, target)
        except ImageConflict as error:
            raise ArmError(409, "Conflict", error.message, hint=error.hint) from None
        made = store.images.find(target.gallery_image_id)
        if made is not None and made.path.is_file():
            return made
        store.images.remove(target.gallery_image_id)  # a clean-up came between its file and its record
    raise ArmError(500, "InternalError", "the version's file was deleted while it was recorded; try again")


ROUTES = (
    Route("PUT", VERSION, "GalleryImageVersions_CreateOrUpdate", Permission.WRITE, put_version, Body.JSON),
    Route("PATCH", VERSION, "GalleryImageVersions_Update", Permission.WRITE, patch_version, Body.JSON),
)
