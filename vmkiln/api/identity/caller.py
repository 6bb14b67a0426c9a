"""Who calls, what a caller may be allowed, and who judges it.

`Permission`, `Rights` and `covers` stand here for routes, beside the caller that they are about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vmkiln.rights.rights import Permission, Rights, covers

__all__ = ["LOCAL_OPERATOR", "NOBODY", "Access", "Caller", "Permission", "Rights", "covers"]


@dataclass(frozen=True)
class Caller:
    """Who calls: the object id roles are assigned to, and a name for people. `is_local` is this machine's operator."""

    object_id: str
    name: str
    is_service_principal: bool = True
    is_local: bool = False


LOCAL_OPERATOR = Caller("local", "local operator", is_service_principal=False, is_local=True)


NOBODY = Caller("", "", is_service_principal=False)


class Access(Protocol):
    """Who may do what."""

    def authenticate(self, headers: Mapping[str, str], *, base_url: str) -> Caller:
        """The caller that a request's headers (names in lower case) prove. Raises: `ArmError` (401)."""

    def rights(self, caller: Caller) -> Rights:
        """What the caller's roles allow at this moment."""

    def is_own(self, host: str) -> bool:
        """Whether a host name or address is one of the service's own."""
