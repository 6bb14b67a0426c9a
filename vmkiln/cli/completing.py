"""What a shell completes beyond commands and options: ids of runs. It reads the database as it is, and never fails.

What the settings file says is not looked at: reading it takes longer than a shell may wait.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

MOST_COMPLETED = 50


def run_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest runs whose id begins so, each with its state and template; none where they cannot be read."""
    from vmkiln.cli.run_list import read_run_list
    from vmkiln.settings import Settings

    if os.environ.get("VMKILN_DATABASE_URL"):
        return []
    user = Path(os.environ.get("HOME") or "~").expanduser()
    state = Path(os.environ.get("XDG_STATE_HOME") or user / ".local" / "state")
    home = Path(os.environ.get("VMKILN_HOME") or state / "vmkiln")
    found = read_run_list(Settings(home).database, limit=MOST_COMPLETED)
    newest = found.newest if found else ()
    return [(run.run_id[:8], f"{run.state} {run.template_name}") for run in newest if run.run_id.startswith(incomplete)]


RunArgument = Annotated[
    str,
    typer.Argument(help="A run's id, or the beginning of it; the newest run when left out.", autocompletion=run_ids),
]
NamedRunArgument = Annotated[
    str, typer.Argument(help="A run's id, or the beginning of it.", autocompletion=run_ids, metavar="RUN")
]
