"""What the service answers: a route is one row of its surface, a call is one request, an answer is what goes back.

Handlers are plain functions from a call to an answer, run in threads; they raise `ArmError` for what is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Protocol

from vmkiln.api.failures import Failures
from vmkiln.api.issuer import Issuer
from vmkiln.run.admission import Place, Room
from vmkiln.run.shared_storage import SharedStorage
from vmkiln.run.tally import Tally
from vmkiln.settings import Settings
from vmkiln.store.database import Store


class Permission(StrEnum):
    """What a caller must be allowed to do in the scope of the path; `NONE` needs no login, `ANY` only a login."""

    NONE = "none"
    ANY = "any"
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ACTION = "action"
    ASSIGN = "assign"


class Body(Enum):
    """What a request may carry: nothing, a JSON object, a JSON object in az's loose spelling, a form."""

    NONE = "none"
    OPTIONAL_JSON = "optional JSON"
    JSON = "JSON"
    LENIENT_JSON = "lenient JSON"
    FORM = "form"


@dataclass(frozen=True)
class Caller:
    """Who calls: the object id roles are assigned to, and a name for people. `is_local` is this machine's operator."""

    object_id: str
    name: str
    is_service_principal: bool = True
    is_local: bool = False


LOCAL_OPERATOR = Caller("local", "local operator", is_service_principal=False, is_local=True)
NOBODY = Caller("", "", is_service_principal=False)


@dataclass(frozen=True)
class Answer:
    """An answer: HTTP status, a JSON body (None: no body; bytes or str: as they are), and headers."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rights:
    """What a caller's roles allow, read once for each request: permissions, each set with the scope it holds in.

    `is_local` allows everything.
    """

    roles: tuple[tuple[frozenset[Permission], str], ...] = ()
    is_local: bool = False

    def may(self, permission: Permission, resource_id: str) -> bool:
        """Whether they allow it in that scope; the same for things that do not exist."""
        return self.is_local or any(
            permission in allowed and covers(scope, resource_id) for allowed, scope in self.roles
        )

    @property
    def subscriptions(self) -> frozenset[str] | None:
        """The subscriptions (lower case) there is a role in, or in a part of; None means all of them."""
        scopes = [scope.strip("/").lower().split("/") for _, scope in self.roles]
        if self.is_local or any(scope == [""] for scope in scopes):
            return None
        return frozenset(scope[1] for scope in scopes if len(scope) > 1 and scope[0] == "subscriptions")

    def scopes_below(self, scope: str, permission: Permission) -> frozenset[str]:
        """The scopes (lower case) below another one in which they allow it."""
        found = ("/" + own.strip("/").lower() for allowed, own in self.roles if permission in allowed)
        return frozenset(own for own in found if covers(scope, own))


def covers(scope: str, resource_id: str) -> bool:
    """Whether a scope contains a resource, whatever the case; pure."""
    wanted = "/" + resource_id.strip("/").lower() + "/"
    return wanted.startswith("/" + f"{scope.strip('/').lower()}/".lstrip("/"))


class Access(Protocol):
    """Who may do what."""

    def authenticate(self, headers: Mapping[str, str], *, base_url: str) -> Caller:
        """The caller that a request's headers (names in lower case) prove. Raises: `ArmError` (401)."""

    def rights(self, caller: Caller) -> Rights:
        """What the caller's roles allow at this moment."""


class Work(Protocol):
    """What the service does by itself, asked for from any thread."""

    def submitted(self, template_id: str, operation_id: str) -> None:
        """An image template was recorded and is to be provisioned."""

    def queued(self, run_id: str) -> None:
        """A run was recorded and waits."""

    def cancel(self, run_id: str) -> None:
        """A run, waiting or going on, is to end Canceled."""

    def deleting(self, template_id: str, operation_id: str) -> None:
        """An image template, with its staging resource group, is to go."""

    def queue(self) -> Sequence[Place]:
        """The runs that wait, each with its place and why it waits."""

    def room(self) -> tuple[Room, Room]:
        """What the live hosts have for runs, and what of it is promised to runs that go on."""

    @property
    def tally(self) -> Tally:
        """What has been seen since the start."""


class Dispatch(Protocol):
    """A request from inside, answered like one from outside: same routes, same checks."""

    def __call__(
        self,
        method: str,
        path: str,
        *,
        caller: Caller,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        base_url: str = "",
    ) -> Answer: ...


@dataclass(frozen=True)
class Parts:
    """What handlers work with. `background` runs a function in a thread of its own, after the answer.

    `shared` is what the hosts of a fleet share.
    """

    settings: Settings
    store: Store
    access: Access
    work: Work
    dispatch: Dispatch
    background: Callable[[Callable[[], None]], None]
    issuer: Issuer
    routes: Sequence["Route"]
    failures: Failures = field(default_factory=Failures)
    shared: SharedStorage | None = None

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self.store.now()


@dataclass(frozen=True)
class Call:
    """One request: matched, authenticated, allowed and read.

    `names` are the path's placeholders as the caller spelled them; `resource_id` is the path without doubled slashes
    and without an action's last segment; `query` and `headers` have names in lower case.
    """

    route: "Route"
    names: Mapping[str, str]
    resource_id: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    api_version: str
    caller: Caller
    base_url: str
    request_id: str
    parts: Parts
    rights: Rights

    def may(self, permission: Permission, resource_id: str) -> bool:
        """Whether the caller may do this to another resource, one that the body names."""
        return self.rights.may(permission, resource_id)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """One row of the surface.

    `path` has placeholders such as `{imageTemplateName}`; `operation` is its operationId; `api_versions` are the ones
    it knows (none: any); `is_text` says that it answers with text instead of JSON.
    """

    method: str
    path: str
    operation: str
    permission: Permission
    handler: Handler
    body: Body = Body.NONE
    api_versions: tuple[str, ...] = ()
    needs_api_version: bool = True
    is_text: bool = False
