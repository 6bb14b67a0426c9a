"""What every command says, and to whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.store.database import Store


def say(text: str) -> None:
    """Progress and notices go to standard error, so that standard output holds only what was asked for."""
    typer.echo(text, err=True)


def show_data(data: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing with its members: as JSON, or a line for each member."""
    if as_json:
        typer.echo(json.dumps(data))
        return
    for name, value in data.items():
        typer.echo(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")


def newest_or(store: Store, run_id: str) -> str:
    """The run's whole id. Raises: `InputError` when there is none."""
    if run_id:
        return store.runs.find(run_id).run_id
    rows = store.runs.list(limit=1)
    if not rows:
        raise InputError("there is no run yet", hint="`vmkiln build TEMPLATE` starts one")
    return rows[0].run_id
