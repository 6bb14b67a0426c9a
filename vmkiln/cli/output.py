"""What every command says, and to whom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from vmkiln.azure_names import utc_text
from vmkiln.cli import invocation
from vmkiln.errors import ArmError, InputError, Mistake, VmkilnError
from vmkiln.harmless_text import with_whole_letters, without_marks

if TYPE_CHECKING:
    from vmkiln.store.database import Store

GAP = "  "
PLACED = re.compile(r".+:(\d+):(\d+)", re.DOTALL)  # the path of what cannot be read further


def say(text: str) -> None:
    """Progress and notices go to standard error, so that standard output holds only what was asked for."""
    typer.echo(without_marks(text), err=True)


def answer(data: Any, *, indent: int | None = None) -> None:
    """What was asked for, as JSON; docs/json.md says what is in it. An error that follows is told in words only."""
    typer.echo(json_text(data, indent=indent))
    invocation.mark_answered()


def json_text(data: Any, *, indent: int | None = None) -> str:
    """Data as all our JSON has it: ASCII, without halves of letters; pure."""
    text = json.dumps(data, default=plain, indent=indent)
    return json.dumps(_with_whole_letters(json.loads(text)), indent=indent) if "\\ud" in text else text


def _with_whole_letters(data: Any) -> Any:
    match data:
        case str():
            return with_whole_letters(data)
        case dict():
            return {with_whole_letters(name): _with_whole_letters(value) for name, value in data.items()}
        case list():
            return [_with_whole_letters(value) for value in data]
    return data


def plain(value: object) -> str:
    """What JSON has no kind for: a moment as ISO 8601 in UTC with a Z, everything else as its text; pure."""
    return moment_text(value) if isinstance(value, datetime) else str(value)


def moment_text(moment: datetime) -> str:
    """A moment as all our JSON has it: `2026-11-28T13:50:00.123Z`; one without a zone is UTC. Pure."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return utc_text(aware.astimezone(UTC))


def error_data(error: VmkilnError) -> dict[str, Any]:
    """An error as `--json` prints it: its code, words, what to do, and one entry for each mistake; pure."""
    details = mistakes_data(getattr(error, "mistakes", ()))  # of a template
    if isinstance(error, ArmError):
        said = [Mistake(str(one.get("target") or ""), str(one.get("message") or "")) for one in error.details]
        details = mistakes_data(said)
    return told_error(error.code, error.message, hint=error.hint, exit_code=error.exit_code, details=details)


def mistakes_data(mistakes: Sequence[Mistake]) -> list[dict[str, Any]]:
    """Mistakes of a template for a program to read; pure."""
    return [_mistake_data(mistake) for mistake in mistakes]


def _mistake_data(mistake: Mistake) -> dict[str, Any]:
    line, column = mistake.line, mistake.column
    if said := PLACED.fullmatch(mistake.path):
        line, column = int(said[1]), int(said[2])
    place = {"path": mistake.path, "line": line or None, "column": column or None}
    return {**place, "message": mistake.message, "hint": mistake.hint}


def told_error(
    code: str, message: str, *, exit_code: int, hint: str | None = None, details: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The one shape of every error in JSON; pure."""
    inner = {"code": code, "message": message, "hint": hint, "exitCode": exit_code, "details": list(details)}
    return {"error": inner}


def told_done(text: str, data: Mapping[str, Any], *, as_json: bool) -> None:
    """What was done: in words on standard error, or for programs on standard output."""
    if as_json:
        answer(data)
    else:
        say(text)


def told_value(value: str, data: Mapping[str, Any], *, as_json: bool) -> None:
    """The one value that a command gives: alone, or for programs with its name."""
    if as_json:
        answer(data)
    else:
        typer.echo(value)


def told_deleted(name: str, *, as_json: bool) -> None:
    """That something is deleted."""
    if as_json:
        answer({"deleted": name})
    else:
        typer.echo(f"deleted {name}")


def show_data(data: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing with its members: as JSON, or a line for each member."""
    if as_json:
        answer(data)
        return
    for name, value in data.items():
        typer.echo(f"{name}: {_in_words(value)}")


def _in_words(value: object) -> str:
    match value:
        case None | "" | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name} {_in_words(inner)}" for name, inner in value.items())
        case _:
            return str(value)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], *, none: str, is_of_service: bool = False) -> None:
    """A table with a line of headings; without a row, `none` says on standard error what to do.

    A column that begins with `>` has its cells at the right. The last one is as long as it likes. What is not of the
    service in use is of this machine: an empty list says so to whoever has logged in elsewhere.
    """
    cells = [list(row) for row in rows]
    if not cells:
        say(none)
        if not is_of_service and (told := elsewhere()):
            say(told)
        return
    heads = [column.removeprefix(">") for column in columns]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    at_right = [column.startswith(">") for column in columns]
    for row in (heads, *cells):
        places = zip(row, widths, at_right, strict=True)
        laid = [cell.rjust(width) if is_right else cell.ljust(width) for cell, width, is_right in places]
        typer.echo(GAP.join(laid).rstrip())


def elsewhere() -> str:
    """That this machine was asked and not the service in use; '' where none is in use."""
    import os

    from vmkiln.cli.contexts import contexts_file, read_contexts

    try:
        current = read_contexts(contexts_file(os.environ)).current
    except InputError:
        return ""
    told = f"this machine was asked; `vmkiln template` and `vmkiln rest` ask the service of the context `{current}`"
    return told if current else ""


def newest_or(store: Store, run_id: str) -> str:
    """The run's whole id. Raises: `InputError` when there is none."""
    if run_id:
        return store.runs.find(run_id).run_id
    rows = store.runs.list(limit=1)
    if not rows:
        way = "; ".join(part for part in ("`vmkiln build TEMPLATE` starts one", elsewhere()) if part)
        raise InputError("there is no run yet", hint=way)
    return rows[0].run_id
