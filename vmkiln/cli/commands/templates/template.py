"""`vmkiln template`: image templates of the service in use, or of this machine: create, run, follow, cancel, delete.

Each command is requests to the API. Without a service, the same application answers in this process, and a run lasts as
long as the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION, ProvisioningState
from vmkiln.cli.commands.templates.following import (
    FOLLOW_SECONDS,
    GROUPS_API_VERSION,
    CancelOption,
    ContextOption,
    Following,
    NoWaitOption,
    asked,
    cancelled,
    followed,
    get,
    last_run,
    one_part,
)
from vmkiln.cli.completing import template_names
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, show_rows
from vmkiln.cli.template_options import (
    AlwaysJsonOption,
    JsonOption,
    LocationOption,
    ParametersOption,
    ReferenceOption,
    TemplateFileArgument,
    TemplateNameOption,
    read_template,
)
from vmkiln.errors import ArmError, InputError, VmkilnError
from vmkiln.harmless_text import harmless

if TYPE_CHECKING:
    from vmkiln.cli.arm_client import ArmClient

TYPE = "providers/Microsoft.VirtualMachineImages/imageTemplates"
MOST_PAGES = 1_000  # of a list
OLDEST_API_VERSION = "2020-02-14"
ENVELOPE = {"location", "tags", "identity", "properties"}

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The template's name, or give it with --name.", autocompletion=template_names),
]
NameOption = Annotated[
    str, typer.Option("--name", "-n", help="The template's name, as az takes it.", autocompletion=template_names)
]


def _one_part(option: typer.CallbackParam, text: str) -> str:
    """The value of an option that becomes a part of a path. Raises: `InputError`; pure."""
    return one_part(text, option.opts[0]) if text or option.required else text


GroupOption = Annotated[str, typer.Option("--resource-group", "-g", help="Its resource group.", callback=_one_part)]
SubscriptionOption = Annotated[
    str,
    typer.Option(
        "--subscription",
        envvar="AZURE_SUBSCRIPTION_ID",
        help="Its subscription; your first when left out.",
        callback=_one_part,
    ),
]


def named(name: str, option: str) -> str:
    """The template's name, given as a word or with `--name`; pure. Raises: `InputError` for none, two, or no name."""
    if name and option and name != option:
        raise InputError(f"two templates are named: `{name}` and `{option}`", hint="name one, as a word or with --name")
    if not name and not option:
        raise InputError("no template is named", hint="such as `vmkiln template show NAME -g GROUP`, or `-n NAME`")
    return one_part(name or option, "the template's name")


def _id(scope: str, group: str, name: str) -> str:
    return f"{scope}/resourceGroups/{group}/{TYPE}/{name}"


@examples(
    "vmkiln template create web template.json -g images",
    "vmkiln template create -n web main.bicep -g images -p main.bicepparam",
)
def create(
    group: GroupOption,
    name: NameArgument = "",
    template: TemplateFileArgument = None,
    name_option: NameOption = "",
    parameters: ParametersOption = None,
    location: LocationOption = "",
    template_name: TemplateNameOption = "",
    reference: ReferenceOption = None,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    _as_json: AlwaysJsonOption = False,
) -> None:
    """Create a template, and its resource group when it is not there; waits until it is provisioned."""
    if name_option and template is None:  # the only word is the file
        name, template = "", Path(name) if name else None
    name = named(name, name_option)
    if template is None:
        raise InputError(
            "no template file is given", hint=f"such as `vmkiln template create {name} template.json -g {group}`"
        )
    from vmkiln.cli.view.long_work import long_work

    file = template

    async def work(client: ArmClient, scope: str) -> Any:
        subscription_id = scope.rpartition("/")[2]
        read = read_template(
            file,
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
        with long_work(f"waiting until {name} is provisioned"):
            await client.finished(await client.request("PUT", path, api_version=version, body=body))
        return await get(client, path)

    answer(asked(work, subscription=subscription, context=context), indent=2)


async def _ensure_group(client: ArmClient, group_id: str, location: str) -> None:
    try:
        await client.request("GET", group_id, api_version=GROUPS_API_VERSION)
    except ArmError as error:
        if error.status != 404:
            raise
        await client.request("PUT", group_id, api_version=GROUPS_API_VERSION, body={"location": location})
        say(f"made the resource group {group_id.rpartition('/')[2]}")


@examples("vmkiln template list", "vmkiln template list -g images")
def list_(
    group: Annotated[
        str,
        typer.Option("--resource-group", "-g", help="Only those of this resource group.", callback=_one_part),
    ] = "",
    subscription: SubscriptionOption = "",
    as_json: JsonOption = False,
    context: ContextOption = "",
) -> None:
    """List the templates of a subscription, each with its last run."""

    async def work(client: ArmClient, scope: str) -> Any:
        found, path = [], f"{scope}/resourceGroups/{group}/{TYPE}" if group else f"{scope}/{TYPE}"
        for _ in range(MOST_PAGES):
            page = await get(client, path)
            found += page.listed()
            if not (path := page.get("nextLink") or ""):
                break
        return found

    found = asked(work, subscription=subscription, context=context)
    if as_json:
        answer(found)
        return
    show_rows(
        ("GROUP", "NAME", "PROVISIONING", "LAST RUN"),
        [
            (item["id"].split("/")[4], item["name"], item["properties"]["provisioningState"], _last_state(item))
            for item in found
        ],
        none=f"there is no image template {_where(group, subscription)}; "
        f"`vmkiln template create NAME FILE -g {group or 'GROUP'}` makes one",
        is_of_service=True,
    )


def _where(group: str, subscription: str) -> str:
    """Where an empty list looked; pure."""
    named = [f"the resource group {group}"] * bool(group) + [f"the subscription {subscription}"] * bool(subscription)
    return f"in {' of '.join(named)}" if named else "yet"


def _last_state(item: Any) -> str:
    last = item["properties"].get("lastRunStatus") or {}
    return " ".join(str(last[key]) for key in ("runState", "runSubState") if last.get(key)) or "never run"


@examples("vmkiln template show web -g images", "vmkiln template show -n web -g images")
def show(
    group: GroupOption,
    name: NameArgument = "",
    name_option: NameOption = "",
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    _as_json: AlwaysJsonOption = False,
) -> None:
    """Show a template as JSON."""
    name = named(name, name_option)

    async def work(client: ArmClient, scope: str) -> Any:
        return await get(client, _id(scope, group, name))

    answer(asked(work, subscription=subscription, context=context), indent=2)


@examples("vmkiln template run web -g images", "vmkiln template run web -g images --no-wait")
def run(
    group: GroupOption,
    name: NameArgument = "",
    name_option: NameOption = "",
    no_wait: NoWaitOption = False,
    cancel_on_interrupt: CancelOption = False,
    as_json: JsonOption = False,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
) -> None:
    """Run a template and follow its log to the end; exit code 1 when the run failed, 4 when only a part was published.

    Ctrl-C ends the following, and the run goes on at the service; without a service it is cancelled.
    """
    name = named(name, name_option)
    options = (f" --context {context}" if context else "") + (f" --subscription {subscription}" if subscription else "")
    following = Following(no_wait, cancel_on_interrupt, as_json, options)

    async def work(client: ArmClient, scope: str) -> Any:
        following.check(client)
        path = _id(scope, group, name)
        await client.request("POST", f"{path}/run", api_version=NEWEST_API_VERSION)
        return await following.end(client, path)

    following.tell(following.asked(work, subscription=subscription, context=context))


@examples("vmkiln template logs web -g images --follow")
def logs(
    group: GroupOption,
    name: NameArgument = "",
    name_option: NameOption = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
) -> None:
    """Print the log of a template's last run."""
    name = named(name, name_option)

    async def work(client: ArmClient, scope: str) -> None:
        last = await last_run(client, _id(scope, group, name))
        if follow:
            await followed(client, last["id"], print_lines=True)
            return
        position = 0
        while (piece := await get(client, f"{last['id']}/log?position={position}"))["lines"]:
            position = piece["position"]
            for line in piece["lines"]:
                typer.echo(harmless(line))

    asked(work, subscription=subscription, context=context, parting="")


@examples("vmkiln template cancel web -g images")
def cancel(
    group: GroupOption,
    name: NameArgument = "",
    name_option: NameOption = "",
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    as_json: JsonOption = False,
) -> None:
    """Cancel a template's run and wait until it has ended."""
    name = named(name, name_option)

    async def work(client: ArmClient, scope: str) -> Any:
        return await cancelled(client, _id(scope, group, name))

    found = asked(work, subscription=subscription, context=context)
    if as_json:
        answer(found)
    else:
        say(f"the run ended {found['properties']['runState']}")


@examples("vmkiln template delete web -g images")
def delete(
    group: GroupOption,
    name: NameArgument = "",
    name_option: NameOption = "",
    subscription: SubscriptionOption = "",
    context: ContextOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete a template with its staging resource group and its logs; images that it made stay."""
    name = named(name, name_option)
    import asyncio

    from vmkiln.cli.view.long_work import long_work

    async def work(client: ArmClient, scope: str) -> None:
        path = _id(scope, group, name)
        await get(client, path)  # what is not there cannot be deleted: the service would answer 204
        await client.request("DELETE", path, api_version=NEWEST_API_VERSION)
        state: str = ProvisioningState.DELETING
        with long_work(f"waiting until {name} is deleted"):
            while state == ProvisioningState.DELETING:
                await asyncio.sleep(FOLLOW_SECONDS)
                state = await _provisioning_state(client, path)
        if state:
            raise VmkilnError(f"the template is still there, in provisioning state {state}")

    asked(work, subscription=subscription, context=context)
    if as_json:
        answer({"deleted": name})
    else:
        say(f"deleted {name}")


async def _provisioning_state(client: ArmClient, path: str) -> str:
    """'' when the template is not there."""
    try:
        return str((await get(client, path))["properties"]["provisioningState"])
    except ArmError as error:
        if error.status == 404:
            return ""
        raise
