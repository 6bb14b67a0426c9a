"""`vmkiln image quarantine`, `adopt` and `purge`: images that a restored back-up's records do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.audit.act_names import IMAGE_ADOPT, IMAGE_PURGE
from vmkiln.azure_names import utc_text
from vmkiln.cli.audited import audited
from vmkiln.cli.completing import quarantined_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, show_rows
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import ImageNotFound, InputError

if TYPE_CHECKING:
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import ImageRow

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="ARM ids, or the ends of them (`hello-linux`).", autocompletion=quarantined_names),
]
NONE = "no image is in quarantine"
AllOption = Annotated[bool, typer.Option("--all", help="All that `vmkiln image quarantine` lists.")]


def _quarantined(settings: Settings, store: Store) -> list[ImageRow]:
    from vmkiln.images.quarantine import newest_first, unrecorded
    from vmkiln.sharing.shared_storage import shared_storage

    here = unrecorded(settings, store)
    shared = shared_storage(settings, store)
    return here if shared is None else newest_first([*here, *shared.images.quarantined()])


def _chosen(settings: Settings, store: Store, names: list[str] | None, *, is_all: bool) -> list[ImageRow]:
    """Raises: `ImageNotFound`, `InputError` for none, both, or a name of more than one."""
    if bool(names) == is_all:
        raise InputError("name images, or give --all", hint="`vmkiln image quarantine` lists them")
    found = _quarantined(settings, store)
    if is_all:
        return found
    chosen = []
    for name in names or ():
        rows = [row for row in found if row.key == name.lower() or row.key.endswith("/" + name.lower())]
        if not rows:
            raise ImageNotFound(
                f"there is no image `{name}` in quarantine", hint="`vmkiln image quarantine` lists them"
            )
        if len({row.key for row in rows}) > 1:
            raise InputError(f"more than one image ends with `{name}`", hint="give the whole id")
        chosen += rows
    return chosen


@examples("vmkiln image quarantine")
def quarantine(as_json: JsonOption = False) -> None:
    """List the images that lie here and that the records do not have, as after a back-up was restored."""
    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        found = _quarantined(settings, store)
    if as_json:
        answer([{**vars(row), "path": str(row.path), "created": utc_text(row.created)} for row in found])
        return
    rows = [
        [f"{row.created:%Y-%m-%d %H:%M}", row.kind, f"{row.size_bytes >> 20} MiB", row.artifact_id] for row in found
    ]
    show_rows(["CREATED (UTC)", "KIND", ">SIZE", "ID"], rows, none=NONE)


@examples("vmkiln image adopt web")
def adopt(names: NamesArgument = None, is_all: AllOption = False, as_json: JsonOption = False) -> None:
    """Record images of the quarantine again, as they were; the newest of those that have one id."""
    from vmkiln.images.quarantine import adopt as adopting
    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        newest = {row.key: row for row in reversed(_chosen(settings, store, names, is_all=is_all))}
        for row in newest.values():
            with audited(store, IMAGE_ADOPT, row.artifact_id):
                adopting(row, store)
            if not as_json:
                typer.echo(f"adopted {row.artifact_id}")
    if as_json:
        answer({"adopted": [row.artifact_id for row in newest.values()]})
    elif not newest:
        say(NONE)


@examples("vmkiln image purge --all")
def purge(
    names: NamesArgument = None,
    is_all: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete images of the quarantine for good."""
    from vmkiln.images.quarantine import purge as purging
    from vmkiln.preparation import opened_store
    from vmkiln.sharing.shared_storage import shared_storage

    settings = read_settings()
    with opened_store(settings, say) as store:
        rows = _chosen(settings, store, names, is_all=is_all)
        if rows and not yes:
            typer.confirm(f"delete {', '.join(row.artifact_id for row in rows)}?", abort=True, err=True)
        shared = shared_storage(settings, store)
        for row in rows:
            with audited(store, IMAGE_PURGE, row.artifact_id):
                purging(row, store)
                if shared is not None:
                    shared.images.purge(row)
            if not as_json:
                typer.echo(f"deleted {row.artifact_id}")
    if as_json:
        answer({"deleted": [row.artifact_id for row in rows]})
    elif not rows:
        say(NONE)
