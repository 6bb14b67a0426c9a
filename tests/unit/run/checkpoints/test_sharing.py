"""Templates of one resource group share checkpoints where the setting says so, and none of another group ever."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.buildable.start_tags import KEPT_TAG
from vmkiln.host.saved import saved_vm
from vmkiln.packer.packer_template import InlineShell
from vmkiln.run.checkpoints import kept_builds, sharing, whole_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild, fact_of, kept_build_of, longest_kept, tell_hit
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.setting_texts.declaration import Checkpoints
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.warm import checkpoint, saved_base

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
STEPS = tuple(InlineShell(f"step {number}", "", (f"echo {number}",)) for number in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as found:
        yield found


@pytest.fixture(autouse=True)
def same_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def facts_of(_: object) -> dict[str, object]:
        return {"source": "the same"}

    monkeypatch.setattr(kept_builds, "why_cold", lambda _: "")
    monkeypatch.setattr(kept_builds, "base_of", lambda *_, **__: None)
    monkeypatch.setattr(saved_base, "facts_of", facts_of)
    monkeypatch.setattr(kept_builds, "_surroundings", lambda _: {})


def id_of(name: str, *, group: str = "images", subscription: str = SUBSCRIPTION) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{IMAGE_TEMPLATE}/{name}"


def put(store: Store, template_id: str, *, staging: str) -> None:
    _, _, subscription, _, group, *_, name = template_id.split("/")
    row = ResourceRow(template_id, IMAGE_TEMPLATE, name, subscription, group, state={"staging_group": staging})
    assert store.resources.insert(row) is not None


def run_of(store: Store, home: Path, template_id: str, *, shares: bool = True, staging: str = "", **more: Any) -> Any:
    """A staged run of a service's template, or with '' of a command's called `name` in `resource_group`."""
    name = more.pop("name", template_id.rpartition("/")[2])
    template = SimpleNamespace(tags={}, properties=SimpleNamespace(customize=(SimpleNamespace(type="Shell"),) * 3))
    request = SimpleNamespace(
        run_id=f"run-of-{name}",
        template=template,
        template_id=template_id,
        template_name=name,
        resource_group="images",
        uses_checkpoints=True,
        most_checkpoint_age_seconds=3600,
        mask=SecretMask(()),
    )
    for member, value in more.items():
        setattr(request, member, value)
    settings = Settings(home, checkpoints=Checkpoints.ALL, share_checkpoints=shares)
    host = SimpleNamespace(settings=settings, store=store)
    return SimpleNamespace(
        host=host,
        request=request,
        group=SimpleNamespace(name=staging or f"IT_{name}"),
        source=None,
        shape=None,
        network=None,
        tell=lambda _event: None,
    )


async def build_of(run: Any, steps: tuple[InlineShell, ...] = STEPS) -> KeptBuild:
    return await kept_build_of(run, steps, name="build-vm")


async def kept(run: Any, position: int = 2, *, age: float = 0) -> str:
    """What this run's build has come to is kept, as its keeper does; gives the key."""
    build, request = await build_of(run), run.request
    place = build.at(position)
    workplace = saved_vm.begun(run.host.settings.saved_vms, place.key)
    (workplace / saved_vm.MEMORY).write_bytes(b"m")
    made = time.time() - age
    about = checkpoint.About(build.scope, position, place.step, request.run_id, request.template_name, made, "instance")
    saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
    saved_vm.named(workplace)
    return place.key


async def hit_of(run: Any, steps: tuple[InlineShell, ...] = STEPS) -> checkpoint.Checkpoint | None:
    return await longest_kept(run, await build_of(run, steps))


@pytest.mark.parametrize("shares", [True, False])
async def test_a_template_begins_behind_anothers_of_its_group_where_it_is_set(
    tmp_path: Path, store: Store, shares: bool
) -> None:
    web, api = id_of("web"), id_of("api", group="IMAGES")
    put(store, web, staging="IT_web")
    put(store, api, staging="IT_api")
    key = await kept(run_of(store, tmp_path, web, shares=shares))
    hit = await hit_of(run_of(store, tmp_path, api, shares=shares))
    assert (hit.key if hit else "") == (key if shares else "")
    own = await hit_of(run_of(store, tmp_path, web, shares=shares))
    assert own is not None, "its own serves it either way"
    assert own.lent_by == ""


@pytest.mark.parametrize(
    "stranger",
    [
        id_of("web", group="images2"),
        id_of("web", group="image"),
        id_of("web", subscription=SUBSCRIPTION.replace("1", "9")),
        "",
    ],
)
async def test_no_template_of_another_group_or_of_a_command_is_served(
    tmp_path: Path, store: Store, stranger: str
) -> None:
    if stranger:
        put(store, stranger, staging="IT_web")
    await kept(run_of(store, tmp_path, stranger, name="web", staging="IT_web"))
    neighbour = id_of("api")
    put(store, neighbour, staging="IT_api")
    assert (await build_of(run_of(store, tmp_path, neighbour))).sharers == ()
    assert await hit_of(run_of(store, tmp_path, neighbour)) is None


async def test_commands_share_by_user_and_group_alone(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(run_of(store, tmp_path, "", name="web"))
    hit = await hit_of(run_of(store, tmp_path, "", name="api"))
    assert hit is not None
    assert hit.lent_by == "images/web"
    assert await hit_of(run_of(store, tmp_path, "", name="api", resource_group="others")) is None
    monkeypatch.setattr(checkpoint.os, "getuid", lambda: 4242)
    assert await hit_of(run_of(store, tmp_path, "", name="api")) is None


async def test_a_template_that_is_gone_or_made_anew_lends_nothing(tmp_path: Path, store: Store) -> None:
    web, api = id_of("web"), id_of("api")
    put(store, api, staging="IT_api")
    await kept(run_of(store, tmp_path, web))
    assert await hit_of(run_of(store, tmp_path, api)) is None, "what another host of the fleet has not deleted yet"
    put(store, web, staging="IT_web_anew")
    assert await hit_of(run_of(store, tmp_path, api)) is None
    store.resources.delete(web)
    put(store, web, staging="IT_web")
    assert await hit_of(run_of(store, tmp_path, api)) is not None
    checkpoint.forget(
        Settings(tmp_path).saved_vms, checkpoint.scope_of(template_id=web, resource_group="", name="")
    )  # as its deletion does
    assert await hit_of(run_of(store, tmp_path, api)) is None


async def test_a_template_that_has_nothing_kept_any_more_lends_nothing(tmp_path: Path, store: Store) -> None:
    for name in ("web", "api"):
        put(store, id_of(name), staging=f"IT_{name}")
    await kept(run_of(store, tmp_path, id_of("web")))
    api = run_of(store, tmp_path, id_of("api"))
    for tags, is_lent in (({KEPT_TAG: "False"}, False), ({KEPT_TAG: "true"}, True), ({}, True)):
        store.resources.change(id_of("web"), partial(replace, tags=tags))
        assert (await hit_of(api) is not None) is is_lent


async def test_all_else_of_the_key_and_the_age_hold_for_anothers_too(tmp_path: Path, store: Store) -> None:
    for name in ("web", "api"):
        put(store, id_of(name), staging=f"IT_{name}")
    await kept(run_of(store, tmp_path, id_of("web")), 1, age=7200)
    api = run_of(store, tmp_path, id_of("api"))
    assert await hit_of(api) is None, "too old"
    await kept(run_of(store, tmp_path, id_of("web")), 2)
    other = (replace(STEPS[0], lines=("echo other",)), *STEPS[1:])
    assert await hit_of(api, other) is None, "another first step"
    assert await hit_of(run_of(store, tmp_path, id_of("api"), uses_checkpoints=False)) is None
    found = await hit_of(api)
    assert found is not None
    assert found.about.position == 2


async def test_a_step_with_a_secret_of_its_own_ends_what_it_takes_of_others(tmp_path: Path, store: Store) -> None:
    for name in ("web", "api"):
        put(store, id_of(name), staging=f"IT_{name}")
    await kept(run_of(store, tmp_path, id_of("web")))
    secret = SecretMask(("echo 2",))
    assert await hit_of(run_of(store, tmp_path, id_of("api"), mask=secret)) is None
    assert await hit_of(run_of(store, tmp_path, id_of("api"))) is not None


async def test_log_and_provenance_name_whose_checkpoint_it_was(tmp_path: Path, store: Store) -> None:
    for name in ("web", "api", "older"):
        put(store, id_of(name), staging=f"IT_{name}")
    await kept(run_of(store, tmp_path, id_of("older")), age=60)
    await kept(run_of(store, tmp_path, id_of("web")))
    api = run_of(store, tmp_path, id_of("api"))
    hit = await hit_of(api)
    assert hit is not None
    assert hit.about.template == "web", "the newest of those that fit"
    text = tell_hit(api, "build-vm", hit, count=3)
    assert f"run run-of-w of another template of this resource group ({id_of('web').lower()}) left it" in text
    assert fact_of(hit)["lent_by"] == id_of("web").lower()
    await kept(api)
    own = await hit_of(api)
    assert own is not None
    assert "lent_by" not in fact_of(own), "its own goes first"


async def test_the_disk_of_a_whole_build_is_looked_for_under_anothers_key(tmp_path: Path, store: Store) -> None:
    for name in ("web", "api"):
        put(store, id_of(name), staging=f"IT_{name}")
    web = await build_of(run_of(store, tmp_path, id_of("web")))
    place = whole_builds.position_of(web)
    assert place is not None
    workplace = saved_vm.begun(Settings(tmp_path).saved_vms, place.key)
    (workplace / saved_vm.MEMORY).touch()
    about = checkpoint.About(web.scope, place.number, place.step, "run-of-web", "web", time.time(), "")
    saved_vm.finished(workplace, b"", "digest", about=checkpoint.record_of(about))
    saved_vm.named(workplace)
    api = run_of(store, tmp_path, id_of("api"))
    hit = await whole_builds.found(api, await build_of(api))
    assert hit is not None
    assert hit.lent_by == id_of("web").lower()
    apart = run_of(store, tmp_path, id_of("api"), shares=False)
    assert await whole_builds.found(apart, await build_of(apart)) is None


async def test_only_so_many_others_are_asked(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_SHARERS", 2)
    for name in ("a", "b", "c", "own"):
        put(store, id_of(name), staging=f"IT_{name}")
        await kept(run_of(store, tmp_path, id_of(name)))
    build = await build_of(run_of(store, tmp_path, id_of("own")))
    assert [one.group for one in build.sharers] == ["IT_a", "IT_b"]
