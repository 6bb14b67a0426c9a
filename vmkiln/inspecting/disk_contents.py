"""What lies on the disks of a VM, as it was read from outside: file systems, files by name, a few files whole; values.

A guest chose every name and byte of it. What could not be read is listed (`unproven`): about that nothing is known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

FOLDER, FILE, LINK = 0o040000, 0o100000, 0o120000
_KIND = 0o170000
_SNAPSHOT = re.compile(rb"(?:@/)?\.snapshots/\d{1,6}/snapshot/")  # as SUSE has it, the first is the root
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
DPKG_STATUS = "var/lib/dpkg/status"
RPM_DATABASES = (
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpm/Packages",
)


@dataclass(frozen=True)
class DiskFound:
    """A disk: its serial, its size in bytes, its partition table: `gpt`, `mbr` or `none`."""

    serial: str
    size_bytes: int
    table: str


@dataclass(frozen=True)
class Entry:
    """A file, folder or link of a volume: its mode with the file type, its owner, its size in bytes, a link's target.

    `path` has no slash at its start, and is as bytes: a guest writes what it likes.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    target: bytes = b""

    @property
    def kind(self) -> int:
        """`FOLDER`, `FILE`, `LINK`, or another of stat(2)'s file types."""
        return self.mode & _KIND


@dataclass(frozen=True)
class Volume:
    """A partition, logical volume or whole disk: where it lies, its file system, its sizes in bytes.

    `device` is the disk's serial with the partition's number, or the logical volume's name. `unread` says why it was
    not read; '' when it was, or holds nothing that could be read: swap, or nothing at all. Of the distribution's own
    folders, such as /usr/lib, `entries` has only what may matter. `contents` has the files that are told whole by
    their path, `marks` what kind of secret a file looks like, `cut` what was not read, with the reason. `trimmed` is
    what was taken away for a faster first boot.
    """

    device: str
    filesystem: str
    size_bytes: int
    used_bytes: int
    uuid: str = ""
    label: str = ""
    unread: str = ""
    entries: tuple[Entry, ...] = ()
    contents: Mapping[bytes, bytes] = field(default_factory=dict)
    marks: tuple[tuple[bytes, str], ...] = ()
    cut: tuple[tuple[bytes, str], ...] = ()
    given_back_bytes: int | None = None
    trimmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskContents:
    """All that was found on the disks of one VM."""

    disks: tuple[DiskFound, ...]
    volumes: tuple[Volume, ...]

    @property
    def unproven(self) -> tuple[str, ...]:
        """What could not be read, each with its reason; empty when all was."""
        found = [f"{volume.device} ({volume.filesystem}): {volume.unread}" for volume in self.volumes if volume.unread]
        for volume in self.volumes:
            found += [f"{volume.device}: /{shown(path)}: {reason}" for path, reason in volume.cut]
        return tuple(found)

    @cached_property
    def roots(self) -> tuple[tuple[Volume, bytes], ...]:
        """Every volume with an operating system, and the folder in it that is the root, the likeliest first.

        The folder has a slash at its end, or is '': on btrfs alone a root may be a subvolume. Who was root in the guest
        can make a volume look like one, and a folder of btrfs.
        """
        found = {
            (number, folder)
            for number, volume in enumerate(self.volumes)
            for path in volume.contents
            for name in OS_RELEASE
            if (folder := path.removesuffix(name.encode())) != path
            and (not folder or (volume.filesystem == "btrfs" and _is_a_subvolume(folder, path)))
        }

        def unlikely(one: tuple[int, bytes]) -> tuple[object, ...]:
            volume, folder = self.volumes[one[0]], one[1]
            is_beside = any(
                volume.device == disk.serial or volume.device.startswith(f"{disk.serial}-") for disk in beside
            )
            return folder != b"", is_beside, -volume.used_bytes, len(folder), one

        beside = self.disks[1:]  # the first has the operating system
        return tuple((self.volumes[number], folder) for number, folder in sorted(found, key=unlikely))

    @property
    def root(self) -> tuple[Volume, bytes] | None:
        """The likeliest of `roots`; none when there is none."""
        return next(iter(self.roots), None)

    @property
    def os_release(self) -> Mapping[str, str]:
        """The members of os-release(5); empty when there is none."""
        content = next((found for name in OS_RELEASE if (found := self.content(name)) is not None), b"")
        pairs = (line.partition("=") for line in content.decode(errors="replace").splitlines())
        return {name: value.strip().strip("\"'") for name, sign, value in pairs if sign and not name.startswith("#")}

    @property
    def dpkg_status(self) -> bytes | None:
        """/var/lib/dpkg/status as it is; none when there is none."""
        return self.content(DPKG_STATUS)

    @property
    def rpm_database(self) -> tuple[str, bytes] | None:
        """The path and the bytes of rpm's database (SQLite, ndb or Berkeley DB); none when there is none."""
        return next(((name, found) for name in RPM_DATABASES if (found := self.content(name)) is not None), None)

    @property
    def users(self) -> Mapping[str, int]:
        """The users of /etc/passwd with their ids."""
        rows = (line.split(":") for line in (self.content("etc/passwd") or b"").decode(errors="replace").splitlines())
        return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdecimal() and len(row[2]) < 12}

    @property
    def enabled_units(self) -> tuple[str, ...]:
        """The systemd units that a target or another unit wants or requires, from /etc/systemd/system, sorted."""
        found = set()
        for path, _ in self.paths("etc/systemd/system"):
            folder, _, name = path.rpartition("/")
            if folder.endswith((".wants", ".requires")):
                found.add(name)
        return tuple(sorted(found))

    def content(self, path: str) -> bytes | None:
        """A file of the whole tree, across its volumes, where it is one that is told whole; none when it is not there.

        A volume that is mounted at a folder hides what lies below it.
        """
        volume, inner = self._place(path)
        return None if volume is None else volume.contents.get(inner)

    def paths(self, below: str = "") -> Iterator[tuple[str, Entry]]:
        """Every entry of the tree below a folder (all of it for ''), with its path in the tree, without a slash."""
        for volume, folder, mount in self.mounts:
            for entry in volume.entries:
                path = self._in_tree(volume, folder, mount, entry.path)
                if path is not None and (not below or path.startswith(below + "/")):
                    yield path, entry

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file that is told whole, with its path in the tree, without a slash, and its bytes."""
        for volume, folder, mount in self.mounts:
            for name, content in volume.contents.items():
                if (path := self._in_tree(volume, folder, mount, name)) is not None:
                    yield path, content

    def marks(self) -> Iterator[tuple[str, str]]:
        """Every file that looks like a secret, with its path in the tree, without a slash, and what it looks like."""
        for volume, folder, mount in self.mounts:
            for name, what in volume.marks:
                if (path := self._in_tree(volume, folder, mount, name)) is not None:
                    yield path, what

    def _in_tree(self, volume: Volume, folder: bytes, mount: str, path: bytes) -> str | None:
        """Where a path of a volume stands in the tree; none when it is not in the folder, or stands elsewhere."""
        if not path.startswith(folder):
            return None
        if not folder and self.root is not None:
            root, top = self.root
            if volume is root and top and path.startswith(top):
                return None  # it stands in the tree as the root's
        return mount + shown(path[len(folder) :])

    def _place(self, path: str) -> tuple[Volume | None, bytes]:
        best: tuple[Volume | None, bytes] = (None, b"")
        longest = -1
        for volume, folder, mount in self.mounts:
            if path.startswith(mount) and len(mount) > longest:
                best, longest = (volume, folder + path[len(mount) :].encode()), len(mount)
        return best

    @cached_property
    def mounts(self) -> tuple[tuple[Volume, bytes, str], ...]:
        """Each volume with its folder that is mounted, and where in the tree, as /etc/fstab has it (`var/`; '' for /).

        A volume that no line names stands at `<device>/`, so that all of it is looked at.
        """
        if self.root is None:
            return tuple((volume, b"", f"<{volume.device}>/") for volume in self.volumes if not volume.unread)
        root, folder = self.root
        found = [(root, folder, "")]
        fstab = root.contents.get(folder + b"etc/fstab", b"").decode(errors="replace")
        lines = [line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#")]
        for volume in self.volumes:
            if volume is root or volume.unread:
                continue
            names = self._names_of(volume)
            where = [line[1].strip("/") + "/" for line in lines if len(line) > 1 and line[0].replace('"', "") in names]
            found.append((volume, b"", where[0] if where and where[0] != "/" else f"<{volume.device}>/"))
        if folder:  # what a btrfs file system has beside the root
            found.append((root, b"", f"<{root.device}>/"))
        return tuple(found)

    def _names_of(self, volume: Volume) -> set[str]:
        """What a line of fstab may call a volume."""
        found = {f"UUID={volume.uuid}", f"LABEL={volume.label}", f"/dev/mapper/{volume.device}"}
        found |= {f"/dev/disk/by-uuid/{volume.uuid}", f"/dev/disk/by-label/{volume.label}"}
        found.add("/dev/" + volume.device.replace("--", "\0").replace("-", "/").replace("\0", "-"))
        for number, disk in enumerate(self.disks[:26]):
            if volume.device == disk.serial or volume.device.startswith(f"{disk.serial}-"):
                partition = volume.device.removeprefix(disk.serial).removeprefix("-")
                found |= {f"/dev/{kind}{chr(ord('a') + number)}{partition}" for kind in ("sd", "vd", "xvd")}
        return found


def _is_a_subvolume(folder: bytes, path: bytes) -> bool:
    return folder.endswith(b"/") and (path.count(b"/") <= 3 or _SNAPSHOT.fullmatch(folder) is not None)


def shown(path: bytes) -> str:
    """A path as text; bytes that are no UTF-8 are shown as `\\xNN`."""
    return path.decode(errors="backslashreplace")
