"""Who did what with one resource, or with one run, as far as the activity log has it and the visitor may read it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vmkiln.audit.act import Status
from vmkiln.azure_names import subscription_scope, utc_text
from vmkiln.errors import ArmError
from vmkiln.portal.trail import is_local
from vmkiln.portal.visit import Visit
from vmkiln.portal.waterfall import moment

VALUES = "providers/Microsoft.Insights/eventtypes/management/values"
MOST_EVENTS = 20
EVENT_DAYS = 30
AROUND = timedelta(minutes=1)  # a run's times: its act is written a little before or after them
OF_ITSELF = {"autoRun": "by itself, when its template was made"}
BEGUN = {"run/action": "begun", "retry/action": "begun", "cancel/action": "cancelled"}


async def events_of(visit: Visit, resource_id: str) -> list[dict[str, Any]]:
    """What was done with a resource in the last month, the newest first; none where the visitor may not look."""
    if is_local(resource_id):  # what commands do is in no subscription's activity
        return []
    since = datetime.now(UTC) - timedelta(days=EVENT_DAYS)
    return (await _events(visit, resource_id, since, None))[:MOST_EVENTS]


async def said_of_run(visit: Visit, run: Mapping[str, Any], template_id: str) -> str:
    """A sentence of who began a run, and who cancelled it; '' where the log has it no more, or it has no template."""
    if not template_id:
        return ""
    properties = run["properties"]
    start, end = moment(properties["startTime"]), moment(properties["endTime"])
    reason = str(properties["facts"].get("reason", ""))
    if start is None:
        return ""
    earlier = properties["facts"].get("retry_of")  # a retry is an act on the run that it repeats
    acted_on = [template_id, *([f"{str(run['id']).rpartition('/')[0]}/{earlier}"] if earlier else ())]
    until = end + AROUND if end else None
    events = [
        event
        for resource_id in acted_on
        for event in await _events(visit, resource_id, start - AROUND, until)
        if event["properties"].get("runId") == run["name"]
    ]
    found = {}
    for event in events:
        what = BEGUN.get("/".join(str(event["operationName"]["value"]).split("/")[-2:]))
        if what and event["status"]["value"] != Status.FAILED and event["caller"]:
            found[what] = f"{what} by {event['caller']}{_place(event)}"
    if reason.startswith("trigger "):
        found["begun"] = f"begun by the {reason}, for its source has a new version"
    elif reason in OF_ITSELF:
        found["begun"] = f"begun {OF_ITSELF[reason]}"
    told = ", ".join(found[what] for what in ("begun", "cancelled") if what in found)
    return f"{told[0].upper()}{told[1:]}." if told else ""


def _place(event: Mapping[str, Any]) -> str:
    address = event["httpRequest"]["clientIpAddress"]
    return f" from {address}" if address else ""


async def _events(visit: Visit, resource_id: str, since: datetime, until: datetime | None) -> list[dict[str, Any]]:
    quoted = resource_id.replace("'", "''")
    terms = [f"eventTimestamp ge '{_text(since)}'", f"resourceUri eq '{quoted}'"]
    if until is not None:
        terms.insert(1, f"eventTimestamp le '{_text(until)}'")
    path = f"{subscription_scope(resource_id.split('/')[2])}/{VALUES}"
    try:
        return await visit.api.every(path, most_pages=1, query={"$filter": " and ".join(terms)})
    except ArmError as error:
        if error.status not in {400, 403}:
            raise
        return []


def _text(when: datetime) -> str:
    return utc_text(when.astimezone(UTC), timespec="seconds")
