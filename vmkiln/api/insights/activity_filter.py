"""The `$filter` of the activity log: what happened when, where, and by whom; pure.

eventTimestamp ge '2026-01-01T00:00:00Z' and eventTimestamp le '2026-01-02T00:00:00Z' and resourceGroupName eq 'rg1'

Terms are joined by `and`. az writes times without quotes and, meaning UTC, without a zone.
Source: the REST reference of Microsoft.Insights, Activity Logs - List; az's module `monitor`.
"""

import re
from datetime import UTC, datetime
from typing import Any

from vmkiln.errors import ArmError
from vmkiln.store.audit_table import AuditQuery

_TERM = re.compile(r"\s*([A-Za-z]+)\s+([a-z]{2})\s+(?:'((?:[^']|'')*)'|([^\s']+(?: \d\d:\d\d)?))\s*", re.IGNORECASE)
_AND = re.compile(r"and\b", re.IGNORECASE)
TIMESTAMP = "eventtimestamp"
MEMBERS = {
    "resourcegroupname": "resource_group",
    "resourceuri": "resource_id",
    "resourceid": "resource_id",
    "resourceprovider": "provider",
    "correlationid": "correlation_id",
    "caller": "caller",
    "status": "status",
}
PASSED_OVER = {"eventchannels"}  # there is one channel
MOST_LETTERS = 4000
HINT = "such as eventTimestamp ge '2026-01-01T00:00:00Z' and resourceGroupName eq 'rg1'"


def parse_filter(text: str, *, subscription_id: str, now: datetime) -> AuditQuery:
    """What a filter asks for in a subscription; up to `now` when it names no end. Raises: `ArmError` 400."""
    times: dict[str, datetime] = {}
    asked: dict[str, Any] = {}
    for name, how, value in _terms(text):
        if name == TIMESTAMP:
            end = {"ge": "since", "gt": "since", "le": "until", "lt": "until"}.get(how)
            if end is None:
                raise _wrong(f"eventTimestamp takes ge and le, not '{how}'")
            times[end] = _time(value)
        elif name in PASSED_OVER:
            continue
        elif name not in MEMBERS:
            raise _wrong(f"'{name[:60]}' is not a member that can be asked for: {', '.join(sorted(MEMBERS))}")
        elif how != "eq":
            raise _wrong(f"{name} takes eq, not '{how}'")
        elif not value or MEMBERS[name] in asked:
            raise _wrong(f"{name} is asked for {'twice' if value else 'without a value'}")
        else:
            asked[MEMBERS[name]] = value
    if "since" not in times:
        raise _wrong("the time it begins with is missing")
    until = times.get("until", now)
    if times["since"] > until:
        raise _wrong("it ends before it begins")
    return AuditQuery(subscription_id.lower(), times["since"], until, **asked)


def _terms(text: str) -> list[tuple[str, str, str]]:
    """Name (lower case), comparison and value of each term. Raises: `ArmError` 400."""
    found: list[tuple[str, str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        term = _TERM.match(text, position) if len(text) <= MOST_LETTERS else None
        if term is None:
            raise _wrong(f"'{text[:200]}' is not understood")
        value = term[4] if term[3] is None else term[3].replace("''", "'")
        found.append((term[1].lower(), term[2].lower(), value))
        position = term.end()
        if position < len(text):
            join = _AND.match(text, position)
            if join is None or not text[join.end() :].strip():
                raise _wrong(f"'{text[:200]}' is not understood: its terms are joined by and")
            position = join.end()
    return found


def _time(text: str) -> datetime:
    """A moment; one without a zone is meant as UTC. Raises: `ArmError` 400."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that nobody escaped arrives as a blank
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(f"'{text[:60]}' is not a time such as 2026-01-01T00:00:00Z") from None


def _wrong(what: str) -> ArmError:
    return ArmError(400, "BadRequest", f"The $filter cannot be used: {what}.", target="$filter", hint=HINT)
