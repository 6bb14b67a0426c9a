"""Where images come from: the signed statement that is kept with an image, and the public keys to verify it with.

A statement hangs below its image as `Vmkiln.Builds/documents`, an extension resource, so whoever may read the image may
read it. The public keys are told to everybody, as those of the tokens are.
"""

import json

from vmkiln.api.compute.compute_images import IMAGES, VERSION
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.errors import ArmError
from vmkiln.provenance import image_key

DOCUMENT = "providers/Vmkiln.Builds/documents/{documentName}"
KEYS = "/providers/Vmkiln.Builds/imageKeys"


def get_document(call: Call) -> Answer:
    """GET what is kept with an image beside its file: `provenance`, a signed statement (DSSE)."""
    image_id = call.resource_id.lower().partition("/providers/vmkiln.builds/")[0]
    wanted = call.names["documentName"].lower()
    found = call.service.store.images.documents_of(image_id).get(wanted)
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"No document '{wanted}' is kept with the image '{image_id}'.")
    return Answer(200, json.loads(found))


def list_keys(call: Call) -> Answer:
    """GET the public keys (PEM) that statements about images are verified with, the newest first."""
    keys = image_key.public_keys(call.service.store.seal.ring)
    return Answer(200, {"value": [{"keyId": key_id, "publicKey": public} for key_id, public in keys.items()]})


ROUTES = (
    Route("GET", f"{IMAGES}/{{imageName}}/{DOCUMENT}", "ImageDocuments_Get", Permission.READ, get_document),
    Route("GET", f"{VERSION}/{DOCUMENT}", "ImageVersionDocuments_Get", Permission.READ, get_document),
    Route("GET", KEYS, "ImageKeys_List", Permission.NONE, list_keys, needs_api_version=False),
)
