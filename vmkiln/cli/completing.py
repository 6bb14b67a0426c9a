"""What a shell completes beyond commands and options: ids of runs, of principals and their keys and roles, and names.

It reads the database of this machine as it is, and never fails. What the settings file says is not looked at: reading
it takes longer than a shell may wait.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmkiln.cli.run_list import Named
    from vmkiln.settings import Settings

MOST_COMPLETED = 50
MOST_NAMES = 500  # of images, templates, hosts and the like, from which a shell takes those that begin as the word does


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
    return _beginning(_names("template"), incomplete)


def names_of_runs(incomplete: str) -> list[tuple[str, str]]:
    """The names of the templates of which there are runs here, `vmkiln build`'s among them."""
    return _beginning(_names("ran"), incomplete)


def host_names(incomplete: str) -> list[tuple[str, str]]:
    """The hosts that are at work, each with its architecture."""
    return _beginning(_names("host"), incomplete)


def group_names(incomplete: str) -> list[tuple[str, str]]:
    """The newest staging resource groups that are there, each with the run that it is of."""
    return _beginning(_names("group"), incomplete)


def app_ids(incomplete: str) -> list[tuple[str, str]]:
    """The application ids of the newest principals, each with its name."""
    return _beginning(_names("principal"), incomplete)


def key_ids(incomplete: str) -> list[tuple[str, str]]:
    """The ids of the newest keys of principals, each with its kind and name."""
    return _beginning(_names("key"), incomplete)


def assignment_ids(incomplete: str) -> list[tuple[str, str]]:
    """The ids of the newest role assignments, each with its role and scope."""
    return _beginning(_names("assignment"), incomplete)


def role_names(incomplete: str) -> list[str]:
    """The roles that can be given here."""
    from vmkiln.rights.built_in_roles import CONTRIBUTOR, OWNER, READER

    return [name for name in (READER, CONTRIBUTOR, OWNER) if name.lower().startswith(incomplete.lower())]


def context_names(incomplete: str) -> list[tuple[str, str]]:
    """The services that the command line knows, each with its URL."""
    from vmkiln.cli.contexts import contexts_file, read_contexts
    from vmkiln.errors import InputError

    try:
        known = read_contexts(contexts_file(os.environ)).known
    except InputError:
        return []
    return _beginning([(name, context.url) for name, context in known.items()], incomplete)


def image_names_or_files(incomplete: str) -> list[tuple[str, str]]:
    """What names the newest images, and files."""
    folder, _, beginning = incomplete.rpartition("/")
    place = Path(f"{folder}/") if "/" in incomplete else Path()
    try:
        found = sorted(path for path in place.iterdir() if path.name.startswith(beginning))[:MOST_NAMES]
    except OSError:
        found = []
    above = incomplete.removesuffix(beginning) if beginning else incomplete
    files = [(f"{above}{path.name}{'/' * path.is_dir()}", "") for path in found if beginning or path.name[0] != "."]
    return [*image_names(incomplete), *files]


def platform_image_names(incomplete: str) -> list[str]:
    """What the platform images of the catalogue are called, without those that were imported."""
    from vmkiln.errors import InputError
    from vmkiln.platform_images.catalogue import read_catalogue
    from vmkiln.platform_images.catalogue_entry import name_of

    try:
        known = read_catalogue(_settings().catalogue).entries.values()
    except InputError:
        return []
    return sorted(name for name in map(name_of, known) if name.lower().startswith(incomplete.lower()))[:MOST_NAMES]


def quarantined_names(incomplete: str) -> list[str]:
    """The ids of images that lie here and that the records do not have, as `vmkiln image quarantine` lists them.

    Those of VHDs, and of the store that hosts share, are not looked for: that takes longer than a shell may wait.
    """
    import hashlib

    known, gone = ({name for name, _ in _names(named)} for named in ("place", "gone"))
    found = []
    for note in sorted(_settings().image_store.glob("*/record.json"))[:MOST_NAMES]:
        try:
            told = json.loads(note.read_bytes())
            name, place = str(told["artifact_id"]), str(told["path"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if place not in known and hashlib.sha256(place.encode()).hexdigest() not in gone:
            found.append(name)
    return [name for name in found if name.startswith(incomplete)]


def _beginning(found: list[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in found if name.startswith(incomplete)]


def _names(named: Named) -> list[tuple[str, str]]:
    from vmkiln.cli.run_list import read_names

    database = _database()
    return [] if database is None else read_names(database, named, limit=MOST_NAMES)


def _database() -> Path | None:
    """The file of this machine's records; none where PostgreSQL has them, whose answer may take too long."""
    return None if os.environ.get("VMKILN_DATABASE_URL") else _settings().database


def _settings() -> Settings:
    """The settings of this machine by its environment alone."""
    from vmkiln.settings import Settings

    user = Path(os.environ.get("HOME") or "~").expanduser()
    state = Path(os.environ.get("XDG_STATE_HOME") or user / ".local" / "state")
    return Settings(Path(os.environ.get("VMKILN_HOME") or state / "vmkiln"))


RunArgument = Annotated[
    str,
    typer.Argument(help="A run's id, or the beginning of it; the newest run when left out.", autocompletion=run_ids),
]


def _named(run_id: str | None) -> str | None:
    """None while a shell completes. Raises: `InputError` for '', as a script has it whose variable is not set."""
    if run_id is not None and not run_id.strip():
        from vmkiln.errors import InputError

        raise InputError("no run is named", hint="give its id, or the beginning of it: `vmkiln run list` shows them")
    return run_id


NamedRunArgument = Annotated[
    str,
    typer.Argument(help="A run's id, or the beginning of it.", autocompletion=run_ids, metavar="RUN", callback=_named),
]
