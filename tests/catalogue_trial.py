"""Fetches every image of the catalogue, verifies it as a build does, boots it if asked to, and writes down what came.

Run by `script/try-catalogue` on a machine with Internet: nobody else can say whether an address is still right.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from vmkiln.errors import VmkilnError
from vmkiln.files.durable_file import write_whole
from vmkiln.host.console_boot import booted
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.platform_images import image_cache
from vmkiln.platform_images.catalogue import read_catalogue
from vmkiln.platform_images.catalogue_entry import DownloadEntry, name_of
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.platform_images.image_reference import PlatformImageReference, recipe_of
from vmkiln.platform_images.platform_image import obtain_platform_image

TRIED = Path(__file__).parents[1] / "vmkiln/platform_images/catalogue/tried.json"
BOOT_SECONDS = 900
LOGIN = b"login:"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def same_images(entries: Sequence[DownloadEntry]) -> list[list[DownloadEntry]]:
    """The entries, those of one file together."""
    found: dict[str, list[DownloadEntry]] = {}
    for entry in entries:
        found.setdefault(recipe_of(entry), []).append(entry)
    return list(found.values())


async def boots(image: SourceImage, folder: Path, *, seconds: float) -> bool:
    """Whether the image asks for a login on its serial console, without a network."""
    accelerator = Accelerator.KVM if os.access("/dev/kvm", os.R_OK | os.W_OK) else Accelerator.TCG
    return await _asks_for_login(image, folder, accelerator, seconds=seconds)


async def _asks_for_login(image: SourceImage, folder: Path, accelerator: Accelerator, *, seconds: float) -> bool:
    firmware = find_firmware() if image.generation == 2 else None
    if image.generation == 2 and firmware is None:
        raise VmkilnError("UEFI firmware is not installed: run script/bootstrap")
    seen, has_asked = bytearray(), asyncio.Event()

    async def show(chunk: bytes) -> None:
        seen.extend(chunk)
        del seen[:-8192]
        if LOGIN in seen:
            has_asked.set()

    disk = Disk(image.path, image.format, read_only=True)
    booting = booted(
        disk, workplace=folder, accelerator=accelerator, memory_mib=2048, cpus=2, firmware=firmware, show=show
    )
    async with booting as (vm, _):
        asking = asyncio.create_task(has_asked.wait())
        await asyncio.wait([asking, vm.ended], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
    if not has_asked.is_set():
        sys.stderr.write(seen.decode(errors="replace")[-1500:] + "\n")
    return has_asked.is_set()


async def tried(names: list[DownloadEntry], options: argparse.Namespace, cache: Path) -> dict[str, dict[str, str]]:
    """What came of one file under all its names. Raises: `VmkilnError`."""
    entry, told = names[0], {}
    generations = {item.generation: item for item in names} if options.boot else {entry.generation: entry}
    booted = ""
    for item in generations.values():
        image = await obtain_platform_image(
            PlatformImageReference(item.publisher, item.offer, item.sku),
            cache_directory=cache,
            user_catalogue=options.catalogue,
            progress=lambda text: say(f"    {text}"),
        )
        if options.boot and item.architecture == "x64":
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                if not await boots(image, Path(folder), seconds=options.boot_seconds):
                    raise VmkilnError(f"generation {item.generation} does not come to its login")
            booted = "yes"
        told = {
            "on": f"{datetime.now(UTC):%Y-%m-%d}",
            "version": image.exact_version,
            "from": image.origin,
            "digest": image.published_digest,
            "booted": booted,
        }
    for kept in [] if options.keep else image_cache.cached_images(cache):
        image_cache.remove(kept)
    return {name_of(item).lower(): {**told, "url": item.url} for item in names}


async def try_all(options: argparse.Namespace) -> int:
    """How many images could not be had; each outcome is on disk before the next is begun."""
    entries = [
        entry for entry in read_catalogue(options.catalogue).entries.values() if isinstance(entry, DownloadEntry)
    ]
    wanted = options.only.lower()
    groups = [names for names in same_images(entries) if any(wanted in name_of(item).lower() for item in names)]
    known = json.loads(options.write.read_text()) if options.write.exists() else {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="try-catalogue-") as temporary:
        cache = options.cache or Path(temporary)
        for names in groups:
            say(f"{name_of(names[0])} and {len(names) - 1} more names: {names[0].url}")
            for item in names:
                known.pop(name_of(item).lower(), None)
            try:
                known |= await tried(names, options, cache)
            except VmkilnError as error:
                failed += 1
                say(f"  FAILED: {error.message}" + (f" ({error.hint})" if error.hint else ""))
            write_whole(options.write, json.dumps(dict(sorted(known.items())), indent=1).encode() + b"\n", mode=0o644)
    say(f"{len(groups)} images, {failed} could not be had; written to {options.write}")
    return failed


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/try-catalogue", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="entries whose name has this in it")
    parser.add_argument("--boot", action="store_true", help="also boot each x64 image up to its login")
    parser.add_argument("--boot-seconds", type=float, default=BOOT_SECONDS, help="how long a boot may take")
    parser.add_argument("--cache", type=Path, help="a folder for the images; a temporary one when left out")
    parser.add_argument("--keep", action="store_true", help="keep the images in that folder")
    parser.add_argument("--catalogue", type=Path, default=Path("/nonexistent"), help="a catalogue.toml of yours")
    parser.add_argument("--write", type=Path, default=TRIED, metavar="FILE", help="where the outcome goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(try_all(read_options(sys.argv[1:]))) else 0)
