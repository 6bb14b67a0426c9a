"""Exporting an image to a file of the user's."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing import MIB, a_flat_disk, to_managed_image, to_vhd

from vmkiln.errors import ImageUnsafe, InputError
from vmkiln.host.disk.disk_image import is_same, virtual_size
from vmkiln.host.qemu import Disk
from vmkiln.images.image_export import export_image, format_for, write_checksum
from vmkiln.images.image_store import sha256_of
from vmkiln.images.vhd_image import read_vhd
from vmkiln.store.database import opened
from vmkiln.store.rows import ImageRow

DRIVERS = {"qcow2": "qcow2", "raw": "raw", "vhd": "vpc", "vmdk": "vmdk", "vhdx": "vhdx"}


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[dict[str, ImageRow]]:
    """The same disk published as qcow2 and as VHD."""
    facts = a_flat_disk(tmp_path)
    with opened(tmp_path / "db") as store:
        to_managed_image(tmp_path, store, facts)
        to_vhd(tmp_path, store, facts)
        yield {image.format: image for image in store.images.list()}


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("a.qcow2", "", "qcow2"),
        ("a.RAW", "", "raw"),
        ("a.img", "", "raw"),
        ("a.vhd", "", "vhd"),
        ("a.vhd", "raw", "raw"),
        ("a", "qcow2", "qcow2"),
        ("a.vmdk", "", "vmdk"),
        ("a.VHDX", "", "vhdx"),
    ],
)
def test_the_format_is_the_wanted_one_or_the_files(name: str, wanted: str, expected: str) -> None:
    assert format_for(Path(name), wanted) == expected


@pytest.mark.parametrize(("name", "wanted"), [("a", ""), ("a.vdi", ""), ("a.raw", "vdi")])
def test_an_unknown_format_is_an_error(name: str, wanted: str) -> None:
    with pytest.raises(InputError, match="format"):
        format_for(Path(name), wanted)


@pytest.mark.parametrize("source", ["qcow2", "vhd"])
@pytest.mark.parametrize("target", DRIVERS)
async def test_every_format_becomes_every_other(
    source: str, target: str, stored: dict[str, ImageRow], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    file = out / f"web.{target}"
    await export_image(stored[source], file, target_format="", may_overwrite=False)
    assert await is_same(Disk(stored["qcow2"].path, "qcow2"), Disk(file, DRIVERS[target]))
    assert list(out.iterdir()) == [file]
    if target == "vhd":
        assert read_vhd(file).size_bytes == 4 * MIB
    elif source == "vhd":
        assert await virtual_size(Disk(file, target)) == 4 * MIB
    if source == target:
        assert sha256_of(file) == stored[source].digest


async def test_a_file_is_overwritten_only_when_asked(stored: dict[str, ImageRow], tmp_path: Path) -> None:
    file = tmp_path / "web.raw"
    file.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists"):
        await export_image(stored["qcow2"], file, target_format="", may_overwrite=False)
    assert file.read_bytes() == b"mine"
    await export_image(stored["qcow2"], file, target_format="", may_overwrite=True)
    assert file.stat().st_size == 7 * MIB // 2


@pytest.mark.parametrize("target", ["no/such/folder/web.raw", "."])
async def test_a_place_that_cannot_be_written_is_named(
    target: str, stored: dict[str, ImageRow], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="folder"):
        await export_image(stored["qcow2"], tmp_path / target, target_format="raw", may_overwrite=True)


async def test_progress_is_told(stored: dict[str, ImageRow], tmp_path: Path) -> None:
    chunks: list[bytes] = []
    file = tmp_path / "web.raw"
    await export_image(stored["qcow2"], file, target_format="", may_overwrite=False, progress=chunks.append)
    assert re.search(rb"\(100\.00/100%\)", b"".join(chunks))


async def test_a_changed_image_is_not_exported(stored: dict[str, ImageRow], tmp_path: Path) -> None:
    image = stored["vhd"]
    image.path.chmod(0o644)
    with image.path.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(ImageUnsafe):
        await export_image(image, tmp_path / "web.raw", target_format="", may_overwrite=False)
    assert not list(tmp_path.glob("*web.raw*"))


@pytest.mark.parametrize("source", ["qcow2", "vhd"])
@pytest.mark.parametrize("target", ["qcow2", "vmdk"])
async def test_a_compressed_file_is_the_same_disk_with_its_checksum_beside_it(
    source: str, target: str, stored: dict[str, ImageRow], tmp_path: Path
) -> None:
    file = tmp_path / f"small.{target}"
    await export_image(stored[source], file, target_format="", may_overwrite=False, is_compressed=True)
    original = stored["qcow2"]
    assert await is_same(Disk(file, DRIVERS[target]), Disk(original.path, original.format))
    checksum = await write_checksum(file)
    assert checksum.read_text() == f"{sha256_of(file).removeprefix('sha256:')}  small.{target}\n"


async def test_a_format_without_a_compressed_form_is_refused(stored: dict[str, ImageRow], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no compressed form"):
        await export_image(
            stored["qcow2"], tmp_path / "a.raw", target_format="", may_overwrite=False, is_compressed=True
        )
