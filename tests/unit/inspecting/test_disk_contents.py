"""What was found on disks is put together to one tree, as the image's own fstab says."""

from vmkiln.inspecting.disk_contents import DiskContents, DiskFound, Entry, Volume

FSTAB = b"# a comment\nUUID=r / ext4 defaults 0 1\nUUID=v /var xfs defaults 0 0\n/dev/vg/home /home ext4 defaults 0 0\n"


def a_file(path: bytes, mode: int = 0o100644) -> Entry:
    return Entry(path, mode, 0, 0, 1)


ROOT = Volume(
    "disk0-2",
    "ext4",
    100,
    50,
    uuid="r",
    entries=(a_file(b"etc/fstab"), a_file(b"etc/systemd/system/a.target.wants/one.service", 0o120777)),
    contents={
        b"etc/fstab": FSTAB,
        b"usr/lib/os-release": b'ID=debian\n# NAME=no\nPRETTY_NAME="Debian 12"\n',
        b"etc/passwd": b"root:x:0:0::/root:/bin/sh\nbroken\nme:x:1000:1000::/home/me:/bin/sh\n",
    },
)
VAR = Volume(
    "disk0-3", "xfs", 100, 50, uuid="v", entries=(a_file(b"lib/x"),), contents={b"lib/dpkg/status": b"Package: x\n"}
)
HOME = Volume("vg-home", "ext4", 100, 50, uuid="h", entries=(a_file(b"me/.bashrc"),))
OTHER = Volume("disk1", "ext4", 100, 50, uuid="o", entries=(a_file(b"data"),))


def test_volumes_stand_where_fstab_has_them() -> None:
    found = DiskContents((), (OTHER, VAR, ROOT, HOME))
    assert found.root == (ROOT, b"")
    assert {path for path, _ in found.paths()} >= {"etc/fstab", "var/lib/x", "home/me/.bashrc", "<disk1>/data"}
    assert found.dpkg_status == b"Package: x\n"
    assert [path for path, _ in found.paths("home")] == ["home/me/.bashrc"]


def test_the_operating_system_its_users_and_its_units_are_told() -> None:
    found = DiskContents((), (ROOT,))
    assert found.os_release == {"ID": "debian", "PRETTY_NAME": "Debian 12"}
    assert found.users == {"root": 0, "me": 1000}
    assert found.enabled_units == ("one.service",)
    assert found.dpkg_status is None
    assert found.unproven == ()


def test_the_root_may_be_a_subvolume() -> None:
    volume = Volume(
        "disk0-1",
        "btrfs",
        100,
        50,
        entries=(a_file(b"@/etc/x"), a_file(b"@home/me/y")),
        contents={b"@/etc/os-release": b"ID=suse\n"},
    )
    found = DiskContents((), (volume,))
    assert found.os_release == {"ID": "suse"}
    assert {path for path, _ in found.paths()} >= {"etc/x", "<disk0-1>/@home/me/y"}


def test_the_root_may_be_the_first_of_snappers_snapshots() -> None:
    snapshots = {f"@/.snapshots/{number}/snapshot/".encode(): b"ID=suse%d\n" % number for number in (12, 2, 1)}
    contents = {folder + b"usr/lib/os-release": content for folder, content in snapshots.items()}
    volume = Volume("disk0-1", "btrfs", 100, 50, contents={**contents, b"a/b/c/d/etc/os-release": b"ID=layer\n"})
    found = DiskContents((), (volume,))
    assert found.os_release == {"ID": "suse1"}
    assert len(found.roots) == 3


def test_what_was_not_read_is_unproven_and_swap_is_not() -> None:
    locked = Volume("disk0-1", "luks", 100, 0, unread="luks is not read")
    swap = Volume("disk0-2", "swap", 100, 0)
    found = DiskContents((), (locked, swap))
    assert found.unproven == ("disk0-1 (luks): luks is not read",)
    assert found.root is None


def test_the_operating_system_is_the_first_disks_fullest_one() -> None:
    def a_root(device: str, used: int) -> Volume:
        return Volume(device, "ext4", 100, used, contents={b"etc/os-release": f"ID={device}\n".encode()})

    disks = tuple(DiskFound(serial, 100, "gpt") for serial in ("disk0", "disk1"))
    volumes = (a_root("disk0-1", 1), a_root("disk0-2", 50), a_root("disk1-1", 90), a_root("disk1", 95))
    found = DiskContents(disks, volumes)
    assert found.os_release == {"ID": "disk0-2"}
    assert [volume.device for volume, _ in found.roots] == ["disk0-2", "disk0-1", "disk1", "disk1-1"]


def test_a_volume_may_be_named_in_fstab_in_every_usual_way() -> None:
    names = ("/dev/sda3", "/dev/vda3", '"UUID=v"', 'UUID="v"', "/dev/disk/by-uuid/v", "LABEL=l", "/dev/disk/by-label/l")
    for name in names:
        contents = {b"etc/os-release": b"ID=x\n", b"etc/fstab": f"{name} /var xfs defaults 0 0\n".encode()}
        root = Volume("disk0-2", "ext4", 100, 50, contents=contents)
        var = Volume("disk0-3", "xfs", 100, 50, uuid="v", label="l", entries=(a_file(b"lib/x"),))
        found = DiskContents((DiskFound("disk0", 100, "gpt"),), (root, var))
        assert [path for path, _ in found.paths("var")] == ["var/lib/x"], name
