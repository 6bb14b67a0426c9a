"""What a VM of a run is made of, by the system of the source; Linux has what it always had."""

import json
import shutil
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.azure_names import Architecture
from vmkiln.errors import InputError
from vmkiln.fetching.guest_way_out import STRAIGHT_OUT
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.disk.iso_image import PROGRAMS, make_iso
from vmkiln.host.qemu import Accelerator, Disk, arguments
from vmkiln.inspecting.byte_search import secrets_of_password, secrets_of_seed
from vmkiln.packer.packer_template import Deprovision, InlineShell
from vmkiln.run.guest import choice
from vmkiln.run.guest.order import AnyStep, PackerPhase
from vmkiln.run.run_context import Disks, ResolvedSource
from vmkiln.run.workflow import most_processes
from vmkiln.run_state import Phase
from vmkiln.secrecy.secret_mask import NO_SECRETS
from vmkiln.staging import build_vm, container_group, virtual_network
from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.powershell import PowerShellCustomizer
from vmkiln.template.customizers.windows_update import WindowsUpdateCustomizer
from vmkiln.template.image_template import OnError
from vmkiln.windows.steps import PowerShell, Restart, WindowsDeprovision

HOST = (IPv4Interface("192.0.2.1/24"),)


def a_run(folder: Path, **source: Any) -> Any:
    """A run of a Windows image, as far as its guest is described from it."""
    for name in ("code.fd", "variables.fd"):
        (folder / name).write_bytes(b"firmware")
    known = {"generation": 2, "os_type": "Windows", "language": "de-DE"} | source
    is_windows = known["os_type"] == "Windows"
    return SimpleNamespace(
        host=SimpleNamespace(
            accelerator=Accelerator.KVM,
            firmware=FirmwareFiles(folder / "code.fd", folder / "variables.fd"),
            store=SimpleNamespace(verdicts=SimpleNamespace(known=lambda _gate, _digest: None)),
        ),
        request=SimpleNamespace(run_id="run", template=SimpleNamespace(build_timeout_seconds=14400, tags={})),
        directory=folder,
        source=ResolvedSource(folder / "s", "qcow2", "d", "1.2.3", virtual_size_bytes=1, origin="here", **known),
        shape=SimpleNamespace(cpus=2, memory_mib=4096),
        copies={},
        network=virtual_network.decide(HOST, is_windows=is_windows),
        way_out=STRAIGHT_OUT,
    )


def an_order(folder: Path, *steps: AnyStep) -> PackerPhase:
    disks = Disks(Disk(folder / "os.qcow2", "qcow2"))
    return PackerPhase(Phase.CUSTOMIZING, "build-vm", steps, disks, "customization.log", power_off=True)


def test_packer_gets_winrm_and_the_vm_an_answer_with_the_same_login(tmp_path: Path) -> None:
    staged = a_run(tmp_path)
    guest = choice.described(staged, an_order(tmp_path, PowerShell("a", "p", ("dir",)), WindowsDeprovision()))
    builder = json.loads(guest.content.text_of("template.json"))["builders"][0]
    (disc,) = guest.discs
    run = json.loads(str(disc.files["run.json"]))
    assert builder["communicator"] == "winrm"
    assert builder["winrm_password"] == run["password"]
    assert guest.content.text_of("certificate.pem").startswith("-----BEGIN CERTIFICATE")
    addresses = (staged.network.build_vm_subnet.address, staged.network.container_group_subnet.address)
    assert (run["address"], run["containerGroup"]) == tuple(map(str, addresses))
    assert "de-DE" in str(disc.files["Autounattend.xml"])
    assert guest.mask(f"it is {run['password']}") == "it is ***"
    assert guest.private_key == ""
    assert "not run on real Windows" in guest.notice
    assert "way=forwarder" in container_group.network_text(staged.network)
    assert staged.network.gives_address


def test_a_tag_has_the_login_made_at_a_first_logon(tmp_path: Path) -> None:
    staged = a_run(tmp_path)
    for tags, is_logged_on in (({"vmkiln-windows-login": "first-logon"}, True), ({}, False)):
        staged.request.template.tags = tags
        guest = choice.described(staged, an_order(tmp_path, PowerShell("a", "p", ("dir",))))
        assert ("<AutoLogon>" in str(guest.discs[0].files["Autounattend.xml"])) is is_logged_on


def test_the_vm_has_windows_devices_both_discs_and_a_second_port(tmp_path: Path) -> None:
    staged = a_run(tmp_path)
    (tmp_path / "blob").write_bytes(b"x" * 100)
    staged.copies = {"properties.customize[0].sourceUri": tmp_path / "blob"}
    file = FileCustomizer(type="File", source_uri="https://e/blob", destination="c:\\blob")
    steps = choice.steps_of(staged, [file], where="properties.customize")
    guest = choice.described(staged, an_order(tmp_path, *steps, choice.last_step(staged)))
    assert [(disc.label, disc.path.name) for disc in guest.discs] == [
        ("cidata", "build-vm-seed.iso"),
        ("vmkiln-files", "build-vm-files.iso"),
    ]
    assert dict(guest.discs[1].files) == {"0000-file": tmp_path / "blob"}
    text = " ".join(arguments(build_vm.describe(guest.vm, staged.network)))
    assert text.count("ide-cd") == 2
    assert text.count("-serial") == 2
    assert "e1000e" in text
    assert "virtio" not in text
    assert guest.report is not None


def test_a_restart_has_the_longest_that_any_step_has(tmp_path: Path) -> None:
    staged, day = a_run(tmp_path), 24 * 3600
    guest = choice.described(staged, an_order(tmp_path, Restart("r", "p", "", "", day), WindowsDeprovision()))
    assert guest.restart_seconds > day
    assert guest.login_seconds > 1800, "Packer gives up first, and says why"


def test_a_windows_image_of_another_architecture_is_refused(tmp_path: Path) -> None:
    staged = a_run(tmp_path)
    staged.source = replace(staged.source, architecture=Architecture.ARM64)
    with pytest.raises(InputError, match="a Windows image of"):
        choice.described(staged, an_order(tmp_path, WindowsDeprovision()))


def test_steps_of_the_other_system_are_refused_by_the_source(tmp_path: Path) -> None:
    powershell = PowerShellCustomizer(type="PowerShell", inline=("dir",))
    with pytest.raises(InputError, match="PowerShell runs in Windows, and the image is one of Linux"):
        choice.steps_of(a_run(tmp_path, os_type="Linux"), [powershell], where="properties.customize")
    assert isinstance(choice.boot_step(a_run(tmp_path)), PowerShell)


@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason="no program for discs is installed")
async def test_the_password_is_found_on_the_disc_and_looked_for_in_the_image(tmp_path: Path) -> None:
    guest = choice.described(a_run(tmp_path), an_order(tmp_path, WindowsDeprovision()))
    (disc,) = guest.discs
    await make_iso(disc.path, disc.files, label=disc.label)
    password = json.loads(str(disc.files["run.json"]))["password"]
    assert secrets_of_seed(disc.path.read_bytes()) == secrets_of_password(password)


@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason="no program for discs is installed")
async def test_a_disc_takes_files_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"the very bytes" * 100)
    await make_iso(tmp_path / "files.iso", {"0000-file": tmp_path / "blob"}, label="vmkiln-files")
    assert b"the very bytes" * 100 in (tmp_path / "files.iso").read_bytes()


def test_a_linux_guest_has_a_seed_a_key_and_ssh_alone(tmp_path: Path) -> None:
    staged = a_run(tmp_path, os_type="Linux")
    guest = choice.described(staged, an_order(tmp_path, InlineShell("a", "p", ("true",)), Deprovision()))
    assert json.loads(guest.content.text_of("template.json"))["builders"][0]["communicator"] == "ssh"
    assert [(disc.label, disc.path.name) for disc in guest.discs] == [("cidata", "build-vm-seed.iso")]
    assert {"meta-data", "user-data", "network-config"} <= set(guest.discs[0].files)
    text = " ".join(arguments(build_vm.describe(guest.vm, staged.network)))
    assert (text.count("-serial"), text.count("ide-"), text.count("virtio-blk-pci")) == (1, 0, 2)
    assert (guest.report, guest.notice, guest.mask) == (None, "", NO_SECRETS)
    assert "PRIVATE KEY" in guest.private_key
    assert choice.last_step(staged) == Deprovision()


def test_the_control_group_has_room_for_every_round_of_updates(tmp_path: Path) -> None:
    staged = a_run(tmp_path)
    updates = [WindowsUpdateCustomizer(type="WindowsUpdate"), WindowsUpdateCustomizer(type="WindowsUpdate")]
    steps = choice.steps_of(staged, updates, where="properties.customize")
    guest = choice.described(staged, an_order(tmp_path, *steps, choice.last_step(staged)))
    assert guest.content.process_count <= most_processes(updates)


def asking(folder: Path, told: list[Any], *, wanted: int, on_error: OnError, **source: Any) -> Any:
    """A run of which the command wants `wanted` seconds, and whose template says what to do on an error."""
    staged = a_run(folder, **source)
    staged.request.held_seconds, staged.tell = wanted, told.append
    staged.request.template.properties = SimpleNamespace(error_handling=SimpleNamespace(on_customizer_error=on_error))
    staged.host.settings = SimpleNamespace(held_minutes=60)
    return staged


@pytest.mark.parametrize("wanted", [0, 7200])
@pytest.mark.parametrize("on_error", list(OnError))
def test_a_windows_vm_is_not_held_and_whose_command_asked_for_it_is_told(
    tmp_path: Path, wanted: int, on_error: OnError
) -> None:
    told: list[Any] = []
    assert choice.held_seconds(asking(tmp_path, told, wanted=wanted, on_error=on_error)) == 0
    assert [(notice.text, notice.is_warning) for notice in told] == ([(choice.NOT_HELD, True)] if wanted else [])


@pytest.mark.parametrize(
    ("wanted", "on_error", "seconds"),
    [(0, OnError.CLEANUP, 0), (0, OnError.ABORT, 3600), (7200, OnError.CLEANUP, 7200), (7200, OnError.ABORT, 7200)],
)
def test_a_linux_vm_is_held_as_long_as_its_command_says_else_its_template(
    tmp_path: Path, wanted: int, on_error: OnError, seconds: int
) -> None:
    told: list[Any] = []
    staged = asking(tmp_path, told, wanted=wanted, on_error=on_error, os_type="Linux")
    assert (choice.held_seconds(staged), told) == (seconds, [])
