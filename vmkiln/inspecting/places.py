"""Where what lies on disks may stand in a VM: at more places than `DiskContents` has it, for a guest chooses; pure.

It writes the fstab, makes what looks like a root, mounts a volume without a line in fstab, and leads a folder elsewhere
by a link. What is looked for by its path is looked for at all of them.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from vmkiln.inspecting.disk_contents import FILE, LINK, DiskContents, Volume, shown

# where a volume may be mounted, whatever fstab has of it, and one that it has not; /home and /tmp are left out, for any
# name may stand there
ALSO = ("var", "var/lib", "var/log")
MOUNTS = (*ALSO, "etc", "root", "boot", "boot/efi", "efi")
# folders, in place of which a link may stand
FOLDERS = (
    *("etc", "etc/ssh", "etc/sudoers.d", "etc/netplan", "etc/systemd", "etc/systemd/network", "etc/systemd/system"),
    *("etc/network", "etc/network/interfaces.d", "etc/NetworkManager", "etc/NetworkManager/system-connections"),
    *("home", "root", "root/.ssh", "run", "run/log", "run/log/journal", "tmp", "boot", "boot/efi", "boot/loader"),
    *("var", "var/lib", "var/lib/cloud", "var/lib/cloud/instances", "var/lib/cloud/data", "var/lib/cloud/seed"),
    *("var/lib/systemd", "var/lib/systemd/linger", "var/lib/urandom", "var/lib/NetworkManager", "var/lib/dbus"),
    *("var/lib/dhcp", "var/lib/dhclient", "var/lib/dhcpcd", "var/lib/wicked", "var/log", "var/log/journal", "var/mail"),
    *("var/spool", "var/spool/mail", "var/spool/cron", "var/spool/cron/crontabs", "var/tmp"),
)
# files that are told whole by their own path
FILES = ("etc/passwd", "etc/sudoers", "etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/hosts")
MOST_FOLLOWED = 16  # links, one leading to the next
DEEPEST_ROOT = 4  # folders of btrfs, as a snapshot has them; deeper lie layers of containers
# of a volume that container engines have for themselves; of an image, not of a VM
_LAYER = re.compile(rb"(?:.*/)?(?:overlay2?/[^/]+/diff|btrfs/subvolumes/[^/]+|vfs/dir/[^/]+)/")
_OF_A_ROOT = ("etc/passwd", "etc/machine-id")  # no system runs without them
_NOT_TOLD = re.compile(r"usr/(?:bin|lib|lib32|lib64|libx32|libexec|sbin|share|src|include|games)(?:/.*)?")


class Places:
    """The paths that what lies on the disks may have in a VM."""

    def __init__(self, contents: DiskContents) -> None:
        self._contents = contents
        self._starts = tuple(_starts(contents))
        looked_for = {*FOLDERS, *FILES}
        links = {path: shown(one.target) for path, one in contents.paths() if one.kind == LINK}
        links |= dict(_bound(contents))
        self._links = {path: led for path in looked_for & links.keys() if (led := _led(path, links)) not in {path, ""}}

    def of(self, path: str) -> frozenset[str]:
        """All paths that something with this path in the tree may have, this one among them."""
        found = {path}
        for start, mounts in self._starts:
            if path.startswith(start):
                found |= {f"{mount}{path.removeprefix(start)}" for mount in mounts}
        for link, target in self._links.items():
            found |= {link + one.removeprefix(target) for one in list(found) if f"{one}/".startswith(f"{target}/")}
        return frozenset(found)

    def untold(self) -> Iterator[str]:
        """What is looked for and cannot be told, for a link leads there, a sentence each."""
        sizes = {path: entry.size_bytes for path, entry in self._contents.paths() if entry.kind == FILE}
        for link, target in sorted(self._links.items()):
            if link in FILES:
                if sizes.get(target) and self._contents.content(target) is None:
                    yield f"/{link} leads to /{target}, which is not read"
            elif _NOT_TOLD.fullmatch(target):
                yield f"/{link} leads to /{target}, of which not all is told"


def _starts(contents: DiskContents) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Beginnings of paths in the tree, and what may stand in their place in a VM."""
    for volume, folder, mount in contents.mounts:
        for root in {shown(top) for top in _roots(volume)} - ({shown(folder)} if not mount else set()):
            yield mount + root.removeprefix(shown(folder)), ("",)
        if mount.startswith("<"):
            yield mount, ("", *(f"{one}/" for one in MOUNTS))
        elif mount:
            yield mount, tuple(f"{one}/" for one in ALSO)
        if volume.filesystem == "btrfs" and not folder:
            for subvolume, where in _subvolumes(contents):
                yield f"{mount}{subvolume}/", (f"{where}/",)


def _roots(volume: Volume) -> Iterator[bytes]:
    """Folders of a volume that may be a VM's root, each with a slash at its end, or ''."""
    for path in volume.contents:
        for name in _OF_A_ROOT:
            folder = path.removesuffix(name.encode())
            is_subvolume = volume.filesystem == "btrfs" and folder.endswith(b"/") and folder.count(b"/") <= DEEPEST_ROOT
            if folder != path and (not folder or (is_subvolume and not _LAYER.fullmatch(folder))):
                yield folder


def _mounted(contents: DiskContents) -> Iterator[tuple[str, str, list[str]]]:
    """What fstab mounts: of what, where, with which options."""
    for line in (contents.content("etc/fstab") or b"").decode(errors="replace").splitlines():
        source, where, _, options = [*line.split()[:4], "", "", "", ""][:4]
        yield source, where.strip("/"), options.split(",")


def _bound(contents: DiskContents) -> Iterator[tuple[str, str]]:
    """What fstab binds: where, and to which folder."""
    for source, where, options in _mounted(contents):
        if "bind" in options or "rbind" in options:
            yield where, source


def _subvolumes(contents: DiskContents) -> Iterator[tuple[str, str]]:
    """What fstab mounts of btrfs by its path: that, and where; the root is found by what is in it."""
    for _, where, options in _mounted(contents):
        for option in options:
            subvolume = option.removeprefix("subvol=").strip("/")
            if subvolume and where and option.startswith("subvol="):
                yield subvolume, where


def _led(path: str, links: Mapping[str, str]) -> str:
    """Where a link leads in the end, as a path in the tree; '' when it leads nowhere; pure."""
    for _ in range(MOST_FOLLOWED):
        parts = path.split("/")
        starts = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        start = next((one for one in starts if one in links), None)
        if start is None:
            return path
        target = posixpath.join("/", posixpath.dirname(start), links[start]) + path.removeprefix(start)
        path = posixpath.normpath(target).lstrip("/")
    return ""
