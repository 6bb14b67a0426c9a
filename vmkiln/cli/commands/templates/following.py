"""Doing something as a client of the API, and following a run there to its end."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION, subscription_scope
from vmkiln.cli.completing import context_names
from vmkiln.cli.contexts import contexts_file, read_contexts
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.output import answer, say
from vmkiln.errors import ArmError, InputError
from vmkiln.harmless_text import harmless, without_marks
from vmkiln.run_state import LIVE_STATES, RunState, told_failure

if TYPE_CHECKING:
    from vmkiln.cli.arm_client import ArmClient
    from vmkiln.cli.interrupts import Parting
    from vmkiln.cli.service.answers import Body

GROUPS_API_VERSION = "2024-03-01"
RUNS = "providers/Vmkiln.Builds/runs"
FOLLOW_SECONDS = 0.5
MOST_NAME_LETTERS = 90  # Azure's, of a resource group; a template's are fewer, which the service tells

ContextOption = Annotated[
    str, typer.Option(help="The context; the one in use when left out.", autocompletion=context_names)
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not follow the log; needs a service.")]
CancelOption = Annotated[
    bool, typer.Option("--cancel-on-interrupt", help="Cancel the run at Ctrl-C, and wait until it has ended.")
]


def asked(
    work: Callable[[ArmClient, str], Awaitable[Any]],
    *,
    subscription: str | None,
    context: str,
    builds: bool = False,
    parting: str = "stopped waiting; what the service was asked for goes on",
    told: Parting | None = None,
) -> Any:
    """Do something as a client of the context's service, with the id of the subscription; `builds`: run a template.

    The subscription is the caller's first when it has no name; with None there is no id.

    `parting` is told at Ctrl-C where the service is another process, for then it goes on; nothing with ''. It stands in
    `told`, where the work may change it as it goes on.
    """
    from vmkiln.cli.arm_client import opened_client
    from vmkiln.cli.interrupts import Parting, run_to_end

    chosen = read_contexts(contexts_file(os.environ)).chosen(context)
    told = told or Parting()

    async def all_of_it() -> Any:
        async with opened_client(read_settings(), chosen, builds=builds) as client:
            if not client.is_embedded:
                told.text = parting
            if subscription is None:
                return await work(client, "")
            return await work(client, subscription_scope(subscription or await first_subscription(client)))

    return run_to_end(all_of_it(), parting=told)


def one_part(text: str, what: str) -> str:
    """A name that becomes a part of a path, and stays within it; pure. Raises: `InputError`.

    `..` leads to another resource, and what stands behind `?` and `#` is no name any more.
    """
    wrong = next((letter for letter in text if letter in "/\\?#%" or letter.isspace() or not letter.isprintable()), "")
    if not text or wrong or text.strip(".") == "" or len(text) > MOST_NAME_LETTERS:
        shown = repr(text[:40])[1:-1]
        why = f", for it has {wrong!r} in it" if wrong else ""
        raise InputError(
            f"{what}: `{shown}` is no name{why}",
            hint=f"a name has letters, digits, `-`, `_` and `.`, at most {MOST_NAME_LETTERS} of them",
        )
    return text


async def first_subscription(client: ArmClient) -> str:
    from vmkiln.cli.service.answers import body_of

    found = body_of(await client.request("GET", "/subscriptions", api_version=GROUPS_API_VERSION)).listed()
    if not found:
        raise InputError("you have no role in any subscription", hint="name one with --subscription, or ask for a role")
    return str(found[0]["subscriptionId"])


async def get(client: ArmClient, path: str) -> Body:
    from vmkiln.cli.service.answers import body_of

    return body_of(await client.request("GET", path, api_version=NEWEST_API_VERSION))


async def last_run(client: ArmClient, path: str) -> Any:
    found = (await get(client, f"{path}/{RUNS}")).listed()
    if not found:
        raise InputError("the template has not been run", hint="`vmkiln template run`")
    return found[0]


async def followed(client: ArmClient, run_id: str, *, print_lines: bool) -> Any:
    """Print a run's log as it is written, until the run has ended; gives the run.

    Raises: `ServiceAway` when the service ended meanwhile, which goes on with the run when it starts again; and when it
    puts off for longer than a command has patience.
    """
    import asyncio

    from vmkiln.cli.service.answers import ServiceAway
    from vmkiln.cli.view.long_work import long_work

    position, what = 0, f"waiting for the end of run {run_id.rpartition('/')[2][:8]}"
    try:
        with nullcontext() if print_lines else long_work(what):
            while True:
                piece = await get(client, f"{run_id}/log?position={position}")
                position = piece["position"]
                for line in piece["lines"] if print_lines else ():
                    typer.echo(without_marks(harmless(line)))
                if piece["isComplete"]:
                    return await get(client, run_id)
                if not piece["lines"]:
                    await asyncio.sleep(FOLLOW_SECONDS)
    except (ServiceAway, ArmError) as error:
        if error.exit_code != ServiceAway.exit_code:
            raise
        name, group = _name_and_group(run_id)
        hint = f"once the service is back, `vmkiln template logs {name} -g {group} --follow` tells how the run went on"
        raise ServiceAway(f"stopped following the run: {error.message}", hint=hint) from error


def _name_and_group(resource_id: str) -> tuple[str, str]:
    """Those of a template, or of a run of one; pure."""
    parts = resource_id.split("/")
    return parts[8], parts[4]


async def cancelled(client: ArmClient, path: str) -> Any:
    """Cancel the template's run; gives it when it has ended."""
    from vmkiln.cli.view.long_work import long_work

    await client.request("POST", f"{path}/cancel", api_version=NEWEST_API_VERSION)
    with long_work("waiting until the run has ended"):
        return await ended(client, path)


async def ended(client: ArmClient, path: str) -> Any:
    """The template's last run, when it has ended."""
    import asyncio

    found = await last_run(client, path)
    while found["properties"]["runState"] in LIVE_STATES:
        await asyncio.sleep(FOLLOW_SECONDS)
        found = await last_run(client, path)
    return found


def _undecided() -> Parting:
    from vmkiln.cli.interrupts import Parting

    return Parting()


@dataclass(frozen=True)
class Following:
    """How a run that a command begins is followed: not at all, to its end, or cancelled at Ctrl-C.

    `options` are those with which another command finds the template; `told` is what Ctrl-C is answered with.
    """

    no_wait: bool
    cancel_on_interrupt: bool
    as_json: bool
    options: str = ""
    told: Parting = field(default_factory=_undecided)

    def check(self, client: ArmClient) -> None:
        """Raises: `InputError` when nobody would carry out a run, or it would end with this command."""
        if self.no_wait and client.is_embedded:
            raise InputError("--no-wait needs a service", hint="`vmkiln serve`, or `vmkiln login URL`")
        if not client.has_host():
            raise InputError(
                "no service or worker is at work in this database, so nobody would run the template",
                hint="start `vmkiln serve` or `vmkiln worker`; `vmkiln build FILE` builds once without either",
            )

    def asked(self, work: Callable[[ArmClient, str], Awaitable[Any]], *, subscription: str | None, context: str) -> Any:
        """Do the work that begins a run. Until it calls `end` nobody knows whether there is one, and Ctrl-C says so."""
        parting = f"interrupted; `vmkiln template list{self.options}` shows whether a run began"
        return asked(work, subscription=subscription, context=context, builds=True, parting=parting, told=self.told)

    async def end(self, client: ArmClient, path: str, started: Any = None) -> Any:
        """The run that the service has begun, as it ended, or as it began when nobody waits.

        `path` is the template's; without `started` its last run is the one. From here on Ctrl-C has a run to cancel.
        """
        import asyncio

        if not client.is_embedded:
            self.told.text = self._parting(path)
        try:
            started = await last_run(client, path) if started is None else started
            return started if self.no_wait else await followed(client, started["id"], print_lines=not self.as_json)
        except asyncio.CancelledError:
            if not self.cancel_on_interrupt or client.is_embedded:
                raise
            return await cancelled(client, path)

    def _parting(self, path: str) -> str:
        if self.cancel_on_interrupt:
            return "cancelling the run; wait until it has ended"
        name, group = _name_and_group(path)
        cancelling = f"vmkiln template cancel {name} -g {group}{self.options}"
        return f"stopped following; the run goes on; `{cancelling}` cancels it"

    def tell(self, found: Any) -> None:
        """Tell of the run. Raises: `VmkilnError` when it failed, or published only a part."""
        if self.as_json:
            answer(found)
        else:
            say(f"run {found['name'][:8]}: {found['properties']['runState']}")
        if not self.no_wait and found["properties"]["runState"] != RunState.SUCCEEDED:
            properties = found["properties"]
            state = properties["runState"]
            raise told_failure(state, properties["message"] or f"the run ended {state}")
