"""The staging resource group: everything a build makes is recorded in it before it is made.

*Leaves behind:* the group with its storage account. *Undone by:* `delete`. *Safe to repeat:* yes, with another guid.
Source: docs/reference/behaviour.md#staging-resource-group (name, tags).
"""

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.azure_names import STORAGE_ACCOUNT, VIRTUAL_MACHINE
from vmkiln.errors import InputError
from vmkiln.run_state import GOING_ON
from vmkiln.staging.storage_account import StorageAccount, account_name
from vmkiln.store.database import Store
from vmkiln.store.rows import StagingGroupRow, StagingResourceRow

MOST_NAME_LETTERS = 90
LEAST_RUN_LETTERS = 4  # of the id of a run that a group is named by
HELD = "Held"  # the state of a failed VM that lies on disk, sealed, beside all groups
OF_A_TEMPLATE = ("imageTemplateName", "imageTemplateResourceGroupName")  # tags that say whose a group is


@dataclass(frozen=True)
class StagingResourceGroup:
    """A group: its name, its tags, its folder and its storage account."""

    name: str
    tags: Mapping[str, str]
    storage_account: StorageAccount
    run_id: str


def group_name(resource_group: str, template_name: str, guid: str) -> str:
    """`IT_<rg>_<template>_<guid>`, the two names shortened alike where the whole would pass 90 letters."""
    room = MOST_NAME_LETTERS - len(f"IT___{guid}")
    first, second = _safe(resource_group), _safe(template_name)
    if len(first) + len(second) > room:
        half = room // 2
        first = first[: max(half, room - len(second))]
        second = second[: room - len(first)]
    return f"IT_{first}_{second}_{guid}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._()-]", "-", name) or "x"


def group_tags(*, template_name: str, resource_group: str, managed_resource_tags: Mapping[str, str]) -> dict[str, str]:
    """The tags Azure puts on a group it made, and the template's managedResourceTags."""
    return {
        **managed_resource_tags,
        "createdBy": "AzureVMImageBuilder",
        "imageTemplateName": template_name,
        "imageTemplateResourceGroupName": resource_group,
    }


def create(directory: Path, store: Store, *, name: str, run_id: str, tags: Mapping[str, str]) -> StagingResourceGroup:
    """Record the group and its storage account, then make them."""
    account = StorageAccount(account_name(name), directory / name / account_name(name))
    store.staging.add_group(name, run_id=run_id, storage_account=account.name, tags=dict(tags))
    number = store.staging.add_resource(name, run_id=run_id, type=STORAGE_ACCOUNT, name=account.name, detail={})
    account.create()
    store.staging.resource_exists(number)
    return StagingResourceGroup(name, tags, account, run_id)


def objection_to(store: Store, name: str, *, tags: Mapping[str, str], run_id: str = "") -> str:
    """Why a template with these tags cannot have the group of this name for a run; '' when it can.

    As Azure has it: a group serves one template, and one run of it at a time.
    """
    row = store.staging.group(name)
    if row is None:
        return ""
    if any(row.tags.get(tag) != tags[tag] for tag in OF_A_TEMPLATE):
        return f"the staging resource group {name} is that of another image template"
    going_on = store.runs.list(limit=None, states=GOING_ON)
    if any(run.staging_group == name and run.run_id != run_id for run in going_on):
        return f"another run works in the staging resource group {name}"
    return ""


def claim(directory: Path, store: Store, *, name: str, run_id: str, tags: Mapping[str, str]) -> StagingResourceGroup:
    """The group of this name: made, made anew after it was deleted, or used again by the same template.

    It is the user's own, or that of a run whose earlier attempt made it.

    Raises: `InputError` when it is another template's, or another run works in it.
    """
    row = store.staging.group(name, with_deleted=True)
    if row is None:
        return create(directory, store, name=name, run_id=run_id, tags=tags)
    if objection := objection_to(store, name, tags=tags, run_id=run_id):
        raise InputError(objection, hint="name another one in stagingResourceGroup, or leave it out")
    account = storage_account_of(directory, row)
    if row.deleted is None:
        store.staging.use_group(name, run_id=run_id)
    else:
        store.staging.renew_group(name, run_id=run_id, tags=dict(tags))
        number = store.staging.add_resource(name, run_id=run_id, type=STORAGE_ACCOUNT, name=account.name, detail={})
        store.staging.resource_exists(number)
    account.create()
    return StagingResourceGroup(name, tags, account, run_id)


@contextlib.contextmanager
def resources(
    group: StagingResourceGroup,
    store: Store,
    entries: Iterable[tuple[str, str, Mapping[str, Any]]],
    *,
    exist: bool = False,
) -> Iterator[None]:
    """Resources of the group while the block lasts, as (type, name, detail); `exist` says that they are made by now.

    All are recorded together before they are made, and after they are gone, also when the block ends with an error.
    """
    numbers = store.staging.add_resources(group.name, run_id=group.run_id, entries=entries, exist=exist)
    try:
        yield
    finally:
        store.staging.resources_deleted(numbers)


def storage_account_of(directory: Path, row: StagingGroupRow) -> StorageAccount:
    """The storage account of a recorded group."""
    return StorageAccount(row.storage_account, directory / row.name / row.storage_account)


def find(store: Store, name: str, *, with_deleted: bool = True) -> StagingGroupRow:
    """The group whose name is, or begins with, `name`; else that of the run whose id begins so.

    Raises: `InputError` when there is none or more than one.
    """
    rows = store.staging.list_groups(with_deleted=with_deleted)
    exact = [row for row in rows if row.name == name]
    found = exact or [row for row in rows if row.name.startswith(name)]
    if not found and len(name) >= LEAST_RUN_LETTERS:
        with contextlib.suppress(InputError):  # a template's group is of all its runs
            found = [row for row in rows if row.name == store.runs.find(name.lower()).staging_group]
    if len(found) != 1 or not name:
        problem = "no staging resource group begins" if not found else "more than one staging resource group begins"
        raise InputError(f"{problem} with `{name}`", hint="`vmkiln staging list` shows them")
    return found[0]


def delete(directory: Path, store: Store, row: StagingGroupRow) -> None:
    """Delete a group with its storage account: logs, scripts, VHDs. Finds nothing and is content.

    What lay in its folder has its receipt when the folder is gone.
    """
    shutil.rmtree(directory / row.name, ignore_errors=True)
    store.staging.group_deleted(row.name)
    if not (directory / row.name).exists():
        outlives = [item for item in store.staging.resources_of(row.name) if lies_in_group(item)]
        there = [item for item in outlives if item.detail.get("state") != HELD]  # another host's may be there still
        store.staging.resources_gone([item.number for item in there])


def lies_in_group(resource: StagingResourceRow) -> bool:
    """Whether a resource is files that outlive its run: the storage account, or a failed VM that was kept; pure."""
    return resource.type == STORAGE_ACCOUNT or (resource.type == VIRTUAL_MACHINE and "path" in resource.detail)
