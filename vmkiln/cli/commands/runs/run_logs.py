"""`vmkiln run logs`: a run's log, whole, its end, or the lines that match."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.azure_names import CUSTOMIZATION_LOG, VALIDATION_LOG
from vmkiln.cli.commands.runs.acting import AGE, age_of
from vmkiln.cli.commands.runs.other_host import is_another, lies_elsewhere
from vmkiln.cli.completing import RunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import newest_or, say
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless, without_marks
from vmkiln.run_state import TERMINAL_STATES

if TYPE_CHECKING:
    from vmkiln.store.database import Store

FOLLOW_SECONDS = 0.5
MOST_TAIL_LINES = 1_000_000


@dataclass(frozen=True)
class Choice:
    """Which lines are printed (`wanted`, `since` seconds since 1970), and how."""

    wanted: re.Pattern[str]
    since: float
    raw: bool
    timestamps: bool


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"--grep: `{text}` is no regular expression: {error}") from error


def moment_of(text: str, *, now: float) -> float:
    """An age such as `10m`, or a time in ISO 8601 (UTC, unless it says otherwise), in seconds since 1970; pure.

    Raises: `InputError`.
    """
    if AGE.fullmatch(text):
        return now - age_of(text).total_seconds()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--since: `{text}` is no time", hint="such as 10m, 2h or 2026-11-28T13:50:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@examples(
    "vmkiln run logs --follow",
    "vmkiln run logs 0123abcd --tail 50 --timestamps",
    "vmkiln run logs --grep 'error|warning' --since 10m",
)
def logs(
    run_id: RunArgument = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    validation: Annotated[bool, typer.Option("--validation", help="validation.log instead.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The stored bytes, control sequences and all.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, max=MOST_TAIL_LINES, help="Only so many lines from the end.")
    ] = None,
    grep: Annotated[
        str, typer.Option("--grep", metavar="PATTERN", help="Only lines in which this regular expression is found.")
    ] = "",
    since: Annotated[
        str,
        typer.Option("--since", metavar="AGE|TIME", help="Only lines since then: 10m, or 2026-11-28T13:50:00Z."),
    ] = "",
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Each line's time (UTC) and step before it.")
    ] = False,
) -> None:
    """Print a run's customization log; with -f, follow it live."""
    from vmkiln.files.file_watch import watched
    from vmkiln.preparation import opened_store

    choice = Choice(_pattern(grep), moment_of(since, now=time.time()) if since else 0.0, raw, timestamps)
    with opened_store(read_settings(), say) as store:
        path = log_path(store, newest_or(store, run_id), file_name=VALIDATION_LOG if validation else CUSTOMIZATION_LOG)
        position = 0 if tail is None else start_of_tail(path, tail)
        with watched(path) as wait_for_more:
            while True:
                is_over = store.runs.find(path.parent.name).state in TERMINAL_STATES
                position = _print_from(path, position, choice)
                if is_over or not follow:
                    break
                wait_for_more(FOLLOW_SECONDS)  # that the run is over is no line
    if not path.exists():
        raise InputError(f"this run has no {path.name}", hint="it ended before Packer started")


@examples("vmkiln run screenshot 0123abcd", "vmkiln run screenshot 0123abcd --picture screen.png")
def screenshot(
    run_id: RunArgument = "",
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="Write a Windows VM's newest picture of its screen to it (PNG)."
        ),
    ] = None,
) -> None:
    """Print what the failed VM of a run showed: the end of its serial console. A Windows VM has a screen, too."""
    from vmkiln.azure_names import CONSOLE_LOG
    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        found = newest_or(store, run_id)
        path = log_path(store, found, file_name=CONSOLE_LOG)
        host = str(store.runs.find(found).facts.get("host_id", ""))
        if not path.exists() and not settings.object_store and is_another(settings, host):
            raise lies_elsewhere(store, f"what is kept of the console of run {found[:8]}", host)
    if picture is not None:
        say(f"{_copied_picture(path.parent, picture)} is {picture} now")
        return
    if not path.exists():
        raise InputError("nothing is kept of a console of this run", hint="it is kept when a step of Packer's fails")
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        typer.echo(without_marks(harmless(line)).rstrip())


def _copied_picture(logs: Path, target: Path) -> str:
    """Copy the newest picture of a run to a new file; its name. Raises: `InputError`."""
    from vmkiln.run.guest.screen import pictures_in

    found = pictures_in(logs)
    if not found:
        raise InputError("no picture of a screen is kept of this run", hint="only the VMs of Windows runs have one")
    try:
        with target.open("xb") as file:
            file.write(found[-1].read_bytes())
    except OSError as error:
        raise InputError(f"--picture: {target} cannot be made: {error.strerror}", hint="name a new file") from error
    return found[-1].name


def log_path(store: Store, run_id: str, *, file_name: str) -> Path:
    """Where a log of a run is, or would be. Raises: `InputError` when the run has no staging resource group."""
    from vmkiln.staging import staging_resource_group
    from vmkiln.staging.storage_account import LOGS

    settings = read_settings()
    group = store.runs.find(run_id).staging_group
    if not group:
        raise InputError(f"run {run_id[:8]} has no log: it ended before its staging resource group was made")
    account = staging_resource_group.storage_account_of(
        settings.staging, staging_resource_group.find(store, group, with_deleted=True)
    )
    return account.directory / LOGS / run_id / file_name


def start_of_tail(path: Path, count: int) -> int:
    """Where the last `count` whole lines of a log begin; its end with 0."""
    from vmkiln.staging.customization_log import lines_from

    starts: deque[int] = deque(maxlen=max(count, 1))
    end = 0
    for line, after in lines_from(path, 0):
        starts.append(after - len(line))
        end = after
    return starts[0] if starts and count else end


def _print_from(path: Path, position: int, choice: Choice) -> int:
    """Print the whole lines behind `position` that are wanted; returns where they end.

    A line whose time is not known is as old as can be.
    """
    from vmkiln.staging.customization_log import lines_from
    from vmkiln.staging.logs.log_index import clock_text, line_times

    with line_times(path, position) as time_at:
        for line, end in lines_from(path, position):
            came = time_at(position)
            position = end
            text = line.removesuffix(b"\n").decode(errors="surrogateescape")
            if (choice.since and (came is None or came.time < choice.since)) or not choice.wanted.search(text):
                continue
            if choice.timestamps:
                sys.stdout.write("-  " if came is None else f"{clock_text(came.time)} {harmless(came.step) or '-'}  ")
            if choice.raw:
                sys.stdout.flush()
                sys.stdout.buffer.write(line)
            else:
                sys.stdout.write(without_marks(harmless(text)) + "\n")
    sys.stdout.flush()
    return position
