"""The kernels of images: booted before a build waits for one, and once only while nothing changes."""

from pathlib import Path

import pytest
from stand_ins.probed_qemu import HANGS, RUNS_THE_GUEST, stand_in

from vmkiln.host.accelerator import Probe, Verdict
from vmkiln.host.doctor import examination, image_kernel
from vmkiln.host.doctor.examination import NO_IMAGE_KERNEL, Examination
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.host.doctor.image_kernel import ImageKernel, image_kernel_boots
from vmkiln.host.qemu import Accelerator


@pytest.fixture
def kernel(tmp_path: Path) -> ImageKernel:
    vmlinuz = tmp_path / "image" / "vmlinuz"
    vmlinuz.parent.mkdir()
    vmlinuz.write_bytes(b"kernel")
    (tmp_path / "busybox").write_bytes(b"\x7fELF")
    return ImageKernel("debian:debian-12:12", vmlinuz)


async def tried(tmp_path: Path, kernel: ImageKernel, script: str) -> Probe:
    limit = 0.3 if script is HANGS else 20
    qemu = stand_in(tmp_path, script)
    return await image_kernel_boots(
        kernel, Accelerator.TCG, busybox=tmp_path / "busybox", limit_seconds=limit, qemu=qemu
    )


def boot_count(tmp_path: Path) -> int:
    return len((tmp_path / "boots").read_text().splitlines())


async def test_a_kernel_that_booted_is_not_booted_again(tmp_path: Path, kernel: ImageKernel) -> None:
    assert (await tried(tmp_path, kernel, RUNS_THE_GUEST)).booted
    assert (await tried(tmp_path, kernel, HANGS)).booted, "the QEMU of the stand-in has the same version"
    assert boot_count(tmp_path) == 1


@pytest.mark.parametrize("what", ["kernel", "cpu", "record"])
async def test_another_kernel_or_cpu_is_booted_anew(
    tmp_path: Path, kernel: ImageKernel, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await tried(tmp_path, kernel, RUNS_THE_GUEST)
    match what:
        case "kernel":
            kernel.vmlinuz.write_bytes(b"another")
        case "cpu":
            monkeypatch.setattr(image_kernel, "cpu_model", lambda _: "max,erms=off")
        case "record":
            kernel.vmlinuz.with_name(image_kernel.BOOTED).write_text("{")
    result = await tried(tmp_path, kernel, HANGS)
    assert not result.booted
    assert "hung for 0.3 s after: Probing EDD" in result.reason


async def test_a_kernel_that_hung_is_tried_each_time(tmp_path: Path, kernel: ImageKernel) -> None:
    for _ in range(2):
        assert not (await tried(tmp_path, kernel, HANGS)).booted
    assert boot_count(tmp_path) == 2


async def findings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernels: list[ImageKernel], probe: Probe
) -> list[Finding]:
    """What doctor says of the kernels on a machine with a container kernel that boots."""

    async def accelerator(*_: object) -> tuple[Verdict, Finding]:
        return Verdict(Accelerator.TCG, "no KVM"), Finding("accelerator", Status.OK, "tcg")

    async def container_kernel(*_: object) -> tuple[object, Finding]:
        return object(), Finding("container kernel", Status.OK, "6.12")

    async def boot(*_: object, **__: object) -> Probe:
        return probe

    monkeypatch.setattr(examination, "_accelerator", accelerator)

    async def restored(*_: object) -> Finding:
        return Finding("restored guest", Status.OK, "it went on")

    monkeypatch.setattr(examination, "_kernel", container_kernel)
    monkeypatch.setattr(examination, "_restored_guest", restored)
    monkeypatch.setattr(examination, "image_kernel_boots", boot)
    monkeypatch.setenv("PATH", str(tmp_path))
    result: Examination = await examination.examine(
        state=tmp_path,
        kernel_directory=tmp_path,
        accelerator_directory=tmp_path,
        image_kernels=kernels,
        progress=lambda _: None,
    )
    return [finding for finding in result.findings if finding.name.startswith("kernel")]


async def test_doctor_finds_an_image_kernel_that_hangs_though_the_containers_boots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: ImageKernel
) -> None:
    hung = Probe(False, 120, "the guest hung for 120 s after: LSM: Security Framework initializing")
    (finding,) = await findings(monkeypatch, tmp_path, [kernel], hung)
    assert (finding.name, finding.status) == ("kernel of debian:debian-12:12", Status.FAILED)
    assert finding.found == f"does not boot under tcg: {hung.reason}"
    assert finding.remedy
    (finding,) = await findings(monkeypatch, tmp_path, [kernel], Probe(True, 12.64, ""))
    assert (finding.status, finding.found) == (Status.OK, "boots under tcg in 12.6 s")


async def test_doctor_does_not_pretend_to_have_tried_a_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert await findings(monkeypatch, tmp_path, [], Probe(True, 1, "")) == [NO_IMAGE_KERNEL]
    assert NO_IMAGE_KERNEL.status is Status.WARNING
