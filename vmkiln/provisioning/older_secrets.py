"""Seals what older releases stored in plain words: secrets in templates, and what was copied of them.

Which values were secret, an older release did not record; it recorded that a deployment had secure parameters, and
what it made. Of the templates that it made, every command and address is sealed as a whole; of all others, keys of
known shapes. Then the database is written anew, for old contents lie in its free pages and its write-ahead log.

*Leaves behind:* nothing. *Safe to repeat:* yes: what is sealed is left alone; it is on record until it was done.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmkiln.azure_names import DEPLOYMENT, IMAGE_TEMPLATE
from vmkiln.files.durable_file import part_of
from vmkiln.provisioning.stored_template import SEALED, sealed_apart
from vmkiln.secrecy.secret_mask import LineMask, SecretMask
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.store.schema import SEAL_SECRETS, scrub_file

PAGE = 200
MOST_LINE_LETTERS = 1024 * 1024  # of a log that are looked at at once
COMMANDS = ("inline", "scriptUri", "sourceUri")


def seal(settings: Settings, store: Store, tell: Callable[[str], None]) -> None:
    """Do it, when it is still to be done, and tell that it was.

    Raises: `KeyUnavailable`, `StorageFailed`; the next start tries again.
    """
    if not store.duties.is_open(SEAL_SECRETS):
        return
    made = set(_made_with_secrets(store))
    count = 0
    for row in _all(store, IMAGE_TEMPLATE):
        count += _seal(settings, store, row, is_whole=row.key in made)
    for row in _all(store, DEPLOYMENT):
        if _without_shapes(row) != row:
            store.resources.change(row.id, _without_shapes)
    engine = settings.engine_address
    is_scrubbed = store.duties.scrub() and (not isinstance(engine, Path) or scrub_file(engine))
    if not is_scrubbed:
        tell("old contents of the database could not be removed, for it is in use; the next start tries again")
        return
    store.duties.done(SEAL_SECRETS)
    tell(f"secrets of {count} image templates, which an older release kept in plain words, are sealed now")


def _all(store: Store, kind: str) -> Iterator[ResourceRow]:
    after = ""
    while rows := store.resources.list(type=kind, after=after, limit=PAGE):
        yield from rows
        after = rows[-1].key


def _made_with_secrets(store: Store) -> Iterator[str]:
    """The ids (lower case) of what deployments with secure parameters made, or were about to make."""
    for row in _all(store, DEPLOYMENT):
        given = row.properties.get("parameters") or {}
        if any(str(told.get("type", "")).lower().startswith("secure") for told in given.values()):
            for told in row.properties.get("outputResources") or ():
                yield str(told.get("id", "")).lower()
            for operation in row.state.get("operations") or ():
                yield str(operation["properties"]["targetResource"]["id"]).lower()


def _seal(settings: Settings, store: Store, row: ResourceRow, *, is_whole: bool) -> bool:
    if SEALED in row.state:
        return False
    secrets = set(_commands_of(row.properties)) if is_whole else set[str]()
    shown, sealed = sealed_apart(store, row.id, row.properties, secrets)
    if not sealed:
        return False  # and its time of change stays what it was
    mask = SecretMask.of(secrets | _printed_by(secrets))
    copies = store.duties.templates_of_runs(row.key)

    def changed(old: ResourceRow) -> ResourceRow:
        if SEALED in old.state:
            return old
        return replace(old, properties={**old.properties, **shown}, state={**old.state, SEALED: sealed})

    store.resources.change(row.id, changed)
    for run_id, template in copies.items():
        store.duties.change_run(run_id, mask.value(template))
    if group := row.state.get("staging_group"):
        for path in sorted((settings.staging / group).rglob("*.log")):
            _mask_log(path, mask)
    return True


def _commands_of(value: Any, name: str = "") -> Iterator[str]:
    """The commands and addresses of steps."""
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _commands_of(item, str(inner))
    elif isinstance(value, list):
        for item in value:
            yield from _commands_of(item, name)
    elif isinstance(value, str) and name in COMMANDS and value.strip():
        yield value


def _printed_by(commands: Collection[str]) -> set[str]:
    """What commands may have put into a log: all that stands behind a command's first word."""
    return {rest.strip() for command in commands for _, _, rest in [command.strip().partition(" ")] if rest.strip()}


def _without_shapes(row: ResourceRow) -> ResourceRow:
    mask = SecretMask()
    kept = {name: mask.value(row.properties[name]) for name in ("outputs", "error") if name in row.properties}
    return replace(row, properties={**row.properties, **kept})


def _mask_log(path: Path, mask: SecretMask) -> None:
    """Mask a log that was written before; one that has no secret stays as it is."""
    if not any(masked != line for line, masked in _masked_lines(path, mask)):
        return
    with part_of(path, mode=path.stat().st_mode & 0o700) as descriptor, open(descriptor, "wb", closefd=False) as file:
        for _, masked in _masked_lines(path, mask):
            file.write(masked.encode(errors="surrogateescape"))


def _masked_lines(path: Path, mask: SecretMask) -> Iterator[tuple[str, str]]:
    lines = LineMask(mask)
    with path.open(errors="surrogateescape", newline="") as file:
        while line := file.readline(MOST_LINE_LETTERS):
            content = line.rstrip("\r\n")
            yield line, lines(content) + line[len(content) :]
