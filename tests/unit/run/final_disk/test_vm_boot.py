"""`optimize.vmBoot`: what helps a measured first boot is kept, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.qemu import Disk
from vmkiln.image_contents.contents import ImageContents
from vmkiln.inspecting import kept_contents
from vmkiln.inspecting.disk_contents import DiskContents, Volume
from vmkiln.run.final_disk import vm_boot
from vmkiln.run.gates import boot_gate, hygiene_gate
from vmkiln.run.run_context import Disks
from vmkiln.run_failures import InspectionFailed, LoginTimedOut, VirtualMachineLost
from vmkiln.template.image_template import OnOff

MENU = ("boot-menu",)


class Run:
    """A run whose disks are empty files, and whose boots take the seconds that are given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, boots: list[Any], trimmed: Any = MENU) -> None:
        self.facts: dict[str, Any] = {}
        self.told: list[Any] = []
        self.booted: list[str] = []
        self.log: list[str] = []
        self._boots = list(boots)
        self._trimmed = trimmed
        self.disks = Disks(Disk(folder / "build-vm-scrubbed.qcow2", "qcow2"))
        self.staged: Any = SimpleNamespace(
            host=SimpleNamespace(store=SimpleNamespace(runs=self), settings=SimpleNamespace(optimize_boot=True)),
            request=SimpleNamespace(
                run_id="run",
                template=SimpleNamespace(
                    tags={},
                    properties=SimpleNamespace(optimize=SimpleNamespace(vm_boot=SimpleNamespace(state=OnOff.ENABLED))),
                ),
            ),
            directory=folder,
            source=SimpleNamespace(os_type="Linux"),
            tell=self.told.append,
        )
        kept_contents.put_back(folder, ImageContents(system={"id": "as it was"}))
        monkeypatch.setattr(vm_boot, "begin", self._begin)
        monkeypatch.setattr(vm_boot, "note_in_log", lambda _staged, text: self.log.append(text))
        monkeypatch.setattr(hygiene_gate, "cleared", self._cleared)
        monkeypatch.setattr(boot_gate, "timed", self._timed)

    async def optimized(self) -> vm_boot.Optimized:
        entered: Any = SimpleNamespace(staged=self.staged)
        return await vm_boot.optimized(entered, self.disks, digest="d")

    def add_facts(self, _run: str, **facts: Any) -> None:
        self.facts |= facts

    def find(self, _run: str) -> Any:
        return SimpleNamespace(facts=self.facts)

    async def _begin(self, *_: Any) -> None:
        self.told.append("Optimizing")

    async def _cleared(self, _entered: Any, disks: Disks, name: str, *, trim: bool) -> tuple[Disks, DiskContents]:
        assert trim
        if isinstance(self._trimmed, Exception):
            raise self._trimmed
        file = self.staged.directory / f"{name}.qcow2"
        file.touch()
        kept_contents.put_back(self.staged.directory, ImageContents(system={"id": "trimmed"}))
        given = None if self._trimmed == "not scrubbed" else 0
        names = MENU if given is None else self._trimmed
        volume = Volume("os1", "ext4", 1, 1, given_back_bytes=given, trimmed=tuple(names))
        return Disks(Disk(file, "qcow2", backing=disks.os)), DiskContents((), (volume,))

    async def _timed(self, _entered: Any, disks: Disks, *, phase: str) -> tuple[Any, float]:
        assert phase == "Optimizing"
        (self.staged.directory / "validation-vm.qcow2").touch(exist_ok=False)
        self.booted.append(disks.os.path.name)
        took = self._boots.pop(0)
        if isinstance(took, Exception):
            raise took
        outcome, script_status = SimpleNamespace(exit_status=int(took < 0)), None if took < 0 else 0
        return SimpleNamespace(outcome=outcome, error="unexpected EOF", script_status=script_status), took

    def is_as_it_was(self) -> bool:
        contents = kept_contents.kept(self.staged.directory)
        files = {file.name for file in self.staged.directory.iterdir()}
        return contents is not None and contents.system == {"id": "as it was"} and files == {kept_contents.FILE}


async def test_what_makes_the_first_boot_faster_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, 31.0, 29.0, 24.0])
    found = await run.optimized()
    assert run.booted == ["build-vm-scrubbed.qcow2", "build-vm-trimmed.qcow2"] * 2, "in turns"
    assert (found.disks.os.path.name, found.seconds) == ("build-vm-trimmed.qcow2", 24.0)
    assert found.digest != "d", "the same customized disks with other bytes have a verdict of their own"
    assert run.facts["vm_boot"]["is_kept"]
    text = "vmBoot: the first boot took 29 s, and 24 s without the boot menu's wait (fastest of 2 each): kept"
    assert run.log == [text]
    assert run.told[0] == "Optimizing"
    kept = kept_contents.kept(tmp_path)
    assert kept is not None
    assert kept.system == {"id": "trimmed"}, "what is told of the image is what is in it"


async def test_what_does_not_help_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, 29.9, 31.0, 32.0])
    found = await run.optimized()
    assert (found.disks, found.digest, found.seconds) == (run.disks, "d", 30.0)
    assert not run.facts["vm_boot"]["is_kept"]
    assert run.is_as_it_was()
    assert run.log[0].endswith("no gain, so the image is left as it was")


@pytest.mark.parametrize("failure", [LoginTimedOut("no login"), VirtualMachineLost("it ended"), -1.0])
async def test_what_does_not_boot_is_thrown_away(failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, failure, failure])
    found = await run.optimized()
    assert (found.disks, found.seconds) == (run.disks, 30.0)
    assert run.is_as_it_was()
    assert "without the boot menu's wait it did not come to a login" in run.log[0]


async def test_a_failure_of_packers_own_is_no_boot_that_did_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, -1.0, 24.0, 29.0, 25.0])
    assert (await run.optimized()).seconds == 24.0
    assert run.facts["vm_boot"]["seconds_after"] == [24.0, 25.0]
    assert "vmBoot: Packer failed before a script ran: unexpected EOF" in [getattr(one, "text", "") for one in run.told]


async def test_an_image_that_does_not_boot_is_left_to_its_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, boots=[LoginTimedOut("no login")])
    found = await run.optimized()
    assert (found.disks, found.seconds) == (run.disks, None)
    assert run.is_as_it_was()
    assert "nothing could be measured" in run.log[0]


@pytest.mark.parametrize(
    "trimmed",
    [(), InspectionFailed("it could not be looked at"), VirtualMachineLost("it did not start"), "not scrubbed"],
)
async def test_where_nothing_is_taken_away_nothing_is_booted(
    trimmed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, boots=[], trimmed=trimmed)
    assert (await run.optimized()).disks == run.disks
    assert run.is_as_it_was()
    assert "left as it was" in run.log[0]


async def test_it_is_done_where_it_is_asked_for_and_can_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, boots=[])
    run.staged.request.template.tags = {"vmkiln-boot-gate": "off"}
    assert (await run.optimized()).disks == run.disks
    assert "nobody can log in" in run.log[0]
    run.staged.source.os_type = "Windows"
    await run.optimized()
    assert run.log[1] == "vmBoot: left as it was: this is done for Linux only"
    run.staged.host.settings.optimize_boot = False
    await run.optimized()
    run.staged.host.settings.optimize_boot = True
    run.staged.request.template.properties.optimize.vm_boot.state = OnOff.DISABLED
    await run.optimized()
    assert len(run.log) == 2
    assert run.is_as_it_was()


async def test_nothing_is_told_as_taken_away_that_a_later_attempt_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, 24.0] * 4)
    await run.optimized()
    run._trimmed = ("boot-menu", "thermald.service")
    assert (await run.optimized()).seconds == 24.0
    assert run.facts["vm_boot"]["trimmed"] == ["boot-menu", "thermald.service"], "measured anew, as it is another"
    kept = run.facts["vm_boot"]
    run._trimmed = InspectionFailed("it could not be looked at")
    assert (await run.optimized()).disks == run.disks
    assert not run.facts["vm_boot"]["is_kept"]
    run.facts["vm_boot"] = {**kept, "digest": "of disks that were customized before"}
    assert (await run.optimized()).disks == run.disks
    assert not run.facts["vm_boot"]["is_kept"]


@pytest.mark.parametrize(("seconds", "name"), [(24.0, "build-vm-trimmed"), (40.0, "build-vm-scrubbed")])
async def test_a_later_attempt_decides_as_the_one_before(
    seconds: float, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, boots=[30.0, seconds, 30.0, seconds])
    await run.optimized()
    found = await run.optimized()
    assert found.disks.os.path.name == f"{name}.qcow2"
    assert len(run.booted) == 4, "nothing is measured again"
    entered: Any = SimpleNamespace(staged=run.staged)
    with pytest.raises(IndexError):
        await vm_boot.optimized(entered, run.disks, digest="of other disks")
