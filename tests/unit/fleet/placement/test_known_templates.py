"""A template is read and checked once for placement, until it is written anew."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting_runs import TYPE, add_waiting_runs

from vmkiln.errors import KeyUnavailable
from vmkiln.fleet.placement import known_templates
from vmkiln.fleet.placement.known_templates import KnownTemplates
from vmkiln.fleet.run_queue import place, queue_of
from vmkiln.provisioning.stored_template import template_of
from vmkiln.run.room import asked_by
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, ImageRow, ResourceRow

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
GOLDEN = f"{GROUP}/providers/Microsoft.Compute/images/golden"
SECRET = "hunter2-of-the-template"
PROPERTIES: dict[str, Any] = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
    "customize": [{"type": "Shell", "name": "say", "inline": [f"echo {SECRET}"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "vmProfile": {"vmSize": "Standard_D2_v2"},
    "provisioningState": "Succeeded",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the templates that were read and checked, each time."""
    names: list[str] = []

    def noted(store: Store, row: ResourceRow) -> Any:
        names.append(row.name)
        return template_of(store, row)

    monkeypatch.setattr(known_templates, "template_of", noted)
    return names


def waiting(store: Store, number: int, properties: dict[str, Any] = PROPERTIES) -> list[str]:
    return add_waiting_runs(
        store,
        range(number),
        subscriptions=[SUBSCRIPTION],
        properties=properties,
        resource_group="rg",
        staging_group="IT_x",
    )


def a_host(store: Store, name: str, *, cpus: int) -> None:
    row = HostRow(f"{name}-incarnation", f"{name}-id", name, "x64", "emulated", "", cpus, 65_536, 1_000_000)
    store.hosts.register(row, lease_seconds=60.0)


def changed(store: Store, name: str, **properties: Any) -> None:
    """Write a template anew."""
    template = f"{GROUP}/providers/{TYPE}/{name}"
    assert store.resources.change(template, lambda old: replace(old, properties={**old.properties, **properties}))


def test_a_waiting_runs_template_is_read_once_until_it_is_written(
    settings: Settings, store: Store, read: list[str]
) -> None:
    waiting(store, 3)
    a_host(store, "small", cpus=4)
    templates = KnownTemplates()
    assert len(place(settings, store, {}, templates=templates).taken) == 1
    assert read == ["t000000", "t000001"]
    reasons = [queue_of(settings, store, templates=templates)[0].reason for _ in range(5)]
    assert set(reasons) == {"waits for 3 CPUs (1 free)"}
    assert read == ["t000000", "t000001"]
    changed(store, "t000001", vmProfile={"vmSize": "Standard_D3_v2"})
    assert queue_of(settings, store, templates=templates)[0].reason == "waits for 4 CPUs (1 free)", "what it says now"
    assert read == ["t000000", "t000001", "t000001"]


def test_its_region_and_isolation_level_are_those_it_has_now(settings: Settings, store: Store) -> None:
    """They are no part of what is known: both stand in the row."""
    waiting(store, 1)
    a_host(store, "here", cpus=8)
    templates = KnownTemplates()
    assert queue_of(settings, store, templates=templates)[0].reason == ""
    template = f"{GROUP}/providers/{TYPE}/t000000"
    store.resources.change(template, lambda old: replace(old, tags={"vmkiln.isolationLevel": "hardware"}))
    assert "the isolation level hardware" in queue_of(settings, store, templates=templates)[0].reason


def test_the_size_of_a_source_image_is_looked_at_each_time(settings: Settings, store: Store, read: list[str]) -> None:
    waiting(store, 1, {**PROPERTIES, "source": {"type": "ManagedImage", "imageId": GOLDEN}})
    a_host(store, "here", cpus=8)
    templates = KnownTemplates()
    before = queue_of(settings, store, templates=templates)[0].room
    row = ImageRow(
        artifact_id=GOLDEN,
        kind="managed image",
        path=settings.home / "golden" / "disk.qcow2",
        format="qcow2",
        digest="0" * 64,
        size_bytes=1,
        virtual_size_bytes=100 * 1024**3,
        generation=1,
        os_type="Linux",
        source_version="1",
        run_id="x",
        tags={},
        detail={},
        created=store.now(),
    )
    store.images.add(row)
    assert queue_of(settings, store, templates=templates)[0].room.disk_mib > before.disk_mib
    assert len(read) == 1


def test_what_could_not_be_read_is_read_again(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(store, 1)
    a_host(store, "here", cpus=8)
    templates = KnownTemplates()

    def away(*_: object) -> None:
        raise KeyUnavailable("the key is away")

    with monkeypatch.context() as patch:
        patch.setattr(known_templates, "template_of", away)
        assert queue_of(settings, store, templates=templates)[0].room.cpus == 0, "it ends with the reason, let in"
    assert queue_of(settings, store, templates=templates)[0].room.cpus > 0


def test_the_template_asked_for_longest_ago_is_forgotten(store: Store) -> None:
    waiting(store, 3)
    rows = store.resources.list(type=TYPE)
    templates = KnownTemplates(most=2)
    for row in rows[:2]:
        templates.learned(store, row)
    assert templates.known(rows[0].etag)
    templates.learned(store, rows[2])
    assert [templates.known(row.etag) is not None for row in rows] == [True, False, True]


def test_nothing_of_a_templates_texts_is_known(store: Store) -> None:
    waiting(store, 1)
    [row] = store.resources.list(type=TYPE)
    asked = asked_by(template_of(store, row))
    assert asked.source is not None
    assert SECRET in str(row.properties), "it was there to be kept"
    assert SECRET not in repr(asked)


def test_what_hosts_keep_is_asked_where_more_than_one_has_room(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    hosts_of = store.kept.hosts_of

    def noted(*names: str) -> dict[str, dict[str, bool]]:
        asked.append(names)
        return hosts_of(*names)

    monkeypatch.setattr(store.kept, "hosts_of", noted)
    waiting(store, 3)
    for name in ("first", "second"):
        a_host(store, name, cpus=3)
        assert [row.incarnation for row in place(settings, store, {}).taken] == [f"{name}-incarnation"]
    assert asked == [], "there was nothing to choose"
    for name in ("third", "fourth"):
        a_host(store, name, cpus=3)
    assert len(place(settings, store, {}).taken) == 1
    assert len(asked) == 1


def test_with_own_none_but_that_host_gets_runs(settings: Settings, store: Store) -> None:
    ids = waiting(store, 2)
    a_host(store, "first", cpus=3)
    a_host(store, "second", cpus=3)
    [row] = place(settings, store, {}, own="second-incarnation").taken
    assert row.incarnation == "second-incarnation"
    [other] = place(settings, store, {}).taken
    assert {row.run_id, other.run_id} == set(ids)
    assert other.incarnation == "first-incarnation"
