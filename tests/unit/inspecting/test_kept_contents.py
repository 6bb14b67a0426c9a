"""What was read from the disks of a run is kept for its images; nothing of it can act on a terminal."""

import gzip
import json
from pathlib import Path

import pytest

from vmkiln.image_contents.contents import read_contents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.inspecting import kept_contents
from vmkiln.inspecting.disk_contents import FILE, LINK, DiskContents, DiskFound, Entry, Volume
from vmkiln.inspecting.kept_contents import MOST_LETTERS, contents_of, keep, kept

RPM = gzip.decompress((Path(__file__).parents[1] / "image_contents/rpmdb.sqlite.gz").read_bytes())
STATUS = b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n\nPackage: odd\n"
FILES = {
    b"etc/os-release": b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian\x1b[31m 12"\n',
    b"etc/passwd": b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n",
    b"var/lib/dpkg/status": STATUS,
}


def found(files: dict[bytes, bytes]) -> DiskContents:
    entries = [Entry(path, FILE | 0o644, 0, 0, len(content)) for path, content in files.items()]
    unit = b"etc/systemd/system/multi-user.target.wants/ssh.service"
    entries.append(Entry(unit, LINK | 0o777, 0, 0, 0, b"/lib/systemd/system/ssh.service"))
    volume = Volume("os1", "ext4", 2**30, 2**20, entries=tuple(entries), contents=files)
    return DiskContents((DiskFound("os", 2**31, "gpt"),), (volume,))


def test_what_was_read_from_outside_is_kept_and_read_again() -> None:
    contents = contents_of(found(FILES))
    assert contents.packages == (Package("bash", "amd64", "5.2-1"),)
    assert contents.system == {"id": "debian", "version": "12", "name": "Debian 12"}
    assert (contents.users, contents.units) == ({"root": 0, "web": 1000}, ("ssh.service",))
    assert contents.disks == ({"serial": "os", "size": 2**31, "table": "gpt"},)
    assert contents.unproven == ("1 packages of dpkg's status file could not be understood",)
    assert read_contents(contents.text) == contents
    assert read_contents(json.dumps({**json.loads(contents.text), "new": 1})) == contents


def test_packages_that_are_not_read_are_told_as_not_known() -> None:
    (without,) = contents_of(found({b"etc/os-release": b"ID=x\n"})).unproven
    assert without == "packages: none that are known here"
    for files, reason in (
        ({b"var/lib/rpm/rpmdb.sqlite": b"x"}, "rpm's database is not as it should be: it is no SQLite database"),
        ({b"var/lib/rpm/Packages": b"x"}, "rpm's in a database older than SQLite's, which is not read"),
        (
            {b"var/lib/rpm/rpmdb.sqlite": RPM, b"var/lib/rpm/rpmdb.sqlite-wal": b"x"},
            "rpm's, whose last changes are not yet in its database",
        ),
    ):
        assert contents_of(found({b"etc/os-release": b"ID=x\n", **files})).unproven == (f"packages: {reason}",)


def test_packages_of_rpm_are_told_as_such() -> None:
    contents = contents_of(found({b"etc/os-release": b"ID=x\n", b"usr/lib/sysimage/rpm/rpmdb.sqlite": RPM}))
    assert (contents.packaging, len(contents.packages), contents.unproven) == ("rpm", 3, ())
    assert read_contents(contents.text) == contents


def test_a_very_long_name_is_cut_before_it_is_made_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def shown(text: str) -> str:
        lengths.append(len(text))
        return text.replace("\x01", "\\x01")

    monkeypatch.setattr(kept_contents, "harmless", shown)
    name = contents_of(found({b"etc/os-release": b"PRETTY_NAME=" + b"\x01" * 100_000})).system["name"]
    assert len(name) == MOST_LETTERS
    assert max(lengths) <= MOST_LETTERS, "letter by letter, of 64 MiB, it takes a minute"


def test_the_last_look_is_what_is_kept(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    for files in ({}, FILES):
        keep(tmp_path, found(files))
    assert kept(tmp_path) == contents_of(found(FILES))
