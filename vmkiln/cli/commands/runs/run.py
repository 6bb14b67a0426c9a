"""`vmkiln run list`, `show` and `logs`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.azure_names import CUSTOMIZATION_LOG, FLOW_LOG, VALIDATION_LOG
from vmkiln.cli.commands.runs.timeline import timeline
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.output import newest_or, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless
from vmkiln.run_state import TERMINAL_STATES, RunState

BUILD_VMS = ("build-vm", "validation-vm")

if TYPE_CHECKING:
    from vmkiln.cli.run_list import ListedRun
    from vmkiln.fleet.admission import QueuePosition
    from vmkiln.host.network.flow_log import FlowEntry
    from vmkiln.receipts.receipt import Receipt
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import RunRow

FOLLOW_SECONDS = 0.5
app = typer.Typer(no_args_is_help=True, help="Runs: past and live ones, their phases, their logs.")
app.command()(timeline)
RunArgument = Annotated[str, typer.Argument(help="A run's id, or the beginning of it; the newest run when left out.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1)] = 20, as_json: JsonOption = False
) -> None:
    """List runs, the newest first."""
    settings = read_settings()
    if not as_json and (quick := _quick_list(settings, limit=limit)) is not None:
        for listed in quick:
            typer.echo(_line(listed, None))
        return
    from vmkiln.preparation import opened_store
    from vmkiln.run.run_summary import summary_of

    with opened_store(settings, say) as store:
        rows = store.runs.list(limit=limit)
        waits = any(row.state == RunState.QUEUED for row in rows)
        queue = {position.run_id: position for position in _queue(store)} if waits else {}
        if as_json:
            found = [summary_of(store, row.run_id) for row in rows]
            for summary in found:
                if position := queue.get(summary["run_id"]):
                    summary["queue"] = {"position": position.position, "reason": position.reason}
            typer.echo(json.dumps(found))
            return
        for row in rows:
            typer.echo(_line(row, queue.get(row.run_id)))


def _quick_list(settings: Settings, *, limit: int) -> tuple[ListedRun, ...] | None:
    """The newest runs, when there is nothing to do but to read them: none waits, and none whose process died.

    None else: then the whole store is opened, which tells places in the queue and cleans up.
    """
    from vmkiln.cli.run_list import read_run_list
    from vmkiln.staging import run_directory

    found = None if settings.database_url else read_run_list(settings.database, limit=limit)
    if found is None or run_directory.abandoned(settings.runs):
        return None
    for run_id, state in found.unended.items():
        if state == RunState.QUEUED or not run_directory.is_live(settings.runs, run_id):
            return None
    return found.newest


def _line(run: RunRow | ListedRun, position: QueuePosition | None) -> str:
    seconds = f"{(run.ended - run.started).total_seconds():.0f} s" if run.ended else run.sub_state
    return (
        f"{run.run_id[:8]}  {run.started:%Y-%m-%d %H:%M:%S}  {run.state:<18} {seconds:>12}  {run.template_name}"
        + _waiting_text(position)
        + (f"  (attempt {run.attempt})" if run.attempt > 1 else "")
    )


def _queue(store: Store) -> list[QueuePosition]:
    from vmkiln.fleet.run_queue import queue_of

    settings = read_settings()
    return queue_of(settings, store)


def _waiting_text(position: QueuePosition | None) -> str:
    return f"  (place {position.position}: {position.reason or 'starts when the service looks'})" if position else ""


@app.command()
def show(
    run_id: RunArgument = "",
    last: Annotated[bool, typer.Option("--last", help="The newest run (the default).")] = False,
    confinement: Annotated[
        bool, typer.Option("--confinement", help="What held the process of each VM, fact by fact.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run: state, outputs, where its time went; or what its VMs' processes were held to."""
    from vmkiln.cli.commands.build import print_summary
    from vmkiln.preparation import opened_store
    from vmkiln.run.run_summary import summary_of
    from vmkiln.store.run_facts import confinement_of

    with opened_store(read_settings(), say) as store:
        wanted = newest_or(store, "" if last else run_id)
        summary = summary_of(store, wanted)
        held = confinement_of(store.runs.find(wanted).facts) if confinement else {}
    if confinement:
        _show_confinement(held, as_json=as_json)
        return
    if as_json:
        typer.echo(json.dumps(summary))
        return
    print_summary(summary)
    typer.echo(f"  staging resource group: {summary['staging_group'] or 'none was made'}")
    for name, value in summary["facts"].items():
        typer.echo(f"  {name}: {value}")


def _show_confinement(held: dict[str, list[dict[str, object]]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(held))
        return
    if not held:
        raise InputError("nothing is known of what held this run's VMs", hint="it ended before they started")
    for machine, facts in held.items():
        holding = sum(bool(fact["holds"]) for fact in facts)
        typer.echo(f"{machine}: {holding} of {len(facts)} facts hold")
        for fact in facts:
            told = str(fact["found"]) if fact["holds"] else f"{fact['found']}, not {fact['expected']}"
            typer.echo(f"  {'yes' if fact['holds'] else 'NO '}  {fact['name']}: {harmless(told)}")


@app.command()
def logs(
    run_id: RunArgument = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    validation: Annotated[bool, typer.Option("--validation", help="validation.log instead.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The stored bytes, control sequences and all.")] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Each line's time (UTC) and step before it.")
    ] = False,
) -> None:
    """Print a run's customization log; with -f, follow it live."""
    from vmkiln.files.file_watch import watched
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        path = _log_path(store, newest_or(store, run_id), file_name=VALIDATION_LOG if validation else CUSTOMIZATION_LOG)
        position = 0
        with watched(path) as wait_for_more:
            while True:
                is_over = store.runs.find(path.parent.name).state in TERMINAL_STATES
                position = _print_from(path, position, raw=raw, timestamps=timestamps)
                if is_over or not follow:
                    break
                wait_for_more(FOLLOW_SECONDS)  # that the run is over is no line
    if not path.exists():
        raise InputError(f"this run has no {path.name}", hint="it ended before Packer started")


@app.command()
def flows(
    run_id: RunArgument = "",
    as_allow_list: Annotated[
        bool, typer.Option("--as-allow-list", help="As a list of names that `--egress` takes: learn, then lock.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a run's VMs connected to and asked for: with the step, name, bytes and verdict of each.

    Connections are told when they are over, or the run's network ends.
    """
    from vmkiln.host.egress.learned_list import learned_list
    from vmkiln.host.network.flow_log import dropped_in, entry_of
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        path = _log_path(store, newest_or(store, run_id), file_name=FLOW_LOG)
    if not path.exists():
        raise InputError("nothing is on record of this run's connections", hint="it ended before its network was made")
    with path.open(encoding="utf-8", errors="replace") as lines:
        if as_allow_list:
            entries = (entry for line in lines if (entry := entry_of(line)) is not None)
            typer.echo(learned_list(entry for entry in entries if entry.vm in BUILD_VMS))
            return
        for line in lines:
            if dropped := dropped_in(line):
                say(f"{dropped} more entries found no room")
            elif (entry := entry_of(line)) is not None:
                typer.echo(line.rstrip() if as_json else harmless(told_flow(entry)))


@app.command()
def receipts(run_id: RunArgument = "", as_json: JsonOption = False) -> None:
    """Print what was made for a run for a while: when it was made, deleted, and seen to be gone."""
    from vmkiln.preparation import opened_store
    from vmkiln.receipts.receipt import receipts_of

    with opened_store(read_settings(), say) as store:
        found = receipts_of(store, newest_or(store, run_id))
    if as_json:
        typer.echo(json.dumps([receipt.as_data for receipt in found]))
        return
    for receipt in found:
        typer.echo(told_receipt(receipt))


def told_receipt(receipt: Receipt) -> str:
    """A receipt as a line for people; pure."""
    made = f"made {receipt.made:%Y-%m-%d %H:%M:%S}"
    deleted = f"deleted {receipt.deleted:%H:%M:%S}" if receipt.deleted else "kept"
    seen = f"seen to be gone {receipt.verified_gone:%H:%M:%S}" if receipt.verified_gone else ""
    unseen = "nobody has looked whether it is gone" if receipt.deleted and not seen else ""
    return f"{made}  {deleted:<17}  {seen or unseen:<25}  {receipt.type}/{receipt.name}"


def told_flow(entry: FlowEntry) -> str:
    """An entry as a line for people; pure."""
    target = f"{entry.name or entry.address}:{entry.port}" if entry.port else entry.name or entry.address
    went = entry.detail if entry.protocol == "dns" else f"{entry.bytes_out} B out, {entry.bytes_in} B in"
    verdict = "" if entry.verdict == "allowed" else f"  {entry.verdict}"
    return f"{entry.time}  {entry.vm or '-'}  {entry.step or '-'}  {entry.protocol}  {target}  {went}{verdict}"


def _log_path(store: Store, run_id: str, *, file_name: str) -> Path:
    from vmkiln.staging import staging_resource_group
    from vmkiln.staging.storage_account import LOGS

    settings = read_settings()
    group = store.runs.find(run_id).staging_group
    if not group:
        raise InputError(f"run {run_id[:8]} has no log: it ended before its staging resource group was made")
    account = staging_resource_group.storage_account_of(
        settings.staging, staging_resource_group.find(store, group, with_deleted=True)
    )
    return account.directory / LOGS / run_id / file_name


def _print_from(path: Path, position: int, *, raw: bool, timestamps: bool) -> int:
    """Print the whole lines behind `position`; returns where they end."""
    from vmkiln.staging.customization_log import lines_from
    from vmkiln.staging.logs.log_index import clock_text, line_times

    with line_times(path, position) as time_at:
        for line, end in lines_from(path, position):
            if timestamps:
                came = time_at(position)
                sys.stdout.write("-  " if came is None else f"{clock_text(came.time)} {harmless(came.step) or '-'}  ")
            if raw:
                sys.stdout.flush()
                sys.stdout.buffer.write(line)
            else:
                sys.stdout.write(harmless(line.removesuffix(b"\n").decode(errors="surrogateescape")) + "\n")
            position = end
    sys.stdout.flush()
    return position
