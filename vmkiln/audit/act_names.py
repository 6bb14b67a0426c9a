"""How acts are called that are not, or not only, requests of Azure's interface.

Source: Microsoft Entra, "Application registration permissions" (the words of microsoft.directory/servicePrincipals).
"""

from vmkiln.azure_names import IMAGE_TEMPLATE, ROLE_ASSIGNMENT

RUN = f"{IMAGE_TEMPLATE}/run/action"
RUN_CANCEL = "Vmkiln.Builds/runs/cancel/action"
RUN_SHELL = "Vmkiln.Builds/runs/shell/action"
RUN_RELEASE = "Vmkiln.Builds/runs/release/action"
RUN_DELETE = "Vmkiln.Builds/runs/delete"
GROUP_DELETE = "Microsoft.Resources/subscriptions/resourceGroups/delete"
PRINCIPAL_WRITE = "Microsoft.Directory/servicePrincipals/write"
PRINCIPAL_DELETE = "Microsoft.Directory/servicePrincipals/delete"
SECRET_WRITE = "Microsoft.Directory/servicePrincipals/credentials/write"  # noqa: S105 (an act, no secret)
TOKEN_WRITE = "Microsoft.Directory/servicePrincipals/tokens/write"  # noqa: S105
KEY_WRITE = "Microsoft.Directory/servicePrincipals/keyCredentials/write"
KEY_DELETE = "Microsoft.Directory/servicePrincipals/keyCredentials/delete"
SERVICE_KEY_WRITE = "Vmkiln.Builds/keys/write"
ROLE_WRITE = f"{ROLE_ASSIGNMENT}/write"
ROLE_DELETE = f"{ROLE_ASSIGNMENT}/delete"
PLATFORM_IMAGE_WRITE = "Vmkiln.Builds/platformImages/write"
PLATFORM_IMAGE_DELETE = "Vmkiln.Builds/platformImages/delete"
HOST_DRAIN = "Vmkiln.Builds/hosts/drain/action"
HOST_UNDRAIN = "Vmkiln.Builds/hosts/undrain/action"
IMAGE_ADOPT = "Vmkiln.Builds/images/adopt/action"
IMAGE_PURGE = "Vmkiln.Builds/images/purge/action"
DATABASE_MOVE = "Vmkiln.Builds/databases/move/action"
DATABASE_ID = "/providers/Vmkiln.Builds/databases/default"


def template_id(resource_group: str, name: str) -> str:
    """The id of an image template that no service keeps; pure."""
    return f"/resourceGroups/{resource_group}/providers/{IMAGE_TEMPLATE}/{name}"


def run_id_of(resource_group: str, template_name: str, run_id: str, *, kept: str = "") -> str:
    """The id of a run; `kept` is the id of its template where a service keeps that, whose log has the act; pure."""
    return f"{kept or template_id(resource_group, template_name)}/providers/Vmkiln.Builds/runs/{run_id}"


def principal_id(app_id: str) -> str:
    """The id of a service principal; pure."""
    return f"/providers/Microsoft.Directory/servicePrincipals/{app_id}"


def role_id(scope: str, assignment_id: str) -> str:
    """The id of a role assignment; pure."""
    return f"{scope.rstrip('/')}/providers/{ROLE_ASSIGNMENT}/{assignment_id}"


def platform_image_id(title: str, version: str) -> str:
    """The id of a version of an imported platform image, `publisher:offer:sku`; pure."""
    publisher, offer, sku = title.split(":")
    return f"/providers/Vmkiln.Builds/platformImages/{publisher}/offers/{offer}/skus/{sku}/versions/{version}"


def service_key_id(purpose: str) -> str:
    """The id of the service's keys of a purpose; pure."""
    return f"/providers/Vmkiln.Builds/keys/{purpose}"


def host_id(name: str) -> str:
    """The id of a build host; pure."""
    return f"/providers/Vmkiln.Builds/hosts/{name}"
