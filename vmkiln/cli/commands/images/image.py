"""`vmkiln image list`, `catalogue`, `import`, `show`, `export`, `boot` and `delete`; `vmkiln prepare`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import IMAGE_VERSION, MANAGED_IMAGE, Architecture
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.images.contents import diff, sbom
from vmkiln.cli.commands.images.exporting import export
from vmkiln.cli.commands.images.image_import import (
    PLATFORM_IMAGE,
    delete_imported,
    find_imported,
    import_,
    imported_data,
    is_imported_name,
    kept_or_imported,
    size_of,
    urn,
)
from vmkiln.cli.commands.images.kept_image import ImageArgument, find_image, known_reference
from vmkiln.cli.commands.images.provenance import provenance, verify
from vmkiln.cli.commands.images.quarantine import adopt, purge, quarantine
from vmkiln.cli.commands.images.warm import warm
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, say, show_data, show_rows, told_deleted
from vmkiln.cli.template_options import NO_SUBSCRIPTION, JsonOption, read_template
from vmkiln.errors import HostUnfit, InputError

if TYPE_CHECKING:
    from vmkiln.host.console_boot import Entrance
    from vmkiln.host.doctor.image_kernel import ImageKernel
    from vmkiln.host.namespace import Namespace
    from vmkiln.host.qemu import Accelerator, Disk
    from vmkiln.platform_images.catalogue_entry import CatalogueEntry
    from vmkiln.store.rows import ImageRow

BOOT_MEMORY_MIB = 2048
BOOTING = "booting"
SSH_MINUTES = 60
MOST_MINUTES = 24 * 60
TYPES = {"ManagedImage": MANAGED_IMAGE, "SharedImageVersion": IMAGE_VERSION, "VHD": "Vmkiln.Builds/vhds"}
app = typer.Typer(no_args_is_help=True, help="Images that were built, and the platform images they start from.")


def _as_data(row: ImageRow) -> dict[str, Any]:
    return {**asdict(row), "path": str(row.path), "created": moment_text(row.created)}


@app.command("list")
@examples("vmkiln image list", "vmkiln image list --cache")
def list_(
    cache: Annotated[bool, typer.Option("--cache", help="The cached platform images instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List images, the newest first."""
    from vmkiln.platform_images.image_cache import cached_images
    from vmkiln.preparation import opened_store

    settings = read_settings()
    if cache:
        found = cached_images(settings.image_cache)
        if as_json:
            answer([asdict(image) for image in found])
            return
        show_rows(
            ("CREATED (UTC)", "NAME", "FILE"),
            [
                (f"{image.created:%Y-%m-%d %H:%M}", f"{image.name}:{image.exact_version}", str(image.path))
                for image in found
            ],
            none="no platform image is here yet; `vmkiln prepare --platform-image NAME` gets one",
        )
        return
    with opened_store(settings, say) as store:
        rows = store.images.list()
    imported = [image for image in cached_images(settings.image_cache) if image.is_imported]
    if as_json:
        answer([*(_as_data(row) for row in rows), *(imported_data(image) for image in imported)])
        return
    lines = [(row.created, row.kind, row.size_bytes, row.artifact_id) for row in rows]
    lines += [(image.created, PLATFORM_IMAGE, size_of(image.path), urn(image)) for image in imported]
    show_rows(
        ("CREATED (UTC)", "KIND", ">SIZE", "NAME"),
        [
            (f"{created:%Y-%m-%d %H:%M}", kind, f"{size >> 20} MiB", name)
            for created, kind, size, name in sorted(lines, key=lambda line: line[0], reverse=True)
        ],
        none="there is no image yet; `vmkiln build TEMPLATE` makes one, `vmkiln image import` takes one of yours",
    )


app.command("import")(import_)
app.command()(verify)
app.command()(provenance)
app.command()(sbom)
app.command()(diff)
app.command()(export)
app.command()(warm)


@app.command()
@examples("vmkiln image catalogue")
def catalogue(as_json: JsonOption = False) -> None:
    """List the platform images a template can name, and how each is had; untried ones were never fetched by us."""
    from vmkiln.platform_images.catalogue import is_tried
    from vmkiln.platform_images.catalogue_entry import key_of, name_of
    from vmkiln.platform_images.platform_image import whole_catalogue

    found = sorted(whole_catalogue(read_settings()).entries.values(), key=key_of)
    if as_json:
        answer([{**asdict(entry), "tried": is_tried(entry)} for entry in found])
        return
    show_rows(
        ("NAME", "HOW IT IS HAD"),
        [(name_of(entry), f"{_had(entry)}{'' if is_tried(entry) else ', untried'}") for entry in found],
        none="the catalogue is empty",
    )


def _had(entry: CatalogueEntry) -> str:
    from vmkiln.platform_images.catalogue_entry import DebianEntry, DownloadEntry

    match entry:
        case DebianEntry():
            return "made here"
        case DownloadEntry():
            return "fetched, not signed" if entry.signature == "none" else "fetched, signed"
        case _:
            return f"imported: {', '.join(entry.versions)}"


@app.command()
@examples("vmkiln image show web")
def show(image: ImageArgument, as_json: JsonOption = False) -> None:
    """Show an image: its file, digest, tags, source."""
    from vmkiln.preparation import opened_store

    if is_imported_name(image):
        show_data(imported_data(find_imported(image)), as_json=as_json)
        return
    with opened_store(read_settings(), say) as store:
        data = _as_data(find_image(store, image))
    show_data(data, as_json=as_json)


@app.command()
@examples("vmkiln image boot web", "vmkiln image boot web --ssh --minutes 30")
def boot(
    image: ImageArgument,
    memory: Annotated[int, typer.Option(help="Memory in MiB.", min=256)] = BOOT_MEMORY_MIB,
    ssh: Annotated[
        bool, typer.Option("--ssh", help="Let it be entered by ssh; prints the command, which only this user can run.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --ssh: the port on 127.0.0.1; 0 is any free one.")
    ] = 0,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=MOST_MINUTES, help=f"End it then; with --ssh {SSH_MINUTES} when left out.")
    ] = None,
) -> None:
    """Start an image on a throw-away overlay, its serial console on this terminal (Ctrl-A X ends it), no network.

    With --ssh a key is made for this one start, and the image is told of it by cloud-init; it still has no way out.
    """
    from vmkiln.host.qemu import Disk
    from vmkiln.images.data_disk import data_disks_of
    from vmkiln.images.image_store import architecture_of
    from vmkiln.preparation import opened_store

    with opened_store(read_settings(), say) as store:
        row = kept_or_imported(store, image)
    if ssh and row.os_type == "Windows":
        raise InputError("--ssh: a Windows image has no cloud-init to be told by who may enter")
    if port and not ssh:
        raise InputError("--port goes with --ssh")
    if not ssh and row.os_type != "Windows":
        say("Ctrl-A X ends it; a built image has no account to log in with, as in Azure: `--ssh` makes a key for it")
    disk_format = "raw" if row.format == "vhd" else row.format
    boot_disk(
        Disk(row.path, disk_format, read_only=True),
        generation=row.generation,
        memory_mib=memory,
        architecture=architecture_of(row),
        data_disks=[
            Disk(disk.beside(row.path), "qcow2", read_only=True, serial=f"lun{disk.lun}") for disk in data_disks_of(row)
        ],
        ssh_port=port if ssh else None,
        minutes=minutes or (SSH_MINUTES if ssh else None),
    )


def boot_disk(
    disk: Disk,
    *,
    generation: int,
    memory_mib: int = BOOT_MEMORY_MIB,
    architecture: str = Architecture.X64,
    data_disks: Sequence[Disk] = (),
    ssh_port: int | None = None,
    minutes: int | None = None,
) -> None:
    """Start a disk that is only read, with its data disks, with its console here; exits with QEMU's status.

    With an `ssh_port` it can be entered there. After `minutes` it is ended.
    """
    import asyncio

    from vmkiln.azure_names import Architecture
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.host.console_boot import boot_with_console
    from vmkiln.host.disk.firmware import find_firmware
    from vmkiln.preparation import opened_store, prepared_host
    from vmkiln.run.room import QEMU_MIB, Room
    from vmkiln.run.starts import beside_runs
    from vmkiln.waiting.off_loop import off_loop_with

    machine, room = Architecture(architecture), Room(1, memory_mib + QEMU_MIB, 0)

    async def start() -> int:
        settings = read_settings()
        with opened_store(settings, say) as store:
            async with contextlib.AsyncExitStack() as stack:
                host = await stack.enter_async_context(prepared_host(settings, store, say))
                taken = off_loop_with(lambda: beside_runs.taken(settings, store, room, "a disk that is booted"))
                await stack.enter_async_context(taken)
                entrance = None
                if ssh_port is not None:
                    entrance = await stack.enter_async_context(_entrance(settings.home / BOOTING, ssh_port))
                booting = boot_with_console(
                    disk,
                    workplace=settings.home / BOOTING,
                    entrance=entrance,
                    accelerator=host.accelerator,
                    memory_mib=memory_mib,
                    cpus=room.cpus,
                    firmware=find_firmware(architecture=machine) if generation == 2 else None,
                    architecture=machine,
                    data_disks=data_disks,
                )
                try:
                    async with asyncio.timeout(minutes and minutes * 60) as limit:
                        return await booting
                except TimeoutError:
                    if not limit.expired():
                        raise
                    say(f"its {minutes} minutes are over, and it was ended")
                    return 0

    raise typer.Exit(run_to_end(start()))


@contextlib.asynccontextmanager
async def _entrance(workplace: Path, port: int) -> AsyncIterator[Entrance]:
    """How the booted image is entered by ssh; the command is told when its port is open."""
    from vmkiln.host.console_boot import Entrance
    from vmkiln.host.entrance import loopback_door
    from vmkiln.visiting import ssh_visit

    async with ssh_visit.prepared(workplace) as visit:

        @contextlib.asynccontextmanager
        async def opened(inside: Namespace) -> AsyncIterator[None]:
            async with loopback_door.opened(inside, visit.link, port=port) as found:
                say(f"to enter it, once it has booted: {visit.command(found)}")
                yield

        yield Entrance(visit.link.tap, visit.link.mac, visit.seed, opened)


@app.command()
@examples("vmkiln image delete web")
def delete(
    image: ImageArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an image and its file; an imported one by `PUBLISHER:OFFER:SKU[:VERSION]`."""
    from vmkiln.images import image_store
    from vmkiln.preparation import opened_store
    from vmkiln.sharing.shared_storage import shared_storage
    from vmkiln.store.locked.scope_locks import held_by, refusal

    with opened_store(read_settings(), say) as store:
        if is_imported_name(image):
            told_deleted(delete_imported(store, image, yes=yes), as_json=as_json)
            return
        row = find_image(store, image)
        if locked := held_by(store.resources, row.artifact_id, deletes=True):
            raise InputError(refusal(row.artifact_id, locked, deletes=True), hint="`az lock delete` takes it away")
        if not yes:
            typer.confirm(f"delete {row.artifact_id}?", abort=True, err=True)
        with audited(store, f"{TYPES.get(row.kind, row.kind)}/delete", row.artifact_id):
            image_store.remove(row, store)
            if (shared := shared_storage(read_settings(), store)) is not None:
                shared.delete_image(row)
    told_deleted(row.artifact_id, as_json=as_json)


app.command("remove", hidden=True)(delete)
for command in (quarantine, adopt, purge):
    app.command()(command)


@examples("vmkiln prepare", "vmkiln prepare template.json", "vmkiln prepare --platform-image Debian:debian-12:12-gen2")
def prepare(
    template: Annotated[
        Path | None, typer.Argument(help="Also get the platform image that this template starts from.")
    ] = None,
    platform_image: Annotated[
        list[str] | None,
        typer.Option("--platform-image", metavar="PUBLISHER:OFFER:SKU[:VERSION]", help="Also get this platform image."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Get the platform image anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make ready what builds need: the container image, the accelerator's verdict, platform images."""
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.fetching.way_out import way_out_of
    from vmkiln.platform_images.image_cache import kernels
    from vmkiln.platform_images.image_reference import reference_of
    from vmkiln.platform_images.platform_image import obtain_platform_image
    from vmkiln.preparation import opened_store, prepared_host
    from vmkiln.template.source import PlatformImageSource

    references = [known_reference(text) for text in platform_image or ()]
    if template is not None:
        resolved = read_template(template, None, resource_group="vmkiln", subscription=NO_SUBSCRIPTION)
        source = resolved.image_template.properties.source
        if isinstance(source, PlatformImageSource):
            references.append(reference_of(source))

    async def work() -> dict[str, Any]:
        settings = read_settings()
        with opened_store(settings, say) as store:
            async with prepared_host(settings, store, say) as host:
                result: dict[str, Any] = {
                    "container_image": str(host.container_image.disk.parent),
                    "accelerator": str(host.accelerator),
                    "isolation_level": host.isolation_level,
                }
                for reference in references:
                    image = await obtain_platform_image(
                        reference,
                        cache_directory=settings.image_cache,
                        user_catalogue=settings.catalogue,
                        most_age_days=settings.platform_image_most_age_days,
                        progress=say,
                        refresh=refresh,
                        way_out=way_out_of(settings),
                    )
                    for kernel in kernels([image]):
                        await _tried(kernel, host.accelerator)
                    result["platform_image"] = {
                        **{name: str(value) for name, value in asdict(image).items()},
                        "accelerator": str(host.accelerator),
                    }
                return result

    result = run_to_end(work())
    if as_json:
        answer(result)
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value['path'] if isinstance(value, dict) else value}")


async def _tried(kernel: ImageKernel, accelerator: Accelerator) -> None:
    """Raises: `HostUnfit` when an image's kernel does not boot here, for a build would wait for it in vain."""
    import shutil

    from vmkiln.host.doctor.image_kernel import image_kernel_boots

    say(f"booting the kernel of {kernel.image}")
    probe = await image_kernel_boots(kernel, accelerator, busybox=Path(shutil.which("busybox") or "/bin/busybox"))
    if not probe.booted:
        raise HostUnfit(
            f"the kernel of {kernel.image} does not boot under {accelerator} on this machine: {probe.reason}",
            hint="use another image, another QEMU, or a host with KVM; `vmkiln doctor` tries all of it again",
        )
    say(f"it boots under {accelerator} in {probe.seconds:.1f} s")
