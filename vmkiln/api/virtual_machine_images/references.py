"""Ids that a body names: what lies in another scope must be open to the caller as well.

Without this, a caller could read another tenant's image as a source, or write into another's gallery.
"""

from collections.abc import Iterator

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Call
from vmkiln.azure_names import USER_ASSIGNED_IDENTITY
from vmkiln.errors import ArmError
from vmkiln.template.distribute_target import ManagedImageTarget, SharedImageTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import ManagedImageSource, SharedImageVersionSource


def check_references(call: Call, template: ImageTemplate, *, has_new_identities: bool = True) -> None:
    """Every id in a template is one the caller may use, and each identity that it names anew is there.

    Raises: `ArmError` 403 naming all that are not, and 400 for an identity that is not there.
    """
    refused = [
        (path, wanted, permission)
        for path, wanted, permission in references(template)
        if not call.may(permission, wanted)
    ]
    if refused:
        texts = [
            f"The client '{call.caller.name}' with object id '{call.caller.object_id}' does not have permission to "
            f"perform '{permission}' on the linked scope '{wanted}' ({path}), or the linked scope is invalid."
            for path, wanted, permission in refused
        ]
        raise ArmError(403, "LinkedAuthorizationFailed", " ".join(texts), target=refused[0][0])
    if has_new_identities:
        _check_identities(call, template)


def _check_identities(call: Call, template: ImageTemplate) -> None:
    """Every identity is there: a typing error would show on Azure first. Raises: `ArmError` 400."""
    for path, wanted, _ in references(template):
        if not path.endswith("userAssignedIdentities"):
            continue
        row = call.service.store.resources.get(wanted)
        if row is None or row.type != USER_ASSIGNED_IDENTITY:
            message = (
                f"Identity operation for resource '{call.resource_id}' failed with error 'Failed to perform resource "
                f"identity operation. Status: 'BadRequest'. The identity '{wanted}' was not found.' ({path})"
            )
            raise ArmError(400, "FailedIdentityOperation", message, target=path, hint="`az identity create` makes one")


def references(template: ImageTemplate) -> Iterator[tuple[str, str, Permission]]:
    """Each id in a template: where it stands, the id, and what is done with it; pure."""
    properties = template.properties
    match properties.source:
        case ManagedImageSource(image_id=image_id):
            yield "properties.source.imageId", image_id, Permission.READ
        case SharedImageVersionSource(image_version_id=version_id):
            yield "properties.source.imageVersionId", version_id, Permission.READ
    for index, target in enumerate(properties.distribute):
        match target:
            case ManagedImageTarget(image_id=image_id):
                yield f"properties.distribute[{index}].imageId", image_id, Permission.WRITE
            case SharedImageTarget(gallery_image_id=definition_id):
                yield f"properties.distribute[{index}].galleryImageId", definition_id, Permission.WRITE
    network = properties.vm_profile.vnet_config
    for name, subnet in (
        ("subnetId", network.subnet_id),
        ("containerInstanceSubnetId", network.container_instance_subnet_id),
    ):
        if subnet:
            yield f"properties.vmProfile.vnetConfig.{name}", subnet, Permission.ACTION
    for identity in properties.vm_profile.user_assigned_identities:
        yield "properties.vmProfile.userAssignedIdentities", identity, Permission.ACTION
    if template.identity is not None:
        for identity in template.identity.user_assigned_identities:
            yield "identity.userAssignedIdentities", identity, Permission.ACTION
    if properties.staging_resource_group:
        yield "properties.stagingResourceGroup", properties.staging_resource_group, Permission.WRITE
