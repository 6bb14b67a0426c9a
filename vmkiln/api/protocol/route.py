"""What the service answers: a route is one row of its surface, a call is one request, an answer is what goes back.

Handlers are plain functions from a call to an answer, run in threads; they raise `ArmError` for what is refused.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from vmkiln.api.identity.caller import NOBODY, Access, Caller, Permission, Rights
from vmkiln.api.identity.failures import Failures
from vmkiln.api.identity.issuer import Issuer
from vmkiln.api.identity.login_provider import LoginProvider
from vmkiln.api.identity.outside_issuer import Issuers
from vmkiln.api.protocol.background import Background
from vmkiln.api.shells.meetings import Meetings
from vmkiln.audit.audit_log import AuditLog
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.fleet.admission import QueuePosition
from vmkiln.fleet.health import Health
from vmkiln.fleet.placement.forecast import Forecast
from vmkiln.fleet.tally import Tally
from vmkiln.lifetime.rounds import Rounds
from vmkiln.run.room import Room
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import Store
from vmkiln.trial.trials import Trials


def version_of(resource_id: str) -> str:
    """An api-version in which a resource can be asked for: image templates have their own, others take any; pure."""
    is_ours = "/providers/microsoft.virtualmachineimages/" in resource_id.lower()
    return NEWEST_API_VERSION if is_ours else "2024-03-01"


class Body(Enum):
    """What a request may carry: nothing, a JSON object, a JSON object in az's loose spelling, a form."""

    NONE = "none"
    OPTIONAL_JSON = "optional JSON"
    JSON = "JSON"
    LENIENT_JSON = "lenient JSON"
    FORM = "form"


@dataclass(frozen=True)
class FileBody:
    """A body that is sent from a file block by block: `size_bytes` from `start` on, though it may grow meanwhile."""

    path: Path
    size_bytes: int
    start: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer: HTTP status, a JSON body (None: no body; bytes, str or a file: as they are), and headers.

    `detail` is what the audit says besides, such as the id of the run that begins; `caller` is who asked, or who a
    login turned out to be.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = NOBODY


@dataclass(frozen=True)
class Origin:
    """Where a request came from: who asked, from which address, and the ids of it that they know.

    What a request causes, such as the resources of a deployment, has the same origin.
    """

    caller: Caller
    request_id: str
    correlation_id: str
    source: str = ""
    client_request_id: str = ""


class Builder(Protocol):
    """Provisions image templates and builds their runs; told from any thread that there is something to do."""

    def wake(self) -> None:
        """Something was recorded that is to be done: an image template to provision, or to delete."""

    def queued(self, run_id: str) -> None:
        """A run was recorded and waits."""

    def cancel(self, run_id: str) -> None:
        """A run, waiting or going on, is to end Canceled."""

    def queue(self) -> Sequence[QueuePosition]:
        """The runs that wait, each with its position in the queue and why it waits."""

    def forecast(self) -> Forecast:
        """When waiting runs usually start, and those that go on are usually over."""

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
        origin: "Origin | None" = None,
        secrets: frozenset[str] = frozenset(),
    ) -> Answer: ...


@dataclass(frozen=True)
class Service:
    """What handlers work with. `background` runs functions after the answer, as far as there is room.

    `audit` keeps who did what; `shared` is what the hosts of a fleet share; `rounds` is what the process does again and
    again. `login` is the issuer at which people log in, when there is one; `shells` are those that are waited for.
    """

    settings: Settings
    store: Store
    access: Access
    builder: Builder
    dispatch: Dispatch
    background: Background
    issuer: Issuer
    routes: Sequence["Route"]
    audit: AuditLog
    failures: Failures = field(default_factory=Failures)
    failures_of_addresses: Failures = field(default_factory=Failures)
    trials: Trials = field(default_factory=Trials)
    issuers: Issuers = field(default_factory=Issuers)
    login: LoginProvider | None = None
    shared: SharedStorage | None = None
    rounds: Rounds = field(default_factory=Rounds)
    shells: Meetings = field(default_factory=Meetings)

    @functools.cached_property
    def health(self) -> Health:
        """Whether the service is well."""
        return Health(self.settings, self.store, self.rounds)

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self.store.now()


@dataclass(frozen=True)
class Call:
    """One request: matched, authenticated, allowed and read.

    `names` are the path's placeholders as the caller spelled them; `resource_id` is the path without doubled slashes
    and without an action's last segment; `query` and `headers` have names in lower case. `secrets` are what in the body
    must be shown to nobody, as far as whoever asks knows.
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
    origin: Origin
    service: Service
    rights: Rights
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def request_id(self) -> str:
        """The id of the request, as the answer's header says it."""
        return self.origin.request_id

    def looked_at(self, resource_id: str) -> Answer:
        """What this caller gets of another resource."""
        asked = {"api-version": version_of(resource_id)}
        return self.service.dispatch("GET", resource_id, caller=self.caller, query=asked, origin=self.origin)

    def may(self, permission: Permission, resource_id: str) -> bool:
        """Whether the caller may do this to another resource, one that the body names."""
        return self.rights.may(permission, resource_id)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """One row of the surface.

    `path` has placeholders such as `{imageTemplateName}`; `operation` is its operationId; `api_versions` are the ones
    it knows (none: any); `media_types` are what it answers with, `has_parts` says that a part of an
    answer may be asked for, `is_recorded_first` that the audit has it before anything is done, for what is done is not
    in the database.
    """

    method: str
    path: str
    operation: str
    permission: Permission
    handler: Handler
    body: Body = Body.NONE
    api_versions: tuple[str, ...] = ()
    needs_api_version: bool = True
    media_types: tuple[str, ...] = ("application/json",)
    has_parts: bool = False
    is_recorded_first: bool = False
