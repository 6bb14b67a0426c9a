"""Packages are read from a status file as dpkg writes it; what a guest wrote otherwise is counted, not believed."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import tiers

from vmkiln.image_contents import dpkg_status
from vmkiln.image_contents.dpkg_status import Package, packages_in

BASH = b"""Package: bash
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Version: 5.2.15-2+b7
Description: GNU Bourne Again SHell
 Bash is an sh-compatible command language interpreter
 .
 Package: not-a-field
Source: bash-src (5.2.15-2)
"""


def test_what_is_installed_is_read_with_its_source() -> None:
    assert packages_in(BASH).installed == (Package("bash", "amd64", "5.2.15-2+b7", "bash-src"),)
    assert packages_in(BASH + b"\n" + BASH).installed == packages_in(BASH).installed


@pytest.mark.parametrize(
    ("changed", "odd"),
    [
        (BASH.replace(b"ok installed", b"ok config-files"), 0),
        (BASH.replace(b"ok installed", b"ok not-installed"), 0),
        (BASH.replace(b"install ok installed", b"installed"), 1),
        (BASH.replace(b"Package: bash\n", b""), 1),
        (BASH.replace(b"Package: bash", b"Package: b\x1b[2Jash"), 1),
        (BASH.replace(b"Version: 5.2", b"Version: \xff\xfe"), 1),
        (BASH.replace(b"Version: 5.2.15-2+b7", b"Version: " + b"1" * 401), 1),
        (b"\n\n", 0),
    ],
)
def test_what_is_not_installed_or_odd_is_no_package(changed: bytes, odd: int) -> None:
    found = packages_in(changed)
    assert (found.installed, found.odd) == ((), odd)


@pytest.mark.parametrize(
    "state", [b"install reinstreq half-installed", b"install ok half-configured", b"hold ok unpacked"]
)
def test_what_is_there_in_part_is_there(state: bytes) -> None:
    assert len(packages_in(BASH.replace(b"install ok installed", state)).installed) == 1


def test_no_more_than_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg_status, "MOST_PACKAGES", 2)
    many = b"\n".join(BASH.replace(b"Package: bash", b"Package: bash%d" % number) for number in range(5))
    found = packages_in(many)
    assert (len(found.installed), found.odd) == (2, 3)


def test_any_bytes_are_read_without_an_error() -> None:
    chance = random.Random(tiers.seed())  # noqa: S311
    for _ in range(tiers.cheap_examples()):
        content = bytearray(BASH)
        for _ in range(chance.randrange(20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        found = packages_in(bytes(content))
        assert all(package.name.isascii() and package.version.isprintable() for package in found.installed)


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this machine has no dpkg")
def test_dpkg_itself_tells_the_same_packages() -> None:
    form = "${db:Status-Status} ${Package} ${Architecture} ${Version}\\n"
    told = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    lines = [line.split(" ") for line in told.splitlines()]
    wanted = {tuple(line[1:]) for line in lines if line[0] not in {"not-installed", "config-files"}}
    found = packages_in(Path("/var/lib/dpkg/status").read_bytes())
    assert {(package.name, package.architecture, package.version) for package in found.installed} == wanted
    assert found.odd == 0
