"""The examination: facts are read right, and emulation is told for what it is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.accelerator import Verdict
from vmkiln.host.doctor import examination
from vmkiln.host.doctor.examination import Examination, emulation_finding
from vmkiln.host.doctor.fitness import RESTORED, Finding, Status
from vmkiln.host.doctor.restored_guest import Restored
from vmkiln.host.qemu import Accelerator

TCG = Verdict(Accelerator.TCG, "/dev/kvm does not exist")


def test_emulation_that_boots_is_a_warning_with_its_reason() -> None:
    finding = emulation_finding(TCG, booted=True, seconds=2.0, reason="", remedy="log in anew")
    assert finding.status is Status.WARNING
    assert "/dev/kvm does not exist" in finding.found
    assert finding.remedy == "builds run, but slower; log in anew"


def test_emulation_that_does_not_boot_is_a_failure() -> None:
    finding = emulation_finding(TCG, booted=False, seconds=60, reason="the guest hung", remedy="x")
    assert finding.status is Status.FAILED
    assert "the guest hung" in finding.found


def test_one_failure_forbids_builds() -> None:
    ok, failed = Finding("a", Status.OK, "x"), Finding("b", Status.FAILED, "y", "do z")
    assert Examination((ok,), TCG).can_build
    assert not Examination((ok, failed), TCG).can_build


async def test_a_machine_without_programs_is_described_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    result = await examination.examine(
        state=tmp_path / "state",
        kernel_directory=tmp_path / "state/kernel",
        accelerator_directory=tmp_path / "state",
        progress=said.append,
    )
    by_name = {finding.name: finding for finding in result.findings}
    assert not result.can_build
    assert result.accelerator is None
    for name in ("qemu-system-x86_64", "packer", "pasta", "namespaces", "container kernel"):
        assert by_name[name].status is Status.FAILED, name
        assert by_name[name].remedy, name
    assert said


@pytest.mark.parametrize("status", list(Status))
async def test_a_guest_is_restored_where_its_walls_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    """Where they do not, its warning would have builds boot their VMs, for what is told above with its own remedy."""
    fine = Finding("another", Status.OK, "x")

    async def isolation() -> list[Finding]:
        return [fine, Finding("namespaces", status, "y", "do z")]

    async def kernel(*_arguments: object) -> tuple[Any, Finding]:
        return SimpleNamespace(vmlinuz=tmp_path, digest=""), fine

    async def accelerator(*_arguments: object) -> tuple[Verdict, Finding]:
        return TCG, fine

    async def restored(*_arguments: object, **_named: object) -> Restored:
        return Restored(True, 1.0)

    monkeypatch.setattr(examination, "REQUIRED_PROGRAMS", ())
    for name, stand_in in (("_isolation", isolation), ("_kernel", kernel), ("_accelerator", accelerator)):
        monkeypatch.setattr(examination, name, stand_in)
    monkeypatch.setattr(examination, "restored_guest_runs", restored)
    result = await examination.examine(
        state=tmp_path, kernel_directory=tmp_path, accelerator_directory=tmp_path, progress=print
    )
    assert (RESTORED in {finding.name for finding in result.findings}) is (status is not Status.FAILED)
