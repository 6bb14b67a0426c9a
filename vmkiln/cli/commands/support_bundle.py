"""`vmkiln support-bundle`: what is needed to find out why a build failed here, in one file to pass on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say, told_value
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.settings import Settings


@examples("vmkiln support-bundle --run 0123abcd")
def support_bundle(
    run: Annotated[str, typer.Option(help="The run in question, or the beginning of its id; the newest.")] = "",
    output: Annotated[
        Path | None, typer.Option(help="The file to write; vmkiln-support-TIME.tar.gz here when left out.")
    ] = None,
    examine: Annotated[
        bool, typer.Option("--examine/--no-examine", help="Whether this machine is examined, as `vmkiln doctor` does.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write doctor's findings, settings, logs, a run's events and plan to one file, without secrets."""
    from vmkiln.cli.commands.settings import as_rows
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.cli.support_bundle import collected, packed
    from vmkiln.cli.written.target_file import check_target
    from vmkiln.files.durable_file import reported, write_whole
    from vmkiln.store import database

    settings = read_settings()
    name = f"vmkiln-support-{time.strftime('%Y%m%d-%H%M%S')}"
    target = output or Path(f"{name}.tar.gz")
    check_target(target)
    if target.exists():
        raise InputError(f"{target} is there already", hint="name another file with --output")

    async def examination() -> Any:
        return await _examined(settings) if examine else {"left out": "--no-examine"}

    parts = run_to_end(
        collected(
            settings,
            shown_settings=as_rows(),
            open_store=lambda: database.opened(settings.database_address, home=settings.home),
            run_id=run,
            examination=examination,
            environment=os.environ,
        )
    )
    content = packed(parts, name=name, now=time.time())
    with reported(f"writing {target}"):
        write_whole(target.absolute(), content, mode=0o600)
    say(parts[0].text)
    data = {"file": str(target), "bytes": len(content)}
    told_value(f"wrote {target} ({len(content)} bytes)", data, as_json=as_json)


async def _examined(settings: Settings) -> dict[str, Any]:
    from vmkiln.cli.commands.doctor import as_json, examine_here

    return as_json(await examine_here(settings, say))
