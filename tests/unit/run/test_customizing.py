"""What a failed customization is told as."""

import errno
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from vmkiln.host.disk.disk_image import create_empty, virtual_size
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.images.data_disk import DataDisk, file_beside
from vmkiln.packer.packer_template import Deprovision, InlineShell, Step
from vmkiln.run import customizing
from vmkiln.run.checkpoints import kept_builds, whole_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.customizing import _advice, _own_disks
from vmkiln.run.guest import choice
from vmkiln.run.packer_phase import PhaseResult
from vmkiln.run.run_context import ResolvedSource
from vmkiln.run.starts import build_vm_start
from vmkiln.run.vm_pair import Outcome
from vmkiln.run_failures import CheckpointLost
from vmkiln.settings import Settings
from vmkiln.warm import checkpoint
from vmkiln.warm.saved_base import BaseStart

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


@pytest.mark.parametrize("spoiled", ["disk", "renewal", "room", ""])
async def test_what_is_kept_and_of_no_use_is_thrown_away_and_all_runs(
    spoiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = Settings(home=tmp_path).saved_vms, "1" * 64
    hit = a_checkpoint(folder, key)
    if spoiled == "disk":
        (folder / key / saved_vm.DISK).chmod(0o600)
        (folder / key / saved_vm.DISK).write_bytes(b"poison")
    if spoiled == "room":
        full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
        monkeypatch.setattr(saved_vm, "copied_file", full)
    facts: list[Any] = []
    told: list[Any] = []
    begun: list[tuple[int, list[str]]] = []
    began = time.time()
    (tmp_path / "run").mkdir()
    handling = SimpleNamespace(on_customizer_error="cleanup")
    template = SimpleNamespace(properties=SimpleNamespace(customize=(), error_handling=handling))
    runs = SimpleNamespace(add_facts=lambda _run, **more: facts.append(more))
    staged: Any = SimpleNamespace(
        directory=tmp_path / "run",
        host=SimpleNamespace(settings=Settings(home=tmp_path), store=SimpleNamespace(runs=runs)),
        request=SimpleNamespace(run_id="r" * 36, template=template, held_seconds=0, attempt=2, retry_of=""),
        copies={},
        source=SimpleNamespace(os_type="Linux"),
        tell=told.append,
    )

    def giving(value: Any) -> Any:
        async def give(*_: Any, **__: Any) -> Any:
            return value

        return give

    async def carried_out(_entered: Any, phase: Any, found: Any) -> Any:
        begun.append((phase.begins_behind, [step.name for step in phase.steps]))
        assert phase.kept.since == hit.about.made if phase.begins_behind else phase.kept.since >= began
        if spoiled == "renewal" and phase.begins_behind:
            raise CheckpointLost("it did not become another machine")
        return found

    steps = (SHELL, InlineShell("b", "properties.customize[1]", ("true",)))
    build = KeptBuild((Position(1, key, "a"),), scope="scope")
    monkeypatch.setattr(choice, "steps_of", lambda *_, **__: steps)
    monkeypatch.setattr(kept_builds, "kept_build_of", giving(build))
    monkeypatch.setattr(kept_builds, "longest_kept", giving(hit))
    monkeypatch.setattr(customizing, "_own_disks", giving("disks"))
    monkeypatch.setattr(build_vm_start, "start_of", giving(BaseStart(reason="none")))
    monkeypatch.setattr(customizing, "_carried_out", carried_out)
    monkeypatch.setattr(customizing, "note_in_log", lambda *_: None)
    assert await customizing.customize(SimpleNamespace(staged=staged)) == "disks"  # type: ignore[arg-type,comparison-overlap]
    behind, all_of_them = (1, ["b", "deprovision"]), (0, ["a", "b", "deprovision"])
    one_try = {"disk": [all_of_them], "renewal": [behind, all_of_them], "room": [all_of_them], "": [behind]}
    assert begun == one_try[spoiled]
    assert (folder / key).exists() == (spoiled in {"", "room"}), "for want of room here it is not to blame"
    assert facts[0] == {"checkpoint": None}, "what an earlier attempt began behind has no part in this one's image"
    assert facts[-1]["checkpoint"] == (None if spoiled else kept_builds.fact_of(hit))
    assert (tmp_path / "run" / "build-vm.qcow2").exists() == (not spoiled)
    assert any("all customizers run" in getattr(one, "text", "") for one in told) == bool(spoiled)
    assert saved_vm.is_refused(folder, key) == (spoiled == "renewal"), "one whose bytes changed may be made again"


@pytest.mark.parametrize("is_of_use", [True, False])
async def test_a_build_of_which_nothing_was_edited_runs_no_step(
    is_of_use: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, bool]] = []

    def giving(value: Any) -> Any:
        async def give(*_: Any, **__: Any) -> Any:
            return value

        return give

    async def first(*_: Any) -> Any:
        return "made anew"

    monkeypatch.setattr(choice, "steps_of", lambda *_, **__: (SHELL,))
    monkeypatch.setattr(kept_builds, "kept_build_of", giving(KeptBuild((Position(1, "1" * 64, "a"),), is_whole=True)))
    monkeypatch.setattr(kept_builds, "longest_kept", giving(None))
    monkeypatch.setattr(whole_builds, "found", giving("a disk"))
    monkeypatch.setattr(whole_builds, "taken", giving("nothing has changed" if is_of_use else ""))
    monkeypatch.setattr(customizing, "_own_disks", giving("as it was kept"))
    monkeypatch.setattr(customizing, "_from_the_first", first)
    monkeypatch.setattr(customizing, "note_in_log", lambda _, text, is_ended=False: noted.append((text, is_ended)))
    template = SimpleNamespace(properties=SimpleNamespace(customize=()))
    request = SimpleNamespace(run_id="r" * 36, template=template, attempt=1, retry_of="")
    staged: Any = SimpleNamespace(directory=tmp_path, request=request, copies={}, tell=print)
    disks: Any = await customizing.customize(SimpleNamespace(staged=staged))  # type: ignore[arg-type]
    assert disks == ("as it was kept" if is_of_use else "made anew")
    assert noted == ([("nothing has changed", True)] if is_of_use else []), "its log is told to be whole"


def a_checkpoint(folder: Path, key: str) -> checkpoint.Checkpoint:
    """One behind the first customizer, whole."""
    workplace = saved_vm.begun(folder, key)
    for name in (saved_vm.MEMORY, saved_vm.DISK):
        (workplace / name).write_bytes(b"kept")
    with (workplace / saved_vm.MEMORY).open("rb") as file:
        memory = memory_file.digest_of(file.fileno())
    about = checkpoint.About("scope", 1, "a", "earlier", "web", time.time(), "instance")
    saved_vm.finished(workplace, b"devices", memory, about=checkpoint.record_of(about))
    saved_vm.named(workplace)
    (found,) = checkpoint.all_of(folder)
    return found


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
