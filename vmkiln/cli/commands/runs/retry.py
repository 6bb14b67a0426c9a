"""`vmkiln run retry`: the image template of a run, run again; or the template file of a command's, built again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.cli.commands.runs.of_service import LEAST_LETTERS, MOST_LETTERS, found_run
from vmkiln.cli.commands.templates.following import (
    RUNS,
    CancelOption,
    ContextOption,
    Following,
    NoWaitOption,
)
from vmkiln.cli.completing import NamedRunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.template_options import JsonOption, ParametersOption, opened_if_there
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmkiln.cli.arm_client import ArmClient
    from vmkiln.store.rows import RunRow

TemplateOption = Annotated[
    Path | None,
    typer.Option("--template", metavar="FILE", help="Of a run of `vmkiln build`: this template in place of its own."),
]


@examples("vmkiln run retry 0123abcd", "vmkiln run retry 0123abcd --no-wait", "vmkiln run retry 0123abcd -p key=value")
def retry(
    run_id: NamedRunArgument,
    template: TemplateOption = None,
    parameters: ParametersOption = None,
    no_wait: NoWaitOption = False,
    cancel_on_interrupt: CancelOption = False,
    as_json: JsonOption = False,
    context: ContextOption = "",
) -> None:
    """Run the image template of an ended run again, as it is now, and follow the log; exit codes as `template run`.

    A run of `vmkiln build` is built again here, of its template file as it is now. Both begin behind the last
    customizer that is kept, or say why at the first. A failed VM that is held is left as it is.
    """
    run = None if context else _built_here(run_id.lower())
    if run is not None:
        if no_wait:
            raise InputError(f"run {run.run_id[:8]} was built by a command, and this one builds it again: `--no-wait`")
        _build_again(run, template, parameters or (), as_json=as_json)
        return
    following = Following(no_wait, cancel_on_interrupt, as_json, f" --context {context}" if context else "")

    async def work(client: ArmClient, _: str) -> Any:
        from vmkiln.cli.service.answers import body_of

        following.check(client)
        earlier = await found_run(client, run_id.lower())
        path = _of_template(earlier)
        if template is not None or parameters:
            raise InputError(
                f"run {earlier['name'][:8]} is one of an image template, which has its own parameters",
                hint="leave `--template` and `--parameters` out; `vmkiln template create` puts an edited template",
            )
        answer = await client.request("POST", f"{path}/retry", api_version=NEWEST_API_VERSION)
        return await following.end(client, path.partition(f"/{RUNS}/")[0], body_of(answer))

    following.tell(following.asked(work, subscription=None, context=context))


def _built_here(run_id: str) -> RunRow | None:
    """The run whose id begins so, when a command built it here, and it is known what of."""
    if not LEAST_LETTERS <= len(run_id) <= MOST_LETTERS:
        return None
    with opened_if_there(read_settings()) as store:
        try:
            run = None if store is None else store.runs.find(run_id)
        except InputError:
            return None
    return run if run is not None and run.facts.get("built_of") else None


def _build_again(run: RunRow, template: Path | None, parameters: Sequence[str], *, as_json: bool) -> None:
    """Build once more what a command built. Raises: `InputError`, and what the build fails for."""
    from vmkiln.cli.commands.build import built
    from vmkiln.cli.commands.build_options import of_fact
    from vmkiln.cli.progress_options import Progress

    if _goes_on(run):
        raise InputError(f"run {run.run_id[:8]} goes on", hint=f"`vmkiln run cancel {run.run_id[:8]}` ends it")
    options = of_fact(run.facts["built_of"], run_id=run.run_id, template=template, parameters=parameters)
    built(options, Progress.AUTO, as_json=as_json, retry_of=run.run_id)


def _goes_on(run: RunRow) -> bool:
    """Whether a run has not ended: of one that was killed here, that is on record only when it is cleaned up after."""
    from vmkiln.host.host_id import host_id
    from vmkiln.staging import run_directory

    if run.ended is not None:
        return False
    settings = read_settings()
    is_elsewhere = run.facts.get("host_id", "") != host_id(settings)
    return is_elsewhere or run_directory.is_live(settings.runs, run.run_id)


def _of_template(run: Any) -> str:
    """The id of a run of an image template; pure. Raises: `InputError` for every other run."""
    properties = run["properties"]
    if not properties["templateId"]:
        raise InputError(
            f"run {run['name'][:8]} was built of a file, by `vmkiln build`",
            hint="`vmkiln build FILE` with its template file builds it again, with the secrets that are not kept here",
        )
    return str(run["id"])
