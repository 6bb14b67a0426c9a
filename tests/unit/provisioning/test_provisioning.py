"""Provisioning may be repeated: what an earlier try made is found, and nothing is made twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmkiln.azure_names import IMAGE_TEMPLATE, RESOURCE_GROUP
from vmkiln.errors import SharedStorageFailed
from vmkiln.host.saved import saved_vm
from vmkiln.provisioning import provisioning
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.warm import checkpoint

PLACE = "/subscriptions/s/resourceGroups/rg"
TEMPLATE = f"{PLACE}/providers/{IMAGE_TEMPLATE}/web"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a resource group and a template that waits to be provisioned."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        common = {"subscription_id": "s", "resource_group": "rg", "location": "local"}
        store.resources.put(ResourceRow(id=PLACE, type=RESOURCE_GROUP, name="rg", **common))
        source = {
            "type": "PlatformImage",
            "publisher": "Debian",
            "offer": "debian-12",
            "sku": "12",
            "version": "latest",
        }
        store.resources.put(
            ResourceRow(
                id=TEMPLATE,
                type=IMAGE_TEMPLATE,
                name="web",
                identity={"type": "None"},
                properties={
                    "source": source,
                    "distribute": [{"type": "VHD", "runOutputName": "out"}],
                    "provisioningState": "Creating",
                },
                state={"api_version": "2025-10-01"},
                **common,
            )
        )
        yield store


def groups(store: Store) -> list[str]:
    return [row.name for row in store.resources.list(type=RESOURCE_GROUP) if row.name.startswith("IT_")]


def test_a_crash_before_anything_was_recorded_leaves_no_second_group(store: Store, tmp_path: Path) -> None:
    row = store.resources.get(TEMPLATE)
    assert row is not None
    settings = Settings(tmp_path)
    assert asyncio.run(provisioning.provision(settings, store, TEMPLATE)) == {}
    first = groups(store)
    forgotten = {"api_version": "2025-10-01"}
    store.resources.change(TEMPLATE, lambda old: replace(old, state=forgotten))
    assert asyncio.run(provisioning.provision(settings, store, TEMPLATE)) == {}
    assert groups(store) == first
    assert len(first) == 1
    assert [group.name for group in store.staging.list_groups()] == first


def test_a_template_of_the_same_name_gets_a_group_of_its_own(store: Store, tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    kept = store.resources.get(TEMPLATE)
    assert kept is not None
    asyncio.run(provisioning.provision(settings, store, TEMPLATE))
    first = groups(store)
    provisioning.delete(settings, store, TEMPLATE)
    assert groups(store) == []
    provisioning.delete(settings, store, TEMPLATE)
    store.resources.put(kept)
    asyncio.run(provisioning.provision(settings, store, TEMPLATE))
    assert groups(store) != first
    assert len(groups(store)) == 1


def kept(settings: Settings, key: str, template_id: str) -> None:
    """A checkpoint of a template resource."""
    workplace = saved_vm.begun(settings.saved_vms, key)
    (workplace / saved_vm.MEMORY).write_bytes(b"ram")
    scope = checkpoint.scope_of(template_id=template_id, resource_group="", name="")
    about = checkpoint.About(scope, 1, "install", "run", "web", 1.0, "instance")
    saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
    saved_vm.named(workplace)


def test_what_is_kept_of_a_templates_builds_is_deleted_with_it(store: Store, tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    asyncio.run(provisioning.provision(settings, store, TEMPLATE))
    kept(settings, "a", TEMPLATE.upper())
    kept(settings, "b", f"{TEMPLATE}-other")
    provisioning.delete(settings, store, TEMPLATE)
    assert [one.key for one in checkpoint.all_of(settings.saved_vms)] == ["b"]


def test_a_deleted_template_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    asyncio.run(provisioning.provision(settings, store, TEMPLATE))
    assert list(settings.staging.iterdir())
    provisioning.delete(settings, store, TEMPLATE)
    assert not list(settings.staging.iterdir())
    assert not store.staging.list_groups()
    assert [row.id for row in store.resources.list()] == [PLACE]


def test_scripts_are_on_every_host_before_a_template_is_said_to_be_ready(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    class Shared:
        def push_submission(self, group: str) -> None:
            row = store.resources.get(TEMPLATE)
            assert row is not None
            seen.append((group, row.properties["provisioningState"]))
            if len(seen) == 1:
                raise SharedStorageFailed("the store is away")

    shared: Any = Shared()
    failed = asyncio.run(provisioning.provision(Settings(tmp_path), store, TEMPLATE, shared=shared))
    text = f"{SharedStorageFailed.outside}; the service's log has more."
    assert failed == {"code": "Other", "message": text}
    store.resources.change(
        TEMPLATE, lambda row: replace(row, properties={**row.properties, "provisioningState": "Creating"})
    )
    assert asyncio.run(provisioning.provision(Settings(tmp_path), store, TEMPLATE, shared=shared)) == {}
    assert seen == [(groups(store)[0], "Creating")] * 2
