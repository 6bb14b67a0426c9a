"""Azure's built-in roles that templates for images and virtual machines assign, and what they allow here.

Those whose rights map to something that is here have them: all of a scope, or one provider's resources in it. The
others are kept by name and GUID, so that templates go through, and allow nothing.
Source: Microsoft, "Azure built-in roles" (names and GUIDs are the same in every tenant).
"""

from collections.abc import Iterable, Iterator, Mapping

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.azure_roles import GUIDS, NAMES
from vmkiln.rights.rights import Permission, Rights

OWNER, CONTRIBUTOR, READER = "Owner", "Contributor", "Reader"
READ = frozenset({Permission.READ})
MANAGE = frozenset({Permission.READ, Permission.WRITE, Permission.DELETE, Permission.ACTION, Permission.SHELL})
ALL = MANAGE | {Permission.ASSIGN}
# what a role allows; with a prefix of resource types, only to those (a provider, or a provider and a type)
ALLOWED: Mapping[str, tuple[frozenset[Permission], str]] = {
    OWNER: (ALL, ""),
    CONTRIBUTOR: (MANAGE, ""),
    READER: (READ, ""),
    "User Access Administrator": (READ | {Permission.ASSIGN}, ""),
    "Role Based Access Control Administrator": (READ | {Permission.ASSIGN}, ""),
    "Log Analytics Reader": (READ, ""),
    "Log Analytics Contributor": (READ, ""),
    "Monitoring Reader": (READ, ""),
    "Monitoring Contributor": (READ, ""),
    "Managed Identity Contributor": (MANAGE, "Microsoft.ManagedIdentity/userAssignedIdentities"),
    "Managed Identity Operator": (READ | {Permission.ACTION}, "Microsoft.ManagedIdentity/userAssignedIdentities"),
    "Network Contributor": (MANAGE, "Microsoft.Network"),
    # who is root in it: the user of the steps may use sudo
    "Virtual Machine Administrator Login": (READ | {Permission.SHELL}, IMAGE_TEMPLATE),
    "Compute Gallery Artifacts Publisher": (MANAGE, "Microsoft.Compute/galleries"),
    "Compute Gallery Image Reader": (READ, "Microsoft.Compute/galleries"),
    "Storage Account Contributor": (MANAGE, "Microsoft.Storage/storageAccounts"),
    "Storage Account Key Operator Service Role": (
        frozenset({Permission.ACTION}),
        "Microsoft.Storage/storageAccounts",
    ),
    "Reader and Data Access": (READ | {Permission.ACTION}, "Microsoft.Storage/storageAccounts"),
    "Storage Blob Data Reader": (READ, "Microsoft.Storage/storageAccounts"),
    "Storage Blob Data Contributor": (READ, "Microsoft.Storage/storageAccounts"),
    "Storage Blob Data Owner": (READ, "Microsoft.Storage/storageAccounts"),
}
_ACTIONS: Mapping[Permission, str] = {
    Permission.READ: "read",
    Permission.WRITE: "write",
    Permission.DELETE: "delete",
    Permission.ACTION: "action",
    Permission.SHELL: "runs/shell/action",
}


def name_of(role: str) -> str:
    """The name of a built-in role that is kept by its name or by its GUID; '' for another."""
    return role if role in GUIDS else NAMES.get(role.lower(), "")


def actions_of(name: str) -> Iterator[str]:
    """What a built-in role allows here, in Azure's words."""
    allowed, types = ALLOWED.get(name, (frozenset(), ""))
    if allowed >= MANAGE:
        yield f"{types}/*" if types else "*"
        return
    for permission, word in _ACTIONS.items():
        if permission in allowed:
            yield f"{types}/*/{word}" if types else f"*/{word}"
    if Permission.ASSIGN in allowed:
        yield "Microsoft.Authorization/*"


def rights_of(roles: Iterable[tuple[str, str]]) -> Rights:
    """What these roles allow, each with its scope; pure."""
    whole, limited = [], []
    for role, scope in roles:
        allowed, types = ALLOWED.get(name_of(role), (frozenset(), ""))
        if types:
            limited.append((allowed, scope, types))
        else:
            whole.append((allowed, scope))
    return Rights(tuple(whole), limited=tuple(limited))
