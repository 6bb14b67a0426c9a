"""All runs, the newest first: those of image templates, and those that `vmkiln build` made of files.

Who may read a template sees its runs. A run of a file belongs to no subscription, and one outlives its template: who
may read the whole service (a role at `/`) sees them.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import local_group_id
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.protocol.run_message import run_message
from vmkiln.api.virtual_machine_images import past_runs
from vmkiln.api.virtual_machine_images.host_names import queue_body, shown_facts
from vmkiln.api.virtual_machine_images.past_runs import EVERY, EVERY_RUN, MOST_LINES, TYPE, read_run, scope_of
from vmkiln.api.virtual_machine_images.run_outputs import output_of_run
from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.errors import ArmError
from vmkiln.fleet.admission import QueuePosition
from vmkiln.run.failure.failure_report import has_failed_validation
from vmkiln.run_state import GOING_ON, RunState
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import beside_confinement

QUEUE = "/providers/Vmkiln.Builds/queue"
PAGE = 50
LOOKED_AT = 200  # rows of one question to the database
MOST_LOOKED_AT = 2000  # of one request; the link to the next page goes on behind them
MOST_WORDS = 100
LINKED = ("state", "q", "since", "held")  # what a page's link to the next one carries on
STATES = {str(state).lower(): state for state in RunState}


def template_id_of(run: RunRow) -> str:
    """The id of a run's template as clients spell it, also when that was deleted; '' for a run of a file; pure."""
    parts = run.template_id.split("/")
    if len(parts) < 5:
        return ""
    group = run.resource_group if run.resource_group.lower() == parts[4] else parts[4]
    return f"/subscriptions/{parts[2]}/resourceGroups/{group}/providers/{IMAGE_TEMPLATE}/{run.template_name}"


def summary(call: Call, run: RunRow, *, position: QueuePosition | None = None) -> dict[str, Any]:
    """A run in a list: what it is of, how it stands, and whether a service or a command made it."""
    template_id = template_id_of(run)
    below = f"{template_id}/providers/{TYPE}" if template_id else EVERY
    properties: dict[str, Any] = {
        "runState": str(run.state),
        "runSubState": run.sub_state,
        "startTime": time_text(run.started),
        "endTime": time_text(run.ended),
        "message": run_message(run, staging_group_id=""),
        "errorCode": run.error_code,
        "heldUntil": run.held_until,
        "templateName": run.template_name,
        "templateId": template_id,
        "resourceGroup": run.resource_group,
        # a run outlives its template, and only those of the service say for what they were begun
        "origin": "service" if run.template_id or "reason" in run.facts else "local",
        "reason": str(run.facts.get("reason", "")),
        "begunBy": run.facts.get("begun_by", ""),
    }
    if position is not None:
        properties["queue"] = queue_body(call, position)
    return {"id": f"{below}/{run.run_id}", "name": run.run_id, "type": TYPE, "properties": properties}


def _positions(call: Call) -> Mapping[str, QueuePosition]:
    return {position.run_id: position for position in call.service.builder.queue()}


def _before(text: str) -> tuple[datetime, str] | None:
    """Where a page ended: `TIME_RUN`. Raises: `ArmError` 400."""
    if not text:
        return None
    moment, _, run_id = text.partition("_")
    try:
        return datetime.fromisoformat(moment).astimezone(UTC), run_id[:36]
    except (ValueError, OverflowError):
        raise ArmError(400, "BadRequest", "The $skipToken is not one of ours.", target="$skipToken") from None


def _since(text: str) -> datetime | None:
    """A time of the query; None for no text. Raises: `ArmError` 400."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        hint = "such as 2026-01-31T12:00:00Z"
        raise ArmError(400, "InvalidParameter", "`since` is no time", target="since", hint=hint) from None


def _rows(call: Call, before: tuple[datetime, str] | None, states: tuple[RunState, ...]) -> Iterator[RunRow]:
    """Rows from a place on, the newest first, as few statements as are needed."""
    while True:
        rows = call.service.store.runs.older(before, states=states, limit=LOOKED_AT)
        yield from rows
        if len(rows) < LOOKED_AT:
            return
        before = (rows[-1].started, rows[-1].run_id)


def list_runs(call: Call) -> Answer:
    """GET runs that the caller may read, the newest first: {value, nextLink}.

    `state` chooses (of several, separated by commas), `q` is a part of the template's name or the beginning of a run's
    id, `since` is a time before which none of them began, and `held=true` chooses those whose failed VM is held. A page
    has 50 runs, and a request looks at 2,000 at most: a page may have fewer and a `nextLink` all the same.
    """
    asked = call.query.get("state", "")
    states = tuple(STATES[name] for name in asked.lower().split(",") if name in STATES)
    if asked and len(states) != len(asked.split(",")):
        hint = f"states are {', '.join(STATES.values())}"
        raise ArmError(400, "InvalidParameter", "`state` names a state that is none", target="state", hint=hint)
    words = call.query.get("q", "").strip().lower()[:MOST_WORDS]
    since, only_held = _since(call.query.get("since", "")), call.query.get("held", "").lower() == "true"
    positions = _positions(call)
    found: list[dict[str, Any]] = []
    last: RunRow | None = None
    is_more = False
    for count, run in enumerate(_rows(call, _before(call.query.get("$skiptoken", "")), states)):
        if len(found) == PAGE or count == MOST_LOOKED_AT:
            is_more = True
            break
        if since is not None and run.started < since:
            break
        last = run
        if only_held and not run.held_until:
            continue
        is_meant = words in run.template_name.lower() or words in run.resource_group.lower()
        if (is_meant or run.run_id.startswith(words)) and call.may(Permission.READ, scope_of(run)):
            found.append(summary(call, run, position=positions.get(run.run_id)))
    body: dict[str, Any] = {"value": found}
    if is_more and last is not None:
        moment = last.started.astimezone(UTC).isoformat().replace("+00:00", "Z")
        more = "".join(f"&{name}={quote(call.query[name], safe=',')}" for name in LINKED if call.query.get(name))
        link = f"{call.base_url}{EVERY}?api-version={call.api_version}{more}&$skipToken={moment}_{last.run_id}"
        body["nextLink"] = link
    return Answer(200, body)


def get_run(call: Call) -> Answer:
    """GET one run, with its phases, its outputs, and what was decided for it.

    `stagingResourceGroup` is the one that a command made for it, as long as that is there.
    """
    run = read_run(call)
    group_id = local_group_id(call, run)
    found = summary(call, run, position=_positions(call).get(run.run_id))
    store = call.service.store
    found["properties"] |= {
        "phases": [
            {"name": phase.name, "startTime": time_text(phase.started), "endTime": time_text(phase.ended)}
            for phase in store.runs.phases_of(run.run_id)
        ],
        "outputs": [output_of_run(call, output, group_id=group_id) for output in store.images.outputs_of(run.run_id)],
        "hasFailedValidation": has_failed_validation(run),
        "stagingResourceGroup": group_id or None,
        "facts": shown_facts(call, beside_confinement(run.facts)),
    }
    return Answer(200, found)


def get_log(call: Call) -> Answer:
    """GET whole lines of a run's log, as of a run of a template; without a place in it, its last ones.

    `isWhole` says that they begin where the log does.
    """
    has_place = not call.query.keys().isdisjoint({"position", "tail"})
    asked = call if has_place else replace(call, query={**call.query, "tail": str(MOST_LINES)})
    body = past_runs.get_log(asked).body
    return Answer(200, {**body, "isWhole": body["startPosition"] == 0})


def get_queue(call: Call) -> Answer:
    """GET the runs that wait, in order, each with what it waits for: {value, others, goingOn}.

    `others` is how many wait that the caller may not read; `goingOn` are those that have their room and have not begun,
    and the newest of those that go on, each with when it is usually over (`expectedEnd`), after the last five successes
    of its template. What that is not known of has null, as has the start (`queue.expectedStart`, rounded up to five
    minutes) of a run that waits for its room.
    """
    positions = sorted(call.service.builder.queue(), key=lambda one: one.position)
    runs = call.service.store.runs.by_id([one.run_id for one in positions], has_template=False)
    known = [(one, runs[one.run_id]) for one in positions if one.run_id in runs]
    seen = [summary(call, run, position=one) for one, run in known if call.may(Permission.READ, scope_of(run))]
    return Answer(
        200,
        {
            "value": seen,
            "others": len(known) - len(seen),
            "goingOn": _going_on(call, {one.run_id for one in positions}),
        },
    )


def _going_on(call: Call, waiting: Collection[str]) -> list[dict[str, Any]]:
    """The newest runs that go on and that the caller may read, each with when it is usually over.

    In front are those that are Queued and have their room: it is on record, and none of them is told as one that waits
    (`waiting`, which was read before).
    """
    store = call.service.store
    placed = [run.run_id for run in store.hosts.placed() if run.state == RunState.QUEUED and run.run_id not in waiting]
    found_placed = store.runs.by_id(placed, has_template=False).values()
    begin = [run for run in found_placed if run.state == RunState.QUEUED]
    begin.sort(key=lambda run: (run.started, run.run_id), reverse=True)
    rows = itertools.chain(begin, itertools.islice(_rows(call, None, GOING_ON), MOST_LOOKED_AT))
    mine = (run for run in rows if call.may(Permission.READ, scope_of(run)))
    # one that begins between the two statements is in both
    found = [summary(call, run) for run in {run.run_id: run for run in itertools.islice(mine, PAGE)}.values()]
    ends = call.service.builder.forecast().ends
    for body in found:
        body["properties"]["expectedEnd"] = time_text(ends.get(body["name"]))
    return found


ROUTES = (
    # May read: which runs, is decided run by run
    Route("GET", EVERY, "AllRuns_List", Permission.ANY, list_runs),
    Route("GET", EVERY_RUN, "AllRuns_Get", Permission.ANY, get_run),
    Route("GET", f"{EVERY_RUN}/log", "AllRuns_GetLog", Permission.ANY, get_log),
    Route("GET", QUEUE, "Queue_List", Permission.ANY, get_queue),
)
