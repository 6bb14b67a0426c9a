"""The header inspector: lets through what is plain, refuses what could make a tool open something else."""

import contextlib
import os
import struct
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import ImageUnsafe
from vmkiln.images.image_header import HEAD_BYTES, MOST_VIRTUAL_BYTES, check_bytes, inspect_image
from vmkiln.images.vhd import footer

MIB = 1024 * 1024
GIB = 1024 * MIB
CLUSTER = 64 * 1024
FILE_BYTES = 4 * MIB


def qcow2(
    *,
    version: int = 3,
    backing: tuple[int, int] = (0, 0),
    cluster_bits: int = 16,
    size: int = GIB,
    encryption: int = 0,
    l1: tuple[int, int] = (2, 3 * CLUSTER),
    table: tuple[int, int] = (CLUSTER, 1),
    snapshots: int = 0,
    incompatible: int = 0,
    refcount_order: int = 4,
    header_length: int = 112,
    compression: int = 0,
    extensions: bytes = b"",
) -> bytes:
    """The first 64 KiB of a qcow2 file, harmless unless told otherwise."""
    head = b"QFI\xfb" + struct.pack(
        ">IQIIQIIQQIIQ", version, *backing, cluster_bits, size, encryption, *l1, *table, snapshots, 0
    )
    if version == 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, refcount_order, header_length)
        head += bytes([compression]) + bytes(7)
    return (head + extensions).ljust(HEAD_BYTES, b"\0")


def checked_qcow2(head: bytes) -> int:
    return check_bytes(head, b"", size_bytes=FILE_BYTES, expected_format="qcow2")


def raw_disk(size: int = MIB) -> bytes:
    return (bytes(510) + b"\x55\xaa").ljust(size, b"\0")


def fixed_vhd(size: int = MIB) -> bytes:
    return raw_disk(size) + footer(size, identifier=uuid.UUID(int=1), created=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "head",
    [
        qcow2(),
        qcow2(version=2),
        qcow2(incompatible=8, compression=1),
        qcow2(incompatible=1),
        qcow2(extensions=struct.pack(">II", 0x6803F857, 16) + bytes(16)),
    ],
    ids=["version 3", "version 2", "zstd", "dirty", "feature names"],
)
def test_a_plain_qcow2_is_taken_with_its_virtual_size(head: bytes) -> None:
    assert checked_qcow2(head) == GIB


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (qcow2(backing=(512, 11)), "backing file"),
        (qcow2(backing=(0, 11)), "backing file"),
        (qcow2(version=1), "version 1"),
        (qcow2(version=4), "version 4"),
        (qcow2(cluster_bits=8), "clusters of 2\\^8"),
        (qcow2(cluster_bits=22), "clusters of 2\\^22"),
        (qcow2(cluster_bits=4_000_000_000), "clusters"),
        (qcow2(size=0), "virtual size of 0"),
        (qcow2(size=65535), "virtual size of 65535"),
        (qcow2(size=MOST_VIRTUAL_BYTES + 1), "virtual size"),
        (qcow2(encryption=1), "encryption"),
        (qcow2(encryption=2), "encryption"),
        (qcow2(snapshots=1), "snapshots"),
        (qcow2(l1=(0xFFFFFFFF, CLUSTER)), "first-level table that is too large"),
        (qcow2(l1=(1, 3 * CLUSTER)), "first-level table that is too small"),
        (qcow2(l1=(2, 0)), "first-level table out of place"),
        (qcow2(l1=(2, 3 * CLUSTER + 8)), "first-level table out of place"),
        (qcow2(l1=(2, FILE_BYTES)), "first-level table out of place"),
        (qcow2(table=(CLUSTER, 0xFFFFFFFF)), "reference count table that is too large"),
        (qcow2(table=(1 << 60, 1)), "reference count table out of place"),
        (qcow2(incompatible=2), "corrupt"),
        (qcow2(incompatible=4), "external data file"),
        (qcow2(incompatible=16), "features we do not know"),
        (qcow2(incompatible=1 << 63), "features we do not know"),
        (qcow2(incompatible=8, compression=2), "compression of type 2"),
        (qcow2(refcount_order=7), "reference counts"),
        (qcow2(header_length=16), "a header of 16 bytes"),
        (qcow2(header_length=0xFFFFFFF8), "a header of"),
        (qcow2(extensions=struct.pack(">II", 0xE2792ACA, 3) + b"raw".ljust(8, b"\0")), "backing file's format"),
        (qcow2(extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pwd"), "external data file's name"),
        (qcow2(extensions=struct.pack(">II", 0x0537BE77, 16) + bytes(16)), "encryption header"),
        (qcow2(extensions=struct.pack(">II", 0x12345678, 0xFFFFFFFF)), "too long"),
        (qcow2(cluster_bits=17, l1=(1, 1 << 18), table=(1 << 17, 1), extensions=struct.pack(">II", 1, 0) * 8192)
         [:HEAD_BYTES], "do not end"),
        (qcow2(version=2, extensions=b"")[:72] + struct.pack(">II", 0xE2792ACA, 3) + bytes(HEAD_BYTES - 80),
         "backing file's format"),
        (qcow2()[:100], "cut off"),
        (b"KDMV" + bytes(600), "VMDK"),
        (bytes(600), "something else"),
    ],
)  # fmt: skip
def test_a_dangerous_qcow2_is_refused_with_its_reason(head: bytes, reason: str) -> None:
    with pytest.raises(ImageUnsafe, match=reason):
        checked_qcow2(head)


def test_every_reason_is_named_not_only_the_first() -> None:
    with pytest.raises(ImageUnsafe) as refused:
        checked_qcow2(qcow2(backing=(512, 4), encryption=1, snapshots=7))
    assert all(word in refused.value.message for word in ("backing file", "encryption", "snapshots"))


def test_a_raw_disk_with_a_partition_table_is_taken() -> None:
    assert check_bytes(raw_disk(), bytes(512), size_bytes=5 * MIB, expected_format="raw") == 5 * MIB


@pytest.mark.parametrize(
    "magic",
    [b"QFI\xfb", b"KDMV", b"COWD", b"# Disk DescriptorFile", b"vhdxfile", b"conectix", b"QED\0", b"LUKS\xba\xbe",
     b"OFVD", b"WithoutFreeSpace", b"Bochs Virtual HD Image"],
)  # fmt: skip
def test_a_raw_disk_that_begins_like_another_format_is_refused(magic: bytes) -> None:
    head = magic + raw_disk()[len(magic) :]
    with pytest.raises(ImageUnsafe, match="begins like"):
        check_bytes(head, bytes(512), size_bytes=MIB, expected_format="raw")


def test_a_raw_disk_that_looks_like_vdi_is_refused() -> None:
    head = raw_disk()[:64] + b"\x7f\x10\xda\xbe" + raw_disk()[68:]
    with pytest.raises(ImageUnsafe, match="VDI"):
        check_bytes(head, bytes(512), size_bytes=MIB, expected_format="raw")


def test_a_raw_disk_without_a_partition_table_is_refused() -> None:
    with pytest.raises(ImageUnsafe, match="no partition table"):
        check_bytes(bytes(4096), bytes(512), size_bytes=MIB, expected_format="raw")


def test_a_raw_disk_that_ends_like_a_vhd_is_refused() -> None:
    content = fixed_vhd()
    with pytest.raises(ImageUnsafe, match="ends like a VHD"):
        check_bytes(content[:HEAD_BYTES], content[-512:], size_bytes=len(content), expected_format="raw")


def test_a_fixed_vhd_is_taken_with_the_size_of_its_disk() -> None:
    content = fixed_vhd(2 * MIB)
    assert check_bytes(content[:HEAD_BYTES], content[-512:], size_bytes=len(content), expected_format="vhd") == 2 * MIB


def test_a_fixed_vhd_whose_footer_says_another_size_is_refused() -> None:
    content = fixed_vhd()
    with pytest.raises(ImageUnsafe, match="are there"):
        check_bytes(content[:HEAD_BYTES], content[-512:], size_bytes=len(content) + MIB, expected_format="vhd")


def test_a_vhd_whose_disk_is_itself_an_image_is_refused() -> None:
    content = fixed_vhd()
    with pytest.raises(ImageUnsafe, match="begins like a qcow2"):
        check_bytes(b"QFI\xfb" + content[4:HEAD_BYTES], content[-512:], size_bytes=len(content), expected_format="vhd")


@pytest.mark.parametrize("name", ["vmdk", "vhdx", "vdi", "qed", ""])
def test_an_unknown_format_is_refused_whatever_the_content(name: str) -> None:
    with pytest.raises(ImageUnsafe, match="are not taken"):
        check_bytes(raw_disk(), bytes(512), size_bytes=MIB, expected_format=name)


@settings(max_examples=tiers.cheap_examples())
@given(head=st.binary(max_size=300), size=st.integers(0, 1 << 50), kind=st.sampled_from(["qcow2", "raw", "vhd"]))
def test_any_bytes_are_taken_or_refused_but_never_crash(head: bytes, size: int, kind: str) -> None:
    with contextlib.suppress(ImageUnsafe):
        assert check_bytes(head, head[-512:], size_bytes=size, expected_format=kind) >= 0


@settings(max_examples=max(300, tiers.cheap_examples()))
@given(position=st.integers(0, 200), value=st.integers(0, 255))
def test_one_changed_byte_in_a_header_never_brings_a_backing_file_through(position: int, value: int) -> None:
    head = bytearray(qcow2(extensions=bytes(8)))
    head[position] = value
    try:
        checked_qcow2(bytes(head))
    except ImageUnsafe:
        return
    backing_offset, backing_size = struct.unpack_from(">QI", head, 8)
    assert (backing_offset, backing_size) == (0, 0)
    assert struct.unpack_from(">Q", head, 72)[0] & 4 == 0


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(raw_disk())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ImageUnsafe):
        inspect_image(tmp_path / "link", expected_format="raw")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageUnsafe, match="regular file"):
        inspect_image(tmp_path / "pipe", expected_format="raw")


def test_what_qemu_itself_makes_is_taken(tmp_path: Path) -> None:
    for options in ([], ["-o", "compat=0.10"], ["-o", "compression_type=zstd"], ["-o", "cluster_size=2M"]):
        path = tmp_path / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, "3G"], check=True)
        assert inspect_image(path, expected_format="qcow2") == 3 * GIB


def test_what_qemu_makes_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.qcow2", tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1G"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay], check=True)
    with pytest.raises(ImageUnsafe, match="backing file"):
        inspect_image(overlay, expected_format="qcow2")
