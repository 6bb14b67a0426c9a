"""`vmkiln image export`: an image as a file, or as an OCI artifact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.cli.commands.images.image_import import kept_or_imported
from vmkiln.cli.commands.images.kept_image import ImageArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmkiln.store.rows import ImageRow

OCI = "oci"


@examples(
    "vmkiln image export web web.vhd",
    "vmkiln image export web web.qcow2 --compress --checksum",
    "vmkiln image export web web-oci --format oci",
)
def export(
    image: ImageArgument,
    target: Annotated[Path, typer.Argument(help="The file to write, or with `--format oci` the folder.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="One of qcow2, raw, vhd, vmdk, vhdx, or oci for a folder; else by the file's name."
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    lun: Annotated[int | None, typer.Option("--lun", min=0, help="A data disk instead, by its number.")] = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Make it small: qcow2 and vmdk; takes a minute.")
    ] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Also write FILE.sha256, as `sha256sum --check` reads it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an image to a file (qcow2, raw, fixed VHD, VMDK, VHDX), its signed statement beside (FILE.intoto.json).

    With `--format oci` it is a folder, an OCI image layout: the disks as they are kept, and the image's documents.
    """
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.cli.view.long_work import long_work
    from vmkiln.images.data_disk import part_of, parts_of
    from vmkiln.images.exported_statement import shared_folder, write_beside
    from vmkiln.images.image_export import export_image, write_checksum
    from vmkiln.preparation import opened_store
    from vmkiln.provenance.documents import PROVENANCE

    with opened_store(read_settings(), say) as store:
        row = kept_or_imported(store, image)
        documents, ring = store.images.documents_of(row.artifact_id), store.seal.ring
    if format_ == OCI:
        if compress or checksum or lun is not None:
            raise InputError(
                "--format oci is the whole image as it is kept, by digests: no --compress, --checksum, --lun"
            )
        _export_layout(row, documents, target, force=force, as_json=as_json)
        return
    row = next(reversed(list(parts_of(row)))) if lun is None else part_of(row, lun)

    def progress(chunk: bytes) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()

    async def written() -> None:
        await export_image(
            row, target, target_format=format_, may_overwrite=force, progress=progress, is_compressed=compress
        )
        if checksum:
            say(f"wrote {await write_checksum(target)}")

    with long_work(f"writing {target}"):
        run_to_end(written())
    envelope = documents.get(PROVENANCE)
    statement = write_beside(row, envelope, target, ring) if envelope else None
    if statement is None and envelope:
        say(
            f"no statement is signed about {target}, for others may change what lies in {shared_folder(target)}: "
            f"export into a folder that only you may write to, or as {row.format}, as the image is kept"
        )
    elif statement is None:
        say("no statement is kept with this image, so none is beside the file")
    size = target.stat().st_size
    if as_json:
        answer({"file": str(target.absolute()), "bytes": size, "statement": str(statement) if statement else None})
        return
    typer.echo(f"wrote {target} ({size >> 20} MiB)")
    if statement:
        typer.echo(f"wrote {statement}")


def _export_layout(row: ImageRow, documents: Mapping[str, str], target: Path, *, force: bool, as_json: bool) -> None:
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.cli.view.long_work import long_work
    from vmkiln.images.oci_layout import export_layout

    with long_work(f"writing {target}"):
        written = run_to_end(export_layout(row, documents, target, may_overwrite=force))
    if as_json:
        size, digest = written.size_bytes, written.digest
        answer({"file": str(target.absolute()), "bytes": size, "statement": None, "digest": digest})
        return
    typer.echo(f"wrote {target} ({written.size_bytes >> 20} MiB)")
    typer.echo(written.digest)
