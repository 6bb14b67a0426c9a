"""The newest runs by plain SQL, for `vmkiln run list`: SQLAlchemy's import takes longer than all that the command does.

Names of images, templates, hosts and the like are read so too, for a shell that completes them. It is answered for the
database that nearly everybody has, an SQLite file of this vmkiln's schema; for every other the caller asks `Store`,
which also makes, upgrades and repairs. A test holds that both tell the same.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar
from urllib.parse import quote

from vmkiln.run_state import TERMINAL_STATES

VERSIONS = Path(__file__).parents[1] / "store" / "migrations" / "versions"  # one file a revision
BUSY_SECONDS = 10.0
NEWEST = """SELECT run_id, template_name, state, sub_state, started, ended, facts
    FROM vmkiln_run WHERE (? = '[]' OR state IN (SELECT value FROM json_each(?)))
    AND (? = '' OR lower(template_name) = lower(?)) ORDER BY started DESC LIMIT ?"""
UNENDED = f"SELECT run_id, state FROM vmkiln_run WHERE state NOT IN ({', '.join('?' * len(TERMINAL_STATES))})"  # noqa: S608

Named = Literal["image", "template", "ran", "host", "group", "principal", "key", "assignment", "place", "gone"]
NAMES: Mapping[Named, str] = MappingProxyType(
    {
        "image": "SELECT artifact_id, kind FROM vmkiln_image ORDER BY created DESC LIMIT ?",
        "template": """SELECT name, resource_group FROM vmkiln_resource
            WHERE type = 'microsoft.virtualmachineimages/imagetemplates' ORDER BY created DESC LIMIT ?""",
        "ran": """SELECT template_name, '' FROM vmkiln_run
            GROUP BY template_name ORDER BY max(started) DESC LIMIT ?""",
        "host": """SELECT name, architecture FROM vmkiln_host
            WHERE NOT is_dead AND NOT is_stopped ORDER BY started DESC LIMIT ?""",
        "group": """SELECT name, substr(run_id, 1, 8) FROM vmkiln_staging_group
            WHERE deleted IS NULL ORDER BY created DESC LIMIT ?""",
        "principal": "SELECT app_id, display_name FROM vmkiln_principal ORDER BY created DESC LIMIT ?",
        "key": """SELECT key_id, trim(kind || ' ' || name) FROM vmkiln_principal_key ORDER BY created DESC LIMIT ?""",
        "assignment": """SELECT assignment_id, role || ' ' || scope FROM vmkiln_role_assignment
            ORDER BY created DESC LIMIT ?""",
        "place": "SELECT path, kind FROM vmkiln_image ORDER BY created DESC LIMIT ?",
        "gone": "SELECT place, '' FROM vmkiln_gone_image ORDER BY moment DESC LIMIT ?",
    }
)
T = TypeVar("T")


@dataclass(frozen=True)
class ListedRun:
    """A run as it is listed; times are UTC."""

    run_id: str
    template_name: str
    state: str
    sub_state: str
    started: datetime
    ended: datetime | None
    attempt: int


@dataclass(frozen=True)
class RunList:
    """The newest runs, and every run that has not ended with its state."""

    newest: tuple[ListedRun, ...]
    unended: dict[str, str]


def newest_revision() -> str:
    """The schema that this vmkiln writes, as `store/schema.py` has it, which cannot be imported without SQLAlchemy."""
    return max(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


def read_run_list(database: Path, *, limit: int, states: Sequence[str] = (), template: str = "") -> RunList | None:
    """The list, only of runs in `states` when any are given, and of the `template` of this name.

    None when this is no database that can be read as it is.
    """
    words = json.dumps(list(states))
    chosen = (words, words, template, template, limit)

    def ask(connection: sqlite3.Connection) -> RunList:
        unended = dict(connection.execute(UNENDED, sorted(TERMINAL_STATES)).fetchall())
        return RunList(tuple(_listed(row) for row in connection.execute(NEWEST, chosen)), unended)

    return _read(database, ask)


def read_names(database: Path, named: Named, *, limit: int) -> list[tuple[str, str]]:
    """Names with what they are the name of, the newest first; none from a database that cannot be read as it is."""
    return _read(database, lambda connection: connection.execute(NAMES[named], (limit,)).fetchall()) or []


def _read(database: Path, ask: Callable[[sqlite3.Connection], T]) -> T | None:
    if not database.is_file():
        return None
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")  # what follows is of one moment
            if connection.execute("SELECT version_num FROM vmkiln_revision").fetchone() != (newest_revision(),):
                return None
            return ask(connection)
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake of ours
    except sqlite3.Error:
        return None


def _listed(row: tuple[str, str, str, str, str, str | None, str]) -> ListedRun:
    run_id, template_name, state, sub_state, started, ended, facts = row
    return ListedRun(
        run_id=run_id,
        template_name=template_name,
        state=state,
        sub_state=sub_state,
        started=datetime.fromisoformat(started),
        ended=datetime.fromisoformat(ended) if ended else None,
        attempt=int(
            json.loads(facts).get("attempt", 1)
        ),  # as `store/rows.py` has it, whose import is a tenth of it all
    )
