"""What every command says, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.store.database import Store


def say(text: str) -> None:
    """Progress and notices go to standard error, so that standard output holds only what was asked for."""
    typer.echo(text, err=True)


def newest_or(store: Store, run_id: str) -> str:
    """The run's whole id. Raises: `InputError` when there is none."""
    if run_id:
        return store.runs.find(run_id).run_id
    rows = store.runs.list(limit=1)
    if not rows:
        raise InputError("there is no run yet", hint="`vmkiln build TEMPLATE` starts one")
    return rows[0].run_id
