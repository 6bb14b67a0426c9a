"""`vmkiln validate`."""

from __future__ import annotations

from pathlib import Path

import typer

from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, mistakes_data, say
from vmkiln.cli.progress_options import CiMarks, MistakeMarksOption
from vmkiln.cli.template_options import (
    NO_SUBSCRIPTION,
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
    read_egress,
    read_given,
)
from vmkiln.errors import InputError, Mistake, TemplateInvalid
from vmkiln.harmless_text import harmless


@examples("vmkiln validate template.json", "vmkiln validate azuredeploy.json --parameters parameters.json")
def validate(
    template: TemplateArgument,
    parameters: ParametersOption = None,
    resource_group: ResourceGroupOption = "vmkiln",
    subscription: SubscriptionOption = NO_SUBSCRIPTION,
    location: LocationOption = "",
    template_name: TemplateNameOption = "",
    reference: ReferenceOption = None,
    allow_local_files: LocalFilesOption = False,
    egress: EgressOption = None,
    virtual_networks: VirtualNetworksOption = None,
    ci_marks: MistakeMarksOption = CiMarks.NONE,
    as_json: JsonOption = False,
) -> None:
    """Check a template: every mistake, and whatever keeps it from being built here. Starts nothing."""
    from vmkiln.buildable.examination import NotBuildable, examine
    from vmkiln.host.egress.policy_text import policy_sentence

    try:
        given = read_given(
            template,
            parameters,
            resource_group=resource_group,
            subscription=subscription,
            location=location,
            template_name=template_name,
            references=reference,
            allow_local_files=allow_local_files,
            virtual_networks=virtual_networks,
        )
        policy = egress_of(given, read_egress(egress))
    except InputError as error:
        if as_json:
            mistakes = (
                error.mistakes if isinstance(error, TemplateInvalid) else [Mistake("", error.message, error.hint)]
            )
            answer({"valid": False, "mistakes": mistakes_data(mistakes)})
        else:
            _mark(error, template, ci_marks)
        raise
    resolved = given.resolved
    verdict = examine(resolved.image_template, given.surroundings)
    problems = given.written.placed(verdict.problems)
    warnings = [*resolved.warnings, *map(resolved.mask, (*verdict.warnings, *map(str, verdict.needs_permission)))]
    if as_json:
        found = {
            "valid": True,
            "name": resolved.name,
            "warnings": warnings,
            "egress_policy": resolved.mask(policy_sentence(policy)),
            "cannot_be_built_because": resolved.mask.value(mistakes_data(problems)),
        }
        answer(found)
    else:
        for warning in warnings:
            say(f"warning: {harmless(warning)}")
    if problems:
        problem = NotBuildable(problems)
        problem.mask(resolved.mask)
        if not as_json:
            _mark(problem, template, ci_marks)
        raise problem
    if not as_json:
        typer.echo(f"{resolved.name}: no mistakes (api-version {resolved.api_version})")
        if not policy.is_open:
            typer.echo(resolved.mask(policy_sentence(policy)))


def _mark(error: InputError, template: Path, ci_marks: CiMarks) -> None:
    if ci_marks is not CiMarks.NONE:
        from vmkiln.cli.view.ci_errors import mark_error

        mark_error(error, ci_marks, file=template, write=typer.echo)
