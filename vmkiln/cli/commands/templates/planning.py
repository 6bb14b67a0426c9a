"""`vmkiln plan`, and `vmkiln build --dry-run`, which is the plan of one build."""

from __future__ import annotations

from dataclasses import replace

import typer

from vmkiln.cli.commands.build_options import BuildOptions, given_of, request_of
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import (
    NO_SUBSCRIPTION,
    AllowEgressOption,
    EgressOption,
    JsonOption,
    LocalFilesOption,
    LocationOption,
    ParametersOption,
    ReferenceOption,
    ResourceGroupOption,
    SubscriptionOption,
    TemplateArgument,
    TemplateNameOption,
    VirtualNetworksOption,
    egress_of,
    opened_if_there,
)
from vmkiln.errors import InputError
from vmkiln.harmless_text import without_marks


@examples("vmkiln plan template.json", "vmkiln plan template.json --json")
def plan(
    template: TemplateArgument,
    parameters: ParametersOption = None,
    resource_group: ResourceGroupOption = "vmkiln",
    subscription: SubscriptionOption = NO_SUBSCRIPTION,
    location: LocationOption = "",
    template_name: TemplateNameOption = "",
    reference: ReferenceOption = None,
    allow_local_files: LocalFilesOption = False,
    egress: EgressOption = None,
    allow_egress: AllowEgressOption = None,
    virtual_networks: VirtualNetworksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a build would do: template, staging resources, network, Packer template. Starts nothing."""
    options = BuildOptions(
        template=template,
        parameters=parameters or (),
        resource_group=resource_group,
        subscription=subscription,
        location=location,
        template_name=template_name,
        references=reference or (),
        allow_local_files=allow_local_files,
        egress=egress or (),
        allow_egress=allow_egress or (),
        virtual_networks=virtual_networks or (),
    )
    planned(options, as_json=as_json)


def planned(options: BuildOptions, *, as_json: bool, resume: str = "", is_dry_run: bool = False) -> None:
    """Print what a build with these options would do; `is_dry_run` refuses, behind it, all that the build would.

    Raises: `InputError` for what cannot be read or resumed, `NotBuildable` for what keeps it from being built.
    """
    from vmkiln.buildable.examination import NotBuildable, examine
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.run.plan import Wishes, plan_of, plan_text

    settings = read_settings()
    if options.cold:
        settings = replace(settings, warm_starts=False)
    given = given_of(options)
    request = request_of(options, given)
    if resume:
        from vmkiln.run.finished.resuming import resumed

        with opened_if_there(settings) as store:
            if store is None:
                raise InputError(f"there is no run {resume}", hint="there is none at all on this machine")
            request = resumed(settings, store, request, resume)
    verdict = examine(given.resolved.image_template, given.surroundings)
    found = run_to_end(
        plan_of(
            given.resolved,
            resource_group=options.resource_group,
            verdict=verdict,
            settings=settings,
            allowances=request.allowances,
            egress=egress_of(given, request.egress, request.allowances),
            virtual_networks=given.virtual_networks,
            wishes=Wishes(
                uses_checkpoints=request.uses_checkpoints,
                most_checkpoint_age_seconds=request.most_checkpoint_age_seconds,
                held_seconds=request.held_seconds,
                resumed_run=request.run_id if request.resumes else "",
            ),
        )
    )
    if as_json:
        answer(found)
    else:
        typer.echo(without_marks(plan_text(found)))
    if refused := (*verdict.problems, *(verdict.needs_permission if is_dry_run else ())):
        problem = NotBuildable(given.written.placed(refused))
        problem.mask(given.resolved.mask)
        problem.hint = None  # which names this command
        raise problem
    if is_dry_run and not as_json:
        say("this was a dry run: nothing was started")
