"""What may be done where: permissions, each set with the scope that it holds in; pure."""

from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """What a caller must be allowed to do in the scope of the path; `NONE` needs no login, `ANY` only a login.

    `SHELL` is to enter a VM, which no other action has in it.
    """

    NONE = "none"
    ANY = "any"
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ACTION = "action"
    ASSIGN = "assign"
    SHELL = "shell"


@dataclass(frozen=True)
class Rights:
    """What a caller's roles allow, read once for each request: permissions, each set with the scope it holds in.

    Those of `limited` hold for some resources of a scope only, which a prefix of their types says. `is_local` allows
    everything.
    """

    roles: tuple[tuple[frozenset[Permission], str], ...] = ()
    is_local: bool = False
    limited: tuple[tuple[frozenset[Permission], str, str], ...] = ()

    def may(self, permission: Permission, resource_id: str) -> bool:
        """Whether they allow it in that scope; the same for things that do not exist."""
        if self.is_local or any(permission in allowed and covers(scope, resource_id) for allowed, scope in self.roles):
            return True
        inside = resource_id.lower().rstrip("/") + "/"
        return any(
            permission in allowed and covers(scope, resource_id) and _is_of(types, inside)
            for allowed, scope, types in self.limited
        )

    @property
    def subscriptions(self) -> frozenset[str] | None:
        """The subscriptions (lower case) there is a role in, or in a part of; None means all of them."""
        scopes = [scope.strip("/").lower().split("/") for scope in self._scopes()]
        if self.is_local or any(scope == [""] for scope in scopes):
            return None
        return frozenset(scope[1] for scope in scopes if len(scope) > 1 and scope[0] == "subscriptions")

    def scopes_below(self, scope: str, permission: Permission) -> frozenset[str]:
        """The scopes (lower case) below another one in which they allow it, to some resources at least."""
        every = [*self.roles, *((allowed, own) for allowed, own, _ in self.limited)]
        found = ("/" + own.strip("/").lower() for allowed, own in every if permission in allowed)
        return frozenset(own for own in found if covers(scope, own))

    def _scopes(self) -> list[str]:
        return [scope for _, scope in self.roles] + [scope for _, scope, _ in self.limited]


def _is_of(types: str, resource_id: str) -> bool:
    """Whether an id (lower case, with a slash at its end) is one of a provider's, of a type or below one; pure."""
    _, _, inside = resource_id.partition("/providers/")
    return inside.startswith(f"{types.lower()}/")


def covers(scope: str, resource_id: str) -> bool:
    """Whether a scope contains a resource, whatever the case; pure."""
    wanted = "/" + resource_id.strip("/").lower() + "/"
    return wanted.startswith("/" + f"{scope.strip('/').lower()}/".lstrip("/"))
