"""`vmkiln build`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.audit.act_names import RUN, template_id
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.build_options import BuildOptions, OnError, given_of, request_of
from vmkiln.cli.invocation import is_verbose, read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say
from vmkiln.cli.progress_options import CiMarks, MarksOption, Progress, ProgressOption, SummaryOption
from vmkiln.cli.template_options import (
    NO_SUBSCRIPTION,
    AllowEgressOption,
    ColdOption,
    EgressOption,
    JsonOption,
    LocalFilesOption,
    LocationOption,
    MaxAgeOption,
    NoCacheOption,
    ParametersOption,
    ReferenceOption,
    ResourceGroupOption,
    SubscriptionOption,
    TemplateArgument,
    TemplateNameOption,
    VirtualNetworksOption,
)
from vmkiln.cli.view.waterfall import waterfall
from vmkiln.errors import InputError, StorageFailed
from vmkiln.harmless_text import harmless_lines, without_marks
from vmkiln.run_state import Phase, RunState, told_failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vmkiln.cli.template_options import GivenTemplate
    from vmkiln.cli.view.live_view import View
    from vmkiln.run.run_context import RunRequest, Tell
    from vmkiln.run.run_event import RunEvent
    from vmkiln.store.database import Store


ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Go on with a run of the same template whose command was killed, from its customized disk.",
    ),
]


CLEANS_UP = "cleaning up already; how the run ended stays as it is"
LONGEST_HOLD_MINUTES = 24 * 60
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        "--on-error",
        help="When a customizer fails: clean up, or hold the VM for `vmkiln run shell` to enter.",
    ),
]
HoldOption = Annotated[
    int | None,
    typer.Option("--hold-for", metavar="MINUTES", help="How long; 60 when left out.", min=1, max=LONGEST_HOLD_MINUTES),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Start nothing: print the plan of this build, and refuse what it would.")
]


@examples(
    "vmkiln build template.json",
    "vmkiln build main.bicep --parameters main.bicepparam --summary-file summary.md",
    "vmkiln build template.json --on-error hold --hold-for 30",
    "vmkiln build template.json --dry-run",
)
def build(
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
    cold: ColdOption = False,
    no_cache: NoCacheOption = False,
    max_age: MaxAgeOption = 24,
    resume: ResumeOption = None,
    on_error: OnErrorOption = OnError.CLEANUP,
    hold_for: HoldOption = None,
    progress: ProgressOption = Progress.AUTO,
    ci_marks: MarksOption = CiMarks.NONE,
    summary_file: SummaryOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build an image from a template, isolated, and publish it; exit code 4 when only a part was published."""
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
        cold=cold,
        no_cache=no_cache,
        max_age=max_age,
        on_error=on_error,
        hold_for=hold_for,
    )
    if resume is not None and not resume.strip():
        raise InputError("--resume: no run is named", hint="`vmkiln run list` shows them")
    as_json = as_json or progress is Progress.JSON
    if dry_run:
        from vmkiln.cli.commands.templates.planning import planned

        if summary_file is not None:
            say(f"{summary_file} is not written: it tells of a run, and a dry run starts none")
        planned(options, as_json=as_json, resume=resume or "", is_dry_run=True)
        return
    built(options, progress, ci_marks, as_json=as_json, resume=resume or "", summary_file=summary_file)


def built(
    options: BuildOptions,
    progress: Progress,
    ci_marks: CiMarks = CiMarks.NONE,
    *,
    as_json: bool,
    resume: str = "",
    summary_file: Path | None = None,
    retry_of: str = "",
) -> None:
    """Build what was asked for, and tell of it; `retry_of` is the run of a command that this one repeats.

    Raises: what the run failed for, `InputError` before it begins.
    """
    from vmkiln.arm_template.local_outputs import outputs_as_data, outputs_lines
    from vmkiln.cli.interrupts import Parting, run_to_end
    from vmkiln.run.run_event import Notice, PhaseStarted, RunEnded

    if summary_file is not None:
        from vmkiln.cli.written.target_file import check_target

        check_target(summary_file)
    try:
        given = _checked(options)
    except InputError as error:
        _mark(error, options, ci_marks, as_json=as_json)
        raise
    request = replace(request_of(options, given), retry_of=retry_of)
    outputs = outputs_as_data(given.resolved.outputs)
    parting = Parting()
    ended: list[dict[str, Any]] = []
    try:
        with _view(progress, ci_marks, as_json=as_json) as view:
            for warning in given.resolved.warnings:
                view.tell(Notice(warning, is_warning=True))

            def tell(event: RunEvent) -> None:
                if as_json and outputs and isinstance(event, RunEnded) and event.state is RunState.SUCCEEDED:
                    _print_line(json.dumps({"event": "DeploymentOutputs", "outputs": outputs}))
                view.tell(event)
                if isinstance(event, PhaseStarted) and event.phase is Phase.CLEANING_UP:
                    parting.text = CLEANS_UP
                elif isinstance(event, RunEnded):
                    ended.append(event.summary)

            summary = run_to_end(_build(request, tell, is_cold=options.cold, resume=resume), parting=parting)
    except BaseException as error:
        if not ended:  # there was no run, which would have told
            _mark(error, options, ci_marks, as_json=as_json)
        for told in ended:  # a run that failed or was cancelled has an id, and may have published something
            try:
                _append(summary_file, told)
            except StorageFailed as failed:  # why the run ended is what counts
                say(f"warning: {failed.message}")
            if not as_json:
                print_summary(told, tells_message=False)
        raise
    if not as_json:
        print_summary(summary)
    _append(summary_file, summary)
    if summary["state"] != RunState.SUCCEEDED:
        raise told_failure(summary["state"], f"the run ended {summary['state']}: {summary['message']}")
    if not as_json:
        typer.echo(without_marks("".join(f"{line}\n" for line in outputs_lines(outputs))), nl=False)
        for words in next_commands(summary):
            say(f"next: `{words}`")


def _mark(error: BaseException, options: BuildOptions, ci_marks: CiMarks, *, as_json: bool) -> None:
    """Tell a CI of an error before there is a run."""
    from vmkiln.cli.view.ci_errors import mark_error

    if not as_json:
        mark_error(error, ci_marks, file=options.template, write=_print_line)


def next_commands(summary: Mapping[str, Any]) -> list[str]:
    """What is done with the first image that a run published; pure."""
    published = [
        one["artifact_id"] for one in summary["outputs"] if one["artifact_id"] and one["state"] == RunState.SUCCEEDED
    ]
    if not published:
        return []
    name = published[0].rpartition("/")[2]
    image = published[0] if "/versions/" in published[0].lower() else name  # the end of a version's id says little
    enter = "" if summary.get("facts", {}).get("os_type") == "Windows" else " --ssh"
    file = published[0].split("/")[-3 if image != name else -1]
    return [f"vmkiln image boot {image}{enter}", f"vmkiln image export {image} {file}.qcow2"]


def _append(summary_file: Path | None, summary: dict[str, Any]) -> None:
    """Raises: `StorageFailed`."""
    if summary_file is not None:
        from vmkiln.cli.view.run_report import append_report

        append_report(summary_file, summary)


def _checked(options: BuildOptions) -> GivenTemplate:
    """The template, which can be built here. Raises: `InputError`, `NotBuildable`."""
    from vmkiln.buildable.examination import NotBuildable, check_examined

    given = given_of(options)
    try:
        check_examined(given.resolved.image_template, given.surroundings)  # its warnings come with the run
    except NotBuildable as error:
        told = NotBuildable(given.written.placed(error.problems))
        told.mask(given.resolved.mask)
        raise told from None
    return given


async def _build(request: RunRequest, tell: Tell, *, is_cold: bool, resume: str) -> dict[str, Any]:
    import asyncio

    from vmkiln.preparation import opened_store, prepared_host
    from vmkiln.run.finished.resuming import resumed
    from vmkiln.run.run_event import Notice, UsualTimes
    from vmkiln.run.timeline.comparison import usual_of_command_line
    from vmkiln.run.workflow import execute

    settings = read_settings()
    if is_cold:
        settings = replace(settings, warm_starts=False)

    def progress(text: str) -> None:
        tell(Notice(text))

    with opened_store(settings, progress) as store:
        if resume:
            request = await asyncio.to_thread(resumed, settings, store, request, resume)
        async with prepared_host(settings, store, progress) as host:
            await asyncio.to_thread(_record, store, request)
            group, name = request.resource_group, request.template_name
            tell(UsualTimes(await asyncio.to_thread(usual_of_command_line, store, group, name)))
            return await execute(host, request, tell)


def _record(store: Store, request: RunRequest) -> None:
    """Record that a run begins, before it does."""
    template = template_id(request.resource_group, request.template_name)
    with audited(store, RUN, template, runId=request.run_id):
        pass


def _view(progress: Progress, ci_marks: CiMarks, *, as_json: bool) -> View:
    from vmkiln.cli.view.live_view import JsonView, LiveView
    from vmkiln.cli.view.plain_view import Marks, PlainView

    if as_json:
        return JsonView(_print_line)
    is_live = (
        sys.stdout.isatty() and ci_marks is CiMarks.NONE if progress is Progress.AUTO else progress is Progress.TTY
    )
    if is_live:
        from rich.console import Console

        return LiveView(Console(), tells_all=is_verbose())
    return PlainView(_print_line, marks=Marks(ci_marks), tells_packer=is_verbose())


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_summary(summary: dict[str, Any], *, tells_message: bool = True) -> None:
    """A run's outcome: its outputs, where the time went; its message, unless an error tells it."""
    typer.echo(f"\nrun {summary['run_id']}: {summary['state']}")
    if summary["message"] and tells_message:
        typer.echo(without_marks(f"  {harmless_lines(summary['message'])}"))
    if summary["state"] == RunState.FAILED:
        typer.echo(f"  why, as far as is known: vmkiln run failure {summary['run_id'][:8]}")
    for output in summary["outputs"]:
        target = output["artifact_id"] or output["artifact_uri"] or output["message"]
        typer.echo(without_marks(f"  {output['name']}: {output['state']} {harmless_lines(target)}"))
    for line in waterfall(summary):
        typer.echo(without_marks(f"  {line}"))
