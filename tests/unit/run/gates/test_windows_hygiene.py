"""A finished Windows image at the hygiene gate: refused for what is left, not called clean for what is not read."""

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Disk
from vmkiln.inspecting.residue import Found, Residue
from vmkiln.inspecting.windows_residues import WindowsLook
from vmkiln.run.gates import hygiene_gate, windows_hygiene
from vmkiln.run.gates.hygiene_gate import DELETED, Verdict
from vmkiln.run.gates.windows_hygiene import looked
from vmkiln.run.guest import windows_inspection
from vmkiln.run.run_context import Disks
from vmkiln.run_failures import GeneralizationIncomplete, InspectionFailed

DISKS = Disks(Disk(Path("/run/os.qcow2"), "qcow2"), {1: Disk(Path("/run/data.qcow2"), "qcow2")})


def entered(tmp_path: Path, facts: dict[str, Any]) -> Any:
    runs = SimpleNamespace(add_facts=lambda _run_id, **more: facts.update(more))
    settings = SimpleNamespace(allowed_residues="", container_image=tmp_path)
    staged = SimpleNamespace(
        host=SimpleNamespace(settings=settings, store=SimpleNamespace(runs=runs), accelerator=None),
        group=None,
        request=SimpleNamespace(run_id="run", template=SimpleNamespace(tags={})),
        directory=tmp_path,
        source=SimpleNamespace(os_type="Windows"),
        tell=lambda _: None,
    )
    return SimpleNamespace(staged=staged, namespace=None)


@pytest.fixture
def vm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the VM answers, or how it ends; `machine` is what was described, `there` whether it has a receipt."""
    state: dict[str, Any] = {"answer": b"device=vda2\nend=\n"}

    async def obtained(*_: object, **__: object) -> object:
        if isinstance(state["answer"], HostUnfit):
            raise state["answer"]
        return SimpleNamespace(kernel=Path("/k"), initramfs=Path("/i"))

    async def answered(_inside: object, machine: object, **_: object) -> bytes:
        state["machine"] = machine
        assert state["there"]
        if isinstance(state["answer"], Exception):
            raise state["answer"]
        answer: bytes = state["answer"]
        return answer

    @contextlib.contextmanager
    def resources(*_: object, **__: object) -> Any:
        state["there"] = True
        yield
        state["there"] = False

    monkeypatch.setattr(windows_inspection, "obtain_windows_inspector", obtained)
    monkeypatch.setattr(windows_inspection, "answered", answered)
    monkeypatch.setattr(windows_inspection, "resources", resources)
    return state


async def test_what_is_left_in_a_windows_fails_the_run(tmp_path: Path, vm: dict[str, Any]) -> None:
    vm["answer"] = b"device=vda2\nleft=build-user SAM, packer\nend=\n"
    with pytest.raises(GeneralizationIncomplete, match="build-user: SAM, packer"):
        await hygiene_gate.scrubbed(entered(tmp_path, {}), DISKS)


async def test_a_windows_in_which_nothing_is_found_is_not_called_clean(tmp_path: Path, vm: dict[str, Any]) -> None:
    facts: dict[str, Any] = {}
    assert await hygiene_gate.scrubbed(entered(tmp_path, facts), DISKS) is DISKS
    assert (facts["hygiene"]["verdict"], facts["hygiene"]["unproven"]) == (Verdict.UNPROVEN, [DELETED])
    assert all(disk.read_only for disk in vm["machine"].disks)
    assert [disk.path for disk in vm["machine"].disks] == [DISKS.os.path, DISKS.data[1].path]
    assert not vm["there"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HostUnfit("a program is missing", hint="install `ntfs-3g`"), "a program is missing; install `ntfs-3g`"),
        (InspectionFailed("the inspection-vm did not end within 900 s"), "did not end"),
        (b"left=what is this\nend=\n", "not in its form"),
        (b"device=vda2\n", "not whole"),
    ],
)
async def test_a_look_that_fails_leaves_the_image_unproven(
    tmp_path: Path, vm: dict[str, Any], answer: object, words: str
) -> None:
    vm["answer"] = answer
    look = await looked(entered(tmp_path, {}), DISKS)
    assert (look.found, len(look.unproven)) == ((), 1)
    assert words in look.unproven[0]


async def test_what_may_stay_in_a_windows_stays(
    tmp_path: Path, vm: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(*_: object) -> WindowsLook:
        return WindowsLook((Found(Residue.ANSWER_FILE, "Windows/Panther/unattend.xml"),))

    monkeypatch.setattr(windows_hygiene, "looked", found)
    facts: dict[str, Any] = {}
    run = entered(tmp_path, facts)
    run.staged.request.template.tags["vmkiln-residues"] = "answer-file"
    await hygiene_gate.scrubbed(run, DISKS)
    assert facts["hygiene"]["allowed"] == ["answer-file"]
