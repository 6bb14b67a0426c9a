"""What of a look at a run's disks is kept in the run's folder, until it is kept with the images that are published.

Every name was chosen by a guest, and is shown harmless.

*Leaves behind:* a file. *Undone by:* the deletion of the run's folder. *Safe to repeat:* yes.
"""

from pathlib import Path

from vmkiln.files.durable_file import write_whole
from vmkiln.harmless_text import harmless
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.image_contents.dpkg_status import Packages, packages_in
from vmkiln.image_contents.rpm_database import rpm_packages_in
from vmkiln.image_contents.sqlite_table import SqliteRefused
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.inspecting.listening_units import listening_units

FILE = "contents.json"
MOST_LETTERS = 256  # of a name
MOST_NAMED = 10_000
OF_THE_SYSTEM = {"ID": "id", "VERSION_ID": "version", "PRETTY_NAME": "name", "VERSION_CODENAME": "codename"}


def keep(directory: Path, found: DiskContents) -> None:
    """Keep what was found; what an earlier look found is forgotten. Raises: `StorageFailed`."""
    write_whole(directory / FILE, contents_of(found).text.encode())


def kept(directory: Path) -> ImageContents | None:
    """What was found; none when nobody looked."""
    file = directory / FILE
    return read_contents(file.read_text()) if file.is_file() else None


def put_back(directory: Path, contents: ImageContents | None) -> None:
    """Keep what an earlier look found, in place of a later one's; none: nobody looked. Raises: `StorageFailed`."""
    if contents is None:
        (directory / FILE).unlink(missing_ok=True)
    else:
        write_whole(directory / FILE, contents.text.encode())


def contents_of(found: DiskContents) -> ImageContents:
    """What of a look at an image's disks is kept with the image; pure."""
    unproven = [_name(reason) for reason in found.unproven[:MOST_NAMED]]
    packages, packaging, not_known = _packages(found)
    unproven += not_known
    release = found.os_release
    return ImageContents(
        system={name: _name(release[key]) for key, name in OF_THE_SYSTEM.items() if key in release},
        packages=packages.installed,
        users={_name(name): number for name, number in sorted(found.users.items())[:MOST_NAMED]},
        units=tuple(_name(unit) for unit in found.enabled_units[:MOST_NAMED]),
        disks=tuple(
            {"serial": _name(disk.serial), "size": disk.size_bytes, "table": disk.table} for disk in found.disks
        ),
        volumes=tuple(
            {
                "device": _name(volume.device),
                "fileSystem": _name(volume.filesystem),
                "size": volume.size_bytes,
                "used": volume.used_bytes,
            }
            for volume in found.volumes
        ),
        unproven=tuple(unproven),
        packaging=packaging,
        listening={_name(unit): _name(sockets) for unit, sockets in listening_units(found).items()},
    )


def _packages(found: DiskContents) -> tuple[Packages, str, tuple[str, ...]]:
    """The packages, their kind, and what is not known of them."""
    database = found.rpm_database
    if found.dpkg_status is not None:
        packages, kind, place = packages_in(found.dpkg_status), "deb", "dpkg's status file"
    elif database is None:
        return Packages(()), "deb", ("packages: none that are known here",)
    elif not database[0].endswith(".sqlite"):
        return Packages(()), "rpm", ("packages: rpm's in a database older than SQLite's, which is not read",)
    else:
        name, content = database
        if any(path == f"{name}-wal" and entry.size_bytes for path, entry in found.paths(name.rpartition("/")[0])):
            return Packages(()), "rpm", ("packages: rpm's, whose last changes are not yet in its database",)
        try:
            packages, kind, place = rpm_packages_in(content), "rpm", "rpm's database"
        except SqliteRefused as error:
            return Packages(()), "rpm", (f"packages: rpm's database is not as it should be: {error}",)
    odd = (f"{packages.odd} packages of {place} could not be understood",) if packages.odd else ()
    return packages, kind, odd


def _name(text: str) -> str:
    return harmless(text[:MOST_LETTERS])[:MOST_LETTERS]  # cut first: it may have megabytes
