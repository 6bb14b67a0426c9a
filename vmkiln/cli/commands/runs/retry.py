"""`vmkiln run retry`: the image template of a run, run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.cli.commands.templates.following import (
    GROUPS_API_VERSION,
    RUNS,
    CancelOption,
    ContextOption,
    Following,
    NoWaitOption,
    asked,
)
from vmkiln.cli.completing import NamedRunArgument
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.cli.arm_client import ArmClient

LEAST_LETTERS, MOST_LETTERS = 4, 36  # of what a run is named by
MOST_PAGES = 20


@examples("vmkiln run retry 0123abcd", "vmkiln run retry 0123abcd --no-wait")
def retry(
    run_id: NamedRunArgument,
    no_wait: NoWaitOption = False,
    cancel_on_interrupt: CancelOption = False,
    as_json: JsonOption = False,
    context: ContextOption = "",
) -> None:
    """Run the image template of an ended run again, as it is now, and follow the log; exit codes as `template run`.

    A run of `vmkiln build` is built again by `vmkiln build` with its template file, and this says so.
    """
    following = Following(no_wait=no_wait, cancel_on_interrupt=cancel_on_interrupt, as_json=as_json)

    async def work(client: ArmClient, _: str) -> Any:
        following.check(client)
        earlier = await _found(client, run_id.lower())
        answer = await client.request("POST", f"{_of_template(earlier)}/retry", api_version=NEWEST_API_VERSION)
        return await following.end(client, answer.json())

    chosen = f" --context {context}" if context else ""
    parting = following.parting(f"vmkiln template cancel{chosen}")
    following.tell(asked(work, subscription=None, context=context, builds=True, parting=parting))


async def _found(client: ArmClient, run_id: str) -> Any:
    """The run of the service whose id begins so. Raises: `InputError` when there is none, or more than one."""
    if not LEAST_LETTERS <= len(run_id) <= MOST_LETTERS:
        raise InputError(
            f"`{run_id[:MOST_LETTERS]}` names no run: at least {LEAST_LETTERS} letters of its id are needed",
            hint="`vmkiln run list` shows them",
        )
    found: list[Any] = []
    path = f"/{RUNS}?q={quote(run_id, safe='')}"
    for _ in range(MOST_PAGES):  # what is asked for is also looked for in names
        page = (await client.request("GET", path, api_version=GROUPS_API_VERSION)).json()
        found += [run for run in page["value"] if run["name"].startswith(run_id)]
        path = page.get("nextLink") or ""
        if not path or len(found) > 1:
            break
    if len(found) != 1:
        problem = "more than one run has" if found else "no run has"
        raise InputError(f"{problem} an id that begins with `{run_id}`", hint="`vmkiln run list` shows them")
    return found[0]


def _of_template(run: Any) -> str:
    """The id of a run of an image template; pure. Raises: `InputError` for every other run."""
    properties = run["properties"]
    if not properties["templateId"]:
        raise InputError(
            f"run {run['name'][:8]} was built of a file, by `vmkiln build`",
            hint="`vmkiln build FILE` with its template file builds it again, with the secrets that are not kept here",
        )
    return str(run["id"])
