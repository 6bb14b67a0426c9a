"""Who did what, and who may: the activity log and the roles."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from vmkiln.azure_names import subscription_scope, utc_text
from vmkiln.errors import ArmError
from vmkiln.portal.overview.acts import VALUES
from vmkiln.portal.overview.listed import DAYS, asked, part_of
from vmkiln.portal.rendering import page
from vmkiln.portal.templates.template_page import subscriptions_of
from vmkiln.portal.visit import PREFIX, Visit

ROLES = "providers/Microsoft.Authorization/roleAssignments"
DEFINITIONS = "providers/Microsoft.Authorization/roleDefinitions"
PRINCIPALS = "/v1.0/servicePrincipals"
MOST_NAMES_AT_ONCE = 100
PAGE = 100
FIRST_YEAR = 1  # there are no days before it


async def activity(visit: Visit) -> Response:
    """What was done in the last days, the newest first, 100 a page, as far as the visitor may read it."""
    query = asked(visit, "days", "caller", "group", "status", "until")
    until = _moment(query.get("until", ""))
    days = query.get("days", "7") if query.get("days", "7") in DAYS else "7"
    terms = [f"eventTimestamp ge '{_text(until - timedelta(days=int(days)))}'", f"eventTimestamp le '{_text(until)}'"]
    for name, member in (("caller", "caller"), ("group", "resourceGroupName"), ("status", "status")):
        if name in query:
            terms.append(f"{member} eq '{query[name].replace(chr(39), chr(39) * 2)}'")
    paths = [f"{subscription_scope(each)}/{VALUES}" for each in await subscriptions_of(visit)]
    lists = await asyncio.gather(*(_events(visit, path, " and ".join(terms)) for path in (*paths, f"/{VALUES}")))
    events = sorted((event for found in lists for event in found), key=lambda event: str(event["eventTimestamp"]))
    shown = events[::-1][:PAGE]
    older = ""
    if len(events) > PAGE:
        kept = {name: value for name, value in query.items() if name != "until"}
        older = f"{PREFIX}/activity?{urlencode({**kept, 'until': shown[-1]['eventTimestamp']})}"
    return await page(
        "activity.html",
        title="Activity",
        section="activity",
        events=shown,
        query={**query, "days": days},
        days=DAYS,
        older=older,
    )


async def _events(visit: Visit, path: str, wanted: str) -> list[dict[str, Any]]:
    """The first two pages of events, or none where the visitor may not look."""
    try:
        return await visit.api.every(path, most_pages=2, query={"$filter": wanted})
    except ArmError as error:
        if error.status != 403:
            raise
        return []


def _text(moment: datetime) -> str:
    return utc_text(moment.astimezone(UTC), timespec="microseconds")


def _moment(text: str) -> datetime:
    """A time of the address; now for what is none."""
    try:
        found = datetime.fromisoformat(text).astimezone(UTC)
        return found if found.year > FIRST_YEAR else datetime.now(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)


async def access(visit: Visit) -> Response:
    """Which roles were given to whom, where the visitor may read them, 100 a page."""
    subscriptions = await subscriptions_of(visit)
    scopes = [subscription_scope(each) for each in subscriptions]
    lists = await asyncio.gather(*(_readable(visit, f"{scope}/{ROLES}") for scope in scopes))
    rows = {str(row["id"]): row for found in lists for row in found}
    definitions = await _readable(visit, f"{scopes[0]}/{DEFINITIONS}") if rows else []
    names = {str(item["name"]).lower(): str(item["properties"]["roleName"]) for item in definitions}
    found = [
        {
            "principal": str(row["properties"]["principalId"]),
            "kind": row["properties"].get("principalType", ""),
            "role": names.get(str(row["properties"]["roleDefinitionId"]).rpartition("/")[2].lower(), ""),
            "scope": str(row["properties"]["scope"]),
            "created": row["properties"].get("createdOn", ""),
        }
        for row in rows.values()
    ]
    part = part_of(sorted(found, key=lambda row: (row["scope"], row["role"], row["principal"])), visit, of=lists)
    people = await _names(visit, {row["principal"] for row in part.shown})  # of nobody else
    named = [{**row, "name": people.get(row["principal"].lower(), "")} for row in part.shown]
    named.sort(key=lambda row: (row["scope"], row["role"], row["name"].lower(), row["principal"]))
    return await page("access.html", title="Access", section="access", listed=replace(part, shown=named))


async def _names(visit: Visit, ids: set[str]) -> dict[str, str]:
    """The names of principals by their object ids (lower case), as far as the visitor may know them."""
    wanted = sorted(ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), MOST_NAMES_AT_ONCE):
        terms = ", ".join(f"'{one.replace(chr(39), '')}'" for one in wanted[start : start + MOST_NAMES_AT_ONCE])
        answer = await visit.api.ask("GET", PRINCIPALS, query={"$filter": f"id in ({terms})"})
        found |= {str(one["id"]).lower(): str(one["displayName"]) for one in answer["value"]}
    return found


async def _readable(visit: Visit, path: str) -> list[dict[str, Any]]:
    try:
        return await visit.api.every(path)
    except ArmError as error:
        if error.status != 403:
            raise
        return []
