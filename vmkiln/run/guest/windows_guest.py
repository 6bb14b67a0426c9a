"""A Windows VM for a phase of Packer's work: the answer disc, a password and a certificate of its own, WinRM.

What is large travels on a second disc. The VM has devices that Windows knows, and a second serial port for its report.

*Leaves behind:* the variables of its firmware, in the run's folder. *Undone by:* the deletion of that folder.
*Safe to repeat:* yes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from vmkiln.azure_names import Architecture
from vmkiln.errors import InputError
from vmkiln.host.devices import profile
from vmkiln.host.disk.iso_image import DiscFile
from vmkiln.host.qemu import Channel
from vmkiln.host.virtual_machine import INSIDE
from vmkiln.packer.packer_template import InputFile
from vmkiln.packer.step_watch import RESTART_GRACE_SECONDS
from vmkiln.packer.windows_template import WINRM_SECONDS, WinRmConnection, windows_input
from vmkiln.run.guest.guest import LATER_SECONDS, Disc, Guest, vm_of
from vmkiln.run.guest.guest_report import GuestReport
from vmkiln.run.guest.login_way import login_way_of
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.run_context import Staged
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.staging import container_group
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.store.database import utc_now
from vmkiln.windows import answer_disc, run_login
from vmkiln.windows.answer_disc import GuestAddress
from vmkiln.windows.answer_file import FALLBACK_LANGUAGE, Answer
from vmkiln.windows.step_scripts import FILES_LABEL
from vmkiln.windows.steps import ROUND_RESTART_SECONDS, Restart, WindowsStep
from vmkiln.windows.way_out import why_untold

FINISH_SECONDS = 15 * 60  # the login is taken away, and free space given back, before the VM is off
FILES_SECONDS = 30 * 60  # to write a disc of large files
REPORT = "report"
DIALLED = "127.0.0.1"  # the forwarder of the container group
QUESTION = "did a customizer change WinRM, its firewall rule or its policy, or who may log in?"


def described(staged: Staged, order: PackerPhase) -> Guest:
    """The guest of this phase, with a login of its own.

    Raises: `InputError` for an image of another architecture, and for a text with `{{`; `HostUnfit` without firmware.
    """
    if staged.source.architecture is not Architecture.X64:
        raise InputError(f"the source is a Windows image of {staged.source.architecture}", hint="use one of x64")
    steps = cast("Sequence[WindowsStep]", order.steps)
    login = run_login.new_login((DIALLED, str(staged.network.build_vm_subnet.address)), now=utc_now())
    timeout = min(WINRM_SECONDS, staged.request.template.build_timeout_seconds)
    connection = WinRmConnection(
        container_group.RELAY_PORT, run_login.USER, login.password, login.certificate.pem, timeout
    )
    found = windows_input(steps, connection)
    way = login_way_of(staged.host.store, staged.source.digest, staged.request.template.tags)
    answer = answer_disc.contents(
        Answer(login, hook=way.hook, language=staged.source.language or FALLBACK_LANGUAGE),
        address_of(staged.network),
        instance_id=f"{staged.request.run_id}-{order.vm_name}",
        way_out=staged.way_out,
    )
    untold = why_untold(staged.way_out)
    seed, files = (staged.directory / f"{order.vm_name}-{name}.iso" for name in ("seed", "files"))
    discs = (
        Disc(seed, answer_disc.LABEL, answer),
        *((Disc(files, FILES_LABEL, _sources(found.disc), FILES_SECONDS),) if found.disc else ()),
    )
    vm = vm_of(staged, order, seed)
    vm = replace(
        vm,
        more_discs=tuple(disc.path for disc in discs[1:]),
        profile=profile.windows(starts_by_uefi=vm.firmware is not None),
        channels=(Channel(REPORT, INSIDE / f"{order.vm_name}.report", is_serial_port=True),),
    )
    secrets = (login.password, login.administrator_password, login.certificate.pfx_password)
    return Guest(
        content=found.packer,
        vm=vm,
        discs=discs,
        mask=SecretMask.of(secrets),
        login_seconds=timeout + LATER_SECONDS,  # Packer itself gives up first, and says why
        restart_seconds=_longest_restart(steps) + RESTART_GRACE_SECONDS + LATER_SECONDS,
        power_off_seconds=FINISH_SECONDS,
        question=QUESTION,
        notice=f"{way.notice}; the VM is not told of the proxy: {untold}" if untold else way.notice,
        report=GuestReport(order.vm_name),
    )


def address_of(network: VirtualNetwork) -> GuestAddress:
    """The VM's place in its network, and who may log in: behind a private endpoint its proxy; pure."""
    subnet, endpoint = network.build_vm_subnet, network.endpoint
    dialler = network.container_group_subnet.address if endpoint is None else endpoint.proxy
    return GuestAddress(
        mac=subnet.mac,
        address=str(subnet.address),
        prefix=subnet.prefix.prefixlen,
        router=str(subnet.router),
        name_server=str(network.dns),
        dialler=str(dialler),
    )


def _sources(files: Sequence[InputFile]) -> dict[str, DiscFile]:
    return {file.name: file.source for file in files if file.source is not None}


def _longest_restart(steps: Sequence[WindowsStep]) -> int:
    return max([ROUND_RESTART_SECONDS, *(step.timeout_seconds for step in steps if isinstance(step, Restart))])
