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
        ("certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", ""),
        ("-----BEGIN PUBLIC KEY-----\nnone of the secret ones\n", ""),
    ],
)
def test_what_a_secret_looks_like_is_told_and_not_what_it_says(tmp_path: Path, content: str, kind: str) -> None:
    found = told(tmp_path, "opt/a.txt", content)
    assert (kind in found) if kind else (found == "")
    assert content not in found


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


def test_what_begins_with_zeros_is_read_to_its_end(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(3 << 20) + bytes(512))
    said = f"full('{disk}', -s '{disk}')"
    assert asked(tmp_path, said) == ""
    with disk.open("r+b") as file:
        file.seek((3 << 20) + 200)
        file.write(b"x")
    assert asked(tmp_path, said) == "it begins with zeros, and something else lies behind"
    disk.unlink()
    assert asked(tmp_path, f"full('{disk}', 512)") == "it could not be read"


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
    striped = "web => {segment1 => {type => 'striped', extent_count => 6, stripes => ['pv0', 3, 'pv1', 0]}}"
    moved = "pvmove0 => {segment1 => {type => 'mirror', extent_count => 6, mirrors => ['pv0', 9, 'pv1', 9]}}"
    assert asked(tmp_path, shown % striped) == "3+3"
    assert asked(tmp_path, shown % f"{striped}, {moved}") == "not known"
