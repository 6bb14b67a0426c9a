"""A run of a service, found by the beginning of its id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vmkiln.cli.commands.templates.following import GROUPS_API_VERSION, RUNS
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.cli.arm_client import ArmClient

LEAST_LETTERS, MOST_LETTERS = 4, 36  # of what a run is named by
MOST_PAGES = 20


async def found_run(client: ArmClient, run_id: str) -> Any:
    """The run of the service whose id begins so. Raises: `InputError` when there is none, or more than one."""
    if not LEAST_LETTERS <= len(run_id) <= MOST_LETTERS:
        raise InputError(
            f"`{run_id[:MOST_LETTERS]}` names no run: at least {LEAST_LETTERS} letters of its id are needed",
            hint="`vmkiln run list` shows them",
        )
    from vmkiln.cli.service.answers import body_of

    found: list[Any] = []
    path = f"/{RUNS}?q={quote(run_id, safe='')}"
    for _ in range(MOST_PAGES):  # what is asked for is also looked for in names
        page = body_of(await client.request("GET", path, api_version=GROUPS_API_VERSION))
        found += [run for run in page.listed() if run["name"].startswith(run_id)]
        path = page.get("nextLink") or ""
        if not path or len(found) > 1:
            break
    if len(found) != 1:
        problem = "more than one run has" if found else "no run has"
        raise InputError(f"{problem} an id that begins with `{run_id}`", hint="`vmkiln run list` shows them")
    return found[0]
