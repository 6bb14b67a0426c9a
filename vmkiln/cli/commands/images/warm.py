"""`vmkiln image warm`: a platform image booted once and saved, so that build VMs go on from there."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from vmkiln.cli.commands.images.kept_image import known_reference
from vmkiln.cli.completing import platform_image_names
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import HostUnfit


@examples("vmkiln image warm Debian:debian-12:12-gen2")
def warm(
    image: Annotated[
        str,
        typer.Argument(
            metavar="PUBLISHER:OFFER:SKU[:VERSION]", help="A platform image.", autocompletion=platform_image_names
        ),
    ],
    vm_size: Annotated[
        str, typer.Option("--vm-size", help="The templates' `vmSize`; the usual one when it is not given.")
    ] = "",
    os_disk_size_gb: Annotated[
        int, typer.Option("--os-disk-size-gb", min=0, help="The templates' `osDiskSizeGB`; 0 is the image's own size.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Boot a platform image once and save it: build VMs of that image, size and disk go on from there."""
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.preparation import opened_store, prepared_host
    from vmkiln.run.starts.warming import warmed
    from vmkiln.template.source import PlatformImageSource

    named = known_reference(image)
    source = PlatformImageSource(
        type="PlatformImage", publisher=named.publisher, offer=named.offer, sku=named.sku, version=named.version
    )

    async def work() -> dict[str, Any]:
        settings = read_settings()
        began = time.monotonic()
        with opened_store(settings, say) as store:
            async with prepared_host(settings, store, say) as host:
                base, start = await warmed(host, source, vm_size=vm_size, os_disk_size_gb=os_disk_size_gb, progress=say)
        if start.saved is None:
            raise HostUnfit(f"the build VM of {image} cannot be saved here: {start.reason}", hint="builds of it boot")
        return {
            "image": image,
            "saved": start.saved.memory.parent.name,
            "cpus": base.cpus,
            "memory_mib": base.memory_mib,
            "disk_bytes": base.disk_bytes,
            "seconds": round(time.monotonic() - began, 1),
        }

    result = run_to_end(work())
    if as_json:
        answer(result)
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value}")
