"""Of which builds something is kept, what they begin behind, and the steps that are left."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.saved import saved_vm
from vmkiln.packer.packer_template import FileCopy, InlineShell, checkpoint_of
from vmkiln.run.checkpoints import kept_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild, fact_of, longest_kept, tell_hit, why_none
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_state import Start
from vmkiln.secrecy.secret_mask import NO_SECRETS
from vmkiln.setting_texts.declaration import Checkpoints
from vmkiln.settings import Settings
from vmkiln.warm import checkpoint, saved_base

SCOPE = "command:0:rg/web"
BUILD = KeptBuild(tuple(Position(number, f"{number:064}", f"step {number}") for number in (1, 2)), scope=SCOPE)
STEPS = tuple(InlineShell(f"step {number}", "", ("true",)) for number in (1, 2, 3))


def settings(checkpoints: Checkpoints = Checkpoints.COMMANDS, home: Path = Path("/h"), **more: Any) -> Settings:
    return Settings(home=home, checkpoints=checkpoints, **more)


@pytest.mark.parametrize(
    ("checkpoints", "tags", "template_id", "is_kept"),
    [
        (Checkpoints.COMMANDS, {}, "", True),
        (Checkpoints.ALL, {}, "", True),
        (Checkpoints.NONE, {"vmkiln-checkpoints": "true"}, "", False),
        (Checkpoints.COMMANDS, {}, "/s/web", False),
        (Checkpoints.COMMANDS, {"VMKILN-Checkpoints": "True"}, "/s/web", True),
        (Checkpoints.ALL, {}, "/s/web", True),
        (Checkpoints.ALL, {"vmkiln-checkpoints": "false"}, "/s/web", False),
        (Checkpoints.COMMANDS, {"vmkiln-checkpoints": "false"}, "", False),
    ],
)
def test_commands_builds_are_kept_and_a_services_when_it_is_asked_for(
    checkpoints: Checkpoints, tags: dict[str, str], template_id: str, is_kept: bool
) -> None:
    assert (why_none(settings(checkpoints), tags, template_id=template_id) == "") == is_kept
    assert why_none(settings(checkpoints, most_saved_vms_mib=0), tags, template_id=template_id)


def test_each_step_has_its_checkpoint_behind_it_and_done_ones_are_left_out() -> None:
    assert numbers(BUILD.steps_behind(0, STEPS)) == [("step 1", 1), ("step 2", 2), ("step 3", 0)]
    assert numbers(BUILD.steps_behind(1, STEPS)) == [("step 2", 2), ("step 3", 0)]
    assert KeptBuild(reason="none").steps_behind(0, STEPS) == STEPS


def test_files_and_steps_that_may_restart_have_a_hidden_step_behind_them() -> None:
    steps = (FileCopy("file", "", Path("/c"), "/d"), InlineShell("restart", "", ("reboot",)), *STEPS)
    build = replace(BUILD, restarting=frozenset({2}))
    assert numbers(build.steps_behind(0, steps))[:4] == [
        ("file", 0),
        ("checkpoint", 1),
        ("restart", 0),
        ("checkpoint", 2),
    ]


def numbers(steps: Sequence[object]) -> list[tuple[str, int]]:
    found = [(step, checkpoint_of(step)) for step in steps]
    return [(step.name, checkpoint.number if checkpoint else 0) for step, checkpoint in found]  # type: ignore[attr-defined]


def kept(folder: Path, position: int, *, age: float = 0, run_id: str = "earlier-run") -> None:
    key = f"{position:064}"
    workplace = saved_vm.begun(folder, key)
    (workplace / saved_vm.MEMORY).write_bytes(b"m")
    about = checkpoint.About(SCOPE, position, f"step {position}", run_id, "web", time.time() - age, "instance")
    saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
    saved_vm.named(workplace)


def staged(home: Path, **changes: Any) -> Any:
    request = SimpleNamespace(run_id="this-run", uses_checkpoints=True, most_checkpoint_age_seconds=3600)
    for name, value in changes.items():
        setattr(request, name, value)
    told: list[Any] = []
    return SimpleNamespace(
        host=SimpleNamespace(settings=settings(home=home)), request=request, tell=told.append, told=told
    )


async def position_of(run: Any) -> int:
    hit = await longest_kept(run, BUILD)
    return 0 if hit is None else hit.about.position


async def test_templates_that_begin_alike_have_keys_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def facts_of(_: object) -> dict[str, object]:
        return {"source": "the same"}

    monkeypatch.setattr(kept_builds, "why_cold", lambda _: "")
    monkeypatch.setattr(kept_builds, "base_of", lambda *_, **__: None)
    monkeypatch.setattr(saved_base, "facts_of", facts_of)
    monkeypatch.setattr(kept_builds, "_surroundings", lambda _: {})
    step = SimpleNamespace(type="Shell")
    template = SimpleNamespace(tags={"vmkiln-checkpoints": "true"}, properties=SimpleNamespace(customize=(step,)))

    async def build_of(name: str, *, template_id: str = "", group: str = "IT_1") -> KeptBuild:
        run = staged(tmp_path, template=template, template_id=template_id, mask=NO_SECRETS)
        run.group = SimpleNamespace(name=group)
        run.request.resource_group, run.request.template_name = "rg", name
        run.source = run.shape = run.network = None
        return await kept_builds.kept_build_of(run, STEPS[:1], name="build-vm")

    async def key_for(name: str, *, template_id: str = "", group: str = "IT_1") -> str:
        build = await build_of(name, template_id=template_id, group=group)
        assert build.is_whole
        return build.at(1).key

    keys = [await key_for("web"), await key_for("db"), await key_for("web", template_id="/s/web")]
    assert len(set(keys)) == 3, "or each would take the place of the others', and refuse it for them"
    assert await key_for("WEB", group="IT_2") == keys[0], "each run of a command has a group of its own"
    assert await key_for("web", template_id="/s/web") == keys[2]
    assert await key_for("web", template_id="/s/web", group="IT_2") not in keys, "one that was deleted and made anew"
    template.tags["vmkiln-never-kept"] = STEPS[0].name
    build = await build_of("web")
    assert (build.is_whole, bool(build.reason)) == (False, True), "or an edited step of those would not run"


async def test_a_build_begins_behind_the_most_customizers_that_are_kept(tmp_path: Path) -> None:
    run = staged(tmp_path)
    folder = run.host.settings.saved_vms
    assert await position_of(run) == 0
    kept(folder, 1)
    assert await position_of(run) == 1
    kept(folder, 2, age=7200)
    assert await position_of(run) == 1, "the other is too old"
    assert await position_of(staged(tmp_path, most_checkpoint_age_seconds=86_400)) == 2
    assert await position_of(staged(tmp_path, uses_checkpoints=False)) == 0
    saved_vm.refuse(folder, f"{1:064}", "it did not go on")
    assert await position_of(run) == 0


async def test_an_attempt_begins_behind_what_the_one_before_kept(tmp_path: Path) -> None:
    run = staged(tmp_path, attempt=2)
    kept(run.host.settings.saved_vms, 2, run_id="this-run")
    hit = await longest_kept(run, BUILD)
    assert hit is not None
    assert "behind customizer 2 of 3 (`step 2`), as this run before left it" in tell_hit(run, "vm", hit, count=3)


async def test_a_hit_is_told_with_its_run_its_age_and_what_no_longer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = staged(tmp_path)
    kept(run.host.settings.saved_vms, 2, age=600)
    hit = await longest_kept(run, BUILD)
    assert hit is not None
    text = tell_hit(run, "build-vm", hit, count=3)
    assert text.startswith(
        "the build-vm goes on behind customizer 2 of 3 (`step 2`), as run earlier- left it, the first of it 10 min"
    )
    assert text.endswith(kept_builds.SLSA)
    assert run.told[0] == Notice(text)
    assert isinstance(run.told[1], PartStarted)
    assert run.told[1].start is Start.KEPT
    fact = fact_of(hit)
    assert (fact["run_id"], fact["position"], fact["no_persistence"]) == ("earlier-run", 2, False)
    assert 600 <= fact["age_seconds"] <= 700


KEEPS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from vmkiln.host.saved import saved_vm
from vmkiln.warm import checkpoint

folder, key, is_named = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
workplace = saved_vm.begun(folder, key)
(workplace / saved_vm.MEMORY).write_bytes(b"m")
about = checkpoint.About(sys.argv[4], 2, "step 2", "this-run", "web", float(sys.argv[5]), "instance")
saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
if is_named:
    saved_vm.named(workplace)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_named", [True, False])
async def test_what_a_killed_run_had_kept_serves_its_next_attempt_when_it_is_whole(
    tmp_path: Path, is_named: bool
) -> None:
    run = staged(tmp_path, attempt=2)
    folder = run.host.settings.saved_vms
    folder.mkdir(parents=True)
    words = [sys.executable, "-c", KEEPS_AND_DIES, folder, f"{2:064}", str(is_named), SCOPE, str(time.time())]
    killed = await asyncio.to_thread(subprocess.run, words, check=False)
    assert killed.returncode == -signal.SIGKILL
    saved_vm.remove_left(folder)  # as the next command does
    assert await position_of(run) == (2 if is_named else 0)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ([f"{2:064}"] if is_named else [])
