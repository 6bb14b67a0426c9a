"""What a build left on a disk is found by kind and place, and what others put there is told, not refused."""

import pytest

from vmkiln.inspecting.disk_contents import DiskContents, Entry, Volume
from vmkiln.inspecting.hygiene import MOST_TOLD, residues, told
from vmkiln.inspecting.residue import Found, Residue

CLEAN_FILES = {
    "etc/os-release": b"ID=debian\n",
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n",
    "etc/machine-id": b"",
    "etc/hostname": b"localhost\n",
    "etc/hosts": b"127.0.0.1 localhost\n",
    "etc/sudoers": b"root ALL=(ALL:ALL) ALL\n# packer is not here\n",
    "home/me/.ssh/authorized_keys": b"ssh-ed25519 AAAA me@home\n",
    "etc/shadow": b"root:locked\nme:locked\n",
}


def a_disk(
    files: dict[str, bytes] | None = None,
    *,
    folders: tuple[str, ...] = (),
    marks: tuple[tuple[bytes, str], ...] = (),
    top: str = "",
) -> DiskContents:
    found = CLEAN_FILES | (files or {})
    entries = [Entry((top + path).encode(), 0o100644, 0, 0, len(content)) for path, content in found.items()]
    entries += [Entry((top + path).encode(), 0o040755, 0, 0, 4096) for path in folders]
    contents = {(top + path).encode(): content for path, content in found.items()}
    return DiskContents((), (Volume("disk0-1", "ext4", 1, 1, "", "", "", tuple(entries), contents, marks),))


def left(disk: DiskContents) -> list[Found]:
    return list(residues(disk, user="packer", host_name="build-vm", key_comment="vmkiln-build"))


def test_an_image_that_belongs_to_nobody_is_clean() -> None:
    disk = a_disk(
        {"var/log/cloud-init.log": b"", "root/.bash_history": b"", "var/lib/dhcp/a.leases": b""},
        folders=("var/lib/cloud", "var/lib/cloud/instances", "var/lib/cloud/data", "var/log/journal", "home/me"),
    )
    assert left(disk) == []


@pytest.mark.parametrize(
    ("residue", "path", "content"),
    [
        (Residue.BUILD_USER, "etc/passwd", b"packer:x:1000:1000::/home/packer:/bin/bash\n"),
        (Residue.BUILD_USER, "var/mail/packer", b"x"),
        (Residue.BUILD_USER, "var/spool/cron/crontabs/packer", b"x"),
        (Residue.SUDO_RIGHTS, "etc/sudoers.d/90-cloud-init-users", b"x"),
        (Residue.SUDO_RIGHTS, "etc/sudoers.d/mine", b"packer ALL=(ALL) NOPASSWD:ALL\n"),
        (Residue.LOGIN_KEY, "root/.ssh/authorized_keys", b"ssh-ed25519 AAAA vmkiln-build\n"),
        (Residue.HOST_KEYS, "etc/ssh/ssh_host_ed25519_key", b"x"),
        (Residue.MACHINE_ID, "etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        (Residue.MACHINE_ID, "var/lib/dbus/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        (Residue.MACHINE_ID, "var/lib/NetworkManager/secret_key", b"nm-v2:x"),
        (Residue.CLOUD_INIT, "var/lib/cloud/instances/run/user-data.txt", b"x"),
        (Residue.CLOUD_INIT, "var/lib/cloud/data/instance-id", b"x"),
        (Residue.CLOUD_INIT, "var/log/cloud-init-output.log", b"x"),
        (Residue.CLOUD_INIT, "etc/netplan/50-cloud-init.yaml", b"x"),
        (Residue.CLOUD_INIT, "etc/hostname", b"build-vm\n"),
        (Residue.CLOUD_INIT, "etc/hosts", b"127.0.1.1 build-vm build-vm\n"),
        (Residue.RANDOM_SEED, "var/lib/systemd/random-seed", b"x"),
        (Residue.HISTORY, "root/.bash_history", b"x"),
        (Residue.LEASES, "var/lib/dhcp/dhclient.eth0.leases", b"x"),
        (Residue.PACKER_FILES, "tmp/script_1234.sh", b"x"),
        (Residue.PACKER_FILES, "etc/systemd/system/run-packer.mount", b"x"),
    ],
)
@pytest.mark.parametrize("top", ["", "@/"])
def test_every_kind_of_residue_is_found(residue: Residue, path: str, content: bytes, top: str) -> None:
    assert left(a_disk({path: content}, top=top)) == [Found(residue, f"/{path}")]


def test_a_folder_that_is_named_after_the_machine_is_found() -> None:
    name = "var/log/journal/0123456789abcdef0123456789abcdef"
    assert left(a_disk(folders=(name,))) == [Found(Residue.MACHINE_ID, f"/{name}")]
    assert left(a_disk(folders=("home/packer",))) == [Found(Residue.BUILD_USER, "/home/packer")]


def test_what_others_put_there_is_told_and_not_refused() -> None:
    disk = a_disk(
        {"etc/shadow": b"root:empty\nme:set\nbin:locked\npi:known\n"},
        marks=(
            (b"root/.aws/credentials", "cloud credential"),
            (b"etc/ssl/private/ssl-cert-snakeoil.key", "private key"),
            (b"etc/ssh/ssh_host_rsa_key", "private key"),
        ),
    )
    assert left(disk) == []
    assert told(disk) == (
        "/home/me/.ssh/authorized_keys lets whoever has its keys log in",
        "/root/.aws/credentials looks like a cloud credential",
        "the account me has a password",
        "the account pi has a password that everybody tries",
        "the account root has no password",
    )


def test_a_password_that_stands_in_passwd_is_told_as_one_in_shadow() -> None:
    rest = "0:0::/:/bin/sh"
    disk = a_disk({"etc/passwd": f"root:x:{rest}\ntoor:empty:{rest}\npi:known:{rest}\nodd\n".encode()})
    assert [one for one in told(disk) if "account" in one] == [
        "the account pi has a password that everybody tries",
        "the account toor has no password",
    ]


def test_histories_and_stores_of_keys_are_told_by_their_names() -> None:
    files = ("root/.psql_history", "home/me/.bash_history", "opt/app/store.p12", "var/lib/postgresql/.pgpass")
    disk = a_disk(dict.fromkeys((*files, "root/.bash_history", "opt/history", "etc/ca.pem"), b"x"))
    assert left(disk) == [Found(Residue.HISTORY, "/root/.bash_history")], "which is told as what fails the run"
    assert [sentence.partition(" ")[0] for sentence in told(disk)] == sorted(
        [*(f"/{path}" for path in files), "/home/me/.ssh/authorized_keys"]
    )


def test_no_more_is_told_than_one_reads() -> None:
    disk = a_disk(marks=tuple((f"a/{number}".encode(), "private key") for number in range(MOST_TOLD + 20)))
    assert len(told(disk)) == MOST_TOLD + 1
    assert told(disk)[-1] == "and 21 more"
