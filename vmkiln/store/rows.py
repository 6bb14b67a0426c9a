"""What the database gives back: frozen values, times in UTC."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunRow:
    """A run as stored; `facts` has what was decided for it (exact source version, isolation level, peak memory)."""

    run_id: str
    template_name: str
    resource_group: str
    template: dict[str, Any]
    state: str
    sub_state: str
    message: str
    error_code: str
    staging_group: str
    facts: dict[str, Any]
    started: datetime
    ended: datetime | None


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
    """A resource of a staging resource group: `state` is creating, exists or deleted."""

    number: int
    group_name: str
    run_id: str
    type: str
    name: str
    state: str
    detail: dict[str, Any]
    created: datetime
    deleted: datetime | None


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
    state: str
    message: str
