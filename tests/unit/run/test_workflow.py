"""The flow of a run around its phases; the phases themselves are stood in for."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import InputError, RunCanceled, RunTakenOver, StorageFull, VmkilnError
from vmkiln.host.network.flow_log import Whereabouts
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.image_contents.contents import ImageContents
from vmkiln.images.container_image import ContainerImage
from vmkiln.inspecting import source_contents
from vmkiln.run import building, customizing, distributing, validating, workflow
from vmkiln.run.attesting import source_look
from vmkiln.run.checkpoints import whole_builds
from vmkiln.run.final_disk import flattening
from vmkiln.run.gates import boot_gate, hygiene_gate
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest, Staged
from vmkiln.run.run_event import Notice, PartStarted, PhaseStarted, RunEnded, RunEvent, StepStarted
from vmkiln.run_failures import (
    CustomizationFailed,
    GeneralizationIncomplete,
    InspectionFailed,
    LoginTimedOut,
    NotConfined,
    RunTimedOut,
    ValidationFailed,
)
from vmkiln.run_state import PartKind, Phase, RunState
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.local_files import LocalFiles
from vmkiln.store.database import opened
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.store.rows import RunOutputRow
from vmkiln.store.timeline.part_table import TimelineTable
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import read_image_template
from vmkiln.waiting.off_loop import off_loop

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
TEMPLATE = """{"location": "here", "identity": {"type": "None"}, "properties": {
  "source": {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"},
  "customize": [{"type": "Shell", "inline": ["echo hunter22"]}],
  "validate": {"inVMValidations": [{"type": "Shell", "inline": ["true"]}]},
  "distribute": [{"type": "VHD", "runOutputName": "vhd"}]}}"""


class Flow:
    """A host whose phases are stood in for; `told` has what the run told."""

    def __init__(self, host: BuildHost, request: RunRequest) -> None:
        self.host = host
        self.request = request
        self.told: list[RunEvent] = []
        self.on_tell: Callable[[RunEvent], None] = lambda _event: None

    def run(self) -> dict[str, Any]:
        def tell(event: RunEvent) -> None:
            self.told.append(event)
            self.on_tell(event)

        return asyncio.run(workflow.execute(self.host, self.request, tell))

    @property
    def phases(self) -> list[Phase]:
        return [event.phase for event in self.told if isinstance(event, PhaseStarted)]

    def state(self) -> tuple[str, str]:
        run = self.host.store.runs.find(RUN_ID)
        return run.state, run.error_code


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    resolved = read_image_template(TEMPLATE, file_name="web.json")
    request = RunRequest(
        RUN_ID, "web", "rg", resolved.image_template, resolved.resolved, LocalFiles(tmp_path, is_allowed=False)
    )
    image = ContainerImage(tmp_path / "kernel", tmp_path / "initramfs", tmp_path / "disk", "digest", "1.6.6")

    image_file = tmp_path / "source.qcow2"
    image_file.write_bytes(b"source")
    source = ResolvedSource(image_file, "qcow2", "digest", "1.2.3", 1, "Linux", 1024, "here")

    async def stage(host: BuildHost, request: RunRequest, directory: Path, tell: Any, _work: Any) -> Any:
        shape, group = SimpleNamespace(disk_bytes=1024), SimpleNamespace(name="IT_none")
        common = {"host": host, "request": request, "directory": directory, "tell": tell}
        return SimpleNamespace(**common, source=source, shape=shape, group=group)

    @contextlib.asynccontextmanager
    async def entered(staged: Staged, _whereabouts: Whereabouts) -> AsyncIterator[Any]:
        yield SimpleNamespace(staged=staged)

    async def customize(entered: Any) -> Disks:
        own = entered.staged.directory / "build-vm.qcow2"
        await off_loop(own.write_bytes, b"customized")
        return Disks(Disk(own, "qcow2"))

    async def scrubbed(_entered: Any, disks: Disks) -> Disks:
        return disks

    async def validate(_entered: Any, _disks: Disks) -> None:
        pass

    async def prepared(_staged: Any, _disks: Disks, *, is_beside: bool) -> str:
        return f"flattened, beside a gate: {is_beside}"

    async def distribute(_staged: Any, _disks: Disks, _flattened: Any) -> list[RunOutputRow]:
        return [RunOutputRow(RUN_ID, "vhd", "", "", "Succeeded", "")]

    monkeypatch.setattr(building, "stage", stage)
    monkeypatch.setattr(workflow, "_entered", entered)
    monkeypatch.setattr(customizing, "customize", customize)
    monkeypatch.setattr(hygiene_gate, "scrubbed", scrubbed)
    monkeypatch.setattr(validating, "validate", validate)
    monkeypatch.setattr(flattening, "prepared", prepared)
    monkeypatch.setattr(distributing, "distribute", distribute)
    settings = Settings(tmp_path / "home")
    settings.home.mkdir()
    key = source_contents.key_of(source.digest, image.digest)
    source_contents.keep(settings.source_contents, key, ImageContents())
    with opened(settings.database) as store:
        host = BuildHost(settings, store, Accelerator.TCG, "no KVM", image, 2, 4096, None)
        yield Flow(host, request)
        assert list(settings.runs.iterdir()) == [], "neither a folder nor a lock is left"
        run = store.runs.by_id([RUN_ID]).get(RUN_ID)
        if run is not None and run.ended is not None and run.error_code != "RunLost":  # its user may go on from that
            assert (
                not run_directory.kept(settings.runs).exists()
                or list(run_directory.kept(settings.runs).iterdir()) == []
            ), "nor a disk"


def failing_at_once(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def failing(error: BaseException) -> Callable[..., Any]:
    async def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_run_goes_through_its_phases_and_is_locked_until_its_end(flow: Flow) -> None:
    live: list[bool] = []
    flow.on_tell = lambda _event: live.append(run_directory.is_live(flow.host.settings.runs, RUN_ID))
    summary = flow.run()
    assert summary["state"] == "Succeeded"
    assert flow.phases == [
        Phase.BUILDING,
        Phase.CUSTOMIZING,
        Phase.VALIDATING,
        Phase.DISTRIBUTING,
        Phase.CLEANING_UP,
    ]
    assert isinstance(flow.told[-1], RunEnded)
    assert all(live)
    parts = flow.host.store.timelines.of_runs([RUN_ID])[RUN_ID]
    assert [part.kind for part in parts] == ["staging", "boot", "boot", "cleanUp"]
    assert all(part.ended for part in parts)
    assert [part["kind"] for part in summary["timeline"]] == [part.kind for part in parts]


@pytest.mark.parametrize("is_refused", [False, True])
def test_the_source_is_looked_at_before_the_gates(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    looked: list[str] = []

    async def look_once(entered: Any) -> None:
        looked.append(entered.staged.source.digest)
        if is_refused:
            raise NotConfined("root")

    monkeypatch.setattr(source_look, "look_once", look_once)
    if is_refused:
        monkeypatch.setattr(hygiene_gate, "scrubbed", failing_at_once(AssertionError("it goes on")))
        with pytest.raises(NotConfined):
            flow.run()
    else:
        flow.run()
    assert looked == ["digest"]


def test_a_timeline_that_cannot_be_written_fails_no_run(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimelineTable, "put", failing_at_once(OSError(errno.ENOSPC, "full")))
    assert flow.run()["state"] == "Succeeded"


def test_the_names_in_a_timeline_are_masked(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def customize(entered: Any) -> Disks:
        entered.staged.tell(StepStarted(Phase.CUSTOMIZING, 0, 1, "uses hunter22"))
        entered.staged.tell(PartStarted(PartKind.PUBLISH, "to hunter22"))
        own = entered.staged.directory / "build-vm.qcow2"
        await off_loop(own.write_bytes, b"customized")
        return Disks(Disk(own, "qcow2"))

    monkeypatch.setattr(customizing, "customize", customize)
    flow.request = replace(flow.request, mask=SecretMask.of(["hunter22"]))
    flow.run()
    names = {part.name for part in flow.host.store.timelines.of_runs([RUN_ID])[RUN_ID]}
    assert {"uses ***", "to ***"} <= names
    told = [event.name for event in flow.told if isinstance(event, PartStarted)]
    assert "to ***" in told
    assert not any("hunter22" in name for name in told)


@pytest.mark.parametrize("boot_gate_is_on", [True, False])
def test_a_result_without_validations_is_booted_once(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, *, boot_gate_is_on: bool
) -> None:
    booted: list[Path] = []

    async def boot(_entered: Any, disks: Disks, *, digest: str) -> None:
        booted.append(disks.os.path)
        now = flow.host.store.now()
        flow.host.store.verdicts.keep(VerdictRow(boot_gate.GATE, digest, RUN_ID, 60.0, now))

    monkeypatch.setattr(boot_gate, "booted", boot)
    flow.host = replace(flow.host, settings=replace(flow.host.settings, boot_gate=boot_gate_is_on))
    asked = TEMPLATE.replace('"inline": ["true"]', "").replace('{"type": "Shell", }', "")
    resolved = read_image_template(asked, file_name="web.json")
    flow.request = replace(flow.request, template=resolved.image_template, resolved=resolved.resolved)
    flow.run()
    assert [path.name for path in booted] == ["build-vm.qcow2"] * boot_gate_is_on
    assert (Phase.VALIDATING in flow.phases) == boot_gate_is_on
    flow.request = replace(flow.request, run_id="f" + RUN_ID[1:])
    flow.run()
    assert len(booted) == boot_gate_is_on, "another run's disk of the same bytes is not booted again"


def test_the_disk_is_flattened_while_it_is_validated(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flattening_goes_on, given = asyncio.Event(), []

    async def prepared(_staged: Any, _disks: Disks, *, is_beside: bool) -> str:
        assert is_beside
        flattening_goes_on.set()
        return "flattened"

    async def validate(_entered: Any, _disks: Disks) -> None:
        await flattening_goes_on.wait()

    async def distribute(_staged: Any, _disks: Disks, flattened: Any) -> list[RunOutputRow]:
        given.append(flattened)
        return [RunOutputRow(RUN_ID, "vhd", "", "", "Succeeded", "")]

    monkeypatch.setattr(flattening, "prepared", prepared)
    monkeypatch.setattr(validating, "validate", validate)
    monkeypatch.setattr(distributing, "distribute", distribute)
    flow.run()
    assert given == ["flattened"]


def test_a_failed_gate_ends_the_flattening_and_nothing_is_published(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def prepared(_staged: Any, _disks: Disks, *, is_beside: bool) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("flattening")
        raise AssertionError(is_beside)

    monkeypatch.setattr(flattening, "prepared", prepared)
    monkeypatch.setattr(validating, "validate", failing(ValidationFailed("not good")))
    with pytest.raises(ValidationFailed):
        flow.run()
    assert (ended, Phase.DISTRIBUTING in flow.phases) == (["flattening"], False)


def test_an_error_ends_the_run_with_its_code(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customizing, "customize", failing(CustomizationFailed("it broke")))
    with pytest.raises(CustomizationFailed):
        flow.run()
    assert flow.state() == ("Failed", "PackerBuildFailed")
    assert flow.phases == [Phase.BUILDING, Phase.CUSTOMIZING, Phase.CLEANING_UP]


def test_a_run_that_meets_a_full_disk_ends_with_that_as_its_reason(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(customizing, "customize", failing(full))
    with pytest.raises(StorageFull, match="the run failed: No space left on device"):
        flow.run()
    assert flow.state() == ("Failed", "InsufficientStorage")


def test_of_a_group_of_errors_ours_is_told(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ExceptionGroup("inner", [KeyError("x"), InputError("the cause")])
    monkeypatch.setattr(building, "stage", failing(ExceptionGroup("outer", [OSError("y"), inner])))
    with pytest.raises(InputError, match="the cause"):
        flow.run()
    assert flow.state() == ("Failed", "BadInput")


def test_a_defect_of_ours_ends_the_run_too(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributing, "distribute", failing(KeyError("what")))
    with pytest.raises(KeyError):
        flow.run()
    assert flow.state() == ("Failed", "InternalError")


def test_a_build_that_is_emulated_though_kvm_is_there_says_so_first(flow: Flow) -> None:
    told = "this build is emulated, though /dev/kvm is there (..); log in anew"
    flow.host = replace(flow.host, emulation_notice=told)
    flow.run()
    assert flow.told[0] == Notice(told, is_warning=True)


def test_a_timeout_says_so(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(_entered: Any) -> Disk:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(customizing, "customize", forever)
    monkeypatch.setattr(ImageTemplate, "build_timeout_seconds", 0.05)
    with pytest.raises(RunTimedOut, match="Timeout waiting for microservice to complete: 'context deadline exceeded'"):
        flow.run()
    assert flow.state() == ("Failed", "BuildTimeout")


def test_the_hint_of_a_timeout_has_the_end_of_the_console(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(_entered: Any) -> Disk:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            error.add_note("the end of the console of build-vm:\nRun /init")  # as vm_pair.run_to_end does
            raise
        raise AssertionError

    monkeypatch.setattr(customizing, "customize", forever)
    monkeypatch.setattr(ImageTemplate, "build_timeout_seconds", 0.05)
    with pytest.raises(RunTimedOut) as caught:
        flow.run()
    assert caught.value.hint == "buildTimeoutInMinutes is 0.0\nthe end of the console of build-vm:\nRun /init"


def test_a_timeout_of_something_else_is_not_taken_for_the_builds(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customizing, "customize", failing(TimeoutError("a socket")))
    with pytest.raises(TimeoutError):
        flow.run()
    assert flow.state() == ("Failed", "InternalError")


def cancel_at(phase: Phase) -> Callable[[RunEvent], None]:
    def on_tell(event: RunEvent) -> None:
        task = asyncio.current_task()
        if isinstance(event, PhaseStarted) and event.phase is phase and task is not None:
            task.cancel()

    return on_tell


def test_a_cancel_cancels(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def customize(_entered: Any) -> Disks:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(customizing, "customize", customize)
    flow.on_tell = cancel_at(Phase.CUSTOMIZING)
    with pytest.raises(RunCanceled):
        flow.run()
    assert flow.state() == ("Canceled", "Canceled")


def test_a_cancel_that_comes_when_all_is_published_changes_nothing(flow: Flow) -> None:
    flow.on_tell = cancel_at(Phase.CLEANING_UP)
    assert flow.run()["state"] == "Succeeded"
    assert flow.state() == ("Succeeded", "")


def test_a_failed_validation_can_be_distributed_and_fails_all_the_same(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validating, "validate", failing(ValidationFailed("not good")))
    with pytest.raises(ValidationFailed):
        flow.run()
    assert Phase.DISTRIBUTING not in flow.phases
    flow.told.clear()
    asked = TEMPLATE.replace('"validate": {', '"validate": {"continueDistributeOnFailure": true, ')
    resolved = read_image_template(asked, file_name="web.json")
    other = "f" + RUN_ID[1:]
    flow.request = replace(flow.request, run_id=other, template=resolved.image_template)
    with pytest.raises(ValidationFailed):
        flow.run()
    assert Phase.DISTRIBUTING in flow.phases


def test_a_target_that_failed_makes_the_run_partially_succeeded(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def distribute(_staged: Any, _disks: Disks, _flattened: Any) -> list[RunOutputRow]:
        rows = [("a", "Succeeded", ""), ("b", "Failed", "no room")]
        return [RunOutputRow(RUN_ID, name, "", "", state, message) for name, state, message in rows]

    monkeypatch.setattr(distributing, "distribute", distribute)
    summary = flow.run()
    assert summary["state"] == "PartiallySucceeded"
    assert summary["message"] == "Failed in distributing 1 images out of total 2: b: no room"


def test_secrets_are_neither_told_nor_kept(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stage(_host: Any, _request: Any, _directory: Any, tell: Any, _work: Any) -> Any:
        tell(Notice("trying hunter22"))
        raise VmkilnError("hunter22 was refused", hint="not hunter22")

    monkeypatch.setattr(building, "stage", stage)
    flow.request = replace(flow.request, mask=SecretMask.of(["hunter22"]))
    with pytest.raises(VmkilnError) as caught:
        flow.run()
    assert (caught.value.message, caught.value.hint, str(caught.value)) == (
        "*** was refused",
        "not ***",
        "*** was refused",
    )
    assert "hunter22" not in repr(flow.told)
    run = flow.host.store.runs.find(RUN_ID)
    assert "hunter22" not in repr(run)
    assert "echo ***" in repr(run.template)


def test_what_a_run_wrote_is_shared_before_it_is_recorded_as_ended(flow: Flow) -> None:
    seen: list[tuple[str, int, str]] = []

    class Shared:
        @contextlib.asynccontextmanager
        async def mirrored(self, *, run_id: str, attempt: int, **_: str) -> AsyncIterator[None]:
            yield
            seen.append((run_id, attempt, flow.host.store.runs.find(run_id).state))

    flow.host = replace(flow.host, shared=Shared())  # type: ignore[arg-type]
    flow.request = replace(flow.request, attempt=3)
    flow.run()
    assert seen == [(RUN_ID, 3, "Running")]
    assert flow.state()[0] == "Succeeded"


def test_an_attempt_that_lost_its_run_does_not_end_it(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributing, "distribute", failing(RunTakenOver("a newer attempt goes on")))
    with pytest.raises(RunTakenOver):
        flow.run()
    assert flow.state()[0] == "Running"


def test_what_is_recorded_of_a_run_is_told(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else ended it while it came to its end here; it was told as Succeeded all the same."""
    store = flow.host.store

    async def ended_elsewhere(*_: Any) -> list[RunOutputRow]:
        store.runs.move(RUN_ID, expected=["Running"], state=RunState.FAILED, message="lost", code="RunLost")
        return []

    monkeypatch.setattr(distributing, "distribute", ended_elsewhere)
    summary = flow.run()
    ended = flow.told[-1]
    assert isinstance(ended, RunEnded)
    assert (summary["state"], ended.state, ended.message) == ("Failed", RunState.FAILED, "lost")


def test_a_run_that_waits_again_is_not_told_as_ended(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(*_: Any) -> list[RunOutputRow]:
        flow.host.store.runs.move(RUN_ID, expected=["Running"], state=RunState.QUEUED)
        return []

    monkeypatch.setattr(distributing, "distribute", taken)
    with pytest.raises(RunTakenOver, match="Queued again"):
        flow.run()
    assert not any(isinstance(event, RunEnded) for event in flow.told)


@pytest.mark.parametrize(
    ("error", "is_forgotten"),
    [
        (GeneralizationIncomplete("a key is left"), True),
        (InspectionFailed("it cannot be read"), True),
        (LoginTimedOut("nobody answers"), False),
    ],
)
def test_a_disk_that_the_hygiene_gate_refused_is_kept_for_nobody(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, error: VmkilnError, *, is_forgotten: bool
) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(whole_builds, "forget", lambda staged: forgotten.append(staged.request.run_id))
    monkeypatch.setattr(hygiene_gate, "scrubbed", failing(error))
    with pytest.raises(type(error)):
        flow.run()
    assert forgotten == [RUN_ID] * is_forgotten
