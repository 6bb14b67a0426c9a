"""What the inspection VM's program says of single files, as far as it can be tried without a VM."""

import struct
import subprocess
from importlib import resources
from pathlib import Path

import pytest

SOURCE = (resources.files("vmkiln.images") / "inspector.pl").read_text()
PROGRAM = SOURCE[: SOURCE.index("\nmy @disks = ")]  # without what looks at the disks of a VM
# of crypt(3), salt `salt` or `abcdefghijklmnop`: the account's name, a common word, and one that nobody tries
YESCRYPT_OF_BUILDER = "$y$j9T$abcdefghijklmnop$4.Sj1evmN42ow9yQUPOx7c6eMD0.Cp7S8/DCbUDYkg9"
MD5_OF_HUNTER22 = "$1$salt$K6KKinTodvw8QgsIb3jvt1"
MD5_OF_VAGRANT = "$1$salt$pK8ervpuWiljC8bbtOaau1"


def told(folder: Path, path: str, content: str) -> str:
    """The records of a file that lies at this path of a disk."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    program = PROGRAM.replace("/mnt/", f"{folder}/") + f"\nread_file(0, '{path}', -s '{file}');\n"
    return subprocess.run(["perl", "-e", program, "look"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("hash_", "state"),
    [
        ("", "empty"),
        ("!locked", "locked"),
        (YESCRYPT_OF_BUILDER, "known"),
        (MD5_OF_VAGRANT, "known"),
        (MD5_OF_HUNTER22, "set"),
        ("$6$rounds=999999999$salt$x", "set"),  # of hours; such are not tried
        ("$2b$31$abcdefghijklmnopqrstuu", "set"),
        ("$y$jzzzz$salt$x", "set"),
    ],
)
def test_an_accounts_password_is_told_by_kind_and_never_its_hash(tmp_path: Path, hash_: str, state: str) -> None:
    found = told(tmp_path, "etc/shadow", f"builder:{hash_}:19000:0:99999:7:::\n")
    assert f"builder:{state}\n" in found
    assert not hash_ or hash_ not in found


def test_a_hash_in_passwd_or_group_is_told_by_kind_too(tmp_path: Path) -> None:
    rest = "1000:1000::/home/a:/bin/sh"
    accounts = f"root:x:{rest}\nbuilder:{YESCRYPT_OF_BUILDER}:{rest}\nopen::{rest}\nhidden:{MD5_OF_HUNTER22}:{rest}\n"
    found = told(tmp_path, "etc/passwd", accounts)
    assert f"root:x:{rest}\nbuilder:known:{rest}\nopen:empty:{rest}\nhidden:set:{rest}\n" in found
    assert "$" not in found
    assert "wheel:x:1:a\nusers::2:\n" in told(tmp_path, "etc/group", f"wheel:{MD5_OF_HUNTER22}:1:a\nusers::2:\n")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "private key"),
        ("client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t", "private key"),
        ("client-key-data: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "private key"),
        ("key AIza" + "A" * 35, "cloud credential"),
        ("token pypi-" + "A" * 50, "access token"),
        (f"eyJ{'A' * 20}.eyJ{'A' * 20}.{'A' * 30}", "access token"),
        ('network={\n  psk="twelve letters"\n}', "password of a tool"),
        ("machine\tx.example login a password b\n", "password of a tool"),
        ("git clone https://a:hunter22@x.example/a\n", "password of a tool"),
        ("certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", ""),
        ("-----BEGIN PUBLIC KEY-----\nnone of the secret ones\n", ""),
    ],
)
def test_what_a_secret_looks_like_is_told_and_not_what_it_says(tmp_path: Path, content: str, kind: str) -> None:
    found = told(tmp_path, "opt/a.txt", content)
    assert (kind in found) if kind else (found == "")
    assert content not in found


def test_a_file_of_empty_lines_is_searched_in_linear_time(tmp_path: Path) -> None:
    """A hundred of them would keep the look from ending in time."""
    file = tmp_path / "a.txt"
    file.write_text('"auth"' + "\n" * 65_000 + "\tpsk=twelveletters")
    program = PROGRAM.replace("/mnt/", f"{tmp_path}/") + f"\nread_file(0, 'a.txt', -s '{file}');\n"
    found = subprocess.run(["perl", "-e", program, "look"], capture_output=True, text=True, check=True, timeout=4)
    assert "password of a tool" in found.stdout


def asked(folder: Path, expression: str) -> str:
    """What the program's own subroutines say of a disk, a file in this folder."""
    program = PROGRAM.replace('"/dev/', f'"{folder}/') + f"\nprint {expression};\n"
    return subprocess.run(["perl", "-e", program, "scrub"], capture_output=True, text=True, check=True).stdout


def a_table(*partitions: tuple[int, int, int]) -> bytes:
    """A sector with a table of partitions: type, where each begins, how many sectors it has."""
    rows = b"".join(struct.pack("<4xB3xII", *partition) for partition in partitions)
    return bytes(446) + rows.ljust(64, b"\0") + b"\x55\xaa"


GAPS = "join ' ', map { ref $_ ? map { join '+', @$_ } @$_ : 'none' } gaps_of('disk', %s)"


def test_what_lies_between_partitions_is_told_apart_from_their_tables(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(a_table((0x83, 2048, 1000), (0x82, 4096, 100)).ljust(512 * 64, b"\0"))
    assert asked(tmp_path, GAPS % "'mbr', 8000, [4096, 100], [2048, 1000]") == "3048+1048 4196+3804"
    assert asked(tmp_path, GAPS % "'none', 8000, [2048, 1000]") == "none"
    with disk.open("wb") as file:
        file.write(a_table((0x83, 8, 8), (0x05, 20, 60)))
        for sector, table in ((20, a_table((0x83, 2, 4), (0x05, 20, 20))), (40, a_table((0x83, 2, 8)))):
            file.seek(sector * 512)
            file.write(table)
    found = asked(tmp_path, GAPS % "'mbr', 100, [8, 8], [20, 2], [22, 4], [42, 8]")
    assert found == "16+4 26+14 41+1 50+50"
    disk.write_bytes(a_table((0x83, 8, 8), (0x05, 20, 60)))
    assert asked(tmp_path, GAPS % "'mbr', 100, [8, 8], [20, 2]") == "none", "its tables cannot be followed"


def test_the_second_table_of_a_gpt_is_left_alone(tmp_path: Path) -> None:
    header = b"EFI PART".ljust(48, b"\0") + struct.pack("<Q", 90)
    (tmp_path / "disk").write_bytes(a_table((0xEE, 1, 99)) + header)
    assert asked(tmp_path, GAPS % "'gpt', 100, [8, 8], [20, 60]") == "16+4 80+11"
    (tmp_path / "disk").write_bytes(a_table((0x83, 8, 8)) + header)
    assert asked(tmp_path, GAPS % "'gpt', 100, [8, 8]") == "none", "a left over GPT"
    (tmp_path / "disk").write_bytes(a_table((0xEE, 1, 99)) + header)
    assert asked(tmp_path, GAPS % "'gpt', 90, [8, 8]") == "none", "it is not as large as it says"


def test_tables_of_extended_partitions_are_followed_as_linux_does(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    first, second = (0x05, 20, 20), (0x05, 50, 20)
    sectors = {0: a_table((0x83, 8, 8), first, second), 20: a_table((0x0F, 10, 10), (0x83, 2, 4))}
    sectors |= {30: a_table((0x83, 2, 4)), 50: a_table((0x83, 2, 4))}
    with disk.open("wb") as file:
        for sector, table in sectors.items():
            file.seek(sector * 512)
            file.write(table)
    found = asked(tmp_path, GAPS % "'mbr', 100, [8, 8], [22, 4], [32, 4], [52, 4]")
    assert found == "16+4 21+1 26+4 31+1 36+14 51+1 56+44", "two in one table, and a next one in the first row"
    disk.write_bytes(a_table((0x05, 0, 0), (0x83, 8, 8)))
    assert asked(tmp_path, GAPS % "'mbr', 100, [8, 8]") == "16+84", "a row without sectors is none"


def test_no_room_of_a_disk_that_is_something_else_too_is_overwritten(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    plain = a_table((0x83, 2048, 100)).ljust(0x11000, b"\0")
    asks = GAPS % "'mbr', 8000, [2048, 100]"
    disk.write_bytes(plain)
    assert asked(tmp_path, asks) == "2148+5852"
    for at, content in ((0x438, b"\x53\xef"), (0x8001, b"CD001"), (0x200, b"LABELONE")):
        disk.write_bytes(plain[:at] + content + plain[at + len(content) :])
        assert asked(tmp_path, asks) == "none", content
    for kind in (0x42, 0xEE):  # a dynamic disk; a GPT that is not where it would be with sectors of 512 bytes
        disk.write_bytes(a_table((kind, 2048, 100)))
        assert asked(tmp_path, asks) == "none", kind
    for magic in (b"\xfc\x4e\x2b\xa9", b"Intel Raid ISM Cfg Sig.", b"\xde\x11\xde\x11"):
        disk.write_bytes(plain.ljust(7990 * 512, b"\0") + magic)
        assert asked(tmp_path, asks) == "none", magic


def test_partitions_beside_a_gpt_are_in_use_too(tmp_path: Path) -> None:
    header = b"EFI PART".ljust(48, b"\0") + struct.pack("<Q", 90)
    (tmp_path / "disk").write_bytes(a_table((0xEE, 1, 19), (0x83, 40, 10)) + header)
    assert asked(tmp_path, GAPS % "'gpt', 100, [8, 8], [20, 10]") == "16+4 30+10 50+41"
    (tmp_path / "disk").write_bytes(a_table((0xEE, 2, 19), (0x83, 40, 10)) + header)
    assert asked(tmp_path, GAPS % "'gpt', 100, [40, 10]") == "none", "Linux does not take it for one"


def test_what_lies_before_the_first_partition_is_read_behind_the_boot_loader(tmp_path: Path) -> None:
    """A partition that was the first, and is gone, leaves its bytes there."""
    disk, asks = tmp_path / "disk", "before('disk', [9000, 9], [4097, 9])"
    disk.write_bytes((b"loader".ljust(1 << 20, b"\0")).ljust(4097 * 512, b"\0") + b"of the first partition")
    assert asked(tmp_path, asks) == ""
    with disk.open("r+b") as file:
        file.seek(4097 * 512 - 1)
        file.write(b"x")
    assert asked(tmp_path, asks) == "what lies before the first partition is not known"
    assert asked(tmp_path, "before('disk', [9000, 9], [2048, 9])") == ""


def test_what_begins_with_zeros_is_read_to_its_end(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(3 << 20) + bytes(512))
    said = f"full('{disk}', 0, -s '{disk}')"
    assert asked(tmp_path, said) == ""
    with disk.open("r+b") as file:
        file.seek((3 << 20) + 200)
        file.write(b"x")
    assert asked(tmp_path, said) == "it begins with zeros, and something else lies behind"
    disk.unlink()
    assert asked(tmp_path, f"full('{disk}', 0, 512)") == "it could not be read"


def test_all_that_begins_with_zeros_is_read_within_one_limit(tmp_path: Path) -> None:
    """Many large disks that are empty would keep the look from ending in time."""
    (tmp_path / "disk").write_bytes(bytes(512))
    slow = "BEGIN { my $now = 0; *CORE::GLOBAL::time = sub () { $now += 40 } }\n"
    program = slow + PROGRAM + f"\nprint join ', ', map {{ full('{tmp_path / 'disk'}', 0, 512) || 'read' }} 1 .. 3;\n"
    found = subprocess.run(["perl", "-e", program, "scrub"], capture_output=True, text=True, check=True).stdout
    assert found == "read, read, it begins with zeros, and is too large to be read to its end"


EMPTIED = "sub emptied { return $_[2] > 0 ? (print qq($_[1]+$_[2] )) && '' : '' }"  # where it would write, in bytes


def a_swap(pages: int) -> bytes:
    """Of linux/swap.h."""
    header = bytes(1024) + struct.pack("<II", 1, pages - 1)
    return (header.ljust(4086, b"\0") + b"SWAPSPACE2").ljust(pages * 4096, b"\0")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (b"", "4096+61440 "),
        (b"x" * 512, "4096+61952 "),
        (bytes(8192), "4096+61440 "),
        (bytes(4096) + b"\xfc\x4e\x2b\xa9".ljust(4096), "4096+61440 what lies behind its pages is not known"),
    ],
    ids=["all", "a part of a page", "zeros", "the description of a RAID"],
)
def test_swap_is_overwritten_in_the_pages_that_it_has(tmp_path: Path, more: bytes, said: str) -> None:
    swap = tmp_path / "swap"
    swap.write_bytes(a_swap(16) + more)
    assert asked(tmp_path, f"''; {EMPTIED} print swept('{swap}', -s '{swap}')") == said
    assert asked(tmp_path, f"''; {EMPTIED} print swept('{swap}', 61440)") == "it is not as large as it says"


@pytest.mark.parametrize(
    ("at", "content", "kind"),
    [
        (0, b"", "swap"),
        (0, b"LUKS\xba\xbe", "luks"),
        (512, b"LABELONE", "lvm"),
        (4096, b"\xfc\x4e\x2b\xa9", "unknown"),
        (4120, bytes.fromhex("c68573f64e1a45ca"), "unknown"),
        (0x4000, b"\1" + b"\1".ljust(10, b"\0") + b"\1", "unknown"),
        (0x8000, b"JFS1", "unknown"),
        (0x10034, b"ReIsEr2Fs", "unknown"),
        (0x10000, bytes.fromhex("01161970"), "unknown"),
    ],
)
def test_what_only_was_swap_is_not_overwritten(tmp_path: Path, at: int, content: bytes, kind: str) -> None:
    """Some leave the first page as it was, and what said there that it is swap."""
    disk = bytearray(a_swap(17))
    disk[at : at + len(content)] = content
    (tmp_path / "disk").write_bytes(disk)
    assert asked(tmp_path, f"'', (probed('{tmp_path / 'disk'}'))[0]") == kind


def test_a_boot_loaders_partition_is_known_by_its_type_and_not_unread(tmp_path: Path) -> None:
    """Of 3 or 4 MiB in Debian's and Ubuntu's cloud images."""
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 128, 128)
    entries = b"Hah!IdontNeedEFI".ljust(128, b"\0") + b"another type of".ljust(128, b"\0")
    (tmp_path / "disk").write_bytes(bytes(512) + header.ljust(512, b"\0") + entries)
    known = "join ' ', map { is_of_a_loader('disk', @$_) || 0 } [1, 4 << 20], [2, 4 << 20], [1, 9 << 20], [3, 1]"
    assert asked(tmp_path, known) == "1 0 0 0"
    (tmp_path / "loader").write_bytes(b"R\x8e".ljust(4 << 20, b"\0"))
    loader = f"'{tmp_path / 'loader'}', 'disk0-14', 4 << 20"
    assert "unknown is not read" in asked(tmp_path, f"looked_at({loader}, 0)")
    assert "not read" not in asked(tmp_path, f"looked_at({loader}, 1)")


def test_what_cannot_be_overwritten_is_told(tmp_path: Path) -> None:
    """A file has none of a disk's own zeros; `tests/vm/test_disks_looked_at.py` has disks."""
    (tmp_path / "file").write_bytes(bytes(512))
    assert asked(tmp_path, f"emptied('{tmp_path / 'file'}', 0, 512)") == "what is free could not be overwritten"
    assert asked(tmp_path, f"emptied('{tmp_path / 'none'}', 0, 512)") == "what is free could not be opened"
    assert asked(tmp_path, f"emptied('{tmp_path / 'file'}', 0, 0)") == ""


def test_extents_are_free_only_where_each_volume_says_where_it_lies(tmp_path: Path) -> None:
    """An unfinished `pvmove` names the extents that it copies as a mirror's."""
    shown = (
        "do { my $used = used_extents({%s}); $used ? join ' ', map { join '+', @$_ } @{$used->{pv0}} : 'not known' }"
    )
    one = "segment_count => 1, segment1 => {type => '%s', extent_count => 6, %s => ['pv0', 3, 'pv1', 0]}"
    striped = f"web => {{{one % ('striped', 'stripes')}}}"
    moved = f"pvmove0 => {{{one % ('mirror', 'mirrors')}}}"
    assert asked(tmp_path, shown % striped) == "3+3"
    assert asked(tmp_path, shown % f"{striped}, {moved}") == "not known"
    less = striped.replace("segment_count => 1", "segment_count => 2")
    assert asked(tmp_path, shown % less) == "not known", "not all of it was read"


def test_a_comment_of_lvms_text_begins_only_where_no_string_is(tmp_path: Path) -> None:
    text = 'tags = [ "a#b", "c" ] # "d\nx = 1'
    assert asked(tmp_path, f"join '|', tokens_of('{text}')") == "tags|=|[|a#b|,|c|]|x|=|1"


def a_group(number: int, extents: int) -> str:
    """The text of a group whose volume has so many of ten extents of 4 KiB."""
    segment = f'type = "striped" stripe_count = 1 start_extent = 0 extent_count = {extents} stripes = [ "pv0", 0 ]'
    physical = f'pv0 {{ id = "aaaaaa-{"a" * 26}" pe_start = 2048 pe_count = 10 }}'
    logical = f"web {{ segment_count = 1 segment1 {{ {segment} }} }}"
    return (
        f"vg {{ seqno = {number} extent_size = 8 physical_volumes {{ {physical} }} logical_volumes {{ {logical} }} }}"
    )


def a_physical_volume(file: Path, letter: str, *areas: tuple[int, str]) -> str:
    """One with these areas of metadata, each with its flags, and its text; its path."""
    places = b"".join(struct.pack("<QQ", 4096 * (number + 1), 4096) for number in range(len(areas)))
    header = letter.encode() * 32 + struct.pack("<5Q", 1 << 20, 1 << 20, 0, 0, 0) + places + bytes(16)
    disk = (bytes(512) + b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + header).ljust(4096, b"\0")
    for flags, text in areas:
        area = bytes(40) + struct.pack("<QQII", 512, len(text), 0, flags)
        disk += (area.ljust(512, b"\0") + text.encode()).ljust(4096, b"\0")
    file.write_bytes(disk)
    return str(file)


def groups_seen(folder: Path, *devices: str) -> str:
    """What is overwritten, and told, of physical volumes."""
    physical = ", ".join(f"'{device}', 'disk{number}'" for number, device in enumerate(devices))
    return asked(folder, f"''; {EMPTIED} sub mapper {{ return }} %physical = ({physical}); logical_volumes()")


@pytest.mark.parametrize(
    "areas",
    [((1, a_group(9, 2)), (0, a_group(3, 6))), ((0, a_group(2, 2)), (0, a_group(3, 6)))],
    ids=["one is ignored", "one is older"],
)
def test_free_extents_are_those_of_the_newest_metadata(tmp_path: Path, areas: tuple[tuple[int, str], ...]) -> None:
    found = groups_seen(tmp_path, a_physical_volume(tmp_path / "a", "a", *areas))
    assert found.startswith("1073152+16384 volume "), "from the sixth extent on"
    assert "no group" not in found


def test_a_physical_volume_whose_group_is_not_read_is_unproven(tmp_path: Path) -> None:
    own = a_physical_volume(tmp_path / "a", "a", (0, a_group(3, 6)))
    found = groups_seen(tmp_path, own, a_physical_volume(tmp_path / "b", "b"))
    assert "1073152+16384 " in found
    assert "disk1-grouplvm" in found
    assert found.count("it is in no group of volumes that is read") == 1
    same = groups_seen(tmp_path, own, a_physical_volume(tmp_path / "b", "a", (0, a_group(4, 2))))
    assert "+16384 " not in same
    assert "+32768 " not in same
    assert same.count("another has the same id") == 2
