"""`vmkiln build`, `vmkiln validate` and `vmkiln plan`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from vmkiln.audit.act_names import RUN, template_id
from vmkiln.cli.audited import audited
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.output import say
from vmkiln.cli.template_options import (
    NO_SUBSCRIPTION,
    AllowEgressOption,
    JsonOption,
    LocalFilesOption,
    ParametersOption,
    ResourceGroupOption,
    SubscriptionOption,
    TemplateArgument,
    VirtualNetworksOption,
    local_files,
    read_allowances,
    read_template,
    read_virtual_networks,
)
from vmkiln.cli.waterfall import waterfall
from vmkiln.run_state import new_run_id

if TYPE_CHECKING:
    from vmkiln.cli.live_view import View
    from vmkiln.run.run_context import RunRequest
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.template.image_template import ImageTemplate


def build(
    template: TemplateArgument,
    parameters: ParametersOption = None,
    resource_group: ResourceGroupOption = "vmkiln",
    subscription: SubscriptionOption = NO_SUBSCRIPTION,
    allow_local_files: LocalFilesOption = False,
    allow_egress: AllowEgressOption = None,
    virtual_networks: VirtualNetworksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an image from a template, isolated, and publish it."""
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.run.building import check_buildable
    from vmkiln.run.run_context import RunRequest
    from vmkiln.run.run_event import Notice

    resolved = read_template(template, parameters, resource_group=resource_group, subscription=subscription)
    networks = read_virtual_networks(virtual_networks)
    check_buildable(resolved.image_template, networks)
    request = RunRequest(
        run_id=new_run_id(),
        template_name=resolved.name,
        resource_group=resource_group,
        template=resolved.image_template,
        resolved=resolved.resolved,
        local_files=local_files(template, is_allowed=allow_local_files),
        allowances=read_allowances(allow_egress),
        mask=resolved.mask,
        virtual_networks=networks,
    )
    with _view(as_json=as_json) as view:
        for warning in resolved.warnings:
            view.tell(Notice(warning, is_warning=True))
        summary = run_to_end(_build(request, view))
    if not as_json:
        print_summary(summary)


async def _build(request: RunRequest, view: View) -> dict[str, Any]:
    import asyncio

    from vmkiln.preparation import opened_store, prepared_host
    from vmkiln.run.building import check_source
    from vmkiln.run.run_event import Notice
    from vmkiln.run.workflow import execute

    settings = read_settings()

    def progress(text: str) -> None:
        view.tell(Notice(text))

    with opened_store(settings, progress) as store:
        await asyncio.to_thread(check_source, settings, store, request.template.properties.source)
        async with prepared_host(settings, store, progress) as host:
            template = template_id(request.resource_group, request.template_name)
            await asyncio.to_thread(audited, store, RUN, template, runId=request.run_id)
            return await execute(host, request, view.tell)


def _view(*, as_json: bool) -> View:
    from rich.console import Console

    from vmkiln.cli.live_view import JsonView, LiveView, PlainView

    if as_json:
        return JsonView(_print_line)
    return LiveView(Console()) if sys.stdout.isatty() else PlainView(_print_line)


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_summary(summary: dict[str, Any]) -> None:
    """A run's outcome: its outputs, where the time went, what is left of its staging resource group."""
    typer.echo(f"\nrun {summary['run_id']}: {summary['state']}")
    if summary["message"]:
        typer.echo(f"  {summary['message']}")
    for output in summary["outputs"]:
        target = output["artifact_id"] or output["artifact_uri"] or output["message"]
        typer.echo(f"  {output['name']}: {output['state']} {target}")
    for line in waterfall(summary["phases"]):
        typer.echo(f"  {line}")


def validate(
    template: TemplateArgument,
    parameters: ParametersOption = None,
    resource_group: ResourceGroupOption = "vmkiln",
    subscription: SubscriptionOption = NO_SUBSCRIPTION,
    as_json: JsonOption = False,
) -> None:
    """Check a template and name every mistake; starts nothing."""
    resolved = read_template(template, parameters, resource_group=resource_group, subscription=subscription)
    if as_json:
        _print_line(json.dumps({"valid": True, "name": resolved.name, "warnings": list(resolved.warnings)}))
        return
    for warning in resolved.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{resolved.name}: no mistakes (api-version {resolved.api_version})")


def plan(
    template: TemplateArgument,
    parameters: ParametersOption = None,
    resource_group: ResourceGroupOption = "vmkiln",
    subscription: SubscriptionOption = NO_SUBSCRIPTION,
    allow_local_files: LocalFilesOption = False,
    allow_egress: AllowEgressOption = None,
    virtual_networks: VirtualNetworksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a build would do: template, staging resources, network, Packer template. Starts nothing."""
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.run.plan import plan_of, plan_text

    resolved = read_template(template, parameters, resource_group=resource_group, subscription=subscription)
    files = local_files(template, is_allowed=allow_local_files)
    settings = read_settings()
    with _images_for(resolved.image_template, settings) as store:
        found = run_to_end(
            plan_of(
                resolved,
                resource_group=resource_group,
                settings=settings,
                local_files=files,
                allowances=read_allowances(allow_egress),
                virtual_networks=read_virtual_networks(virtual_networks),
                store=store,
            )
        )
    if as_json:
        _print_line(json.dumps(found))
        return
    typer.echo(plan_text(found))


@contextlib.contextmanager
def _images_for(template: ImageTemplate, settings: Settings) -> Iterator[Store | None]:
    """The database of images when a template's source is one of them; None, and no database is made, when it is not."""
    from vmkiln.preparation import opened_store
    from vmkiln.template.source import ManagedImageSource, SharedImageVersionSource

    if isinstance(template.properties.source, ManagedImageSource | SharedImageVersionSource):
        with opened_store(settings, say) as store:
            yield store
    else:
        yield None
