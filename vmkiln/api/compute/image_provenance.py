"""Where images come from: the signed statement that is kept with an image, and the public keys to verify it with.

A statement hangs below its image as `Vmkiln.Builds/documents`, an extension resource, so whoever may read the image may
read it. The public keys are told to everybody, as those of the tokens are.
"""

import json

from vmkiln.api.compute.compute_images import IMAGES, VERSION
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.errors import ArmError
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.image_contents.difference import difference
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS

DOCUMENT = "providers/Vmkiln.Builds/documents/{documentName}"
DIFFERENCE = "providers/Vmkiln.Builds/difference"
KEYS = "/providers/Vmkiln.Builds/imageKeys"


def get_document(call: Call) -> Answer:
    """GET what is kept with an image beside its file, by its name.

    `provenance` (DSSE), `sbom` (CycloneDX), `contents`, and `source-contents`: what was in its source.
    """
    image_id = _image_of(call)
    wanted = call.names["documentName"].lower()
    found = call.service.store.images.documents_of(image_id).get(wanted)
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"No document '{wanted}' is kept with the image '{image_id}'.")
    return Answer(200, json.loads(found))


def get_difference(call: Call) -> Answer:
    """GET what differs from another image (`from`, an id) to this one: added, removed, changed, by kind and name.

    `bootSeconds` has how long each of the two took to boot, null where that is not known.
    """
    other = call.query.get("from", "")
    if not other:
        raise ArmError(400, "InvalidParameter", "`from` must be the id of an image", target="from")
    if not call.may(Permission.READ, other):
        raise ArmError(403, "AuthorizationFailed", "The image that `from` names may not be read.", target="from")
    found = difference(_contents(call, other.lower()), _contents(call, _image_of(call)))
    told = found.as_data
    boots = told.pop("boot_seconds")
    return Answer(200, {**told, "bootSeconds": boots, "sentence": found.sentence})


def _contents(call: Call, image_id: str) -> ImageContents:
    text = call.service.store.images.documents_of(image_id).get(CONTENTS)
    if text is None:
        raise ArmError(404, "ResourceNotFound", f"It is not known what is in the image '{image_id}'.")
    return read_contents(text)


def _image_of(call: Call) -> str:
    return call.resource_id.lower().partition("/providers/vmkiln.builds/")[0]


def list_keys(call: Call) -> Answer:
    """GET the public keys (PEM) that statements about images are verified with, the newest first."""
    keys = image_key.public_keys(call.service.store.seal.ring)
    return Answer(200, {"value": [{"keyId": key_id, "publicKey": public} for key_id, public in keys.items()]})


ROUTES = (
    Route("GET", f"{IMAGES}/{{imageName}}/{DOCUMENT}", "ImageDocuments_Get", Permission.READ, get_document),
    Route("GET", f"{VERSION}/{DOCUMENT}", "ImageVersionDocuments_Get", Permission.READ, get_document),
    Route("GET", f"{IMAGES}/{{imageName}}/{DIFFERENCE}", "ImageDifference_Get", Permission.READ, get_difference),
    Route("GET", f"{VERSION}/{DIFFERENCE}", "ImageVersionDifference_Get", Permission.READ, get_difference),
    Route("GET", KEYS, "ImageKeys_List", Permission.NONE, list_keys, needs_api_version=False),
)
