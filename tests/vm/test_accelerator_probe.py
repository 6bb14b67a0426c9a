"""The accelerator probe with a real kernel: it boots what boots, and judges KVM by what KVM does."""

import shutil
from pathlib import Path

import pytest

from vmkiln.host.accelerator import EMULATED_PROBE_SECONDS, KVM, boots, choose_accelerator, device_obstacle
from vmkiln.host.disk.container_kernel import ContainerKernel, obtain_kernel
from vmkiln.host.qemu import Accelerator
from vmkiln.settings_sources import read_settings

pytestmark = pytest.mark.vm


@pytest.fixture
async def kernel() -> ContainerKernel:
    return await obtain_kernel(read_settings().container_image / "kernel", progress=print)


@pytest.fixture
def busybox() -> Path:
    return Path(shutil.which("busybox") or "/bin/busybox")


async def test_a_guest_boots_emulated(kernel: ContainerKernel, busybox: Path) -> None:
    probe = await boots(Accelerator.TCG, kernel=kernel.vmlinuz, busybox=busybox, limit_seconds=EMULATED_PROBE_SECONDS)
    assert probe.booted, probe.reason


async def test_a_file_that_is_no_kernel_does_not_boot(busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bytes(1 << 20))
    probe = await boots(Accelerator.TCG, kernel=tmp_path / "vmlinuz", busybox=busybox, limit_seconds=10)
    assert not probe.booted
    assert probe.reason


async def test_kvm_is_chosen_exactly_when_a_guest_boots_with_it(
    kernel: ContainerKernel, busybox: Path, tmp_path: Path
) -> None:
    verdict = await choose_accelerator(
        kernel=kernel.vmlinuz, kernel_digest=kernel.digest, busybox=busybox, directory=tmp_path
    )
    assert verdict.reason
    if device_obstacle(KVM):
        assert verdict.accelerator is Accelerator.TCG
    else:
        probe = await boots(Accelerator.KVM, kernel=kernel.vmlinuz, busybox=busybox)
        assert (verdict.accelerator is Accelerator.KVM) == probe.booted
