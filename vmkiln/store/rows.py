"""What the database gives back: frozen values, times in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from vmkiln.azure_names import OperationStatus, ProvisioningState
from vmkiln.run_state import RunState
from vmkiln.store.run_facts import RunFacts


class HostState(StrEnum):
    """What a build host is to those who place runs."""

    READY = "Ready"
    NOT_READY = "NotReady"
    DRAINING = "Draining"
    STOPPED = "Stopped"
    DEAD = "Dead"

    @property
    def is_over(self) -> bool:
        """Whether it is at work no more."""
        return self in {HostState.STOPPED, HostState.DEAD}


class ResourceState(StrEnum):
    """Where a resource of a staging resource group is: meant to be made, made, gone."""

    CREATING = "creating"
    EXISTS = "exists"
    DELETED = "deleted"


def attempt_of(facts: Mapping[str, Any] | None) -> int:
    """How often a run was begun, by what was decided for it."""
    return int((facts or {}).get("attempt", 1))


def asked_for_at(facts: Mapping[str, Any] | None) -> dict[str, datetime]:
    """The start of a run that waits again: when it was asked for, so that it waits in front; nothing if not known."""
    queued = (facts or {}).get("queued")
    return {"started": datetime.fromisoformat(queued)} if queued else {}


def seconds_between(started: datetime, ended: datetime) -> float:
    """How long something took; nothing where the clock was set back meanwhile. Pure."""
    return max(0.0, (ended - started).total_seconds())


@dataclass(frozen=True)
class RunRow:
    """A run as stored; `facts` has what was decided for it (exact source version, isolation level, peak memory).

    `template_id` is the ARM id of the image template, in lower case; '' for a run that came from a file.
    """

    run_id: str
    template_name: str
    resource_group: str
    template: dict[str, Any]
    state: RunState
    sub_state: str
    message: str
    error_code: str
    staging_group: str
    facts: RunFacts
    started: datetime
    ended: datetime | None
    template_id: str = ""

    @property
    def attempt(self) -> int:
        """How often it was begun; 1 before it was."""
        return attempt_of(self.facts)

    @property
    def held_until(self) -> str:
        """Until when its failed VM can be entered (ISO 8601); '' when it can not any more."""
        if lease := self.facts.get("lease"):
            if lease.get("released"):
                return ""
            return lease["until"] if datetime.fromisoformat(lease["until"]) > datetime.now(UTC) else ""
        return "" if self.ended else str(self.facts.get("held_until", ""))


@dataclass(frozen=True)
class RunMoment:
    """As much of a run as the queue looks at: when it began to wait, or was started."""

    run_id: str
    template_id: str
    started: datetime


@dataclass(frozen=True)
class HostRow:
    """A build host since it last started (`incarnation`): what it has, and how long its lease lasts.

    `host_id` is its state directory's, and stays over restarts. Memory and disk in MiB; times in seconds since 1970,
    by the database's clock. `architecture` is x64 or Arm64, `isolation_level` hardware, emulated or '' (not known yet).
    `unready` is the code of what keeps it from building now, '' when nothing does; `unready_reason` says it in words,
    for its operator. `is_stopped` is one that ended in order.
    """

    incarnation: str
    host_id: str
    name: str
    architecture: str
    isolation_level: str
    region: str
    cpus: int
    memory_mib: int
    disk_mib: int
    is_draining: bool = False
    is_dead: bool = False
    started: float = 0.0
    lease_until: float = 0.0
    is_stopped: bool = False
    unready: str = ""
    unready_reason: str = ""

    def state_at(self, now: float) -> HostState:
        """What it is then; `now` is the database's time, in seconds since 1970."""
        if self.is_dead or self.lease_until < now:
            return HostState.STOPPED if self.is_stopped else HostState.DEAD
        if self.is_draining:
            return HostState.DRAINING
        return HostState.NOT_READY if self.unready else HostState.READY


@dataclass(frozen=True)
class HostFault:
    """Why a host could not go on with a run: the error's code, its words for the operator, and those for others."""

    code: str
    reason: str
    told: str


@dataclass(frozen=True)
class ReservationRow:
    """Room that a host keeps for one attempt of a run. Memory and disk in MiB; `placed` in seconds since 1970."""

    run_id: str
    attempt: int
    incarnation: str
    cpus: int
    memory_mib: int
    disk_mib: int
    placed: float


@dataclass(frozen=True)
class PlacedRun:
    """A run that a host keeps room for, with its state and that room (MiB)."""

    run_id: str
    attempt: int
    incarnation: str
    state: RunState
    template_id: str
    cpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0


@dataclass(frozen=True)
class PhaseRow:
    """One phase of a run."""

    name: str
    started: datetime
    ended: datetime | None


@dataclass(frozen=True)
class StagingGroupRow:
    """A staging resource group."""

    name: str
    run_id: str
    storage_account: str
    tags: dict[str, str]
    created: datetime
    deleted: datetime | None


@dataclass(frozen=True)
class StagingResourceRow:
    """A resource of a staging resource group; `verified` is when somebody looked, and it was gone."""

    number: int
    group_name: str
    run_id: str
    type: str
    name: str
    state: ResourceState
    detail: dict[str, Any]
    created: datetime
    deleted: datetime | None
    verified: datetime | None


@dataclass(frozen=True)
class ImageRow:
    """A published image. `key` is its ARM id in lower case, `digest` the SHA-256 of the file at `path`."""

    artifact_id: str
    kind: str
    path: Path
    format: str
    digest: str
    size_bytes: int
    virtual_size_bytes: int
    generation: int
    os_type: str
    source_version: str
    run_id: str
    tags: dict[str, str]
    detail: dict[str, Any]
    created: datetime

    @property
    def key(self) -> str:
        """What the image is found by: ARM ids do not tell upper from lower case."""
        return self.artifact_id.lower()


@dataclass(frozen=True)
class ImageDefinitionRow:
    """What all versions of a gallery's image definition are: operating system and Hyper-V generation."""

    definition_id: str
    os_type: str
    generation: int
    created: datetime


@dataclass(frozen=True)
class RunOutputRow:
    """What a distribute target of a run came to."""

    run_id: str
    name: str
    artifact_id: str
    artifact_uri: str
    state: ProvisioningState
    message: str


@dataclass(frozen=True)
class ResourceRow:
    """An ARM resource. `id` is spelled as its maker spelled it; ids are compared in lower case.

    `properties` is what users see; `state` is ours alone. `etag`, the times and `created_by` are set by the store.
    """

    id: str
    type: str
    name: str
    subscription_id: str
    resource_group: str
    location: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    created: datetime | None = None
    changed: datetime | None = None
    created_by: str = ""
    changed_by: str = ""

    @property
    def key(self) -> str:
        """What the resource is found by: its id in lower case."""
        return self.id.lower()


@dataclass(frozen=True)
class OperationRow:
    """An asynchronous operation: `status` is InProgress, Succeeded, Failed or Canceled; `error` has code and message.

    An operation with a `run_id` lasts as long as that run. `session` is that of the process which does it.
    """

    operation_id: str
    kind: str
    subscription_id: str
    location: str
    resource_id: str
    run_id: str
    status: OperationStatus
    error: Mapping[str, Any]
    started: datetime
    ended: datetime | None
    session: str = ""


@dataclass(frozen=True)
class PrincipalRow:
    """A service principal: the id it logs in with, the id roles are assigned to, and its name."""

    app_id: str
    object_id: str
    display_name: str
    created: datetime
    is_disabled: bool


@dataclass(frozen=True)
class RoleAssignmentRow:
    """A role of a principal in a scope. `role` is a built-in one's name when it allows something here, else its GUID.

    `principal_type` is what who gave it said of the principal; '' for nothing.
    """

    assignment_id: str
    object_id: str
    role: str
    scope: str
    created: datetime
    principal_type: str = ""


class KeyKind(StrEnum):
    """What a principal proves itself with, besides a secret."""

    CERTIFICATE = "certificate"
    FEDERATED = "federated"


@dataclass(frozen=True)
class PrincipalKeyRow:
    """A certificate of a principal, or a federated credential: whose tokens for which subject are its own.

    `detail` of a certificate: `pem`, `sha1`, `sha256`, `notAfter`; of a federated credential: `issuer`, `subject`,
    `audiences`.
    """

    key_id: str
    app_id: str
    kind: KeyKind
    name: str
    detail: Mapping[str, Any]
    created: datetime


@dataclass(frozen=True)
class AuditRow:
    """Who did what, or was refused it: one line of the audit, never changed once the act is over.

    `caller_kind` is user, app, operator (of this machine), service (vmkiln itself) or nobody. `operation` is named as
    Azure names it (`Microsoft.Compute/images/write`). `subscription_id`, `resource_group` and `provider` are in lower
    case, '' where the resource has none. `status` is Succeeded, Accepted or Failed, and Started until the act is over,
    which it stays when the process ended in the middle of it; `code` is the HTTP status, 0 when
    there was no request. `is_refused` says that the caller was not allowed to, or failed and is not known.
    """

    event_id: str
    moment: datetime
    caller: str
    caller_id: str
    caller_kind: str
    operation: str
    resource_id: str
    subscription_id: str
    resource_group: str
    provider: str
    status: str
    code: int
    error_code: str
    method: str
    correlation_id: str
    request_id: str
    source: str
    is_refused: bool
    detail: Mapping[str, str] = field(default_factory=dict)
    number: int = 0  # given by the store
