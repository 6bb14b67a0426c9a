"""What keeps a Windows image from beginning a run is taken out of its overlay, told, and never asked of the image."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Disk
from vmkiln.inspecting.windows_residues import TakenOut
from vmkiln.run import customizing, validating
from vmkiln.run.guest import choice, windows_inspection, windows_source
from vmkiln.run.run_context import Disks
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import InspectionFailed

OVERLAY = Disk(Path("/run/os.qcow2"), "qcow2", backing=Disk(Path("/image.qcow2"), "qcow2"), size_bytes=1 << 30)
TAKEN = b"device=vda2\ntaken=answer Windows/Panther/unattend.xml\nend=\n"


@pytest.mark.parametrize(
    ("answer", "words", "is_broken"),
    [
        (TAKEN, "the answer file Windows/Panther/unattend.xml", False),
        (HostUnfit("a program is missing", hint="install `ntfs-3g`"), "not taken out of the run's copy", False),
        (InspectionFailed("it could not write"), "nothing is taken out", True),
        (b"broken=the volume\nend=\n", "nothing is taken out", True),
        (b"nonsense\nend=\n", "nothing is taken out", True),
    ],
)
async def test_what_was_taken_out_or_why_not_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, words: str, is_broken: bool
) -> None:
    told: list[Notice] = []
    machines: list[Any] = []
    has_receipt: list[bool] = []

    async def obtained(*_: object, **__: object) -> object:
        if isinstance(answer, HostUnfit):
            raise answer
        return SimpleNamespace(kernel=Path("/k"), initramfs=Path("/i"))

    async def answered(_inside: object, machine: object, **_: object) -> bytes:
        machines.append(machine)
        assert has_receipt == [True]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    @contextlib.contextmanager
    def resources(*_: object, **__: object) -> Iterator[None]:
        has_receipt.append(True)
        yield
        has_receipt.clear()

    monkeypatch.setattr(windows_inspection, "obtain_windows_inspector", obtained)
    monkeypatch.setattr(windows_inspection, "answered", answered)
    monkeypatch.setattr(windows_inspection, "resources", resources)
    settings = SimpleNamespace(container_image=tmp_path)
    staged = SimpleNamespace(
        host=SimpleNamespace(settings=settings, store=None, accelerator=None),
        group=None,
        directory=tmp_path,
        tell=told.append,
    )
    entered: Any = SimpleNamespace(staged=staged, namespace=None)
    found = await windows_source.taken_out(entered, OVERLAY)
    assert bool(found.broken) is is_broken
    assert words in told[-1].text
    for machine in machines:
        (disk,) = machine.disks
        assert (disk.path, disk.read_only) == (OVERLAY.path, False)


@pytest.mark.parametrize("broken", ["", "it was not written to its end"])
@pytest.mark.parametrize("is_windows", [True, False])
async def test_an_overlay_that_is_broken_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_windows: bool, broken: str
) -> None:
    made: list[Path] = []
    lines: list[str] = []
    own = tmp_path / "build-vm.qcow2"

    async def own_disks(*_: object, **__: object) -> Disks:
        assert not own.exists()
        own.touch()
        made.append(own)
        return Disks(Disk(own, "qcow2"))

    async def nothing(*_: object, **__: object) -> Any:
        return SimpleNamespace(saved=None)

    async def taken_out(_entered: object, overlay: Disk) -> TakenOut:
        assert overlay.path == own
        return TakenOut(("override pci",), broken=broken)

    async def carried_out(_entered: object, _phase: object, disks: Disks) -> Disks:
        return disks

    monkeypatch.setattr(customizing, "_own_disks", own_disks)
    monkeypatch.setattr(customizing.build_vm_start, "start_of", nothing)
    monkeypatch.setattr(customizing.build_vm_start, "copied_disk", nothing)
    monkeypatch.setattr(customizing, "_told", lambda *_: None)
    monkeypatch.setattr(customizing, "_phase", lambda *_, **__: PHASE)
    monkeypatch.setattr(customizing, "replace", lambda phase, **_: phase)
    monkeypatch.setattr(customizing, "_carried_out", carried_out)
    monkeypatch.setattr(customizing, "note_in_log", lambda _staged, text: lines.append(text))
    monkeypatch.setattr(choice, "is_windows", lambda _: is_windows)
    monkeypatch.setattr(windows_source, "taken_out", taken_out)
    entered: Any = SimpleNamespace(staged=SimpleNamespace(directory=tmp_path))
    await customizing._from_the_first(entered, (), PHASE)
    assert len(made) == (2 if is_windows and broken else 1)
    assert len(lines) == is_windows, "a Linux build is not asked"


PHASE: Any = SimpleNamespace()


@pytest.mark.parametrize(("is_source", "asked"), [(True, 1), (False, 0)])
async def test_only_a_source_is_asked_and_not_what_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_source: bool, asked: int
) -> None:
    calls: list[Disk] = []

    async def taken_out(_entered: object, overlay: Disk) -> TakenOut:
        calls.append(overlay)
        return TakenOut()

    async def overlay(_disk: Disk, path: Path, **_: object) -> Disk:
        return Disk(path, "qcow2")

    async def none(*_: object) -> dict[int, Disk]:
        return {}

    async def carried_out(*_: object) -> Any:
        return SimpleNamespace(outcome=SimpleNamespace(exit_status=0))

    monkeypatch.setattr(validating, "create_overlay", overlay)
    monkeypatch.setattr(validating, "overlays", none)
    monkeypatch.setattr(validating, "carry_out", carried_out)
    monkeypatch.setattr(choice, "steps_of", lambda *_, **__: ())
    monkeypatch.setattr(windows_source, "taken_out", taken_out)
    source, built = Disks(Disk(Path("/source"), "qcow2")), Disks(Disk(Path("/built"), "qcow2"))
    validation = SimpleNamespace(in_vm_validations=())
    template = SimpleNamespace(properties=SimpleNamespace(validation=validation))
    staged = SimpleNamespace(
        directory=tmp_path,
        source=SimpleNamespace(os_type="Windows", disks=source),
        request=SimpleNamespace(template=template),
    )
    entered: Any = SimpleNamespace(staged=staged)
    await validating.validate(entered, source if is_source else built)
    assert [disk.path.name for disk in calls] == ["validation-vm.qcow2"] * asked
