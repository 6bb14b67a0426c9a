"""`vmkiln doctor`: what this machine has and lacks for builds, and what to do about each lack."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.errors import HostUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

    from vmkiln.host.doctor.examination import Examination
    from vmkiln.host.doctor.fitness import Finding
    from vmkiln.settings import Settings


def as_json(examination: Examination) -> dict[str, Any]:
    """The examination as `doctor --json` prints it; pure."""
    verdict = examination.accelerator
    return {
        "canBuild": examination.can_build,
        "accelerator": None if verdict is None else asdict(verdict),
        "findings": [asdict(finding) for finding in examination.findings],
    }


def table(findings: tuple[Finding, ...]) -> Table:
    """The findings, one a line."""
    from rich.markup import escape
    from rich.table import Table

    from vmkiln.host.doctor.fitness import Status

    marks = {Status.OK: "[green]ok[/]", Status.WARNING: "[yellow]warning[/]", Status.FAILED: "[red]failed[/]"}
    result = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("needed", "status", "found"):
        result.add_column(heading, overflow="fold")
    for finding in findings:
        result.add_row(escape(finding.name), marks[finding.status], escape(finding.found))
    return result


def advice(findings: tuple[Finding, ...]) -> list[str]:
    """What to do, one sentence for each finding that is not as it should be; failures first."""
    from vmkiln.host.doctor.fitness import Status

    wrong = [finding for status in (Status.FAILED, Status.WARNING) for finding in findings if finding.status is status]
    return [f"{finding.name}: {finding.remedy}" for finding in wrong if finding.remedy]


async def examine_here(settings: Settings, progress: Callable[[str], None]) -> Examination:
    """What this machine has and lacks for builds in its state directory."""
    import asyncio

    from vmkiln.fetching.way_out_findings import way_out_findings
    from vmkiln.host.doctor.examination import examine
    from vmkiln.platform_images.image_cache import cached_images, kernels

    examination = await examine(
        state=settings.home,
        kernel_directory=settings.container_image / "kernel",
        accelerator_directory=settings.container_image,
        image_kernels=kernels(cached_images(settings.image_cache)),
        progress=progress,
    )
    told = await asyncio.to_thread(lambda: tuple(way_out_findings(settings)))
    return replace(examination, findings=(*examination.findings, *told))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Takes what is examined now: a moving line on a terminal, else a line each, and how long one takes."""
    from rich.console import Console

    from vmkiln.cli.view.long_work import long_work

    talk = Console(stderr=True, highlight=False)
    if talk.is_terminal:
        with talk.status("examining this machine") as status:
            yield status.update
        return
    with long_work("examining this machine") as now:

        def told(text: str) -> None:
            say(text)
            now(text)

        yield told


@examples("vmkiln doctor")
def doctor(
    as_json_text: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check that this machine can run builds, and say what to do where it cannot.

    Exits with 0 when builds can run, else with 3.
    """
    import asyncio

    from rich.console import Console

    settings = read_settings()
    with _progress() as progress:
        examination = asyncio.run(examine_here(settings, progress))
    if as_json_text:
        answer(as_json(examination), indent=2)
    else:
        console = Console(highlight=False)
        console.print(table(examination.findings))
        for sentence in advice(examination.findings):
            console.print(f"-> {sentence}", markup=False, soft_wrap=True)
        console.print("builds can run here" if examination.can_build else "builds cannot run here yet")
    if not examination.can_build:
        raise typer.Exit(HostUnfit.exit_code)
