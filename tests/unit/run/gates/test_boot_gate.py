"""The boot gate: a result without validations is booted once, and how long that took is kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.disk.disk_image import create_empty
from vmkiln.run.gates import boot_gate
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.run_context import Disks
from vmkiln.run_failures import LoginTimedOut, ValidationFailed
from vmkiln.store.database import utc_now
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.windows.steps import PowerShell


def a_run(folder: Path, *, setting: bool = True, tags: dict[str, str] | None = None) -> Any:
    kept: dict[str, Any] = {}
    told: list[Any] = []
    store = SimpleNamespace(
        runs=SimpleNamespace(add_facts=lambda _run, **facts: kept.update(facts)), verdicts=Verdicts(), now=utc_now
    )
    return SimpleNamespace(
        host=SimpleNamespace(settings=SimpleNamespace(boot_gate=setting), store=store),
        request=SimpleNamespace(run_id="a-run-of-today", template=SimpleNamespace(tags=tags or {})),
        directory=folder,
        source=SimpleNamespace(os_type="Linux"),
        tell=told.append,
        told=told,
        kept=kept,
    )


class Verdicts:
    """The verdicts, as the database keeps them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], VerdictRow] = {}

    def keep(self, verdict: VerdictRow) -> None:
        self.rows[verdict.gate, verdict.digest] = verdict

    def known(self, gate: str, digest: str) -> VerdictRow | None:
        return self.rows.get((gate, digest))


def test_it_is_on_unless_the_setting_or_the_tag_leaves_it_out(tmp_path: Path) -> None:
    assert boot_gate.is_wanted(a_run(tmp_path))
    assert boot_gate.is_wanted(a_run(tmp_path, tags={"vmkiln-boot-gate": "on"}))
    assert not boot_gate.is_wanted(a_run(tmp_path, setting=False))
    assert not boot_gate.is_wanted(a_run(tmp_path, tags={"Vmkiln-Boot-Gate": " Off"}))


async def boot(folder: Path, staged: Any, monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> list[PackerPhase]:
    """Boot an empty disk; Packer's work is stood in for, and ends in one of the outcomes after the other.

    Each is its exit status, or what it raises; below 0 it is that of a Packer that ended before a script did.
    """
    asked: list[PackerPhase] = []

    async def carry_out(_entered: Any, packer_phase: PackerPhase) -> Any:
        outcome = outcomes[len(asked)]
        asked.append(packer_phase)
        if isinstance(outcome, BaseException):
            raise outcome
        script_status = None if outcome < 0 else outcome
        return SimpleNamespace(
            outcome=SimpleNamespace(exit_status=abs(outcome)), error="it broke", script_status=script_status
        )

    monkeypatch.setattr(boot_gate, "carry_out", carry_out)
    disk = await create_empty(folder / "disk.qcow2", size_bytes=1 << 20)
    entered: Any = SimpleNamespace(staged=staged)
    await boot_gate.booted(entered, Disks(disk), digest="d")
    return asked


async def test_the_result_boots_on_throw_away_overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = a_run(tmp_path)
    (phase,) = await boot(tmp_path, staged, monkeypatch, 0)
    assert phase.disks.os.backing is not None
    assert phase.disks.os.backing.path == tmp_path / "disk.qcow2"
    assert not phase.power_off
    assert staged.kept["boot"]["seconds_to_ssh"] >= 0


async def test_the_same_bytes_are_not_booted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = a_run(tmp_path)
    assert not await boot_gate.is_known(staged, "d")
    await boot(tmp_path, staged, monkeypatch, 0)
    staged.kept.clear()
    assert await boot_gate.is_known(staged, "d")
    assert staged.kept["boot"]["by_run"] == "a-run-of-today"
    assert "run a-run-of booted the same bytes on 2" in staged.told[-1].text
    assert not await boot_gate.is_known(staged, "another")


async def test_bytes_that_do_not_boot_are_asked_about_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = a_run(tmp_path)
    with pytest.raises(ValidationFailed):
        await boot(tmp_path, staged, monkeypatch, 1)
    assert not await boot_gate.is_known(staged, "d")


async def test_an_image_that_nobody_can_log_in_to_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoginTimedOut) as failed:
        await boot(tmp_path, a_run(tmp_path), monkeypatch, LoginTimedOut("no login", hint="the console"))
    assert "vmkiln-boot-gate" in (failed.value.hint or "")
    assert "the console" in (failed.value.hint or "")


async def test_an_image_in_which_nothing_runs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationFailed, match="no script runs in it: it broke"):
        await boot(tmp_path, a_run(tmp_path), monkeypatch, 1)


async def test_where_packer_itself_failed_the_result_is_booted_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = a_run(tmp_path)
    assert len(await boot(tmp_path, staged, monkeypatch, -1, 0)) == 2
    assert "Packer failed before a script ran" in staged.told[-1].text
    assert await boot_gate.is_known(staged, "d")


async def test_where_packer_fails_twice_the_image_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationFailed, match="no script runs in it: it broke"):
        await boot(tmp_path, a_run(tmp_path), monkeypatch, -1, -1)


async def test_a_windows_result_is_booted_by_a_script_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = a_run(tmp_path)
    staged.source.os_type = "Windows"
    (phase,) = await boot(tmp_path, staged, monkeypatch, 0)
    assert isinstance(phase.steps[0], PowerShell)
    with pytest.raises(ValidationFailed) as failed:
        await boot(tmp_path, staged, monkeypatch, 1)
    assert "answer file" in str(failed.value.hint)
    assert "ssh" not in str(failed.value.hint)
