"""What doctor asks of a restored guest, with real QEMU: one runs on from what was saved, and one that cannot is seen."""

import shutil
from pathlib import Path

import pytest

from vmkiln.host.disk.container_kernel import ContainerKernel, obtain_kernel
from vmkiln.host.doctor import restored_guest
from vmkiln.host.doctor.restored_guest import restored_guest_runs
from vmkiln.host.qemu import Accelerator
from vmkiln.host.saved import device_state
from vmkiln.settings_sources import read_settings

pytestmark = pytest.mark.vm
BUSYBOX = Path(shutil.which("busybox") or "/bin/busybox")


@pytest.fixture
async def kernel() -> ContainerKernel:
    return await obtain_kernel(read_settings().container_image / "kernel", progress=print)


async def test_a_saved_guest_runs_on_in_another_vm(kernel: ContainerKernel, tmp_path: Path) -> None:
    found = await restored_guest_runs(Accelerator.TCG, kernel=kernel.vmlinuz, busybox=BUSYBOX, workplace=tmp_path)
    assert found.runs, found.reason
    assert 0 < found.seconds < restored_guest.ANSWER_SECONDS + 30
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


async def test_one_whose_memory_is_another_is_seen_not_to_run(
    kernel: ContainerKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = device_state.save

    async def cold(control: object) -> bytes:
        """As an accelerator that restores a CPU wrong: the devices' state is of another moment than the memory."""
        state = await save(control)  # type: ignore[arg-type]
        return state[: len(state) // 2] + bytes(len(state) - len(state) // 2)

    monkeypatch.setattr(device_state, "save", cold)
    monkeypatch.setattr(restored_guest, "ANSWER_SECONDS", 10.0)
    found = await restored_guest_runs(Accelerator.TCG, kernel=kernel.vmlinuz, busybox=BUSYBOX, workplace=tmp_path)
    assert not found.runs
    assert found.reason
    assert list(tmp_path.iterdir()) == []
