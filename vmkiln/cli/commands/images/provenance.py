"""`vmkiln image verify` and `provenance`: where an image comes from, and whether it is what was published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.commands.images.kept_image import ImageArgument, find_image, on_this_machine
from vmkiln.cli.completing import image_names_or_files
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import AlwaysJsonOption, JsonOption
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmkiln.store.database import Store

MOST_STATEMENT_BYTES = 64 * 1024**2


@examples("vmkiln image verify web")
def verify(
    image: Annotated[
        str,
        typer.Argument(
            help="An image's ARM id, the end of it, or an exported file.", autocompletion=image_names_or_files
        ),
    ] = "",
    statement: Annotated[
        Path | None,
        typer.Option("--statement", help="A signed statement; else the image's own, or FILE.intoto.json."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="A file of public keys to trust (PEM) in place of this host's.")
    ] = None,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the public keys of this host, the newest first, and end.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify that an image is byte for byte what a run published, by its signed statement.

    Exits with 0 when it is, 1 when it is not, 2 when there is nothing to verify.
    """
    from vmkiln.cli.view.long_work import long_work
    from vmkiln.images.exported_statement import beside
    from vmkiln.preparation import opened_store
    from vmkiln.provenance import image_key, verification

    with opened_store(read_settings(), say) as store:
        trusted = image_key.public_keys(store.seal.ring) if key is None else _keys_in(key)
        if public_key and as_json:
            answer({"public_keys": trusted})
            return
        if public_key:
            typer.echo("".join(trusted.values()), nl=False)
            return
        if not image:
            raise InputError("no image is named", hint="give the end of an image's id, or an exported file")
        is_file = Path(image).is_file()
        with long_work(f"reading all of {image}"):
            digests, own, image_id = _of_file(Path(image)) if is_file else _of_image(store, image)
    if statement is not None:
        envelope = _read(statement)
    elif is_file:
        envelope = _read(beside(Path(image)))
    else:
        envelope = own
    verdict = verification.verify(digests, envelope, trusted, image_id=image_id)
    if as_json:
        answer(verdict.summary)
        return
    for line in told(verdict.summary):
        typer.echo(harmless(line))


def told(summary: Mapping[str, Any]) -> list[str]:
    """A verdict in words; pure."""
    source, versions = summary["source"], summary["versions"]
    version = source.get("annotations", {}).get("exactVersion", "")
    return [
        *(f"verified: {name}" for name in summary["subjects"]),
        f"  signed with the key {summary['key']}",
        f"  built by {summary['builder']} ({', '.join(f'{name} {value}' for name, value in versions.items())})",
        f"  by the run {summary['run']}, which published it at {summary['finished']}",
        f"  from {source.get('uri', '')} {version} (SHA-256 {source.get('digest', {}).get('sha256', 'unknown')})",
    ]


@examples("vmkiln image provenance web")
def provenance(
    image: ImageArgument,
    is_signed: Annotated[bool, typer.Option("--signed", help="The signed envelope, as it is exported.")] = False,
    _as_json: AlwaysJsonOption = False,
) -> None:
    """Print the statement of an image's provenance: source, template, scripts, versions, what held the build."""
    from vmkiln.preparation import opened_store
    from vmkiln.provenance import image_key
    from vmkiln.provenance.envelope import opened

    with opened_store(read_settings(), say) as store:
        envelope = statement_of(store, find_image(store, image).artifact_id)
        keys = image_key.public_keys(store.seal.ring)
    typer.echo(envelope if is_signed else json.dumps(opened(envelope, keys)[0], indent=2))


def statement_of(store: Store, artifact_id: str) -> str:
    """The signed statement that is kept with an image. Raises: `ProvenanceRefused` when there is none."""
    from vmkiln.provenance.documents import PROVENANCE
    from vmkiln.provenance.envelope import ProvenanceRefused

    found = store.images.documents_of(artifact_id).get(PROVENANCE)
    if found is None:
        hint = "images of vmkiln 0.2.0 and before have none"
        raise ProvenanceRefused(f"no statement is kept with the image {artifact_id}", hint=hint)
    return found


def _of_file(file: Path) -> tuple[dict[str, str], str, str]:
    from vmkiln.images.image_store import sha256_of

    return {file.name: sha256_of(file)}, "", ""


def _of_image(store: Store, text: str) -> tuple[dict[str, str], str, str]:
    """The digests of the files of an image, read now, its own statement, and its id."""
    from vmkiln.images.data_disk import parts_of
    from vmkiln.images.image_store import sha256_of

    row = on_this_machine(store, find_image(store, text))
    digests = {part.path.name: sha256_of(part.path) for part in parts_of(row)}
    return digests, statement_of(store, row.artifact_id), row.artifact_id


def _keys_in(file: Path) -> dict[str, str]:
    from vmkiln.provenance.image_key import keys_in

    return keys_in(_read(file), file_name=str(file))


def _read(file: Path) -> str:
    """The text of a file. Raises: `InputError`."""
    try:
        if file.stat().st_size > MOST_STATEMENT_BYTES:
            raise InputError(f"{file} is larger than any statement or key")
        return file.read_text()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text") from error
