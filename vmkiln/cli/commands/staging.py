"""`vmkiln staging list`, `show`, `boot` and `delete`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.audit.act_names import GROUP_DELETE
from vmkiln.azure_names import STORAGE_ACCOUNT, VIRTUAL_MACHINE, Architecture
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.runs.other_host import held_elsewhere, is_another, lies_elsewhere
from vmkiln.cli.completing import group_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, newest_or, say, show_rows, told_deleted
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.store.database import Store
    from vmkiln.store.rows import StagingGroupRow

app = typer.Typer(no_args_is_help=True, help="Staging resource groups and what is in them.")
GroupArgument = Annotated[
    str, typer.Argument(help="A group's name, or its run's id, or the beginning of it.", autocompletion=group_names)
]


@app.command("list")
@examples("vmkiln staging list --all")
def list_(
    with_deleted: Annotated[bool, typer.Option("--all", help="Deleted groups too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List staging resource groups, the newest first."""
    from vmkiln.preparation import opened_store
    from vmkiln.store.rows import ResourceState

    with opened_store(read_settings(), say) as store:
        rows = store.staging.list_groups(with_deleted=with_deleted)
        if as_json:
            answer([_as_data(store, row) for row in rows])
            return
        lines = []
        for row in rows:
            alive = sum(resource.state != ResourceState.DELETED for resource in store.staging.resources_of(row.name))
            state = "deleted" if row.deleted else f"{alive} resource{'' if alive == 1 else 's'}"
            lines.append((f"{row.created:%Y-%m-%d %H:%M:%S}", state, row.name))
    show_rows(
        ("CREATED (UTC)", "STATE", "NAME"),
        lines,
        none="there is no staging resource group; each run makes one, `--all` shows deleted ones",
    )


@app.command()
@examples("vmkiln staging show", "vmkiln staging show IT_images_web")
def show(
    group: GroupArgument = "",
    last: Annotated[bool, typer.Option("--last", help="The newest run's group (the default).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a group: its tags, every resource that was in it, and the blobs that are left."""
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        row = _find(store, "" if last else group)
        data = _as_data(store, row)
    if as_json:
        answer(data)
        return
    typer.echo(row.name)
    for name, value in row.tags.items():
        typer.echo(f"  tag {name}: {value}")
    for resource in data["resources"]:
        typer.echo(f"  {resource['state']:<8} {resource['type']} {resource['name']}")
    for blob in data["blobs"]:
        typer.echo(f"  blob {blob}")
    left = [resource for resource in data["resources"] if _is_temporary(resource)]
    typer.echo(f"  temporary resources that are left: {len(left)}" if left else "  nothing temporary is left")


def _is_temporary(resource: dict[str, Any]) -> bool:
    return bool(resource["state"] != "deleted" and resource["type"] != STORAGE_ACCOUNT)


def _find(store: Store, group: str) -> StagingGroupRow:
    from vmkiln.staging import staging_resource_group

    name = group or store.runs.find(newest_or(store, "")).staging_group
    if not name:
        raise InputError("the newest run has no staging resource group")
    return staging_resource_group.find(store, name)


def _as_data(store: Store, row: StagingGroupRow) -> dict[str, Any]:
    from vmkiln.staging import staging_resource_group

    account = staging_resource_group.storage_account_of(read_settings().staging, row)
    return {
        "name": row.name,
        "run_id": row.run_id,
        "tags": row.tags,
        "created": moment_text(row.created),
        "deleted": moment_text(row.deleted) if row.deleted else None,
        "storage_account": row.storage_account,
        "directory": str(account.directory),
        "blobs": account.blobs() if account.directory.is_dir() else [],
        "resources": [
            {"type": item.type, "name": item.name, "state": item.state, "detail": item.detail}
            for item in store.staging.resources_of(row.name)
        ],
    }


@app.command()
@examples("vmkiln staging boot IT_images_web")
def boot(group: GroupArgument) -> None:
    """Start the VM that a failed run kept (errorHandling abort), on a throw-away overlay, with its console here.

    One that is held is opened for that from its disks alone, and stays as it is; that needs the leave, and is on
    record, as `vmkiln run shell`.
    """
    from vmkiln.cli.commands.images.image import boot_disk
    from vmkiln.cli.commands.runs.leave import take_leave
    from vmkiln.host.qemu import Disk
    from vmkiln.images.data_disk import files_beside
    from vmkiln.preparation import opened_store
    from vmkiln.run.cleaning_up import KEPT_DISK
    from vmkiln.run.held import lease
    from vmkiln.run.held.waking import disks_of
    from vmkiln.store.rows import ResourceState

    settings = read_settings()
    with contextlib.ExitStack() as stack:
        with opened_store(settings, say) as store:
            row = _find(store, group)
            kept = [
                item
                for item in store.staging.resources_of(row.name)
                if item.type == VIRTUAL_MACHINE and item.state == ResourceState.EXISTS
            ]
            held = next((item for item in kept if lease.is_receipt_of(item, item.run_id)), None)
            if held is not None:
                run = store.runs.find(held.run_id)
                if (host := held_elsewhere(settings, run)) and lease.found(settings, run.run_id) is None:
                    raise lies_elsewhere(store, f"the failed VM of run {run.run_id[:8]}", host)
                take_leave(store, run)
                disks = stack.enter_context(disks_of(settings, store, held.run_id))
            path = settings.staging / row.name / KEPT_DISK
            if held is None and kept and not path.exists():
                by_id = store.runs.by_id([kept[0].run_id], has_template=False)  # none for one on no record any more
                host = str(next((kept_by.facts.get("host_id", "") for kept_by in by_id.values()), ""))
                if is_another(settings, host):
                    raise lies_elsewhere(store, f"the VM that {row.name} keeps", host)
        if held is None:
            if not kept or not path.exists():
                raise InputError(
                    f"{row.name} keeps no VM", hint="a VM is kept when errorHandling says abort and a step fails"
                )
            others = [
                Disk(file, "qcow2", read_only=True, serial=f"lun{lun}") for lun, file in files_beside(path).items()
            ]
            disks = [Disk(path, "qcow2", read_only=True), *others]
        detail = (held or kept[0]).detail
        generation, architecture = int(detail.get("generation", 1)), str(detail.get("architecture", Architecture.X64))
        boot_disk(disks[0], generation=generation, architecture=architecture, data_disks=disks[1:])


@app.command()
@examples("vmkiln staging delete IT_images_web")
def delete(
    group: GroupArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a group with its storage account: logs, scripts, VHDs, a kept VM."""
    from vmkiln.preparation import opened_store
    from vmkiln.run.held import door, lease
    from vmkiln.sharing.shared_storage import shared_storage
    from vmkiln.staging import staging_resource_group

    with opened_store(read_settings(), say) as store:
        row = _find(store, group)
        if not yes:
            typer.confirm(f"delete {row.name} with its logs and VHDs?", abort=True, err=True)
        settings = read_settings()
        vhds = [image for image in store.images.list() if image.path.is_relative_to(settings.staging / row.name)]
        with audited(store, GROUP_DELETE, f"/resourceGroups/{row.name}", is_first=True):
            if lease.forget_of_group(settings, store, row.name):
                raise door.taken()
            for image in vhds:
                store.images.remove(image.artifact_id)
            staging_resource_group.delete(settings.staging, store, row)
            if (shared := shared_storage(settings, store)) is not None:
                shared.delete_group(row.name)
    told_deleted(row.name, as_json=as_json)
