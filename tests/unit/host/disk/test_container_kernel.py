"""The container's kernel: found, fetched and placed whole, without touching the host."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.disk.container_kernel import (
    ContainerKernel,
    apt_options,
    arrange,
    find_kernel,
    kernel_dependencies,
    obtain_kernel,
    parse_package,
)

RELEASE = "6.1.0-9-cloud-amd64"
STANZA = f"""\
Package: linux-image-cloud-amd64
Version: 6.1.9-1
Depends: linux-image-{RELEASE} (= 6.1.9-1), linux-base (>= 4.3~) | other
Size: 1504
Description: Linux for VMs
 Depends: not a field
"""
UBUNTU_IMAGE = """\
Package: linux-image-6.8.0-9-generic
Version: 6.8.0-9.9
Depends: kmod, linux-base (>= 4.5), linux-modules-6.8.0-9-generic
Size: 14000000
"""

APT_CACHE = f"""\
case "$*" in *{{lists_switch}}*) ;; *) exit 0 ;; esac
for name; do :; done
case $name in
    linux-image-cloud-amd64) printf 'Package: %s\\nVersion: 6.1.9-1\\nDepends: linux-image-{RELEASE}\\n' "$name" ;;
    linux-image-{RELEASE}) printf 'Package: %s\\nVersion: 6.1.9-1\\nSize: 2000000\\n' "$name" ;;
esac
"""
APT_GET = f"""\
echo "$*" >> "${{0%/*}}/../apt-get.record"
case "$*" in *download*) : > linux-image-{RELEASE}_6.1.9-1_amd64.deb ;; esac
"""
DPKG_DEB = f"""\
mkdir -p "$3/boot" "$3/{{modules}}/{RELEASE}/kernel"
echo kernel > "$3/boot/vmlinuz-{RELEASE}"
"""
DEPMOD = 'touch "$2/lib/modules/$3/modules.dep"\n'


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for apt and dpkg on PATH; returns the record of what apt-get was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    record = tmp_path / "apt-get.record"
    record.touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    stand_in(folder, "apt-cache", APT_CACHE.format(lists_switch=""))
    stand_in(folder, "apt-get", APT_GET)
    stand_in(folder, "dpkg-deb", DPKG_DEB.format(modules="lib/modules"))
    stand_in(folder, "depmod", DEPMOD)
    return record


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}")
    (folder / name).chmod(0o755)


async def obtained(directory: Path, **options: bool) -> tuple[ContainerKernel, list[str]]:
    said: list[str] = []
    return await obtain_kernel(directory, progress=said.append, **options), said


def test_a_package_is_read_with_the_first_name_of_each_alternative() -> None:
    package = parse_package(STANZA)
    assert package is not None
    assert (package.name, package.version, package.size_bytes) == ("linux-image-cloud-amd64", "6.1.9-1", 1504)
    assert package.depends == (f"linux-image-{RELEASE}", "linux-base")


def test_an_unknown_package_is_nothing() -> None:
    assert parse_package("") is None
    assert parse_package("N: Unable to locate package linux-image\n") is None


def test_only_the_first_stanza_counts() -> None:
    package = parse_package(STANZA + "\nPackage: other\nVersion: 2\n")
    assert package is not None
    assert package.name == "linux-image-cloud-amd64"


def test_modules_packaged_apart_belong_to_the_kernel() -> None:
    package = parse_package(UBUNTU_IMAGE)
    assert package is not None
    assert kernel_dependencies(package) == ("linux-modules-6.8.0-9-generic",)


def test_lists_of_our_own_lie_where_we_say(tmp_path: Path) -> None:
    options = apt_options(tmp_path)
    assert f"Dir::State::Lists={tmp_path / 'lists'}" in options
    assert f"Dir::Cache={tmp_path / 'cache'}" in options
    assert not [option for option in apt_options(None) if option.startswith("Dir::")]


@pytest.mark.parametrize("place", ["lib/modules", "usr/lib/modules"])
def test_kernel_and_modules_are_found_in_both_places(tmp_path: Path, place: str) -> None:
    (tmp_path / "unpacked/boot").mkdir(parents=True)
    (tmp_path / "unpacked/boot" / f"vmlinuz-{RELEASE}").write_text("kernel")
    (tmp_path / "unpacked" / place / RELEASE / "kernel").mkdir(parents=True)
    assert arrange(tmp_path / "unpacked", tmp_path / "prepared") == RELEASE
    assert (tmp_path / "prepared/vmlinuz").read_text() == "kernel"
    assert (tmp_path / "prepared/lib/modules" / RELEASE / "kernel").is_dir()


def test_a_package_without_a_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    with pytest.raises(HostUnfit, match="0 kernels"):
        arrange(tmp_path / "unpacked", tmp_path / "prepared")


def test_a_kernel_without_modules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"vmlinuz-{RELEASE}").touch()
    with pytest.raises(HostUnfit, match="no modules"):
        arrange(tmp_path, tmp_path / "prepared")


async def test_a_kernel_is_fetched_once_and_its_digest_recorded(tmp_path: Path, apt: Path) -> None:
    directory = tmp_path / "kernel"
    kernel, said = await obtained(directory)
    assert kernel.vmlinuz.read_text() == "kernel\n"
    assert kernel.digest == hashlib.sha256(b"kernel\n").hexdigest()
    assert (kernel.release, kernel.version) == (RELEASE, "6.1.9-1")
    assert (kernel.modules / "modules.dep").is_file()
    assert f"fetching linux-image-{RELEASE} 6.1.9-1 (2 MB)" in said
    again, said = await obtained(directory)
    assert again == kernel == find_kernel(directory)
    assert not said
    assert apt.read_text().count("download") == 1


async def test_nothing_but_the_kernel_stays(tmp_path: Path, apt: Path) -> None:
    await obtained(tmp_path / "kernel")
    names = {path.name for path in (tmp_path / "kernel").iterdir() if not path.name.startswith(".lock-")}
    assert names == {"kernel.json", f"linux-image-{RELEASE}_6.1.9-1"}


async def test_a_changed_kernel_file_is_fetched_anew(tmp_path: Path, apt: Path) -> None:
    kernel, _ = await obtained(tmp_path / "kernel")
    kernel.vmlinuz.write_text("changed")
    assert find_kernel(tmp_path / "kernel") is None
    again, _ = await obtained(tmp_path / "kernel")
    assert again.vmlinuz.read_text() == "kernel\n"


async def test_refresh_asks_the_distribution_again(tmp_path: Path, apt: Path) -> None:
    await obtained(tmp_path / "kernel")
    await obtained(tmp_path / "kernel", refresh=True)
    assert apt.read_text().count("download") == 2


async def test_two_at_once_get_the_same_kernel(tmp_path: Path, apt: Path) -> None:
    (first, _), (second, _) = await asyncio.gather(obtained(tmp_path / "kernel"), obtained(tmp_path / "kernel"))
    assert first == second
    assert find_kernel(tmp_path / "kernel") == first


async def test_lists_of_our_own_help_when_the_host_knows_no_kernel(tmp_path: Path, apt: Path) -> None:
    stand_in(tmp_path / "bin", "apt-cache", APT_CACHE.format(lists_switch="Dir::State::Lists="))
    kernel, said = await obtained(tmp_path / "kernel")
    assert kernel.release == RELEASE
    assert "update" in apt.read_text().splitlines()[0]
    assert any("lists of our own" in sentence for sentence in said)


async def test_a_distribution_without_a_kernel_is_said_so_and_leaves_nothing(tmp_path: Path, apt: Path) -> None:
    stand_in(tmp_path / "bin", "apt-cache", "exit 0\n")
    with pytest.raises(HostUnfit, match="linux-image-cloud-amd64") as caught:
        await obtained(tmp_path / "kernel")
    assert caught.value.hint is not None
    assert [path for path in (tmp_path / "kernel").iterdir() if not path.name.startswith(".lock-")] == []
