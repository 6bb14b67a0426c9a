"""`vmkiln setup`: from a new machine to a first image, or to the one thing that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say
from vmkiln.errors import HostUnfit

if TYPE_CHECKING:
    from vmkiln.host.doctor.fitness import Finding

FIRST = "first-image"
IMAGE = "Debian:debian-12:12"
STEP = "echo 'made by vmkiln' | sudo tee /etc/motd"


@examples("vmkiln setup", "vmkiln setup template.json")
def setup(
    template: Annotated[
        Path | None, typer.Argument(help=f"What to build; a small template, ./{FIRST}.json, when left out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the build.")] = False,
) -> None:
    """Check this machine, build a first image, and say what comes next; it may be run again.

    Where something is missing it says the first thing to do about it, and ends with 3.
    """
    import asyncio
    import sys

    from vmkiln.cli.commands.build import built
    from vmkiln.cli.commands.build_options import BuildOptions
    from vmkiln.cli.commands.doctor import examine_here
    from vmkiln.cli.commands.templates.editing import starting_template
    from vmkiln.cli.progress_options import CiMarks, Progress
    from vmkiln.cli.written.target_file import as_typed, check_target
    from vmkiln.files.durable_file import reported, write_whole

    file = template or Path(f"{FIRST}.json")
    if template is None:
        check_target(file)
    say("1 of 3: can this machine build?")
    examination = asyncio.run(examine_here(read_settings(), say))
    refuse_missing(examination.findings)
    say(f"2 of 3: a template, {file}")
    if template is None and not file.exists():
        body = starting_template(IMAGE, FIRST, [STEP], "managed")
        with reported(f"writing {file}"):
            write_whole(file.absolute(), json.dumps(body, indent=2).encode() + b"\n", mode=0o644)
    if not yes and sys.stdin.isatty():
        typer.confirm(
            "build it now? (a first build makes its base image, too: minutes)", default=True, abort=True, err=True
        )
    say(f"3 of 3: vmkiln build {as_typed(file)}")
    built(BuildOptions(file), Progress.AUTO, CiMarks.NONE, as_json=False)
    for words in ("vmkiln image list", "vmkiln serve"):  # beside what the build says of its image
        say(f"next: `{words}`")


def refuse_missing(findings: tuple[Finding, ...]) -> None:
    """Raises: `HostUnfit` for the first thing that is missing, with the one thing to do about it."""
    from vmkiln.host.doctor.fitness import Status

    failed = [finding for finding in findings if finding.status is Status.FAILED]
    for finding in findings:
        if finding.status is Status.WARNING:
            say(f"note: {finding.name}: {finding.found}")
    if not failed:
        say("yes")
        return
    more = f"; {len(failed) - 1} more after that, `vmkiln doctor` lists them" if len(failed) > 1 else ""
    raise HostUnfit(f"{failed[0].name}: {failed[0].found}{more}", hint=failed[0].remedy)
