"""What the inspection VM's program says of single files, as far as it can be tried without a VM."""

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
