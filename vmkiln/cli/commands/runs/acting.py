"""`vmkiln run cancel`, `wait`, `delete`, `prune` and `export`: what is done with a run by its id, whoever runs it."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.audit.act_names import RUN_CANCEL, RUN_DELETE, run_id_of
from vmkiln.cli.audited import audited
from vmkiln.cli.completing import NamedRunArgument, RunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, newest_or, say, told_deleted
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError, RunCanceled, VmkilnError
from vmkiln.run_state import TERMINAL_STATES, RunState, told_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import ImageRow, RunRow

LOOK_SECONDS = 0.2
AGE = re.compile(r"(\d{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@examples("vmkiln run cancel 0123abcd")
def cancel(run_id: NamedRunArgument, as_json: JsonOption = False) -> None:
    """Cancel a run, of the service or of a `vmkiln build`, and wait until it has ended."""
    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        about = run_id_of(run.resource_group, run.template_name, run.run_id, kept=run.template_id)
        with audited(store, RUN_CANCEL, about):
            _ask_to_cancel(settings, store, run)
        ended = _ended(settings, store, run.run_id, seconds=None)
    if as_json:
        answer({"run_id": ended.run_id, "state": str(ended.state)})
    else:
        say(f"run {ended.run_id[:8]}: {ended.state}")


def _ask_to_cancel(settings: Settings, store: Store, run: RunRow) -> None:
    """Raises: `InputError` when the run has ended, or nothing here can end it."""
    from vmkiln.staging import run_directory

    if run.state in TERMINAL_STATES:
        raise InputError(f"run {run.run_id[:8]} has ended {run.state}")
    waiting = "the run was cancelled while it waited"
    if store.runs.move(
        run.run_id, expected=[RunState.QUEUED], state=RunState.CANCELED, message=waiting, code=RunCanceled.code
    ):
        return
    if run.template_id:
        store.runs.ask_to_cancel(run.run_id)  # its host looks for that
        return
    holder = run_directory.holder_of(settings.runs, run.run_id)
    if holder is None:
        raise InputError(
            f"run {run.run_id[:8]} is built by a process that is not to be found here",
            hint="Ctrl-C in the terminal of its `vmkiln build` ends it",
        )
    try:
        os.kill(holder, signal.SIGTERM)
    except PermissionError as error:
        raise InputError(f"run {run.run_id[:8]} is another user's", hint="its user can cancel it") from error
    except ProcessLookupError:
        return  # it has ended just now


def _ended(settings: Settings, store: Store, run_id: str, *, seconds: float | None) -> RunRow:
    """The run when it has ended. Raises: `VmkilnError` when it has not within `seconds`, or its process died."""
    from vmkiln.cli.view.long_work import long_work

    with long_work(f"waiting for the end of run {run_id[:8]}") as now:
        return _ended_at_last(settings, store, run_id, seconds=seconds, now=now)


def _ended_at_last(
    settings: Settings, store: Store, run_id: str, *, seconds: float | None, now: Callable[[str], None]
) -> RunRow:
    from vmkiln.staging import run_directory

    told = ""
    until = None if seconds is None else time.monotonic() + seconds
    was_live = True
    while (run := store.runs.find(run_id)).state not in TERMINAL_STATES:
        if not run.template_id and not was_live:
            raise VmkilnError(
                f"the process that built run {run_id[:8]} has died", hint="the next command records that, and cleans up"
            )
        if told != (told := f"{run.state} {run.sub_state}".strip()):
            now(f"run {run_id[:8]} is {told}")
        was_live = run_directory.is_live(settings.runs, run_id)  # the end is recorded before the lock is free
        if until is not None and time.monotonic() > until:
            raise VmkilnError(f"run {run_id[:8]} has not ended within {seconds:g} s: {run.state} {run.sub_state}")
        time.sleep(LOOK_SECONDS)
    return run


@examples("vmkiln run wait 0123abcd --timeout 1800")
def wait(
    run_id: RunArgument = "",
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="For so many seconds at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a run has ended; exit code 1 when it failed, 4 when only a part was published."""
    from vmkiln.cli.commands.build import print_summary
    from vmkiln.preparation import opened_store
    from vmkiln.run.run_summary import summary_of

    settings = read_settings()
    with opened_store(settings, say) as store:
        ended = _ended(settings, store, newest_or(store, run_id), seconds=timeout)
        summary = summary_of(store, ended.run_id)
    if as_json:
        answer(summary)
    else:
        print_summary(summary)
    if ended.state != RunState.SUCCEEDED:
        raise told_failure(ended.state, f"the run ended {ended.state}: {ended.message}")


@examples("vmkiln run delete 0123abcd --yes")
def delete(
    run_id: NamedRunArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete what is on record of an ended run, with its staging resource group; images that it made stay."""
    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        if run.state not in TERMINAL_STATES:
            raise InputError(f"run {run.run_id[:8]} goes on", hint=f"`vmkiln run cancel {run.run_id[:8]}` ends it")
        if run.template_id:
            raise InputError(
                f"run {run.run_id[:8]} belongs to the image template {run.template_name}",
                hint=f"`vmkiln template delete {run.template_name} -g {run.resource_group}` deletes both",
            )
        if not yes:
            typer.confirm(f"delete run {run.run_id} of {run.template_name} with its logs?", abort=True, err=True)
        _delete(settings, store, run, images=store.images.list())
    told_deleted(run.run_id, as_json=as_json)


def _delete(settings: Settings, store: Store, run: RunRow, *, images: list[ImageRow]) -> None:
    """What it left goes first: a run on record leads to that. `images` are all that are on record.

    Raises: `InputError` for one whose failed VM somebody is in, or whose VHD is there.
    """
    from vmkiln.run.held import door, lease
    from vmkiln.sharing.shared_storage import shared_storage
    from vmkiln.staging import run_directory, staging_resource_group

    group = store.staging.group(run.staging_group) if run.staging_group else None
    about = run_id_of(run.resource_group, run.template_name, run.run_id)  # a service's goes with its template
    with audited(store, RUN_DELETE, about, is_first=True):
        if group is not None and group.run_id == run.run_id:
            folder = settings.staging / group.name
            for image in [image for image in images if image.path.is_relative_to(folder)]:
                raise InputError(
                    f"{image.artifact_id} lies in the staging resource group of run {run.run_id[:8]}",
                    hint=f"`vmkiln image delete {image.artifact_id}` first, or `vmkiln staging delete {group.name}`",
                )
        if lease.folder_of(settings, run.run_id).exists():
            with run_directory.locked_if_free(settings.runs, run.run_id) as is_ours:
                if not is_ours:
                    raise door.taken()
                lease.forget(settings, store, run.run_id)
        if group is not None and group.run_id == run.run_id:
            staging_resource_group.delete(settings.staging, store, group)
            if (shared := shared_storage(settings, store)) is not None:
                shared.delete_group(group.name)
        store.runs.forget(run.run_id)


@examples("vmkiln run prune --older-than 14d --keep 3")
def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="Such as 30d, 12h.")] = "30d",
    keep: Annotated[int, typer.Option("--keep", min=0, help="So many of the newest of each template stay.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs of `vmkiln build` with their logs; runs of image templates and VHDs stay, and every image."""
    from vmkiln.preparation import opened_store
    from vmkiln.staging import run_directory

    age = age_of(older_than)
    settings = read_settings()
    deleted = []
    with opened_store(settings, say) as store:
        rows = store.runs.list(limit=None)
        images = store.images.list()
        old = [
            row
            for row in to_prune(rows, keep=keep)
            if row.ended is not None
            and store.now() - row.ended > age
            and not run_directory.is_live(settings.runs, row.run_id)  # somebody is in its failed VM
            and not any(image.path.is_relative_to(settings.staging / row.staging_group) for image in images)
        ]
        if old and not yes:
            typer.confirm(f"delete {len(old)} runs with their logs?", abort=True, err=True)
        for row in old:
            _delete(settings, store, row, images=images)  # a run that has ended makes no more of them
            deleted.append(row.run_id)
    if as_json:
        answer({"deleted": deleted})
    else:
        typer.echo(f"deleted {len(deleted)} runs")


def to_prune(rows: list[RunRow], *, keep: int) -> list[RunRow]:
    """Ended runs of no image template, but for the `keep` newest of each name; `rows` are newest first. Pure."""
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        if row.template_id or row.state not in TERMINAL_STATES:
            continue
        seen[row.template_name] = seen.get(row.template_name, 0) + 1
        if seen[row.template_name] > keep:
            found.append(row)
    return found


def age_of(text: str) -> timedelta:
    """`30d`, `12h`, `5m` or `90s`; pure. Raises: `InputError`."""
    found = AGE.fullmatch(text)
    if found is None:
        raise InputError(f"`{text}` is no age", hint="such as 30d, 12h, 5m or 90s")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


@examples("vmkiln run export 0123abcd")
def export(
    run_id: NamedRunArgument,
    file: Annotated[Path | None, typer.Argument(help="The file to write; a name with the time when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's plan, events, logs and settings to one file that a report can carry, without secrets."""
    from vmkiln.cli.commands.support_bundle import support_bundle

    support_bundle(run=run_id, output=file, examine=False, as_json=as_json)
