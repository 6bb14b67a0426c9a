"""The accelerator: trusted only after a guest showed that it ran."""

import os
from pathlib import Path

import pytest
from stand_ins.probed_qemu import ABORTS, ECHOES_ITS_ARGUMENTS, HANGS, RUNS_THE_GUEST, stand_in

from vmkiln.errors import HostUnfit
from vmkiln.host.accelerator import (
    Probe,
    Verdict,
    boots,
    choose_accelerator,
    device_obstacle,
    judge,
    known_obstacle,
    last_line,
    probe_arguments,
    probe_initramfs,
)
from vmkiln.host.qemu import EMULATED_CPU, Accelerator


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    (tmp_path / "busybox").write_bytes(b"\x7fELF")
    return tmp_path / "busybox"


async def probe(tmp_path: Path, busybox: Path, script: str, *, limit_seconds: float = 20) -> Probe:
    return await boots(
        Accelerator.KVM,
        kernel=tmp_path / "vmlinuz",
        busybox=busybox,
        limit_seconds=limit_seconds,
        qemu=stand_in(tmp_path, script),
    )


async def choose(tmp_path: Path, busybox: Path, script: str, *, device: Path, digest: str = "d1") -> Verdict:
    return await choose_accelerator(
        kernel=tmp_path / "vmlinuz",
        kernel_digest=digest,
        busybox=busybox,
        directory=tmp_path / "state",
        device=device,
        qemu=stand_in(tmp_path, script),
        limit_seconds=0.5 if script is HANGS else 20,
    )


def boot_count(tmp_path: Path) -> int:
    return len((tmp_path / "boots").read_text().splitlines())


@pytest.mark.parametrize(("accelerator", "model"), [(Accelerator.KVM, "host"), (Accelerator.TCG, EMULATED_CPU)])
def test_the_probe_uses_the_cpu_model_of_builds_and_no_default_device(accelerator: Accelerator, model: str) -> None:
    arguments = probe_arguments(accelerator, kernel=Path("/k"), initial=Path("/i"))
    assert arguments[arguments.index("-cpu") + 1] == model
    assert f"accel={accelerator}" in arguments[arguments.index("-machine") + 1]
    assert {"-nodefaults", "-no-user-config", "-sandbox"} <= set(arguments)


def test_the_word_is_in_the_guest_and_not_on_its_command_line() -> None:
    assert b"guest-abc" in probe_initramfs("guest-abc", b"busybox")
    assert not any("guest-" in text for text in probe_arguments(Accelerator.KVM, kernel=Path("k"), initial=Path("i")))


@pytest.mark.parametrize(
    ("console", "line"),
    [
        (b"", ""),
        (b"one\r\ntwo\r\n\r\n", "two"),
        (b"\x1b[2J\x1bcSeaBIOS\r\n\x1b[1;1H", "SeaBIOS"),
        (b"\x07\xff", "\ufffd"),
    ],
)
def test_the_last_line_is_readable_text(console: bytes, line: str) -> None:
    assert last_line(console) == line


def test_only_a_booted_guest_speaks_for_kvm() -> None:
    assert judge(Probe(True, 0.5, ""), Accelerator.KVM).accelerator is Accelerator.KVM
    verdict = judge(Probe(False, 10, "the guest hung"), Accelerator.KVM)
    assert verdict.accelerator is Accelerator.TCG
    assert "the guest hung" in verdict.reason


async def test_a_guest_that_prints_the_word_has_booted(tmp_path: Path, busybox: Path) -> None:
    assert (await probe(tmp_path, busybox, RUNS_THE_GUEST)).booted


async def test_a_hanging_guest_has_not_booted_and_its_last_line_is_told(tmp_path: Path, busybox: Path) -> None:
    result = await probe(tmp_path, busybox, HANGS, limit_seconds=0.5)
    assert not result.booted
    assert "hung for 0.5 s after: Probing EDD" in result.reason


async def test_an_aborting_qemu_is_told_with_its_complaint(tmp_path: Path, busybox: Path) -> None:
    result = await probe(tmp_path, busybox, ABORTS)
    assert not result.booted
    assert result.reason == "QEMU ended with status 134: kvm_buf_set_msrs: Assertion failed"


async def test_an_echo_of_the_arguments_is_no_boot(tmp_path: Path, busybox: Path) -> None:
    assert not (await probe(tmp_path, busybox, ECHOES_ITS_ARGUMENTS)).booted


async def test_a_missing_qemu_and_a_missing_busybox_are_named(tmp_path: Path, busybox: Path) -> None:
    with pytest.raises(HostUnfit, match="no-such-qemu"):
        await boots(Accelerator.TCG, kernel=tmp_path, busybox=busybox, qemu="no-such-qemu")
    with pytest.raises(HostUnfit, match="no-busybox"):
        await boots(Accelerator.TCG, kernel=tmp_path, busybox=tmp_path / "no-busybox")


async def test_a_verdict_is_kept_until_the_kernel_changes(tmp_path: Path, busybox: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    first = await choose(tmp_path, busybox, RUNS_THE_GUEST, device=device)
    assert first.accelerator is Accelerator.KVM
    assert await choose(tmp_path, busybox, ABORTS, device=device) == first
    assert boot_count(tmp_path) == 1
    assert (await choose(tmp_path, busybox, ABORTS, device=device, digest="d2")).accelerator is Accelerator.TCG
    assert boot_count(tmp_path) == 2


async def test_a_hanging_kvm_leads_to_emulation(tmp_path: Path, busybox: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    verdict = await choose(tmp_path, busybox, HANGS, device=device)
    assert verdict.accelerator is Accelerator.TCG
    assert "unusable" in verdict.reason


async def test_a_broken_record_is_probed_again(tmp_path: Path, busybox: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    await choose(tmp_path, busybox, RUNS_THE_GUEST, device=device)
    (tmp_path / "state/accelerator.json").write_text("{")
    await choose(tmp_path, busybox, RUNS_THE_GUEST, device=device)
    assert boot_count(tmp_path) == 2


async def test_without_the_device_nothing_is_booted(tmp_path: Path, busybox: Path) -> None:
    verdict = await choose(tmp_path, busybox, RUNS_THE_GUEST, device=tmp_path / "no-kvm")
    assert verdict.accelerator is Accelerator.TCG
    assert not (tmp_path / "boots").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may open everything")
def test_a_forbidden_device_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "kvm").touch(mode=0o000)
    assert device_obstacle(tmp_path / "kvm") == f"{tmp_path / 'kvm'} exists but this user may not open it"


async def test_without_a_probe_only_what_one_has_found_is_an_obstacle(tmp_path: Path, busybox: Path) -> None:
    device = tmp_path / "kvm"
    assert "does not exist" in known_obstacle(tmp_path / "state", device=device)
    device.touch()
    assert not known_obstacle(tmp_path / "state", device=device)
    found = await choose(tmp_path, busybox, ABORTS, device=device)
    assert known_obstacle(tmp_path / "state", device=device) == found.reason
