"""`vmkiln run list`, `show`, `flows` and `receipts`; the rest of `vmkiln run` is beside this."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.azure_names import FLOW_LOG
from vmkiln.cli.commands.runs.run_choice import (
    MOST_LISTED_RUNS,
    OfTemplateOption,
    StateOption,
    none_listed,
    read_states,
)
from vmkiln.cli.completing import RunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, newest_or, say, show_rows
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless
from vmkiln.run_state import RunState

BUILD_VMS = ("build-vm", "validation-vm")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmkiln.cli.run_list import ListedRun
    from vmkiln.fleet.admission import QueuePosition
    from vmkiln.host.network.flow_log import FlowEntry
    from vmkiln.receipts.receipt import Receipt
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import RunRow


@examples("vmkiln run list --limit 5", "vmkiln run list --state failed --template web", "vmkiln run list --json")
def list_(
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=MOST_LISTED_RUNS)] = 20,
    state: StateOption = None,
    template: OfTemplateOption = "",
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first."""
    states = read_states(state)
    settings = read_settings()
    if not as_json and (quick := _quick_list(settings, limit, states, template)) is not None:
        from vmkiln.cli.run_list import read_names

        ran = [] if quick else [name for name, _ in read_names(settings.database, "ran", limit=MOST_LISTED_RUNS)]
        _show_runs(quick, {}, none=none_listed(states, template, ran))
        return
    from vmkiln.preparation import opened_store
    from vmkiln.run.run_summary import summary_of

    with opened_store(settings, say) as store:
        rows = store.runs.list(limit=limit, states=states, template=template)
        waits = any(row.state == RunState.QUEUED for row in rows)
        queue = {position.run_id: position for position in _queue(store)} if waits else {}
        if as_json:
            found = [summary_of(store, row.run_id) for row in rows]
            for summary in found:
                if position := queue.get(summary["run_id"]):
                    summary["queue"] = {"position": position.position, "reason": position.reason}
            answer(found)
            return
        named = () if rows else store.runs.template_names()
        _show_runs(rows, queue, none=none_listed(states, template, named))


def _quick_list(
    settings: Settings, limit: int, states: Sequence[RunState], template: str
) -> tuple[ListedRun, ...] | None:
    """The newest runs, when there is nothing to do but to read them: none waits, and none whose process died.

    None else: then the whole store is opened, which tells places in the queue and cleans up.
    """
    from vmkiln.cli.run_list import read_run_list
    from vmkiln.staging import run_directory

    found = (
        None
        if settings.database_url
        else read_run_list(settings.database, limit=limit, states=states, template=template)
    )
    if found is None or run_directory.abandoned(settings.runs):
        return None
    for run_id, state in found.unended.items():
        if state == RunState.QUEUED or not run_directory.is_live(settings.runs, run_id):
            return None
    return found.newest


def _show_runs(runs: Sequence[RunRow | ListedRun], queue: Mapping[str, QueuePosition], *, none: str) -> None:
    show_rows(
        ("RUN", "STARTED (UTC)", "STATE", ">TOOK", "TEMPLATE"),
        [
            (
                run.run_id[:8],
                f"{run.started:%Y-%m-%d %H:%M:%S}",
                str(run.state),
                f"{max(0.0, (run.ended - run.started).total_seconds()):.0f} s" if run.ended else run.sub_state,
                run.template_name
                + _waiting_text(queue.get(run.run_id))
                + (f"  (attempt {run.attempt})" if run.attempt > 1 else ""),
            )
            for run in runs
        ],
        none=none,
    )


def _queue(store: Store) -> list[QueuePosition]:
    from vmkiln.fleet.run_queue import queue_of

    settings = read_settings()
    return queue_of(settings, store)


def _waiting_text(position: QueuePosition | None) -> str:
    return f"  (place {position.position}: {position.reason or 'starts when the service looks'})" if position else ""


@examples("vmkiln run show", "vmkiln run show 0123abcd --json")
def show(
    run_id: RunArgument = "",
    last: Annotated[bool, typer.Option("--last", help="The newest run (the default).")] = False,
    confinement: Annotated[
        bool, typer.Option("--confinement", help="What held the process of each VM, and of the way out, fact by fact.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run: state, outputs, where its time went; or what its VMs' processes were held to."""
    from vmkiln.cli.commands.build import print_summary
    from vmkiln.cli.view.fact_lines import fact_lines
    from vmkiln.preparation import opened_store
    from vmkiln.run.run_summary import summary_of
    from vmkiln.store.run_facts import confinement_of

    with opened_store(read_settings(), say) as store:
        wanted = newest_or(store, "" if last else run_id)
        summary = summary_of(store, wanted)
        run = store.runs.find(wanted)
        held = confinement_of(run.facts) if confinement else {}
    if confinement:
        _show_confinement(held, as_json=as_json)
        return
    if as_json:
        answer(summary)
        return
    print_summary(summary)
    if run.held_until:
        typer.echo(f"  held until {run.held_until}: `vmkiln run shell {run.run_id[:8]}` enters its failed VM")
    typer.echo(f"  staging resource group: {summary['staging_group'] or 'none was made'}")
    for line in fact_lines(summary["facts"]):
        typer.echo(line)


def _show_confinement(held: dict[str, list[dict[str, object]]], *, as_json: bool) -> None:
    if as_json:
        answer(held)
        return
    if not held:
        raise InputError("nothing is known of what held this run's processes", hint="it ended before they started")
    for machine, facts in held.items():
        holding = sum(bool(fact["holds"]) for fact in facts)
        typer.echo(f"{machine}: {holding} of {len(facts)} facts hold")
        for fact in facts:
            told = str(fact["found"]) if fact["holds"] else f"{fact['found']}, not {fact['expected']}"
            typer.echo(f"  {'yes' if fact['holds'] else 'NO '}  {fact['name']}: {harmless(told)}")


@examples("vmkiln run flows", "vmkiln run flows 0123abcd --as-allow-list")
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
    from vmkiln.cli.commands.runs.run_logs import log_path
    from vmkiln.fleet.log_retention import NOTE
    from vmkiln.host.egress.learned_list import learned_list
    from vmkiln.host.network.flow_log import dropped_in, entry_of
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        run = store.runs.find(newest_or(store, run_id))
        path = log_path(store, run.run_id, file_name=FLOW_LOG)
    if not path.exists():
        raise InputError("nothing is on record of this run's connections", hint="it ended before its network was made")
    with path.open(encoding="utf-8", errors="replace") as lines:
        if lines.readline() == NOTE.decode():
            raise InputError(
                "the connections of this run are not kept any longer",
                hint="`run_logs_kept_days` and `most_run_log_mib` say how long logs are, and how many",
            )
        lines.seek(0)
        if as_allow_list:
            entries = (entry for line in lines if (entry := entry_of(line)) is not None)
            typer.echo(learned_list((entry for entry in entries if entry.vm in BUILD_VMS), unseen=unseen_flows(run)))
            return
        is_told = False
        for line in lines:
            if dropped := dropped_in(line):
                say(f"{dropped} more entries found no room")
            elif (entry := entry_of(line)) is not None:
                typer.echo(line.rstrip() if as_json else harmless(told_flow(entry)))
                is_told = True
        if not is_told:
            say("no connection of this run is on record; one is told when it is over")


def unseen_flows(run: RunRow) -> str:
    """Why the flows of a run are not all that its template's steps cause; '' when they are; pure."""
    kept = run.facts.get("checkpoint")
    if kept is None or kept["run_id"] == run.run_id:  # the attempts of a run have one log
        return ""
    return (
        f"not all: it began behind `{harmless(kept['step'])}`, as run {kept['run_id'][:8]} left it; "
        "`vmkiln build --no-cache` runs every step"
    )


@examples("vmkiln run receipts 0123abcd")
def receipts(run_id: RunArgument = "", as_json: JsonOption = False) -> None:
    """Print what was made for a run for a while: when it was made, deleted, and seen to be gone."""
    from vmkiln.preparation import opened_store
    from vmkiln.receipts.receipt import receipts_of

    with opened_store(read_settings(), say) as store:
        found = receipts_of(store, newest_or(store, run_id))
    if as_json:
        answer([asdict(receipt) for receipt in found])
        return
    for receipt in found:
        typer.echo(told_receipt(receipt))
    if not found:
        say("nothing was made for this run")


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
