"""A build of which nothing was edited takes the disk that was kept of it, with the keys that are searched for in it."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.azure_names import DISK
from vmkiln.errors import StorageFailed
from vmkiln.host.saved import saved_vm
from vmkiln.run.checkpoints import keeping, whole_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.finished import build_keys
from vmkiln.run.run_context import BUILD_VM
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_state import Start
from vmkiln.settings import Settings
from vmkiln.staging.login_key import new_key
from vmkiln.store.database import Store, opened
from vmkiln.warm import checkpoint

BUILD = KeptBuild((Position(1, "1" * 64, "one"), Position(2, "2" * 64, "two")), scope="command:0:rg/web", is_whole=True)
KEY = new_key("host")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(keeping, "SPARE_MIB", 0)
    with opened(tmp_path / "db") as store:
        yield store


def a_run(home: Path, store: Store, run_id: str, **more: Any) -> Any:
    """A staged run in a folder of its own, of which facts and what is told are noted."""
    directory = home / run_id
    directory.mkdir()
    facts: dict[str, Any] = {}
    told: list[Any] = []
    disks: list[Any] = []
    staging = SimpleNamespace(
        add_resources=lambda _group, entries, **_more: disks.extend(entries) or [len(disks)],
        resources_deleted=lambda numbers: disks.append(("deleted", numbers)),
    )
    runs = SimpleNamespace(
        add_facts=lambda _run, **added: facts.update(added), find=lambda _run: SimpleNamespace(facts=facts)
    )
    asked = {"uses_checkpoints": True, "most_checkpoint_age_seconds": 86_400} | more
    return SimpleNamespace(
        host=SimpleNamespace(
            settings=Settings(home=home), store=SimpleNamespace(runs=runs, seal=store.seal, staging=staging)
        ),
        group=SimpleNamespace(name="group", run_id=run_id),
        disks=disks,
        request=SimpleNamespace(run_id=run_id, template_name="web", **asked),
        source=SimpleNamespace(digest="of the source"),
        directory=directory,
        tell=told.append,
        told=told,
        facts=facts,
    )


async def kept(
    home: Path, store: Store, build: KeptBuild = BUILD, *, run_id: str = "first", disk: bytes = b"customized"
) -> Any:
    """A run whose disk is kept."""
    run = a_run(home, store, run_id)
    (run.directory / f"{BUILD_VM}-seed.iso").write_text(KEY.private + KEY.public)
    (run.directory / "disk").write_bytes(disk)
    await whole_builds.keep(run, build, run.directory / "disk")
    return run


async def test_the_same_build_takes_the_disk_and_its_makers_keys_are_searched_for(tmp_path: Path, store: Store) -> None:
    first = await kept(tmp_path, store)
    assert first.told == []
    wanted = build_keys.known(first)
    assert wanted
    run = a_run(tmp_path, store, "second")
    hit = await whole_builds.found(run, BUILD)
    assert hit is not None
    assert (hit.about.position, hit.about.step, hit.about.run_id) == (3, "deprovision", "first")
    own = run.directory / "build-vm.qcow2"
    said = await whole_builds.taken(run, hit, own, name=BUILD_VM)
    assert said.startswith("no step has changed, so none runs: the disk of the build-vm is as run first left it, ")
    assert own.read_bytes() == b"customized"
    assert run.disks == [(DISK, "build-vm-os-disk", {"path": str(own)}), ("deleted", [1])], "it has a receipt"
    assert own.stat().st_mode & 0o777 == 0o600, "its own, which it may write"
    assert own.stat().st_ino != hit.saved.disk.stat().st_ino  # type: ignore[union-attr]
    assert build_keys.known(run) == wanted
    assert run.facts["checkpoint"]["run_id"] == "first"
    assert [one.start for one in run.told if isinstance(one, PartStarted)] == [Start.KEPT]
    place = hit.saved.memory.parent
    lines = [line for ones in wanted.values() for line in ones]
    assert not [file for file in place.iterdir() if any(line in file.read_bytes() for line in lines)]
    assert saved_vm.is_whole(hit.saved)


async def test_what_is_kept_of_it_is_as_old_as_what_it_began_behind(tmp_path: Path, store: Store) -> None:
    old = time.time() - 3 * 3600
    await kept(tmp_path, store, replace(BUILD, since=old))
    (one,) = checkpoint.all_of(Settings(home=tmp_path).saved_vms)
    assert one.about.made == old
    assert await whole_builds.found(a_run(tmp_path, store, "late", most_checkpoint_age_seconds=3600), BUILD) is None


@pytest.mark.parametrize(
    ("build", "asked"),
    [
        (replace(BUILD, is_whole=False), {}),
        (replace(BUILD, scope="command:0:rg/other"), {}),
        (replace(BUILD, positions=(BUILD.positions[0], Position(2, "3" * 64, "two"))), {}),
        (BUILD, {"uses_checkpoints": False}),
    ],
)
async def test_no_other_build_takes_it_and_none_that_is_to_begin_anew(
    build: KeptBuild, asked: dict[str, Any], tmp_path: Path, store: Store
) -> None:
    await kept(tmp_path, store)
    assert await whole_builds.found(a_run(tmp_path, store, "other", **asked), build) is None


async def test_a_build_with_a_secret_in_a_step_keeps_no_disk(tmp_path: Path, store: Store) -> None:
    await kept(tmp_path, store, replace(BUILD, is_whole=False, reason="from `two` on nothing is kept"))
    assert not Settings(home=tmp_path).saved_vms.exists()


@pytest.mark.parametrize("is_late", [False, True], ids=["before its keys are read", "before it is copied"])
async def test_what_is_pruned_beside_a_build_costs_it_its_steps_alone(
    is_late: bool, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(tmp_path, store)
    run = a_run(tmp_path, store, "second")
    hit = await whole_builds.found(run, BUILD)
    assert hit is not None
    take_over = build_keys.take_over

    def pruned(*arguments: Any, **named: Any) -> bool:
        found = take_over(*arguments, **named) if is_late else True
        saved_vm.discard(hit.saved)
        return found if is_late else take_over(*arguments, **named)

    monkeypatch.setattr(build_keys, "take_over", pruned)
    own = run.directory / "build-vm.qcow2"
    assert await whole_builds.taken(run, hit, own, name=BUILD_VM) == ""
    (warning,) = [one.text for one in run.told if isinstance(one, Notice) and one.is_warning]
    assert warning.startswith("the disk that was kept is not used: ")
    assert not own.exists()
    assert not saved_vm.is_refused(Settings(home=tmp_path).saved_vms, hit.key), "the next build keeps one again"


async def test_a_disk_with_a_changed_byte_is_thrown_away_and_the_steps_run(tmp_path: Path, store: Store) -> None:
    await kept(tmp_path, store)
    run = a_run(tmp_path, store, "second")
    hit = await whole_builds.found(run, BUILD)
    assert hit is not None
    assert hit.saved.disk is not None
    hit.saved.disk.chmod(0o600)
    hit.saved.disk.write_bytes(b"CUSTOMIZED")
    own = run.directory / "build-vm.qcow2"
    assert await whole_builds.taken(run, hit, own, name=BUILD_VM) == ""
    assert not own.exists()
    assert "checkpoint" not in run.facts
    assert ["the disk that was kept is not used" in one.text for one in run.told if isinstance(one, Notice)] == [True]
    assert await whole_builds.found(run, BUILD) is None


async def test_a_disk_that_cannot_be_kept_costs_no_build(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SPARE_MIB", 2**40)
    run = await kept(tmp_path, store)
    (said,) = run.told
    assert said.text.startswith("the disk is not kept for later builds: ")
    assert "MiB of disk are free" in said.text
    assert checkpoint.all_of(Settings(home=tmp_path).saved_vms) == []


async def test_a_disk_is_never_searched_for_the_keys_of_another(tmp_path: Path, store: Store) -> None:
    """Another run ends the same build while the disk is about to be copied."""
    await kept(tmp_path, store)
    run = a_run(tmp_path, store, "second")
    hit = await whole_builds.found(run, BUILD)
    assert hit is not None
    await kept(tmp_path, store, run_id="third", disk=b"customized as well")
    own = run.directory / "build-vm.qcow2"
    assert await whole_builds.taken(run, hit, own, name=BUILD_VM) == ""
    assert not own.exists()
    assert build_keys.known(run) == {}
    (said,) = run.told
    assert "the keys of the build that made it are not known" in said.text
    late = a_run(tmp_path, store, "fourth")
    hit = await whole_builds.found(late, BUILD)
    assert hit is not None
    assert await whole_builds.taken(late, hit, own, name=BUILD_VM), "the third's own is whole"


async def test_a_disk_whose_keys_are_not_known_is_not_kept(tmp_path: Path, store: Store) -> None:
    run = a_run(tmp_path, store, "first")
    (run.directory / "disk").write_bytes(b"customized")
    await whole_builds.keep(run, BUILD, run.directory / "disk")
    (said,) = run.told
    assert said.text.endswith("what is searched for in its bytes cannot be kept with it")
    assert checkpoint.all_of(Settings(home=tmp_path).saved_vms) == []


async def test_a_disk_that_cannot_be_written_out_ends_the_run(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells that once: whoever syncs it later hears that all is well."""

    def broken(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(whole_builds, "sync", broken)
    with pytest.raises(StorageFailed):
        await kept(tmp_path, store)
    assert checkpoint.all_of(Settings(home=tmp_path).saved_vms) == []


async def test_a_disk_that_the_gate_refused_is_forgotten_by_maker_and_taker(tmp_path: Path, store: Store) -> None:
    whole_builds.forget(await kept(tmp_path, store))
    assert checkpoint.all_of(Settings(home=tmp_path).saved_vms) == []
    await kept(tmp_path, store, run_id="third")
    run = a_run(tmp_path, store, "fourth")
    whole_builds.forget(run)
    hit = await whole_builds.found(run, BUILD)
    assert hit is not None, "another's stays"
    await whole_builds.taken(run, hit, run.directory / "build-vm.qcow2", name=BUILD_VM)
    whole_builds.forget(run)
    assert checkpoint.all_of(Settings(home=tmp_path).saved_vms) == []
