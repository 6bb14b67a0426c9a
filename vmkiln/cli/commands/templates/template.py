"""`vmkiln template`: image templates of the service in use, or of this machine: create, run, follow, cancel, delete.

Each command is requests to the API. Without a service, the same application answers in this process, and a run lasts as
long as the command.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION, ProvisioningState, subscription_scope
from vmkiln.cli.completing import context_names, template_names
from vmkiln.cli.contexts import contexts_file, read_contexts
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, show_rows
from vmkiln.cli.template_options import (
    AlwaysJsonOption,
    JsonOption,
    LocationOption,
    ParametersOption,
    ReferenceOption,
    TemplateArgument,
    TemplateNameOption,
    read_template,
)
from vmkiln.errors import ArmError, InputError, VmkilnError
from vmkiln.harmless_text import harmless
from vmkiln.run_state import LIVE_STATES, RunState, told_failure

if TYPE_CHECKING:
    from vmkiln.cli.arm_client import ArmClient

GROUPS_API_VERSION = "2024-03-01"
TYPE = "providers/Microsoft.VirtualMachineImages/imageTemplates"
OLDEST_API_VERSION = "2020-02-14"
ENVELOPE = {"location", "tags", "identity", "properties"}
RUNS = "providers/Vmkiln.Builds/runs"
FOLLOW_SECONDS = 0.5

app = typer.Typer(no_args_is_help=True, help="Image templates of the service in use, or of this machine.")
NameArgument = Annotated[str, typer.Argument(help="The template's name.", autocompletion=template_names)]
GroupOption = Annotated[str, typer.Option("--resource-group", "-g", help="Its resource group.")]
SubscriptionOption = Annotated[
    str,
    typer.Option("--subscription", envvar="AZURE_SUBSCRIPTION_ID", help="Its subscription; your first when left out."),
]
ContextOption = Annotated[
    str, typer.Option(help="The context; the one in use when left out.", autocompletion=context_names)
]


def _do(
    work: Callable[[ArmClient, str], Awaitable[Any]],
    *,
    subscription: str,
    context: str,
    builds: bool = False,
    parting: str = "stopped waiting; what the service was asked for goes on",
) -> Any:
    """Do something as a client of the context's service, with the id of the subscription; `builds`: run a template.

    `parting` is told at Ctrl-C where the service is another process, for then it goes on; nothing with ''.
    """
    from vmkiln.cli.arm_client import opened_client
    from vmkiln.cli.interrupts import Parting, run_to_end

    chosen = read_contexts(contexts_file(os.environ)).chosen(context)
    told = Parting()

    async def all_of_it() -> Any:
        async with opened_client(read_settings(), chosen, builds=builds) as client:
            if not client.is_embedded:
                told.text = parting
            return await work(client, subscription_scope(subscription or await _first_subscription(client)))

    return run_to_end(all_of_it(), parting=told)


async def _first_subscription(client: ArmClient) -> str:
    found = (await client.request("GET", "/subscriptions", api_version=GROUPS_API_VERSION)).json()["value"]
    if not found:
        raise InputError("you have no role in any subscription", hint="name one with --subscription, or ask for a role")
    return str(found[0]["subscriptionId"])


def _id(scope: str, group: str, name: str) -> str:
    return f"{scope}/resourceGroups/{group}/{TYPE}/{name}"


async def _get(client: ArmClient, path: str) -> Any:
    return (await client.request("GET", path, api_version=NEWEST_API_VERSION)).json()


@app.command()
@examples(
    "vmkiln template create web template.json -g images",
    "vmkiln template create web main.bicep -g images -p main.bicepparam",
)
def create(
    name: NameArgument,
    template: TemplateArgument,
    group: GroupOption,
    parameters: ParametersOption = None,
    location: LocationOption = "",
    template_name: TemplateNameOption = "",
    reference: ReferenceOption = None,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    _as_json: AlwaysJsonOption = False,
) -> None:
    """Create a template, and its resource group when it is not there; waits until it is provisioned."""

    async def work(client: ArmClient, scope: str) -> Any:
        subscription_id = scope.rpartition("/")[2]
        read = read_template(
            template,
            parameters,
            resource_group=group,
            subscription=subscription_id,
            location=location,
            template_name=template_name,
            references=reference,
        )
        await _ensure_group(client, f"{scope}/resourceGroups/{group}", read.image_template.location)
        path = _id(scope, group, name)
        body = {key: value for key, value in read.resolved.items() if key in ENVELOPE}
        version = read.api_version if read.api_version >= OLDEST_API_VERSION else NEWEST_API_VERSION
        await client.finished(await client.request("PUT", path, api_version=version, body=body))
        return await _get(client, path)

    answer(_do(work, subscription=subscription, context=context), indent=2)


async def _ensure_group(client: ArmClient, group_id: str, location: str) -> None:
    try:
        await client.request("GET", group_id, api_version=GROUPS_API_VERSION)
    except ArmError as error:
        if error.status != 404:
            raise
        await client.request("PUT", group_id, api_version=GROUPS_API_VERSION, body={"location": location})
        say(f"made the resource group {group_id.rpartition('/')[2]}")


@app.command("list")
@examples("vmkiln template list", "vmkiln template list -g images")
def list_(
    group: Annotated[str, typer.Option("--resource-group", "-g", help="Only those of this resource group.")] = "",
    subscription: SubscriptionOption = "",
    as_json: JsonOption = False,
    context: ContextOption = "",
) -> None:
    """List the templates of a subscription, each with its last run."""

    async def work(client: ArmClient, scope: str) -> Any:
        found, path = [], f"{scope}/resourceGroups/{group}/{TYPE}" if group else f"{scope}/{TYPE}"
        while path:
            page = await _get(client, path)
            found += page["value"]
            path = page.get("nextLink") or ""
        return found

    found = _do(work, subscription=subscription, context=context)
    if as_json:
        answer(found)
        return
    show_rows(
        ("GROUP", "NAME", "PROVISIONING", "LAST RUN"),
        [
            (item["id"].split("/")[4], item["name"], item["properties"]["provisioningState"], _last_state(item))
            for item in found
        ],
        none="there is no image template yet; `vmkiln template create NAME FILE -g GROUP` makes one",
    )


def _last_state(item: Any) -> str:
    last = item["properties"].get("lastRunStatus") or {}
    return " ".join(str(last[key]) for key in ("runState", "runSubState") if last.get(key)) or "never run"


@app.command()
@examples("vmkiln template show web -g images")
def show(
    name: NameArgument,
    group: GroupOption,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    _as_json: AlwaysJsonOption = False,
) -> None:
    """Show a template as JSON."""

    async def work(client: ArmClient, scope: str) -> Any:
        return await _get(client, _id(scope, group, name))

    answer(_do(work, subscription=subscription, context=context), indent=2)


@app.command()
@examples("vmkiln template run web -g images", "vmkiln template run web -g images --no-wait")
def run(
    name: NameArgument,
    group: GroupOption,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the log; needs a service.")] = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Cancel the run at Ctrl-C, and wait until it has ended.")
    ] = False,
    as_json: JsonOption = False,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
) -> None:
    """Run a template and follow its log to the end; exit code 1 when the run failed, 4 when only a part was published.

    Ctrl-C ends the following, and the run goes on at the service; without a service it is cancelled.
    """
    import asyncio

    async def work(client: ArmClient, scope: str) -> Any:
        if no_wait and client.is_embedded:
            raise InputError("--no-wait needs a service", hint="`vmkiln serve`, or `vmkiln login URL`")
        if not client.has_host():
            raise InputError(
                "no service or worker is at work in this database, so nobody would run the template",
                hint="start `vmkiln serve` or `vmkiln worker`; `vmkiln build FILE` builds once without either",
            )
        path = _id(scope, group, name)
        await client.request("POST", f"{path}/run", api_version=NEWEST_API_VERSION)
        started = await _last_run(client, path)
        if no_wait:
            return started
        try:
            return await _followed(client, started["id"], print_lines=not as_json)
        except asyncio.CancelledError:
            if not cancel_on_interrupt or client.is_embedded:
                raise
            return await _cancelled(client, path)

    cancelling = f"vmkiln template cancel {name} -g {group}"
    cancelling += f" --context {context}" if context else ""
    cancelling += f" --subscription {subscription}" if subscription else ""
    goes_on = f"stopped following; the run goes on; `{cancelling}` cancels it"
    parting = "cancelling the run; wait until it has ended" if cancel_on_interrupt else goes_on
    found = _do(work, subscription=subscription, context=context, builds=True, parting=parting)
    if as_json:
        answer(found)
    else:
        say(f"run {found['name'][:8]}: {found['properties']['runState']}")
    if not no_wait and found["properties"]["runState"] != RunState.SUCCEEDED:
        properties = found["properties"]
        state = properties["runState"]
        raise told_failure(state, properties["message"] or f"the run ended {state}")


async def _last_run(client: ArmClient, path: str) -> Any:
    found = (await _get(client, f"{path}/{RUNS}"))["value"]
    if not found:
        raise InputError("the template has not been run", hint="`vmkiln template run`")
    return found[0]


async def _followed(client: ArmClient, run_id: str, *, print_lines: bool) -> Any:
    """Print a run's log as it is written, until the run has ended; gives the run.

    Raises: `ServiceAway` when the service ended meanwhile, which goes on with the run when it starts again.
    """
    import asyncio

    from vmkiln.cli.arm_client import ServiceAway

    position = 0
    try:
        while True:
            piece = await _get(client, f"{run_id}/log?position={position}")
            position = piece["position"]
            for line in piece["lines"] if print_lines else ():
                typer.echo(harmless(line))
            if piece["isComplete"]:
                return await _get(client, run_id)
            if not piece["lines"]:
                await asyncio.sleep(FOLLOW_SECONDS)
    except ServiceAway as error:
        group, name = run_id.split("/")[4], run_id.split("/")[8]
        hint = f"once the service is back, `vmkiln template logs {name} -g {group} --follow` tells how the run went on"
        raise ServiceAway(f"stopped following the run: {error.message}", hint=hint) from error


@app.command()
@examples("vmkiln template logs web -g images --follow")
def logs(
    name: NameArgument,
    group: GroupOption,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
) -> None:
    """Print the log of a template's last run."""

    async def work(client: ArmClient, scope: str) -> None:
        last = await _last_run(client, _id(scope, group, name))
        if follow:
            await _followed(client, last["id"], print_lines=True)
            return
        position = 0
        while (piece := await _get(client, f"{last['id']}/log?position={position}"))["lines"]:
            position = piece["position"]
            for line in piece["lines"]:
                typer.echo(harmless(line))

    _do(work, subscription=subscription, context=context, parting="")


@app.command()
@examples("vmkiln template cancel web -g images")
def cancel(
    name: NameArgument,
    group: GroupOption,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    as_json: JsonOption = False,
) -> None:
    """Cancel a template's run and wait until it has ended."""

    async def work(client: ArmClient, scope: str) -> Any:
        return await _cancelled(client, _id(scope, group, name))

    found = _do(work, subscription=subscription, context=context)
    if as_json:
        answer(found)
    else:
        say(f"the run ended {found['properties']['runState']}")


async def _cancelled(client: ArmClient, path: str) -> Any:
    """Cancel the template's run; gives it when it has ended."""
    await client.request("POST", f"{path}/cancel", api_version=NEWEST_API_VERSION)
    return await _ended(client, path)


async def _ended(client: ArmClient, path: str) -> Any:
    """The template's last run, when it has ended."""
    import asyncio

    found = await _last_run(client, path)
    while found["properties"]["runState"] in LIVE_STATES:
        await asyncio.sleep(FOLLOW_SECONDS)
        found = await _last_run(client, path)
    return found


@app.command()
@examples("vmkiln template delete web -g images")
def delete(
    name: NameArgument,
    group: GroupOption,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete a template with its staging resource group and its logs; images that it made stay."""
    import asyncio

    async def work(client: ArmClient, scope: str) -> None:
        path = _id(scope, group, name)
        await _get(client, path)  # what is not there cannot be deleted: the service would answer 204
        await client.request("DELETE", path, api_version=NEWEST_API_VERSION)
        state: str = ProvisioningState.DELETING
        while state == ProvisioningState.DELETING:
            await asyncio.sleep(FOLLOW_SECONDS)
            state = await _provisioning_state(client, path)
        if state:
            raise VmkilnError(f"the template is still there, in provisioning state {state}")

    _do(work, subscription=subscription, context=context)
    if as_json:
        answer({"deleted": name})
    else:
        say(f"deleted {name}")


async def _provisioning_state(client: ArmClient, path: str) -> str:
    """'' when the template is not there."""
    try:
        return str((await _get(client, path))["properties"]["provisioningState"])
    except ArmError as error:
        if error.status == 404:
            return ""
        raise
