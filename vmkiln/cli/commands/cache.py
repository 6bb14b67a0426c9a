"""`vmkiln cache`: what is kept of builds, for later builds of the same template to begin behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.completing import names_of_runs
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, show_rows
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless

if TYPE_CHECKING:
    from vmkiln.warm.checkpoint import Checkpoint

app = typer.Typer(help="What is kept of builds, for later builds of the same template.", no_args_is_help=True)
HOUR_SECONDS = 3600
SHORT = 12
SHORT_RUN = 8
NONE = "nothing is kept of builds; `vmkiln build TEMPLATE` keeps its VM behind each customizer"


@app.callback()
def cache() -> None:
    """What is kept of builds, for later builds of the same template."""


def _kept() -> list[Checkpoint]:
    from vmkiln.warm import checkpoint

    return checkpoint.all_of(read_settings().saved_vms)


def _as_data(found: list[Checkpoint]) -> list[dict[str, object]]:
    from vmkiln.warm import checkpoint

    return list(checkpoint.as_data(found, time.time()))


@app.command("list")
@examples("vmkiln cache list")
def list_kept(as_json: JsonOption = False) -> None:
    """List the checkpoints: the newest first, with the template, the step that each lies behind, age and size."""
    found = _as_data(_kept())
    if as_json:
        answer(found)
        return
    rows = [
        [
            str(one["key"])[:SHORT],
            _age(one["age_seconds"]),
            f"{one['size_mib']} MiB",
            str(one["run_id"])[:SHORT_RUN],
            harmless(f"{one['template']}: {one['position']} (`{one['step']}`)"),
        ]
        for one in found
    ]
    show_rows(["KEY", ">AGE", ">SIZE", "RUN", "BEHIND"], rows, none=NONE)


@app.command("show")
@examples("vmkiln cache show 3f9c")
def show(
    key: Annotated[str, typer.Argument(help="The beginning of its key, as `vmkiln cache list` has it.")],
    as_json: JsonOption = False,
) -> None:
    """Show a checkpoint, and whether it is what was saved, byte for byte."""
    from vmkiln.host.saved import saved_vm

    found = [one for one in _kept() if one.key.startswith(key.lower())]
    if len(found) != 1 or not key:
        few = "no checkpoint's key begins" if not found else f"the keys of {len(found)} checkpoints begin"
        raise InputError(f"{few} with `{key}`", hint="`vmkiln cache list` has them")
    told: dict[str, Any] = {**_as_data(found)[0], "is_whole": saved_vm.is_whole(found[0].saved)}
    if as_json:
        answer(told)
        return
    for name, value in told.items():
        _say(f"{name}: {value}")


@app.command("prune")
@examples("vmkiln cache prune --max-age 24", "vmkiln cache prune --template web")
def prune(
    template: Annotated[
        str,
        typer.Option("--template", help="Only those of the template of this name.", autocompletion=names_of_runs),
    ] = "",
    max_age: Annotated[
        float, typer.Option("--max-age", metavar="HOURS", min=0, help="Only those that are older; 0: of any age.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Delete checkpoints; builds that go on from a copy of one are not disturbed."""
    from vmkiln.host.saved import saved_vm

    now = time.time()
    kept = _kept()
    chosen = [one for one in kept if template.lower() in {"", one.about.template.lower()}]
    if template and not chosen:
        _check_ran(template, [one.about.template for one in kept])
    gone = [one for one in chosen if one.age_seconds(now) >= max_age * HOUR_SECONDS]
    told = _as_data(gone)
    for one in gone:
        saved_vm.discard(one.saved)
    if as_json:
        answer(told)
        return
    for line in told:
        _say(f"deleted {str(line['key'])[:SHORT]} ({line['template']}: behind `{line['step']}`)")
    if not told:
        of = f" of `{harmless(template)}`" if template else ""
        say(f"nothing that is kept{of} is older than {max_age:g} h" if chosen else f"nothing is kept of builds{of}")


def _check_ran(template: str, kept: list[str]) -> None:
    """Raises: `InputError` for a template of which nothing is kept, and that never ran here: it is another's name."""
    from vmkiln.cli.commands.runs.run_choice import unknown_template
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        if told := unknown_template(template, [*kept, *store.runs.template_names()]):
            raise InputError(f"--template: {told}", hint="`vmkiln cache list` has what is kept, of which template")


def _say(line: str) -> None:
    """Names of templates and steps are their authors'."""
    typer.echo(harmless(line))


def _age(seconds: object) -> str:
    minutes = int(float(str(seconds)) // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
