"""What a shell completes beyond commands and options: ids of runs, names of images, templates and hosts.

It reads the database of this machine as it is, and never fails. What the settings file says is not looked at: reading
it takes longer than a shell may wait.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmkiln.cli.run_list import Named

MOST_COMPLETED = 50
MOST_NAMES = 500  # of images, templates and hosts, from which a shell takes those that begin as the word does


def run_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest runs whose id begins so, each with its state and template; none where they cannot be read."""
    from vmkiln.cli.run_list import read_run_list

    if (database := _database()) is None:
        return []
    found = read_run_list(database, limit=MOST_COMPLETED)
    newest = found.newest if found else ()
    return [(run.run_id[:8], f"{run.state} {run.template_name}") for run in newest if run.run_id.startswith(incomplete)]


def image_names(incomplete: str) -> list[tuple[str, str]]:
    """What names the newest images, each with its kind: the end of its id where that is no other's, or the id."""
    found = _names("image")
    ends = Counter(artifact_id.rpartition("/")[2].lower() for artifact_id, _ in found)
    named = []
    for artifact_id, kind in found:
        end = artifact_id.rpartition("/")[2]
        is_enough = ends[end.lower()] == 1 and "/versions/" not in artifact_id.lower()
        named.append((end if is_enough and not incomplete.startswith("/") else artifact_id, kind))
    return [(name, kind) for name, kind in named if name.startswith(incomplete)]


def template_names(incomplete: str) -> list[tuple[str, str]]:
    """The newest image templates of this machine's service, each with its resource group."""
    return [(name, group) for name, group in _names("template") if name.startswith(incomplete)]


def host_names(incomplete: str) -> list[tuple[str, str]]:
    """The hosts that are at work, each with its architecture."""
    return [(name, architecture) for name, architecture in _names("host") if name.startswith(incomplete)]


def _names(named: Named) -> list[tuple[str, str]]:
    from vmkiln.cli.run_list import read_names

    database = _database()
    return [] if database is None else read_names(database, named, limit=MOST_NAMES)


def _database() -> Path | None:
    """The file of this machine's records; none where PostgreSQL has them, whose answer may take too long."""
    from vmkiln.settings import Settings

    if os.environ.get("VMKILN_DATABASE_URL"):
        return None
    user = Path(os.environ.get("HOME") or "~").expanduser()
    state = Path(os.environ.get("XDG_STATE_HOME") or user / ".local" / "state")
    return Settings(Path(os.environ.get("VMKILN_HOME") or state / "vmkiln")).database


RunArgument = Annotated[
    str,
    typer.Argument(help="A run's id, or the beginning of it; the newest run when left out.", autocompletion=run_ids),
]
NamedRunArgument = Annotated[
    str, typer.Argument(help="A run's id, or the beginning of it.", autocompletion=run_ids, metavar="RUN")
]
