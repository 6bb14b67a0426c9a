"""`vmkiln image import`, and what other commands need of imported images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import Architecture
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.images.image_check import Imported, imported_and_checked, refuse_odd_options
from vmkiln.cli.commands.images.kept_image import find_image, on_this_machine
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import ImageNotFound, InputError

if TYPE_CHECKING:
    from vmkiln.platform_images.image_cache import SourceImage
    from vmkiln.platform_images.image_import import ImportedFacts
    from vmkiln.store.database import Store
    from vmkiln.store.rows import ImageRow

PLATFORM_IMAGE = "PlatformImage"


def urn(image: SourceImage) -> str:
    """`publisher:offer:sku:version`."""
    return f"{image.title}:{image.exact_version}"


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 when it is gone."""
    return path.stat().st_size if path.exists() else 0


def imported_data(image: SourceImage) -> dict[str, Any]:
    """An imported image as JSON has it."""
    data = {**asdict(image), "path": str(image.path), "created": moment_text(image.created)}
    return {"kind": PLATFORM_IMAGE, "artifact_id": urn(image), "size_bytes": size_of(image.path), **data}


@examples(
    "vmkiln image import server.vhdx --as Contoso:server:2022-gen2 --os-type Windows",
    "vmkiln image import server.vhdx --as Contoso:server:2022-gen2 --os-type Windows --check",
)
def import_(
    source: Annotated[str, typer.Argument(help="A file (raw, qcow2, VHD, VHDX), or an https address of one.")],
    name: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="PUBLISHER:OFFER:SKU[:VERSION]",
            help="What templates call it; the version is today's if left out.",
        ),
    ],
    checksum: Annotated[str, typer.Option(metavar="sha256:HEX", help="The SHA-256 or SHA-512 that it must have.")] = "",
    format_: Annotated[str, typer.Option("--format", help="qcow2, raw, vhd or vhdx; else by what it is.")] = "",
    generation: Annotated[
        int, typer.Option(min=0, max=2, help="1 (BIOS) or 2 (UEFI); 0: as the SKU or the disk says.")
    ] = 0,
    os_type: Annotated[str, typer.Option(help="Linux or Windows; else by publisher and offer.")] = "",
    architecture: Annotated[str, typer.Option(help="x64 or Arm64.")] = Architecture.X64,
    plan: Annotated[
        str, typer.Option(metavar="NAME:PRODUCT:PUBLISHER", help="The purchase plan it has on Azure.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Boot a Windows image once, and find the way to log in to it.")
    ] = False,
    emulated: Annotated[bool, typer.Option("--emulated", help="Check it also where there is no KVM.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take an image of yours as a platform image, so that templates that name it on Azure build here."""
    from vmkiln.audit.act_names import PLATFORM_IMAGE_WRITE, platform_image_id
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.fetching.server_rule import NamedBy
    from vmkiln.fetching.way_out import rule_of, way_out_of
    from vmkiln.platform_images.image_import import import_image, os_type_of, parse_name
    from vmkiln.preparation import look_at_windows_of, opened_store

    settings, wanted = read_settings(), parse_name(name)
    facts = _facts(checksum, format_, generation, os_type, architecture, plan)
    refuse_odd_options(os_type_of(wanted, facts), check=check, emulated=emulated)
    about = platform_image_id(wanted.title, wanted.version or "new")
    with opened_store(settings, say) as store, audited(store, PLATFORM_IMAGE_WRITE, about, is_first=True) as act:

        async def importing() -> SourceImage:
            found = await import_image(
                source,
                wanted,
                facts,
                cache_directory=settings.image_cache,
                progress=say,
                rule=rule_of(settings, NamedBy.USER),
                way_out=way_out_of(settings),
                look=look_at_windows_of(settings, say),
            )
            act.resource_id = platform_image_id(found.title, found.exact_version)
            return found

        async def work() -> Imported:
            if not check:
                return await importing(), None, None
            return await imported_and_checked(settings, store, importing, may_be_emulated=emulated)

        image, checked, problem = run_to_end(work())
    if problem is not None:  # behind the act: the image was imported
        raise problem
    if as_json:
        answer(imported_data(image) | ({"check": checked} if checked else {}))
        return
    if checked:
        say(f"Packer has logged in to it ({checked['login']}); builds from it do that the same way")
    typer.echo(f"imported {urn(image)}, generation {image.generation}, {image.virtual_size_bytes >> 20} MiB")


def _facts(
    checksum: str, image_format: str, generation: int, os_type: str, architecture: str, plan: str
) -> ImportedFacts:
    """What was said of an image. Raises: `InputError` naming every mistake."""
    from vmkiln.platform_images.catalogue_entry import Plan
    from vmkiln.platform_images.catalogue_text import ARCHITECTURES, FORMATS, OS_TYPES
    from vmkiln.platform_images.image_import import ImportedFacts, parse_checksum

    mistakes = [
        f"{option}: `{value}` is not allowed; allowed are {', '.join(allowed)}"
        for option, value, allowed in (
            ("--format", image_format, ("", *FORMATS)),
            ("--os-type", os_type, ("", *OS_TYPES)),
            ("--architecture", architecture, ARCHITECTURES),
        )
        if value not in allowed
    ]
    parts = plan.split(":")
    if plan and (len(parts) != 3 or not all(parts)):
        mistakes.append(f"--plan: `{plan}` is not NAME:PRODUCT:PUBLISHER")
    if mistakes:
        raise InputError("; ".join(mistakes))
    return ImportedFacts(
        image_format,
        generation,
        os_type,
        architecture,
        Plan(*parts) if plan else None,
        parse_checksum(checksum) if checksum else None,
    )


def is_imported_name(text: str) -> bool:
    """Whether it is `PUBLISHER:OFFER:SKU[:VERSION]`, and not the end of an ARM id; pure."""
    return text.count(":") in {2, 3}


def find_imported(text: str) -> SourceImage:
    """The imported image of a name. Raises: `ImageNotFound`, `InputError` for more than one version."""
    from vmkiln.platform_images import image_cache

    images = image_cache.cached_images(read_settings().image_cache)
    found = [
        item for item in images if item.is_imported and text.lower() in {item.name, f"{item.name}:{item.exact_version}"}
    ]
    if not found:
        raise ImageNotFound(f"there is no imported image `{text}`", hint="`vmkiln image list` shows them")
    if len(found) > 1:
        versions = ", ".join(item.exact_version for item in found)
        raise InputError(
            f"`{text}` has more than one version: {versions}", hint="name one: PUBLISHER:OFFER:SKU:VERSION"
        )
    return found[0]


def imported_row(image: SourceImage) -> ImageRow:
    """An imported image as one that was built, to be written to a file or started."""
    from vmkiln.images.image_store import ARCHITECTURE
    from vmkiln.store.rows import ImageRow

    return ImageRow(
        artifact_id=urn(image),
        kind=PLATFORM_IMAGE,
        path=image.path,
        format=image.format,
        digest=image.digest,
        size_bytes=size_of(image.path),
        virtual_size_bytes=image.virtual_size_bytes,
        generation=image.generation,
        os_type=image.os_type,
        source_version="",
        run_id="",
        tags={},
        detail={ARCHITECTURE: image.architecture},
        created=image.created,
    )


def delete_imported(store: Store, text: str, *, yes: bool) -> str:
    """Delete the imported image of a name, and what was saved of VMs that booted it; gives its whole name.

    Raises: as `find_imported`.
    """
    from vmkiln.audit.act_names import PLATFORM_IMAGE_DELETE, platform_image_id
    from vmkiln.host.saved import saved_vm
    from vmkiln.platform_images import image_cache

    image = find_imported(text)
    if not yes:
        typer.confirm(f"delete {urn(image)}?", abort=True, err=True)
    with audited(store, PLATFORM_IMAGE_DELETE, platform_image_id(image.title, image.exact_version), is_first=True):
        image_cache.remove(image)
        saved_vm.discard_of(read_settings().saved_vms, image.digest)
    return urn(image)


def kept_or_imported(store: Store, text: str) -> ImageRow:
    """An image that was built, or imported, with its file on this machine."""
    return (
        imported_row(find_imported(text)) if is_imported_name(text) else on_this_machine(store, find_image(store, text))
    )
