"""Importing an image: what is taken, what is refused, and what is left when it goes wrong."""

import asyncio
import hashlib
import os
import signal
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from image_server import ImageServer, new_certificate, serving

from vmkiln.errors import DownloadFailed, HostUnfit, ImageConflict, ImageNotFound, ImageUnsafe, InputError
from vmkiln.fetching.http_fetch import Patience
from vmkiln.host.qemu import Disk
from vmkiln.inspecting.windows_facts import GENERALIZED, WindowsFacts
from vmkiln.platform_images import image_import, making_folder
from vmkiln.platform_images.boot_disk import BIOS_BOOT_TYPE, ESP_TYPE
from vmkiln.platform_images.catalogue_entry import Plan
from vmkiln.platform_images.checksum_file import PublishedChecksum
from vmkiln.platform_images.image_cache import SourceImage, cached_images
from vmkiln.platform_images.image_import import (
    ImportedFacts,
    import_image,
    parse_checksum,
    parse_name,
    starts_by_uefi_alone,
    version_of_today,
)
from vmkiln.platform_images.image_reference import PlatformImageReference
from vmkiln.platform_images.platform_image import obtain_platform_image, plan_platform_image

NAME = "RedHat:RHEL:9-lvm"
MIB = 1 << 20


def disk_with(*kinds: str, boot_code: bool = False) -> bytes:
    """The start of a disk with a GUID partition table of these types of partitions."""
    start = bytearray(MIB)
    start[510:512] = b"\x55\xaa"
    if boot_code:
        start[:4] = b"code"
    start[512:520] = b"EFI PART"
    struct.pack_into("<QII", start, 512 + 72, 2, 128, 128)
    for index, kind in enumerate(kinds):
        start[1024 + 128 * index : 1040 + 128 * index] = uuid.UUID(kind).bytes_le
    return bytes(start)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    file = tmp_path / "disk.raw"
    file.write_bytes(disk_with(ESP_TYPE) + b"content".ljust(3 * MIB, b"."))
    return file


def as_format(raw: Path, image_format: str) -> Path:
    file = raw.with_suffix(f".{image_format}")
    written, _, form = image_format.partition("-")
    options = ["-o", f"subformat={form},force_size=on"] if form else []
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", written, *options, raw, file], check=True)
    return file


async def imported(
    source: Path | str, cache: Path, *, name: str = f"{NAME}:1.2.3", told: list[str] | None = None, **facts: object
) -> SourceImage:
    return await import_image(
        str(source),
        parse_name(name),
        ImportedFacts(**facts),  # type: ignore[arg-type]
        cache_directory=cache,
        progress=(told if told is not None else []).append,
        patience=Patience(attempts=1, first_pause_seconds=0),
    )


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.startswith(".lock-"))


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vpc-fixed", "vpc-dynamic", "vhdx"])
def test_each_format_is_taken_and_the_file_stays_as_it_is(tmp_path: Path, raw: Path, image_format: str) -> None:
    source = raw if image_format == "raw" else as_format(raw, image_format)
    before, cache = source.read_bytes(), tmp_path / "cache"
    image = asyncio.run(imported(source, cache))
    assert (image.title, image.exact_version, image.virtual_size_bytes) == (NAME, "1.2.3", 4 * MIB)
    assert (image.format, image.os_type, image.generation, image.architecture) == ("qcow2", "Linux", 2, "x64")
    assert image.origin == str(source)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", raw, image.path], check=True)
    assert source.read_bytes() == before
    assert left(cache) == [image.digest]


async def test_an_imported_image_is_a_source_as_any_other_and_never_stale(tmp_path: Path, raw: Path) -> None:
    cache = tmp_path / "cache"
    older = await imported(raw, cache, name=f"{NAME}:1.2.3")
    raw.write_bytes(raw.read_bytes() + bytes(MIB))
    newer = await imported(raw, cache, name=f"{NAME}:1.10.0")

    async def obtained(version: str) -> SourceImage:
        return await obtain_platform_image(
            PlatformImageReference("redhat", "rhel", "9-LVM", version),
            cache_directory=cache, user_catalogue=tmp_path / "none", progress=lambda _text: None, most_age_days=-1,
        )  # fmt: skip

    assert await obtained("latest") == newer
    assert await obtained("1.2.3") == older
    with pytest.raises(ImageNotFound) as missing:
        await obtained("2.0.0")
    assert "1.10.0, 1.2.3" in (missing.value.hint or "") or "1.2.3, 1.10.0" in (missing.value.hint or "")


async def test_a_purchase_plan_is_kept_and_checked_against(tmp_path: Path, raw: Path) -> None:
    cache = tmp_path / "cache"
    await imported(raw, cache, plan=Plan("9-base", "rocky", "resf"))

    def planned(plan: Plan | None) -> object:
        reference = PlatformImageReference("RedHat", "RHEL", "9-lvm", plan=plan)
        return plan_platform_image(reference, cache_directory=cache, user_catalogue=tmp_path / "none")

    assert planned(None)
    assert planned(Plan("9-BASE", "rocky", "resf"))
    with pytest.raises(ImageNotFound, match="another purchase plan") as refused:
        planned(Plan("8-base", "rocky", "resf"))
    assert "planName 9-base" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("kinds", "boot_code", "by_uefi_alone"),
    [((ESP_TYPE,), False, True), ((ESP_TYPE, BIOS_BOOT_TYPE), True, False), ((BIOS_BOOT_TYPE,), True, False)],
)
def test_the_generation_is_how_the_disk_starts(kinds: tuple[str, ...], boot_code: bool, by_uefi_alone: bool) -> None:
    assert starts_by_uefi_alone(disk_with(*kinds, boot_code=boot_code)) is by_uefi_alone
    assert not starts_by_uefi_alone(bytes(510) + b"\x55\xaa" + bytes(MIB))


@pytest.mark.parametrize(("sku", "generation"), [("9-gen1", 1), ("9-lvm-gen2", 2), ("win10-g2", 2)])
async def test_a_sku_that_says_its_generation_is_believed(tmp_path: Path, raw: Path, sku: str, generation: int) -> None:
    assert (await imported(raw, tmp_path / "cache", name=f"a:b:{sku}")).generation == generation
    assert (await imported(raw, tmp_path / "cache", name=f"a:b:{sku}:9.9.9", generation=1)).generation == 1


def refused_files(folder: Path) -> dict[str, Path]:
    found = {}
    for name, content in {
        "VMDK": b"KDMV" + bytes(MIB),
        "no partition table": bytes(MIB),
        "backing file": b"",
        "packed with gzip": b"\x1f\x8b" + bytes(MIB),
        "packed with xz": b"\xfd7zXZ\0" + bytes(MIB),
        "VHDX": b"vhdxfile" + bytes(MIB),
        "file is empty": b"",
        "installation disc": (bytes(510) + b"\x55\xaa").ljust(32769, b"\0") + b"CD001" + bytes(MIB),
        "tar archive": bytes(257) + b"ustar" + bytes(MIB),
        "web page": b"<!DOCTYPE html>" + bytes(MIB),
        "no footer": b"conectix" + bytes(MIB),
    }.items():
        found[name] = folder / name
        found[name].write_bytes(content)
    overlay = ["-b", found["no partition table"], "-F", "raw", found["backing file"]]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *overlay], check=True)
    for made, image_format in (("no partition table: packed", "qcow2"), ("no partition table: dynamic", "vpc"),
                               ("no partition table: Hyper-V", "vhdx")):  # fmt: skip
        found[made] = folder / made
        convert = ["-f", "raw", "-O", image_format, found["no partition table"], found[made]]
        subprocess.run(["qemu-img", "convert", *convert], check=True)
    os.mkfifo(folder / "fifo")
    return {**found, "not a regular file": folder / "fifo", "No such file": folder / "gone", "regular": folder}


def test_what_is_no_image_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, file in refused_files(tmp_path).items():
        with pytest.raises((ImageUnsafe, InputError)) as refused:
            asyncio.run(imported(file, cache))
        assert name.partition(":")[0] in refused.value.message, refused.value.message
        assert left(cache) == [] if cache.exists() else True


async def test_a_checksum_is_checked_of_files_too(tmp_path: Path, raw: Path) -> None:
    right = PublishedChecksum("sha256", hashlib.sha256(raw.read_bytes()).hexdigest())
    image = await imported(raw, tmp_path / "cache", checksum=right)
    assert image.published_digest == f"sha256:{right.digest}"
    with pytest.raises(DownloadFailed, match="sha256"):
        await imported(raw, tmp_path / "other", checksum=PublishedChecksum("sha256", "0" * 64))
    assert left(tmp_path / "other") == []


async def test_a_full_disk_is_seen_before_anything_is_copied(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_import, "SPARE_BYTES", 1 << 60)
    with pytest.raises(HostUnfit, match="are free under"):
        await imported(raw, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


async def test_another_image_of_the_same_version_is_a_conflict(tmp_path: Path, raw: Path) -> None:
    cache = tmp_path / "cache"
    first = await imported(raw, cache)
    assert await imported(raw, cache) == first
    raw.write_bytes(raw.read_bytes() + bytes(MIB))
    with pytest.raises(ImageConflict):
        await imported(raw, cache)
    assert left(cache) == [first.digest]


async def test_the_same_bytes_have_as_many_names_as_they_get(tmp_path: Path, raw: Path) -> None:
    cache = tmp_path / "cache"
    await asyncio.gather(*(imported(raw, cache, name=f"{NAME}:1.0.{number % 2}") for number in range(4)))
    found = {image.exact_version: image.path for image in cached_images(cache)}
    assert sorted(found) == ["1.0.0", "1.0.1"]
    assert len(left(cache)) == 2


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageServer]:
    certificate = new_certificate(tmp_path / "localhost.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate=certificate) as running:
        yield running


async def test_an_address_is_fetched_and_told_when_nothing_vouches_for_it(
    tmp_path: Path, raw: Path, server: ImageServer
) -> None:
    server.files["/disk.raw"] = raw.read_bytes()
    told: list[str] = []
    image = await imported(server.url("/disk.raw"), tmp_path / "cache", told=told)
    assert image.origin == server.url("/disk.raw")
    assert any("checked against no checksum" in line for line in told)
    told.clear()
    checksum = parse_checksum(hashlib.sha512(raw.read_bytes()).hexdigest())
    await imported(server.url("/disk.raw"), tmp_path / "cache", name="a:b:c", told=told, checksum=checksum)
    assert not any("no checksum" in line for line in told)
    with pytest.raises(DownloadFailed, match="publisher says"):
        await imported(
            server.url("/disk.raw"), tmp_path / "cache", name="a:b:d", checksum=PublishedChecksum("sha256", "0" * 64)
        )
    assert len(left(tmp_path / "cache")) == 2


async def test_an_address_without_https_needs_a_checksum(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not https") as refused:
        await imported("http://images.example/disk.raw", tmp_path / "cache")
    assert "--checksum" in (refused.value.hint or "")


CHILD = """
import asyncio, sys
from pathlib import Path
from vmkiln.platform_images import image_import

async def stuck(*_arguments):
    print("there", flush=True)
    await asyncio.sleep(600)

image_import.inspected = stuck
name, facts = image_import.parse_name("RedHat:RHEL:9-lvm:1.2.3"), image_import.ImportedFacts()
source, cache = sys.argv[1], Path(sys.argv[2])
asyncio.run(image_import.import_image(source, name, facts, cache_directory=cache, progress=lambda _text: None))
"""


def test_an_import_that_was_killed_leaves_nothing_once_another_ran(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with subprocess.Popen([sys.executable, "-c", CHILD, raw, cache], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    assert len(left(cache)) == 1, "the killed one left its folder"
    monkeypatch.setattr(making_folder, "LEAST_AGE_SECONDS", 0)
    image = asyncio.run(imported(raw, cache))
    assert left(cache) == [image.digest]


@pytest.mark.parametrize(
    "text", ["", "a:b", "a:b:c:d:e", "a::c", "a:b:c:1.2", "a:b:c:latest", "a b:c:d", "../x:b:c", f"{'a' * 81}:b:c"]
)
def test_a_name_that_no_template_could_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--as"):
        parse_name(text)


@pytest.mark.parametrize("text", ["x", "a" * 63, f"sha512:{'a' * 64}", f"md5:{'a' * 32}", f"sha256:{'g' * 64}"])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--checksum"):
        parse_checksum(text)


def test_a_version_by_the_date_is_three_numbers() -> None:
    assert version_of_today(datetime(2026, 1, 5, 0, 7, tzinfo=UTC)) == "2026.105.7"


async def test_a_windows_that_is_not_generalized_leaves_nothing(tmp_path: Path, raw: Path) -> None:
    cache = tmp_path / "cache"
    facts = WindowsFacts("Windows Server 2022", 20348, 1, "ServerStandard", "de-DE", "IMAGE_STATE_COMPLETE")
    seen: list[int] = []

    async def imported_with(state: str, os_type: str) -> SourceImage:
        async def look(disk: Disk, folder: Path) -> WindowsFacts:
            seen.append(folder.stat().st_mode & 0o777)
            assert disk.path.is_file()
            return replace(facts, state=state, services=("viostor",))

        return await import_image(
            str(raw), parse_name("a:b:c:1.0.0"), ImportedFacts(os_type=os_type), cache_directory=cache,
            progress=lambda _text: None, look=look,
        )  # fmt: skip

    with pytest.raises(ImageUnsafe, match="not generalized"):
        await imported_with("IMAGE_STATE_COMPLETE", "Windows")
    assert left(cache) == []
    image = await imported_with(GENERALIZED, "Windows")
    assert (image.language, image.services) == ("de-DE", ("viostor",))
    assert image.system == "Windows Server 2022 (20348.1, ServerStandard, de-DE)"
    assert cached_images(cache) == [image]
    assert seen == [0o700, 0o700]
    other = await import_image(
        str(raw), parse_name("a:b:linux:1.0.0"), ImportedFacts(), cache_directory=cache, progress=lambda _text: None,
    )  # fmt: skip
    assert other.system == ""


@pytest.mark.parametrize("overrides", [(), ("storahci", "pci")])
async def test_drivers_that_another_machine_does_not_start_are_told(
    tmp_path: Path, raw: Path, overrides: tuple[str, ...]
) -> None:
    told: list[str] = []
    facts = WindowsFacts("Windows Server 2022", 20348, 1, "ServerStandard", "de-DE", GENERALIZED, overrides=overrides)

    async def look(_disk: Disk, _folder: Path) -> WindowsFacts:
        return facts

    await import_image(
        str(raw), parse_name("a:b:c:1.0.0"), ImportedFacts(os_type="Windows"), cache_directory=tmp_path / "cache",
        progress=told.append, look=look,
    )  # fmt: skip
    found = [text for text in told if "storahci, pci" in text and "StartOverride" in text]
    assert found == ([told[-1]] if overrides else [])
