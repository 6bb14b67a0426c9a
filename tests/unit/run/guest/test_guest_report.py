"""What a Windows VM's report makes of a phase: nothing by itself, and no success without its finish line."""

import asyncio

import pytest

from vmkiln.run.guest import guest_report
from vmkiln.run.guest.guest_report import GuestReport
from vmkiln.run_failures import GeneralizationIncomplete, VirtualMachineLost


def a_report() -> tuple[GuestReport, list[str], list[str]]:
    told: list[str] = []
    failed: list[str] = []
    report = GuestReport("build-vm")
    report.tell, report.failed = told.append, failed.append
    return report, told, failed


def test_each_act_of_set_up_is_told_once() -> None:
    report, told, failed = a_report()
    for chunk in (b"VMKILN specialize ho", b"ok ok\nVMKILN complete user ok\n", b"VMKILN-READY ok\n", b"x\n"):
        report.feed(chunk)
    assert told == [
        "set-up of the build-vm: specialize, hook",
        "set-up of the build-vm: complete, user",
        "the build-vm is ready for the build's login",
    ]
    assert failed == []


def test_an_act_that_fails_says_why_the_vm_never_gets_ready() -> None:
    report, told, failed = a_report()
    report.feed(b"VMKILN complete winrm failed access is denied\n")
    assert failed == ["set-up of the build-vm: complete, winrm failed: access is denied"]
    assert told == []


async def test_the_finish_line_is_waited_for_when_the_vm_is_off() -> None:
    report, _, _ = a_report()
    asyncio.get_running_loop().call_soon(report.feed, b"VMKILN-FINISH ok\n")
    await report.ended_well()


async def test_what_is_left_of_the_build_is_named() -> None:
    report, _, _ = a_report()
    report.feed(b"VMKILN-FINISH missing user: access is denied\n")
    with pytest.raises(GeneralizationIncomplete, match=r"could not take away: .*user: access is denied"):
        await report.ended_well()


async def test_a_power_off_without_a_finish_line_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_report, "REPORT_SECONDS", 0)
    report, _, _ = a_report()
    report.feed(b"VMKILN-READY ok\nVMKILN-FINISH o")
    with pytest.raises(VirtualMachineLost, match="powered off without its finish line"):
        await report.ended_well()
