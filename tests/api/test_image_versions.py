"""Image versions that clients make from images, and whose regions they change."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import GROUP, IMAGE, OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess, add_group, code_of
from provenance import A_KEY, a_record
from publishing import a_flat_disk

from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.images import managed_image
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS, PROVENANCE
from vmkiln.provenance.envelope import signed
from vmkiln.provenance.statement import Subject, statement

GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
DEFINITION = f"{GALLERY}/images/d"
VERSION = f"{DEFINITION}/versions/1.0.0"
COMPUTE = "2023-07-03"


@pytest.fixture
def service(service: InProcess, tmp_path: Path) -> InProcess:
    """A service with a gallery, an image definition of generation 1, and a managed image."""
    add_group(service)
    assert service.put(GALLERY, {"location": "westus2"}, api_version=COMPUTE).status_code in (200, 201)
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    properties = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1", "identifier": identifier}
    made = service.put(DEFINITION, {"location": "westus2", "properties": properties}, api_version=COMPUTE)
    assert made.status_code in (200, 201), made.text
    store, images = service.service.store, service.service.settings.image_store
    facts = a_flat_disk(tmp_path)
    managed_image.publish(images, store, facts, image_id=IMAGE, location="westus2", tags={})
    return service


def from_image(source: str = IMAGE, *, regions: Any = None, **profile: Any) -> dict[str, Any]:
    """The body that `az sig image-version create --managed-image` sends."""
    targets = [{"name": "westus2", "regionalReplicaCount": 1}] if regions is None else regions
    publishing = {"targetRegions": targets, **profile}
    properties = {"publishingProfile": publishing, "storageProfile": {"source": {"id": source}}}
    return {"location": "westus2", "tags": {"team": "web"}, "properties": properties}


def regions_of(body: dict[str, Any]) -> dict[str, int]:
    targets = body["properties"]["publishingProfile"]["targetRegions"]
    return {target["name"]: target["regionalReplicaCount"] for target in targets}


def test_a_version_is_made_from_a_managed_image_and_from_a_version(service: InProcess) -> None:
    made = service.put(VERSION, from_image(regions=[{"name": "westus2"}, {"name": "East US"}]), api_version=COMPUTE)
    assert made.status_code == 201, made.text
    assert made.json()["properties"]["provisioningState"] == "Succeeded"
    assert service.get(VERSION, api_version=COMPUTE).json()["tags"] == {"team": "web"}
    copy = service.put(
        VERSION.replace("1.0.0", "1.0.1"), from_image(f"{DEFINITION}/versions/latest"), api_version=COMPUTE
    )
    assert copy.status_code == 201, copy.text
    images = {image.key: image for image in service.service.store.images.list()}
    first, source = images[VERSION.lower()], images[IMAGE.lower()]
    assert first.path.samefile(source.path), "nothing is copied"
    assert {file.name for file in (first.path.parent / "replicas").iterdir()} == {"westus2.qcow2", "eastus.qcow2"}
    assert service.request("DELETE", IMAGE, api_version=COMPUTE).status_code == 200
    assert first.path.is_file(), "the version outlives what it was made from"


def test_the_statement_of_an_image_is_that_of_a_version_made_from_it(service: InProcess) -> None:
    store = service.service.store
    image = store.images.find(IMAGE)
    assert image is not None
    envelope = signed(statement([Subject("disk", image.digest)], a_record(), finished=image.created), A_KEY)
    store.images.replace(image, documents={PROVENANCE: envelope})
    assert service.put(VERSION, from_image(), api_version=COMPUTE).status_code == 201
    for resource in (IMAGE, VERSION):
        told = service.get(f"{resource}/providers/Vmkiln.Builds/documents/provenance", api_version=COMPUTE)
        assert told.json() == json.loads(envelope)
        none = service.get(f"{resource}/providers/Vmkiln.Builds/documents/other", api_version=COMPUTE)
        assert (none.status_code, code_of(none)) == (404, "ResourceNotFound")
    assert service.request("DELETE", VERSION, api_version=COMPUTE).status_code == 200
    assert store.images.documents_of(VERSION) == {}


def test_two_images_are_compared_by_who_may_read_both(service: InProcess) -> None:
    store, path = service.service.store, f"{VERSION}/providers/Vmkiln.Builds/difference"
    assert service.put(VERSION, from_image(), api_version=COMPUTE).status_code == 201
    assert service.get(f"{path}?from={IMAGE}", api_version=COMPUTE).status_code == 404
    for image_id, version in ((IMAGE, "1"), (VERSION, "2")):
        image = store.images.find(image_id)
        assert image is not None
        contents = ImageContents(packages=(Package("bash", "amd64", version),), boot_seconds=float(version))
        store.images.replace(image, documents={CONTENTS: contents.text})
    told = service.get(f"{path}?from={IMAGE}", api_version=COMPUTE).json()
    assert (told["changed"], told["sentence"]) == ({"packages": {"bash:amd64": ["1", "2"]}}, "1 package changed")
    assert (told["bootSeconds"], len(told["unproven"])) == ([1.0, 2.0], 1), "nobody looked at its sockets"
    assert service.get(path, api_version=COMPUTE).status_code == 400
    elsewhere = IMAGE.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION)
    refused = service.get(f"{path}?from={elsewhere}", api_version=COMPUTE, token="contributor")
    assert refused.status_code == 403


def test_everybody_is_told_the_public_keys_and_nothing_else_of_them(service: InProcess) -> None:
    ring = service.service.store.seal.ring
    key = image_key.current(ring)
    told = service.get("/providers/Vmkiln.Builds/imageKeys", token=None, api_version=None)
    assert told.json() == {"value": [{"keyId": key.key_id, "publicKey": key.public}]}


def test_the_older_way_to_name_the_source_is_understood(service: InProcess) -> None:
    profile = {"source": {"managedImage": {"id": IMAGE}}, "targetRegions": [{"name": "westus2"}]}
    body = {"location": "westus2", "properties": {"publishingProfile": profile}}
    assert service.put(VERSION, body, api_version="2019-03-01").status_code == 201


def test_regions_tags_and_exclusion_are_changed_and_the_rest_is_kept(service: InProcess) -> None:
    service.put(VERSION, from_image(), api_version=COMPUTE)
    # as `az sig image-version update --target-regions westus2=1 eastus=2` does: the whole body again
    body = service.get(VERSION, api_version=COMPUTE).json()
    body["properties"]["publishingProfile"]["targetRegions"] = [
        {"name": "westus2", "regionalReplicaCount": 1},
        {"name": "eastus", "regionalReplicaCount": 2, "storageAccountType": "Standard_ZRS"},
    ]
    assert service.put(VERSION, body, api_version=COMPUTE).status_code == 200
    assert regions_of(service.get(VERSION, api_version=COMPUTE).json()) == {"westus2": 1, "eastus": 2}
    image = service.service.store.images.find(VERSION)
    assert image is not None
    replicas = image.path.parent / "replicas"
    assert {file.name for file in replicas.iterdir()} == {"westus2.qcow2", "eastus.qcow2"}
    changed = {
        "properties": {"publishingProfile": {"targetRegions": [{"name": "centralus"}], "excludeFromLatest": True}}
    }
    answer = service.request("PATCH", VERSION, changed, api_version=COMPUTE)
    assert answer.status_code == 200
    assert regions_of(answer.json()) == {"centralus": 1}
    assert answer.json()["tags"] == {"team": "web"}
    assert answer.json()["properties"]["publishingProfile"]["excludeFromLatest"] is True
    assert {file.name for file in replicas.iterdir()} == {"centralus.qcow2"}


@pytest.mark.parametrize(
    ("version", "body", "status", "code"),
    [
        ("v1", from_image(), 400, "InvalidRequestContent"),
        ("1.0.0", {"location": "westus2", "properties": {}}, 400, "InvalidRequestContent"),
        ("1.0.0", from_image(regions=[]), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(regions=[{"name": "a"}, {"name": "A"}]), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(regions=[{"name": "a", "regionalReplicaCount": 0}]), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(regions=[{"name": f"r{n}"} for n in range(201)]), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(regions=[{"name": "a", "storageAccountType": "x"}]), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(excludeFromLatest="no"), 400, "InvalidRequestContent"),
        ("1.0.0", from_image(f"{IMAGE}-none"), 404, "NotFound"),
        ("1.0.0", from_image(f"{DEFINITION}/versions/latest"), 404, "NotFound"),
    ],
)
def test_what_cannot_be_made_is_refused(
    service: InProcess, version: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = service.put(VERSION.replace("1.0.0", version), body, api_version=COMPUTE)
    assert (answer.status_code, code_of(answer)) == (status, code), answer.text
    assert service.service.store.images.find(VERSION) is None


def test_a_subscription_keeps_no_more_versions_than_images(service: InProcess) -> None:
    """Its quota is not for runs alone: a version takes a row and all its documents, too."""
    few = replace(service.service.settings, most_images=2)
    object.__setattr__(service.service, "settings", few)
    assert service.put(VERSION, from_image(), api_version=COMPUTE).status_code == 201
    full = service.put(VERSION.replace("1.0.0", "1.0.1"), from_image(), api_version=COMPUTE)
    assert (full.status_code, code_of(full)) == (409, "QuotaExceeded")
    assert "exceeding approved Images quota" in full.text
    assert service.put(VERSION, from_image(), api_version=COMPUTE).status_code == 200, "it is there"


def test_a_definition_of_another_kind_or_none_is_refused(service: InProcess) -> None:
    service.service.store.images.define(DEFINITION, os_type="Linux", generation=2)
    other = service.put(VERSION, from_image(), api_version=COMPUTE)
    assert (other.status_code, code_of(other)) == (409, "Conflict")
    none = service.put(VERSION.replace("/d/", "/none/"), from_image(), api_version=COMPUTE)
    assert (none.status_code, code_of(none)) == (404, "ParentResourceNotFound")


def test_a_definition_for_other_cpus_takes_no_version(service: InProcess) -> None:
    known = service.get(DEFINITION, api_version=COMPUTE).json()["properties"]
    assert known["architecture"] == "x64"
    arm64 = {**known, "architecture": "Arm64", "identifier": {"publisher": "p", "offer": "o", "sku": "arm64"}}
    definition = DEFINITION.replace("/d", "/arm64")
    assert service.put(definition, {"location": "westus2", "properties": arm64}, api_version=COMPUTE).is_success
    other = service.put(VERSION.replace("/d/", "/arm64/"), from_image(), api_version=COMPUTE)
    assert (other.status_code, code_of(other)) == (409, "Conflict")
    assert "for Arm64, but this image is" in other.text


def test_an_image_that_the_caller_may_not_read_is_no_source(service: InProcess) -> None:
    service.access.roles["guest"] = [("Contributor", GALLERY)]
    refused = service.put(VERSION, from_image(), api_version=COMPUTE, token="guest")
    assert (refused.status_code, code_of(refused)) == (403, "LinkedAuthorizationFailed")
    theirs = from_image(IMAGE.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION))
    assert service.put(VERSION, theirs, api_version=COMPUTE, token="guest").status_code == 403
