"""What a failed customization is told as."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.disk.disk_image import create_empty, virtual_size
from vmkiln.images.data_disk import DataDisk, file_beside
from vmkiln.packer.packer_template import Deprovision, InlineShell, Step
from vmkiln.run.customizing import _advice, _own_disks
from vmkiln.run.packer_phase import PhaseResult
from vmkiln.run.run_context import ResolvedSource
from vmkiln.run.vm_pair import Outcome

MIB, GIB = 1024**2, 1024**3
SHELL = InlineShell("a", "properties.customize[0]", ("true",))


@pytest.mark.parametrize(
    ("step", "status", "is_told"),
    [(Deprovision(), 127, True), (Deprovision(), 1, False), (SHELL, 127, False), (None, None, False)],
)
def test_a_deprovisioning_without_its_waagent_is_told_what_to_do(
    step: Step | None, status: int | None, is_told: bool
) -> None:
    outcome: Any = Outcome(1, vm_is_off=False, peak_memory_kib=0)
    assert ("`waagent`" in _advice(PhaseResult(outcome, step, "exit status: 127", status))) == is_told


async def test_additional_data_disks_take_the_free_numbers_after_the_sources(tmp_path: Path) -> None:
    path = tmp_path / "source.qcow2"
    await create_empty(path, size_bytes=MIB)
    await create_empty(file_beside(path, 1), size_bytes=2 * MIB)
    source = ResolvedSource(
        path, "qcow2", "digest", "1.2.3", 1, "Linux", MIB, "here", data_disks=(DataDisk(1, "d", 1, 2 * MIB),)
    )
    wanted = [SimpleNamespace(size_gb=3), SimpleNamespace(size_gb=4)]
    properties = SimpleNamespace(additional_data_disks=wanted)
    staged: Any = SimpleNamespace(
        source=source,
        directory=tmp_path,
        shape=SimpleNamespace(disk_bytes=2 * MIB),
        request=SimpleNamespace(template=SimpleNamespace(properties=properties)),
    )
    disks = await _own_disks(staged)
    assert {lun: await virtual_size(disk) for lun, disk in disks.data.items()} == {0: 3 * GIB, 1: 2 * MIB, 2: 4 * GIB}
    assert disks.data[1].backing == source.disks.data[1], "the source's is not written to"
    assert disks.data[0].backing is None
    assert {disk.path.name for disk in disks.data.values()} == {f"build-vm-data-{lun}.qcow2" for lun in range(3)}
