"""What a build left on a disk is found by kind and place, and what others put there is told, not refused."""

from dataclasses import replace

import pytest

from vmkiln.inspecting.disk_contents import DiskContents, Entry, Volume
from vmkiln.inspecting.hygiene import MOST_TOLD, residues, told
from vmkiln.inspecting.places import Places
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
    return DiskContents(
        (), (Volume("disk0-1", "btrfs" if top else "ext4", 1, 1, "", "", "", tuple(entries), contents, marks),)
    )


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
        (Residue.CLOUD_INIT, "var/log/cloud-init-output.log.1.gz", b"x"),
        (Residue.RANDOM_SEED, "var/lib/systemd/random-seed", b"x"),
        (Residue.RANDOM_SEED, "boot/efi/loader/random-seed", b"x"),
        (Residue.HISTORY, "root/.bash_history", b"x"),
        (Residue.LEASES, "var/lib/dhcp/dhclient.eth0.leases", b"x"),
        (Residue.LEASES, "var/lib/wicked/lease-eth0-dhcp-ipv4.xml", b"x"),
        (Residue.LEASES, "var/lib/dhcpcd/duid", b"x"),
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


KEY = "etc/ssh/ssh_host_ed25519_key"
ROOT_FILES = {path: CLEAN_FILES[path] for path in ("etc/os-release", "etc/passwd", "etc/machine-id")}


def a_volume(
    device: str,
    files: dict[str, bytes],
    *,
    links: dict[str, str] | None = None,
    filesystem: str = "ext4",
    used: int = 1,
) -> Volume:
    entries = [Entry(path.encode(), 0o100644, 0, 0, len(content)) for path, content in files.items()]
    entries += [Entry(path.encode(), 0o120777, 0, 0, 1, target.encode()) for path, target in (links or {}).items()]
    contents = {path.encode(): content for path, content in files.items()}
    return Volume(device, filesystem, 9, used, f"uuid-{device}", "", "", tuple(entries), contents)


def places_left(*volumes: Volume) -> list[str]:
    return [str(one) for one in left(DiskContents((), volumes))]


@pytest.mark.parametrize("filesystem", ["ext4", "btrfs"])
@pytest.mark.parametrize("decoy", ["a/", "srv/x/"])
def test_a_folder_that_looks_like_a_root_hides_nothing_of_the_root(filesystem: str, decoy: str) -> None:
    files = {decoy + path: content for path, content in CLEAN_FILES.items()}
    del_ = {**ROOT_FILES, KEY: b"x", "usr/lib/os-release": b"ID=debian\n"}
    del del_["etc/os-release"]  # as Debian has it, a link
    disk = a_volume("disk0-1", {**files, **del_}, filesystem=filesystem)
    [found] = places_left(disk)
    assert found.startswith("host-keys: /")
    assert found.endswith(KEY)


def test_a_volume_that_looks_like_a_root_hides_nothing_of_the_root() -> None:
    decoy = a_volume("disk0-1", {**ROOT_FILES, "etc/fstab": b"UUID=uuid-disk0-2 /x ext4 defaults 0 0\n"}, used=2)
    root = a_volume("disk0-2", {"etc/passwd": b"root:x:0:0::/:/bin/sh\n", KEY: b"x"})
    assert places_left(decoy, root) == [f"host-keys: /x/{KEY}"]
    assert places_left(root, a_volume("disk0-1", ROOT_FILES)) == [f"host-keys: /<disk0-2>/{KEY}"]


def test_a_snapshot_of_btrfs_is_looked_at_as_the_root_is() -> None:
    snapshot = "@/.snapshots/1/snapshot/"
    files = {f"@/{path}": content for path, content in ROOT_FILES.items()}
    files |= {f"{snapshot}{path}": content for path, content in (ROOT_FILES | {KEY: b"x"}).items()}
    disk = a_volume("disk0-1", files, filesystem="btrfs")
    assert places_left(disk) == ["host-keys: /.snapshots/1/snapshot/" + KEY]


@pytest.mark.parametrize("layer", ["overlay2/0a/diff/", "overlay/0a/diff/", "btrfs/subvolumes/0a/", "vfs/dir/0a/"])
def test_a_layer_of_a_container_on_a_volume_of_its_own_is_no_root(layer: str) -> None:
    """`wget` left its list there, in whoever's image."""
    root = a_volume("disk0-1", {**ROOT_FILES, "etc/fstab": b"UUID=uuid-disk1 /var/lib/docker btrfs defaults 0 0\n"})
    files = {layer + path: content for path, content in (ROOT_FILES | {"root/.wget-hsts": b"x"}).items()}
    assert places_left(root, a_volume("disk1", files, filesystem="btrfs")) == []


def test_a_subvolume_is_looked_at_where_fstab_mounts_it() -> None:
    """As SUSE has it: `/var` is no folder of the root's."""
    fstab = b"UUID=uuid-disk0-1 / btrfs defaults 0 0\nUUID=uuid-disk0-1 /var btrfs subvol=/@/var 0 0\n"
    fstab += b"UUID=uuid-disk0-1 /home btrfs compress=zstd,subvol=@home 0 0\n"
    files = {f"@/.snapshots/1/snapshot/{path}": content for path, content in ROOT_FILES.items()}
    files["@/.snapshots/1/snapshot/etc/fstab"] = fstab
    assert places_left(a_volume("disk0-1", files, filesystem="btrfs")) == []
    for path in ("@/var/lib/systemd/random-seed", "@home/packer"):
        disk = a_volume("disk0-1", {**files, path: b"x"}, filesystem="btrfs")
        assert [one.partition(": ")[2] for one in places_left(disk)] == [f"/<disk0-1>/{path}"]


@pytest.mark.parametrize("line", ["", "UUID=uuid-disk1 /opt ext4 defaults 0 0\n"], ids=["no line", "another place"])
@pytest.mark.parametrize("path", ["lib/systemd/random-seed", f"log/journal/{'0' * 32}/x", "systemd/random-seed"])
def test_a_volume_is_looked_at_as_var_wherever_fstab_has_it(line: str, path: str) -> None:
    root = a_volume("disk0-1", {**ROOT_FILES, "etc/fstab": line.encode()})
    assert len(places_left(root, a_volume("disk1", {path: b"x"}))) == 1
    assert places_left(root, a_volume("disk1", {"data/x": b"x", "packer/x": b"x"})) == []


def test_what_stands_behind_a_link_is_looked_at_by_the_links_name() -> None:
    files = {**ROOT_FILES, "opt/keys/ssh_host_rsa_key": b"x"}
    assert places_left(a_volume("disk0-1", files)) == []
    for links in ({"etc/ssh": "/opt/keys"}, {"etc/ssh": "../opt/other", "opt/other": "keys"}):
        assert places_left(a_volume("disk0-1", files, links=links)) == ["host-keys: /opt/keys/ssh_host_rsa_key"], links
    assert places_left(a_volume("disk0-1", files, links={"etc/ssh": "../srv"})) == []
    bound = {**files, "etc/fstab": b"/opt/keys /etc/ssh none bind 0 0\n"}
    assert places_left(a_volume("disk0-1", bound)) == ["host-keys: /opt/keys/ssh_host_rsa_key"]
    ring = {"etc/ssh": "/etc/ssh", "var": "/tmp", "tmp": "/var"}
    assert places_left(a_volume("disk0-1", files, links=ring)) == []


def test_what_a_link_hides_from_the_look_is_unproven() -> None:
    files = {**ROOT_FILES, "opt/id": b"0" * 33}
    del files["etc/machine-id"]
    links = {"etc/machine-id": "/opt/id", "etc/ssh": "/usr/share/keys", "var/lib/dbus/machine-id": "/etc/machine-id"}
    volume = a_volume("disk0-1", files, links=links)
    told_whole = {path: content for path, content in volume.contents.items() if path != b"opt/id"}
    disk = DiskContents((), (replace(volume, contents=told_whole),))
    assert list(Places(disk).untold()) == [
        "/etc/machine-id leads to /opt/id, which is not read",
        "/etc/ssh leads to /usr/share/keys, of which not all is told",
        "/var/lib/dbus/machine-id leads to /opt/id, which is not read",
    ]
    assert list(Places(a_disk()).untold()) == []


def test_a_history_that_leads_to_nothing_is_none() -> None:
    links = {"root/.bash_history": "/dev/null"}
    assert places_left(a_volume("disk0-1", ROOT_FILES, links=links)) == []
    assert places_left(a_volume("disk0-1", ROOT_FILES, links={"root/.bash_history": "/opt/h"})) != []
