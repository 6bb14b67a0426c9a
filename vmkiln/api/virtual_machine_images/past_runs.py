"""The runs of an image template, past and live, with their phases and logs: what Azure has no resource for.

They hang below the template as `Vmkiln.Builds/runs`, an extension resource, so whoever may read the template may read
them. A log is read in pieces, from a position in bytes on, so it can be followed. What is read of a run here is read of
a run among all runs, too, where those that `vmkiln build` made are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Handler, Route
from vmkiln.api.protocol.run_message import run_message
from vmkiln.api.virtual_machine_images.host_names import queue_body, shown_facts
from vmkiln.api.virtual_machine_images.image_templates import ONE, find, not_allowed
from vmkiln.api.virtual_machine_images.run_outputs import output_of_run
from vmkiln.api.virtual_machine_images.runs import begun
from vmkiln.azure_names import LOG_FILES
from vmkiln.errors import ArmError
from vmkiln.fleet.log_retention import NOTE
from vmkiln.host.network.flow_log import dropped_in, entry_of
from vmkiln.receipts.receipt import receipts_of
from vmkiln.run.failure.failure_report import has_failed_validation
from vmkiln.run.timeline.comparison import compared
from vmkiln.run_state import RunState
from vmkiln.staging.customization_log import LogPart, last_lines, lines_after
from vmkiln.staging.logs.log_index import clock_text, times_of
from vmkiln.staging.staging_resource_group import storage_account_of
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.rows import PhaseRow, ResourceRow, RunOutputRow, RunRow
from vmkiln.store.run_facts import beside_confinement, confinement_of

TYPE = "Vmkiln.Builds/runs"
ALL = f"{ONE}/providers/{TYPE}"
RUN = f"{ALL}/{{runId}}"
EVERY = f"/providers/{TYPE}"
EVERY_RUN = f"{EVERY}/{{runId}}"
MOST_RUNS = 100
MOST_LINES = 2000
MOST_ANSWER_BYTES = 256 * 1024
MOST_POSITION = 512 * 1024**2


def _phase_body(phase: PhaseRow) -> dict[str, Any]:
    return {"name": phase.name, "startTime": time_text(phase.started), "endTime": time_text(phase.ended)}


def run_body(call: Call, template: ResourceRow, run: RunRow) -> dict[str, Any]:
    """A run: its states, times, phases and what was decided for it."""
    return run_bodies(call, template, [run])[0]


def run_bodies(call: Call, template: ResourceRow, runs: Sequence[RunRow]) -> list[dict[str, Any]]:
    """The same of several, of which the database is asked at once."""
    ids = [run.run_id for run in runs]
    phases, outputs = call.service.store.runs.phases_of_all(ids), call.service.store.images.outputs_of_all(ids)
    return [_body(call, template, run, phases[run.run_id], outputs[run.run_id]) for run in runs]


def _body(
    call: Call, template: ResourceRow, run: RunRow, phases: Sequence[PhaseRow], outputs: Sequence[RunOutputRow]
) -> dict[str, Any]:
    group_id = str(template.properties.get("exactStagingResourceGroup") or "")
    return {
        "id": f"{template.id}/providers/{TYPE}/{run.run_id}",
        "name": run.run_id,
        "type": TYPE,
        "properties": {
            "runState": str(run.state),
            "runSubState": run.sub_state,
            "startTime": time_text(run.started),
            "endTime": time_text(run.ended),
            "message": run_message(run, staging_group_id=group_id),
            "errorCode": run.error_code,
            "hasFailedValidation": has_failed_validation(run),
            "phases": [_phase_body(phase) for phase in phases],
            "outputs": [output_of_run(call, output, group_id=group_id) for output in outputs],
            "stagingResourceGroup": group_id or None,
            "heldUntil": run.held_until or None,
            "facts": shown_facts(call, beside_confinement(run.facts)),
            **_queue_body(call, run),
        },
    }


def _queue_body(call: Call, run: RunRow) -> dict[str, Any]:
    """Where a waiting run stands, and why it waits."""
    if run.state != RunState.QUEUED:
        return {}
    position = next((one for one in call.service.builder.queue() if one.run_id == run.run_id), None)
    return {"queue": queue_body(call, position)} if position else {}


def list_runs(call: Call) -> Answer:
    """GET the newest runs of a template."""
    template = find(call)
    rows = call.service.store.runs.of_template(template.key, limit=MOST_RUNS)
    return Answer(200, {"value": run_bodies(call, template, rows)})


def run_of(call: Call) -> tuple[ResourceRow, RunRow]:
    template, wanted = find(call), call.names["runId"].lower()
    run = call.service.store.runs.by_id([wanted]).get(wanted)
    if run is None or run.template_id != template.key:
        raise ArmError(404, "ResourceNotFound", f"The run '{wanted}' of '{template.name}' was not found.")
    return template, run


def scope_of(run: RunRow) -> str:
    """What a caller must be allowed to read to see a run: its template, or the whole service; pure."""
    return run.template_id or "/"


def read_run(call: Call) -> RunRow:
    """The run that an address names, below its template or among all runs. Raises: `ArmError` 404."""
    if call.names.get("imageTemplateName"):
        return run_of(call)[1]
    wanted = call.names["runId"].lower()
    run = call.service.store.runs.by_id([wanted]).get(wanted)
    if run is None or not call.may(Permission.READ, scope_of(run)):
        raise ArmError(404, "ResourceNotFound", f"The run '{wanted}' was not found.")
    return run


def routes_of_run(below: str, name: str, handler: Handler) -> tuple[Route, Route]:
    """What is read of a run: below its template, and among all runs, where it is decided run by run; pure."""
    return (
        Route("GET", f"{RUN}/{below}", f"Runs_{name}", Permission.READ, handler),
        Route("GET", f"{EVERY_RUN}/{below}", f"AllRuns_{name}", Permission.ANY, handler),
    )


def get_run(call: Call) -> Answer:
    """GET one run."""
    return Answer(200, run_body(call, *run_of(call)))


def retry(call: Call) -> Answer:
    """POST: the template of an ended run is run again, as it is now; the answer is the new run.

    Its fact `retry_of` names the run that it repeats, as the audit does.
    """
    template, earlier = run_of(call)
    if earlier.ended is None:
        raise not_allowed(template, earlier, "run/action")
    waiting, answer = begun(call, template, retry_of=earlier.run_id)
    return replace(answer, body=run_body(call, template, waiting))


def get_confinement(call: Call) -> Answer:
    """GET what held the process of each of a run's VMs, as it was when the VM started: facts, by the VM's name."""
    run = read_run(call)
    return Answer(200, {"value": confinement_of(run.facts)})


def get_receipts(call: Call) -> Answer:
    """GET what was made for a run for a while: when it was made, deleted, and seen to be gone."""
    run = read_run(call)
    receipts = receipts_of(call.service.store, run.run_id)
    value = [
        {
            "type": receipt.type,
            "name": receipt.name,
            "group": receipt.group,
            "made": time_text(receipt.made),
            "deleted": time_text(receipt.deleted),
            "verifiedGone": time_text(receipt.verified_gone),
        }
        for receipt in receipts
    ]
    return Answer(200, {"value": value})


def get_timeline(call: Call) -> Answer:
    """GET what a run did from when to when and what that took: {value, comparedWith}.

    `usualSeconds` is the median of the last five runs of the template that succeeded, whose ids are `comparedWith`.
    CPU time and memory are those of the run's VMs and of its network's programs; null where that is not known.
    """
    run = read_run(call)
    found = compared(call.service.store, run)
    return Answer(200, {"value": [_part_body(part) for part in found["parts"]], "comparedWith": found["compared_with"]})


def _part_body(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a timeline in ARM's spelling; pure."""
    return {
        "kind": part["kind"],
        "name": part["name"],
        "attempt": part["attempt"],
        "startTime": part["started"],
        "endTime": part["ended"],
        "seconds": part["seconds"],
        "cpuSeconds": part["cpu_seconds"],
        "peakKiB": part["peak_kib"],
        "start": part["start"],
        "usualSeconds": part["usual_seconds"],
    }


def number_in(query: Mapping[str, str], name: str, *, most: int) -> int | None:
    """A number of the query; none when it is not there. Raises: `ArmError` 400."""
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 20 or int(text) > most:
        raise ArmError(400, "InvalidParameter", f"`{name}` must be a number from 0 to {most}", target=name)
    return int(text)


def get_log(call: Call) -> Answer:
    """GET whole lines of a run's log from `position` (bytes) on, or its last ones: {lines, position, isComplete, ...}.

    An answer has at most 2,000 lines and 256 KiB, but one line at least; `startPosition` is where they begin, and
    `position` where they end. `isComplete` says that the run has ended and this is the end of its log; `kind` chooses
    customization or validation; `tail` asks for so many of the last lines in place of a position. With `times=true`,
    `times` has for each line when it came and in which step, or null where that is not known.
    """
    run = read_run(call)
    kind = call.query.get("kind", "customization")
    if kind not in LOG_FILES:
        raise ArmError(400, "InvalidParameter", f"`kind` must be one of: {', '.join(LOG_FILES)}", target="kind")
    position, tail = (
        number_in(call.query, "position", most=MOST_POSITION),
        number_in(call.query, "tail", most=MOST_LINES),
    )
    if position is not None and tail is not None:
        raise ArmError(400, "InvalidParameter", "`tail` and `position` exclude each other", target="tail")
    staging, is_whole, piece = call.service.store.staging.group(run.staging_group), True, LogPart()
    if staging is not None:
        account = storage_account_of(call.service.settings.staging, staging)
        path = account.directory / LOGS / run.run_id / LOG_FILES[kind]
        if call.service.shared is not None:
            is_whole = call.service.shared.pull_log(staging.name, run.run_id)
        if tail is None:
            piece = lines_after(path, position or 0, most_lines=MOST_LINES, most_bytes=MOST_ANSWER_BYTES)
        else:
            piece = last_lines(path, most_lines=tail, most_bytes=MOST_ANSWER_BYTES)
    elif position:
        piece = LogPart(start=position, end=position)
    body = {
        "lines": [line.decode(errors="replace").removesuffix("\n") for line in piece.lines],
        "startPosition": piece.start,
        "position": piece.end,
        "isComplete": run.ended is not None and is_whole and piece.is_last,
    }
    if call.query.get("times") == "true":
        times = [] if staging is None else times_of(path, piece.start, piece.lines)
        body["times"] = [None if one is None else {"time": clock_text(one.time), "step": one.step} for one in times]
    return Answer(200, body)


def _is_there(call: Call, kind: str) -> bool:
    """Whether a run has a log of a kind, empty or not."""
    run = read_run(call)
    staging = call.service.store.staging.group(run.staging_group)
    if staging is None:
        return False
    account = storage_account_of(call.service.settings.staging, staging)
    return (account.directory / LOGS / run.run_id / LOG_FILES[kind]).exists()


def get_flows(call: Call) -> Answer:
    """GET what of a run's flow log begins at `position` (bytes): {value, position, isComplete}.

    Each entry is a connection or a question for a name; an answer has at most 2,000 of them. `dropped` counts
    those that found no room. 410 for a log that is not kept any longer, and 404 for an ended run that has none.
    """
    log = get_log(replace(call, query={**call.query, "kind": "flows"})).body
    _check_there(call, log)
    found = [entry for line in log["lines"] if (entry := entry_of(line)) is not None]
    dropped = sum(dropped_in(line) for line in log["lines"])
    body = {"value": [asdict(entry) for entry in found], "dropped": dropped}
    return Answer(200, {**body, "position": log["position"], "isComplete": log["isComplete"]})


def _check_there(call: Call, log: Mapping[str, Any]) -> None:
    """Raises: `ArmError` 410 for a flow log that was deleted, 404 where an ended run has none."""
    if log["lines"][:1] == [NOTE.decode().rstrip()]:
        message = "The connections of this run are not kept any longer."
        hint = "`run_logs_kept_days` and `most_run_log_mib` say how long logs are, and how many"
        raise ArmError(410, "FlowLogNotKept", message, hint=hint)
    if log["isComplete"] and log["position"] == 0 and not _is_there(call, "flows"):
        message = "Nothing is on record of this run's connections: it ended before its network was made."
        raise ArmError(404, "FlowLogNotFound", message)


ROUTES = (
    Route("GET", ALL, "Runs_List", Permission.READ, list_runs),
    Route("GET", RUN, "Runs_Get", Permission.READ, get_run),
    Route("POST", f"{RUN}/retry", "Runs_Retry", Permission.ACTION, retry, Body.OPTIONAL_JSON),
    Route("GET", f"{RUN}/log", "Runs_GetLog", Permission.READ, get_log),
    *routes_of_run("flows", "GetFlows", get_flows),
    *routes_of_run("timeline", "GetTimeline", get_timeline),
    *routes_of_run("confinement", "GetConfinement", get_confinement),
    *routes_of_run("receipts", "GetReceipts", get_receipts),
)
