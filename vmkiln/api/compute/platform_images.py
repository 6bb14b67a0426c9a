"""Microsoft.Compute/locations/publishers: the catalogue's platform images, as `az vm image` asks for them.

An image has the versions that are in the cache; until one is, its only version is called `latest`, which templates may
name as any other. Source: azure-rest-api-specs, Microsoft.Compute, virtualMachineImages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.dispatcher import forbidden
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError, ImageNotFound
from vmkiln.platform_images.catalogue_entry import CatalogueEntry, ImportedEntry, key_of, os_type_of
from vmkiln.platform_images.image_cache import SourceImage, cached_images
from vmkiln.platform_images.image_reference import PlatformImageReference, resolve, version_numbers
from vmkiln.platform_images.platform_image import whole_catalogue

PUBLISHERS = "/subscriptions/{subscriptionId}/providers/Microsoft.Compute/locations/{location}/publishers"
OFFERS = f"{PUBLISHERS}/{{publisherName}}/artifacttypes/vmimage/offers"
SKUS = f"{OFFERS}/{{offer}}/skus"
VERSIONS = f"{SKUS}/{{skus}}/versions"
LATEST = "latest"
GIB = 1024**3
MOST_TOP = 1000


@dataclass(frozen=True)
class _Version:
    """A version of an image, and the cached image that it is; None for one that has to be had first."""

    name: str
    image: SourceImage | None = None


def entries_of(call: Call, **wanted: str) -> list[CatalogueEntry]:
    """The catalogue's entries with these names, in any case; in order.

    Raises: `ArmError` 404 when there is none, 403 for who has no role in the subscription.
    """
    subscription = call.names["subscriptionId"]
    seen = call.rights.subscriptions
    if seen is not None and subscription.lower() not in seen:  # a role in one of its groups is enough
        raise forbidden(call.caller, call.route, subscription_scope(subscription))
    catalogue = whole_catalogue(call.service.settings)
    found = [
        entry
        for entry in catalogue.entries.values()
        if all(getattr(entry, member).lower() == value.lower() for member, value in wanted.items())
    ]
    if not found and wanted:
        named = ":".join([*wanted.values(), *["..."] * (3 - len(wanted))])
        try:
            catalogue.find(*named.split(":")[:3])
        except ImageNotFound as error:
            hint = error.hint if "..." not in named else None
            message = f"Artifact: VMImage was not found: {error.message}"
            raise ArmError(404, "NotFound", message, hint=hint) from None
    return sorted(found, key=key_of)


def _listed(call: Call, names: Iterable[str]) -> Answer:
    """A list of names as Azure answers it: an array of its own, each name once."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.lower(), name)
    location = call.names["location"]
    return Answer(
        200,
        [{"location": location, "name": name, "id": f"{call.resource_id}/{name}"} for name in first.values()],
    )


def list_publishers(call: Call) -> Answer:
    """GET the publishers."""
    return _listed(call, (entry.publisher for entry in entries_of(call)))


def list_offers(call: Call) -> Answer:
    """GET a publisher's offers."""
    return _listed(call, (entry.offer for entry in entries_of(call, publisher=call.names["publisherName"])))


def list_skus(call: Call) -> Answer:
    """GET an offer's SKUs."""
    found = entries_of(call, publisher=call.names["publisherName"], offer=call.names["offer"])
    return _listed(call, (entry.sku for entry in found))


def _entry(call: Call) -> CatalogueEntry:
    names = call.names
    [entry] = entries_of(call, publisher=names["publisherName"], offer=names["offer"], sku=names["skus"])
    return entry


def _versions(call: Call, entry: CatalogueEntry) -> list[_Version]:
    """An image's versions, the oldest first: those in the cache, and `latest` where a newer one would be had."""
    settings = call.service.settings
    cached = cached_images(settings.image_cache)
    reference = PlatformImageReference(entry.publisher, entry.offer, entry.sku)
    kept = [image for image in cached if image.name == reference.name]
    if isinstance(entry, ImportedEntry):
        kept = [image for image in kept if image.is_imported]
    by_version = {image.exact_version: _Version(image.exact_version, image) for image in reversed(kept)}
    found = sorted(by_version.values(), key=lambda version: version_numbers(version.name))
    most_age_days = settings.platform_image_most_age_days
    now = resolve(reference, entry, cached, now=datetime.now(UTC), most_age_days=most_age_days)
    return found if now.cached is not None else [*found, _Version(LATEST)]


def _body(call: Call, entry: CatalogueEntry, version: _Version, *, path: str, is_whole: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"location": call.names["location"], "name": version.name, "id": path}
    if not is_whole:
        return body
    disk: dict[str, Any] = {"operatingSystem": os_type_of(entry)}
    if version.image is not None:
        disk["sizeInGb"] = -(-version.image.virtual_size_bytes // GIB)
    properties: dict[str, Any] = {
        "hyperVGeneration": f"V{entry.generation}",
        "architecture": entry.architecture,
        "replicaType": "Unmanaged",
        "osDiskImage": disk,
        "dataDiskImages": [],
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
        "imageDeprecationStatus": {"imageState": "Active"},
        "features": [],
    }
    if entry.plan is not None:
        plan = entry.plan
        properties["plan"] = {"name": plan.name, "product": plan.product, "publisher": plan.publisher}
    return {**body, "properties": properties}


def _top(call: Call) -> int:
    text = call.query.get("$top", "")
    if not text:
        return MOST_TOP
    if not text.isdecimal() or not text.isascii() or len(text) > 9 or not 0 < int(text) <= MOST_TOP:
        raise ArmError(400, "InvalidParameter", f"`$top` is '{text[:40]}'; allowed are 1 to {MOST_TOP}", target="$top")
    return int(text)


def _ordered(call: Call, versions: Sequence[_Version]) -> list[_Version]:
    match call.query.get("$orderby", "name asc").lower().split():
        case ["name"] | ["name", "asc"]:
            return list(versions)
        case ["name", "desc"]:
            return list(reversed(versions))
        case other:
            text = " ".join(other)[:80]
            message = f"`$orderby` is '{text}'; allowed are `name`, `name asc` and `name desc`"
            raise ArmError(400, "InvalidParameter", message, target="$orderby")


def list_versions(call: Call) -> Answer:
    """GET a SKU's versions, in full with `$expand`."""
    entry, top = _entry(call), _top(call)
    versions = _ordered(call, _versions(call, entry))[:top]
    is_whole = bool(call.query.get("$expand"))
    bodies = [
        _body(call, entry, version, path=f"{call.resource_id}/{version.name}", is_whole=is_whole)
        for version in versions
    ]
    return Answer(200, bodies)


def get_version(call: Call) -> Answer:
    """GET one version; `latest` is the newest of them."""
    entry, wanted = _entry(call), call.names["version"]
    versions = _versions(call, entry)
    found = next((version for version in versions if version.name == wanted), None)
    if found is None and wanted.lower() == LATEST:
        found = versions[-1]
    if found is None:
        known = ", ".join(version.name for version in reversed(versions))
        message = f"Artifact: VMImage was not found: there is no version {wanted[:60]} here; there are {known}"
        raise ArmError(404, "NotFound", message)
    return Answer(200, _body(call, entry, found, path=call.resource_id, is_whole=True))


ROUTES = (
    Route("GET", PUBLISHERS, "VirtualMachineImages_ListPublishers", Permission.ANY, list_publishers),
    Route("GET", OFFERS, "VirtualMachineImages_ListOffers", Permission.ANY, list_offers),
    Route("GET", SKUS, "VirtualMachineImages_ListSkus", Permission.ANY, list_skus),
    Route("GET", VERSIONS, "VirtualMachineImages_List", Permission.ANY, list_versions),
    Route("GET", f"{VERSIONS}/{{version}}", "VirtualMachineImages_Get", Permission.ANY, get_version),
)
