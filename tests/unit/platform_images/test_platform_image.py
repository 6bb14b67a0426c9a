"""From a reference to an image in the cache: what is decided, and a whole fetch from a server on this machine."""

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from image_server import ImageServer, serving
from test_inspection import bomb

from vmkiln.errors import CommandFailed, DownloadFailed, ImageNotFound, ImageUnsafe
from vmkiln.fetching.http_fetch import Patience
from vmkiln.platform_images import inspection, platform_image
from vmkiln.platform_images.catalogue_entry import DebianEntry, DownloadEntry
from vmkiln.platform_images.checksum_file import PublishedChecksum
from vmkiln.platform_images.debian_recipe import DebianRecipe
from vmkiln.platform_images.image_cache import SourceImage, kernels
from vmkiln.platform_images.image_download import FetchedImage
from vmkiln.platform_images.image_reference import Action, PlatformImageReference, recipe_of, resolve
from vmkiln.platform_images.platform_image import exact_version, obtain_platform_image, plan_platform_image

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEBIAN = DebianEntry("Debian", "debian-12", "12", 1, "bookworm", "12")
ACME = DownloadEntry("Acme", "golden", "1", 2, "https://a.example/d", "https://a.example/s", "qcow2", release="22.04")
LATEST = PlatformImageReference("debian", "DEBIAN-12", "12")


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True)


def cached(version: str = "12.20261122.209", *, age_days: float = 1, **changes: str) -> SourceImage:
    image = SourceImage(
        "debian:debian-12:12", version, Path("/c/disk.qcow2"), "qcow2", "d" * 64, 1, "Linux", 3 << 30, "a test",
        NOW - timedelta(days=age_days), recipe=recipe_of(DEBIAN),
    )  # fmt: skip
    return replace(image, **changes)


@pytest.mark.parametrize(
    ("images", "action"),
    [
        ([], Action.MAKE),
        ([cached()], Action.USE),
        ([cached(age_days=30)], Action.USE),
        ([cached(age_days=30.1)], Action.MAKE),
        ([cached(recipe="an older program's")], Action.MAKE),
        ([cached(name="debian:debian-12:12-gen2")], Action.MAKE),
    ],
    ids=["none", "fresh", "just fresh", "stale", "older recipe", "another image"],
)
def test_latest_is_from_the_cache_only_while_fresh(images: list[SourceImage], action: Action) -> None:
    resolution = resolve(LATEST, DEBIAN, images, now=NOW)
    assert resolution.action is action
    assert (resolution.cached is not None) == (action is Action.USE)


def test_latest_resolves_to_the_newest_exact_version_and_tells_its_age() -> None:
    images = [cached("12.20261120.0", age_days=4), cached("12.20261101.0", age_days=20)]
    resolution = resolve(LATEST, DEBIAN, images, now=NOW)
    assert resolution.cached == images[0]
    assert resolution.sentence == "version 12.20261120.0 from the cache, 4 days old"


def test_a_refresh_makes_a_new_one_whatever_is_there() -> None:
    assert resolve(LATEST, DEBIAN, [cached()], now=NOW, refresh=True).action is Action.MAKE


def test_a_download_says_from_where() -> None:
    reference = PlatformImageReference("acme", "golden", "1", "LATEST")
    resolution = resolve(reference, ACME, [], now=NOW)
    assert (resolution.action, resolution.sentence) == (Action.FETCH, "to be fetched from https://a.example/d")


def test_an_exact_version_is_used_however_old() -> None:
    reference = replace(LATEST, version="12.20250101.0")
    images = [cached(), cached("12.20250101.0", age_days=700, recipe="an older program's")]
    assert resolve(reference, DEBIAN, images, now=NOW).cached == images[1]


def test_an_exact_version_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ImageNotFound, match=r"version 1\.2\.3 of debian:debian-12:12") as missing:
        resolve(replace(LATEST, version="1.2.3"), DEBIAN, [cached()], now=NOW)
    assert "12.20261122.209" in (missing.value.hint or "")


@pytest.mark.parametrize(
    ("release", "version", "published", "expected"),
    [
        ("22.04", "", NOW, "22.4.20261124"),
        ("12", "", NOW, "12.20261124.0"),
        ("12", "1.2.3", NOW, "1.2.3"),
        ("", "", NOW, "0.20261124.0"),
        ("9", "", None, f"9.{0xABCDEF0}.0"),
    ],
)
def test_a_fetched_image_has_a_version_of_three_numbers(
    release: str, version: str, published: datetime | None, expected: str
) -> None:
    fetched = FetchedImage(Path("/x"), PublishedChecksum("sha256", "abcdef0" + "0" * 57), published)
    assert exact_version(replace(ACME, release=release, version=version), fetched) == expected


def test_another_address_is_another_recipe() -> None:
    assert recipe_of(ACME) != recipe_of(replace(ACME, url="https://b.example/d"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ImageServer]:
    disk = tmp_path / "made.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", disk, "64M")
    with serving() as running:
        publish(running, disk.read_bytes())
        yield running


def publish(server: ImageServer, content: bytes) -> None:
    server.files = {"/disk": content, "/sums": f"{hashlib.sha256(content).hexdigest()}  disk\n".encode()}


async def obtain(server: ImageServer, tmp_path: Path, *, image_format: str = "qcow2", version: str = "latest",
                 told: list[str] | None = None, refresh: bool = False) -> SourceImage:  # fmt: skip
    write_catalogue(server, tmp_path, image_format=image_format)
    return await obtained(tmp_path, version=version, told=told, refresh=refresh)


def write_catalogue(server: ImageServer, tmp_path: Path, *, image_format: str = "qcow2") -> None:
    (tmp_path / "catalogue.toml").write_text(
        f'[[image]]\npublisher = "Acme"\noffer = "golden"\nsku = "1"\nrecipe = "download"\ngeneration = 2\n'
        f'release = "22.04"\nurl = "{server.url("/disk")}"\nchecksum_url = "sums"\nformat = "{image_format}"\n'
    )


async def obtained(
    tmp_path: Path, *, version: str = "latest", told: list[str] | None = None, refresh: bool = False
) -> SourceImage:
    return await obtain_platform_image(
        PlatformImageReference("acme", "golden", "1", version),
        cache_directory=tmp_path / "cache",
        user_catalogue=tmp_path / "catalogue.toml",
        progress=(told if told is not None else []).append,
        refresh=refresh,
        patience=Patience(attempts=2, first_pause_seconds=0),
    )


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".lock-"))


async def test_an_image_is_fetched_once_and_then_comes_from_the_cache(server: ImageServer, tmp_path: Path) -> None:
    first = await obtain(server, tmp_path)
    second = await obtain(server, tmp_path)
    assert first == second
    assert (first.format, first.generation, first.virtual_size_bytes) == ("qcow2", 2, 64 << 20)
    assert first.exact_version == "22.4.20261122"
    assert first.published_digest == f"sha256:{hashlib.sha256(server.files['/disk']).hexdigest()}"
    assert len(server.ranges("/disk")) == 1
    assert left(tmp_path) == [first.digest]


async def test_an_exact_version_comes_from_the_cache_without_asking_anyone(server: ImageServer, tmp_path: Path) -> None:
    image = await obtain(server, tmp_path)
    server.asked.clear()
    assert await obtain(server, tmp_path, version=image.exact_version) == image
    assert server.asked == []


async def test_a_damaged_image_is_fetched_anew_and_said_so(server: ImageServer, tmp_path: Path) -> None:
    image = await obtain(server, tmp_path)
    image.path.chmod(0o644)
    image.path.write_bytes(b"rotten")
    told: list[str] = []
    assert (await obtain(server, tmp_path, told=told)).path.read_bytes() != b"rotten"
    assert any("is not what was put there" in line for line in told)
    assert len(server.ranges("/disk")) == 2


async def test_a_plan_fetches_nothing_and_then_names_the_version(server: ImageServer, tmp_path: Path) -> None:
    image = await obtain(server, tmp_path)
    server.asked.clear()
    resolution = plan_platform_image(
        PlatformImageReference("acme", "golden", "1"),
        cache_directory=tmp_path / "cache",
        user_catalogue=tmp_path / "catalogue.toml",
    )
    assert resolution.cached == image
    assert server.asked == []


@pytest.mark.parametrize("image_format", ["raw", "vpc"])
async def test_other_formats_become_qcow2_with_the_same_content(
    server: ImageServer, tmp_path: Path, image_format: str
) -> None:
    raw, other = tmp_path / "disk.raw", tmp_path / "other"
    raw.write_bytes(bytes(510) + b"\x55\xaa" + b"content".ljust((4 << 20) - 512, b"."))
    options = ["-o", "subformat=fixed,force_size=on"] if image_format == "vpc" else []
    qemu_img("convert", "-f", "raw", "-O", image_format, *options, raw, other)
    publish(server, other.read_bytes())
    image = await obtain(server, tmp_path, image_format="vhd" if image_format == "vpc" else "raw")
    assert image.format == "qcow2"
    assert image.virtual_size_bytes == 4 << 20
    qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", raw, image.path)


async def test_an_image_with_a_backing_file_never_reaches_a_tool(
    server: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, overlay = tmp_path / "made.qcow2", tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
    publish(server, overlay.read_bytes())

    async def must_not_run(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a tool was started: {arguments}")

    for name in ("measure", "convert"):
        monkeypatch.setattr(inspection, name, must_not_run)
    with pytest.raises(ImageUnsafe, match="backing file"):
        await obtain(server, tmp_path)
    assert left(tmp_path) == []


async def test_a_size_bomb_that_is_fetched_is_refused(server: ImageServer, tmp_path: Path) -> None:
    publish(server, bomb(tmp_path / "made.qcow2", size_bytes=4 << 30).read_bytes())
    with pytest.raises(ImageUnsafe, match="times as many"):
        await obtain(server, tmp_path)
    assert left(tmp_path) == []


async def test_a_failed_fetch_leaves_nothing(server: ImageServer, tmp_path: Path) -> None:
    server.files["/sums"] = f"{'0' * 64}  disk\n".encode()
    with pytest.raises(DownloadFailed):
        await obtain(server, tmp_path)
    assert left(tmp_path) == []


async def test_two_at_once_fetch_once(server: ImageServer, tmp_path: Path) -> None:
    write_catalogue(server, tmp_path)
    first, second = await asyncio.gather(*(obtained(tmp_path) for _ in range(2)))
    assert first == second
    assert len(server.ranges("/disk")) == 1


async def test_a_made_image_is_versioned_by_the_archive_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[DebianRecipe] = []

    async def stand_in(recipe: DebianRecipe, target: Path, *, progress: object) -> datetime:
        made.append(recipe)
        qemu_img("create", "-q", "-f", "qcow2", target, "3G")
        target.with_name("vmlinuz").write_bytes(b"its kernel")
        return datetime(2026, 11, 22, 2, 9, tzinfo=UTC)

    monkeypatch.setattr(platform_image, "make_image", stand_in)
    image = await obtain_platform_image(
        PlatformImageReference("Debian", "debian-13", "13-gen2"),
        cache_directory=tmp_path / "cache",
        user_catalogue=tmp_path / "none.toml",
        progress=lambda _: None,
    )
    assert image.exact_version == "13.20261122.209"
    assert (image.generation, image.os_type) == (2, "Linux")
    assert [(recipe.suite, recipe.generation) for recipe in made] == [("trixie", 2)]
    assert [kernel.vmlinuz.read_bytes() for kernel in kernels([image])] == [b"its kernel"]


async def test_an_image_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(recipe: DebianRecipe, target: Path, *, progress: object) -> datetime:
        target.write_bytes(b"half")
        raise CommandFailed(["mmdebstrap"], exit_status=1, output="no network", reason="exited with status 1")

    monkeypatch.setattr(platform_image, "make_image", failing)
    with pytest.raises(CommandFailed, match="no network"):
        await obtain_platform_image(
            PlatformImageReference("Debian", "debian-12", "12"),
            cache_directory=tmp_path / "cache",
            user_catalogue=tmp_path / "none.toml",
            progress=lambda _: None,
        )
    assert left(tmp_path) == []
