"""A state that an older release left, put back where a test wants it: the state directory, and its database."""

import base64
import json
import re
import sqlite3
import subprocess
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from in_process import BASE
from postgresql import Cluster

from vmkiln.settings import Settings

NAMES = ("run_id", "artifact_id", "appId", "id", "name")
KEPT = Path(__file__).with_name("kept")


@dataclass(frozen=True)
class OlderState:
    """Where it is now, and what the older release told its users (`make_state.py` says how it was made)."""

    name: str
    settings: Settings
    told: dict[str, Any] = field(repr=False)

    @property
    def runs(self) -> dict[str, str]:
        """The ids of the runs by the names of their templates."""
        return dict(self.told["runs"])

    def said(self, name: str) -> list[dict[str, Any]]:
        """What the older release answered: `answers` of its API, or `commands` of its command line."""
        return list(_here(self, json.loads((KEPT / self.name / f"{name}.json").read_text())))


def put_back(name: str, home: Path, server: Cluster | None = None) -> OlderState:
    """Make the state `name` in `home`, a new folder; its database in a `server` if it was in one."""
    folder = KEPT / name
    told = json.loads((folder / "told.json").read_text())
    for entry in _tree(name):
        _put(home / entry["path"], entry)
    if server is None:
        for file in ("database", "engine"):
            target = home / f"{'vmkiln' if file == 'database' else file}.sqlite"
            connection = sqlite3.connect(target)
            connection.executescript((folder / f"{file}.sql").read_text())
            connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
            target.chmod(0o644)  # whoever made a back-up and restored it has such a file
        return OlderState(name, Settings(home), told)
    url = server.new_database()
    command = [server.programs / "psql", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", folder / "database.sql", url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return OlderState(name, Settings(home, database_url=url), told)


def _tree(name: str) -> list[dict[str, Any]]:
    return list(json.loads((KEPT / name / "tree.json").read_text()))


def _put(path: Path, entry: dict[str, Any]) -> None:
    mode = int(entry["mode"], 8)
    if "text" in entry:
        path.write_text(entry["text"])
    elif "deflated" in entry:
        path.write_bytes(zlib.decompress(base64.b64decode(entry["deflated"])))
    else:
        path.mkdir(parents=True)
    path.chmod(mode)


def _here(state: OlderState, value: Any) -> Any:
    """What was told, with the paths of the state directory and the service's URL as they are now."""
    [endpoint] = [entry["text"] for entry in _tree(state.name) if entry["path"] == "service/endpoint"]
    text = json.dumps(value).replace(state.told["home"], str(state.settings.home)).replace(endpoint.strip(), BASE)
    return json.loads(text)


def _is_moment(old: Any, new: Any) -> bool:
    """Whether both are texts of one moment, to the millisecond (RFC 3339); pure."""
    try:
        return abs(datetime.fromisoformat(old) - datetime.fromisoformat(new)) < timedelta(milliseconds=1)
    except (TypeError, ValueError):
        return False


def lost(old: Any, new: Any, *, but: tuple[str, ...] = (), path: str = "") -> list[str]:
    """What an old answer had and a new one has not, or has with another value: paths such as `value[web].name`; pure.

    What is new is no loss. `but` are patterns of paths whose values may change or go.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{path}.{name} is gone" for name in old if name not in new and not _may_change(f"{path}.{name}", but)]
        kept = [(f"{path}.{name}".lstrip("."), old[name], new[name]) for name in old if name in new]
        return gone + [text for inner, before, after in kept for text in lost(before, after, but=but, path=inner)]
    if isinstance(old, list) and isinstance(new, list):
        before, after = _by_name(old), _by_name(new)
        gone = [f"{path}[{name}] is gone" for name in before if name not in after and not _may_change(path, but)]
        kept = [(f"{path}[{name}]", before[name], after[name]) for name in before if name in after]
        return gone + [text for inner, was, now in kept for text in lost(was, now, but=but, path=inner)]
    return [] if old == new or _is_moment(old, new) or _may_change(path, but) else [f"{path}: {old!r} became {new!r}"]


def _may_change(path: str, but: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in but)


def _by_name(values: list[Any]) -> dict[str, Any]:
    """What is in a list, by the last part of what it is called, or by its place when it has no name."""
    names = [
        [str(value[key]) for key in NAMES if value.get(key)] if isinstance(value, dict) else [] for value in values
    ]
    return {
        found[0].rpartition("/")[2] if found else str(place): value
        for place, (found, value) in enumerate(zip(names, values, strict=True))
    }
