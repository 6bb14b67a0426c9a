"""Fitness: each fact is judged, and what is wrong says what to do."""

from pathlib import Path

import pytest

from vmkiln.host.confinement.subordinate_ids import IdFile, range_in
from vmkiln.host.disk.container_kernel import ContainerKernel
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.doctor import fitness
from vmkiln.host.doctor.fitness import GIB, Finding, Status, can_build
from vmkiln.host.doctor.required_programs import REQUIRED_PROGRAMS, RequiredProgram

QEMU = RequiredProgram(("qemu-system-x86_64",), "qemu-system-x86", "runs the virtual machines")
PACKER = RequiredProgram(("packer",), "packer", "customizes", ("version",))


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\nCopyright", "7.2.22"),
        ("Packer v1.6.6\n", "1.6.6"),
        ("nftables v1.0.6 (Lester Gooch #5)", "1.0.6"),
        ("\nmke2fs 1.47.0 (5-Feb-2023)", "1.47.0"),
        ("pasta 2024_09_06.6b38f07\nGNU GPL version 2.0", "2024_09_06.6b38f07"),
        ("pasta unknown version\nGNU Affero GPL version 3.0", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_the_first_line(printed: str, version: str | None) -> None:
    assert fitness.version_in(printed) == version


def test_a_missing_program_names_its_package() -> None:
    finding = fitness.program_finding(QEMU, path=None, printed="")
    assert finding.status is Status.FAILED
    assert "qemu-system-x86" in (finding.remedy or "")


def test_a_missing_packer_says_where_to_get_it() -> None:
    assert "`--packer PATH` gives it yours" in (fitness.program_finding(PACKER, path=None, printed="").remedy or "")


@pytest.mark.parametrize(
    ("version", "status", "told"),
    [
        ("1.6.5", Status.FAILED, "1.6.5"),
        ("1.6.6", Status.OK, "MPL-2.0"),
        ("1.9.4", Status.OK, "MPL-2.0"),
        ("1.10.0", Status.OK, "Business Source License"),
        ("1.14.2", Status.OK, "Business Source License"),
    ],
)
def test_packer_is_judged_by_version_and_its_licence_told(version: str, status: Status, told: str) -> None:
    finding = fitness.program_finding(PACKER, path="/usr/bin/packer", printed=f"Packer v{version}\n")
    assert finding.status is status
    assert told in finding.found


def test_a_program_that_calls_itself_packer_is_refused() -> None:
    # cracklib has a program of this name, which tells no version
    finding = fitness.program_finding(PACKER, path="/usr/sbin/packer", printed="usage: packer\n")
    assert finding.status is Status.FAILED


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("kiln:100000:65536\n", Status.OK),
        ("1001:100000:65536\n", Status.OK),
        ("other:100000:65536\n", Status.FAILED),
        ("kiln:100000:1000\n", Status.FAILED),
        ("", Status.FAILED),
    ],
)
def test_subordinate_ids_must_be_enough(text: str, status: Status) -> None:
    found = range_in(text, user="kiln", user_id=1001)
    finding = fitness.subordinate_ids_finding(IdFile.USERS, found, user="kiln")
    assert finding.status is status
    assert (status is Status.OK) == (finding.remedy is None)


def test_an_id_map_program_without_privilege_fails() -> None:
    assert fitness.id_map_finding("newuidmap", path="/usr/bin/newuidmap", is_privileged=True).status is Status.OK
    assert fitness.id_map_finding("newuidmap", path="/usr/bin/newuidmap", is_privileged=False).remedy


def test_a_busybox_with_libraries_fails() -> None:
    assert fitness.busybox_finding("/b", b"\x7fELF").status is Status.OK
    assert fitness.busybox_finding("/b", b"\x7fELF /lib64/ld-linux-x86-64.so.2").status is Status.FAILED


@pytest.mark.parametrize(
    ("amount", "status"), [(1 * GIB, Status.FAILED), (4 * GIB, Status.WARNING), (16 * GIB, Status.OK)]
)
def test_disk_and_memory_are_judged_by_amount(amount: int, status: Status) -> None:
    assert fitness.disk_finding(amount, Path("/state")).status is status
    assert fitness.memory_finding(amount).status is status


@pytest.mark.parametrize(("version", "status"), [((3, 10, 12), Status.FAILED), ((3, 11, 2), Status.OK)])
def test_python_must_be_new_enough(version: tuple[int, ...], status: Status) -> None:
    assert fitness.python_finding(version).status is status


def test_root_is_refused_and_an_ordinary_user_is_not() -> None:
    assert fitness.user_finding(0, "root").status is Status.FAILED
    assert fitness.user_finding(1001, "kiln").status is Status.OK


def test_firmware_and_kernel_are_found_or_failed() -> None:
    files = FirmwareFiles(Path("/code"), Path("/variables"))
    kernel = ContainerKernel(Path("/k"), Path("/m"), release="r", package="linux-image-r", version="1", digest="d")
    assert fitness.firmware_finding(files).found == "/code"
    assert fitness.firmware_finding(None).status is Status.FAILED
    assert fitness.kernel_finding(kernel).found == "linux-image-r 1"
    assert fitness.kernel_finding(None, reason="no network").found == "no network"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "--allow-userns"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces"),
        ("user/max_user_namespaces", "96365", "container"),
    ],
)
def test_the_remedy_names_the_setting_that_forbids_namespaces(name: str, value: str, told: str) -> None:
    assert told in fitness.namespaces_remedy({name: value})


def test_warnings_allow_builds_and_failures_do_not() -> None:
    warning, failed = Finding("a", Status.WARNING, "x"), Finding("b", Status.FAILED, "y")
    assert can_build([warning])
    assert not can_build([warning, failed])


def test_each_required_program_has_a_package_and_a_purpose() -> None:
    assert all(program.names and program.package and program.purpose for program in REQUIRED_PROGRAMS)
    names = [program.names[0] for program in REQUIRED_PROGRAMS]
    assert len(names) == len(set(names))
