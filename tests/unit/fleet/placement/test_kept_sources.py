"""A run goes to a host that keeps its source image."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from waiting_runs import TYPE, add_waiting_runs

from vmkiln.fleet.placement import kept_sources
from vmkiln.fleet.placement.kept_sources import KeptHere, kept_here
from vmkiln.fleet.run_queue import place
from vmkiln.host.saved import saved_vm
from vmkiln.platform_images import image_cache
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, ImageRow
from vmkiln.warm import checkpoint

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GOLDEN = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/images/golden"
PLATFORM = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}


def a_source(settings: Settings, tmp_path: Path, *, version: str, age_days: float = 0.0) -> SourceImage:
    file = tmp_path / version
    file.write_bytes(version.encode())
    created = NOW - timedelta(days=age_days)
    return image_cache.add(
        settings.image_cache,
        file,
        name="debian:debian-12:12",
        exact_version=version,
        format="qcow2",
        generation=1,
        os_type="Linux",
        virtual_size_bytes=1,
        origin="x",
        created=created,
    )


def a_host(store: Store, name: str, *, cpus: int) -> None:
    row = HostRow(f"{name}-incarnation", f"{name}-id", name, "x64", "emulated", "", cpus, 65_536, 100_000)
    store.hosts.register(row, lease_seconds=60.0)


def a_run(settings: Settings, store: Store, number: int, source: dict[str, str]) -> str:
    properties = {
        "source": source,
        "distribute": [{"type": "VHD", "runOutputName": "out"}],
        "provisioningState": "Succeeded",
    }
    [run_id] = add_waiting_runs(
        store,
        range(number, number + 1),
        subscriptions=[SUBSCRIPTION],
        properties=properties,
        resource_group="rg",
        staging_group="IT_x",
    )
    [row] = place(settings, store, {}).taken
    assert row.run_id == run_id
    return str(store.runs.find(run_id).facts["placement"])


def test_a_host_tells_what_it_keeps_and_what_it_has_booted(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")
    assert kept_here(settings, now=NOW) == {}, "nothing is there yet"
    stale = a_source(settings, tmp_path, version="1.0.0", age_days=settings.platform_image_most_age_days + 1)
    assert kept_here(settings, now=NOW) == {"debian:debian-12:12:1.0.0": False}, "it would not be used for `latest`"
    a_source(settings, tmp_path, version="1.0.1")
    workplace = settings.saved_vms / "of-the-old-one"
    workplace.mkdir(parents=True)
    saved_vm.finished(workplace, b"devices", "0" * 64, source=stale.digest)
    checkpoint = settings.saved_vms / "later"
    checkpoint.mkdir()
    saved_vm.finished(checkpoint, b"devices", "0" * 64, source="another", about={"step": "install"})
    (settings.image_store / "golden-1").mkdir(parents=True)
    assert kept_here(settings, now=NOW) == {
        "debian:debian-12:12": False,
        "debian:debian-12:12:1.0.1": False,
        "debian:debian-12:12:1.0.0": True,
        "golden-1": False,
    }
    assert saved_vm.sources_of(settings.saved_vms) == {stale.digest}


def a_checkpoint(settings: Settings, scope: str, *, made: datetime, source: str = "") -> None:
    workplace = settings.saved_vms / hashlib.sha256(f"{scope}{made}".encode()).hexdigest()
    workplace.mkdir(parents=True)
    about = checkpoint.About(scope, 1, "install", "run", "web", made.timestamp(), "i-1")
    saved_vm.finished(workplace, b"devices", "0" * 64, source=source, about=checkpoint.record_of(about))


def test_a_host_tells_of_which_templates_it_keeps_checkpoints(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")
    a_checkpoint(settings, "template:/subscriptions/s/web", made=NOW)
    a_checkpoint(settings, "template:/subscriptions/s/web", made=NOW - timedelta(hours=1))
    a_checkpoint(settings, "template:/subscriptions/s/old", made=NOW - timedelta(days=8))
    a_checkpoint(settings, "command:1000:rg/mine", made=NOW)  # no run of the queue begins from one of a command
    assert kept_here(settings, now=NOW) == {kept_sources.checkpoints_name("/subscriptions/S/web"): True}
    assert "web" not in str(kept_here(settings, now=NOW)), "the name tells nothing of the template"


GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"


def test_a_host_tells_what_may_be_borrowed_where_that_is_set(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", share_checkpoints=True)
    image = a_source(settings, tmp_path, version="1.0.1")
    lender = f"{GROUP}/providers/{TYPE}/lender"
    a_checkpoint(settings, checkpoint.scope_of(template_id=lender, resource_group="", name=""), made=NOW, source="gone")
    names = ["debian:debian-12:12", "debian:debian-12:12:1.0.1"]
    plain = {**dict.fromkeys(names, False), kept_sources.checkpoints_name(lender): True}
    assert kept_here(settings, now=NOW) == plain, "it began from another source"
    scope = checkpoint.scope_of(template_id=lender, resource_group="", name="")
    a_checkpoint(settings, scope, made=NOW - timedelta(hours=1), source=image.digest)
    borrower = f"{GROUP}/providers/{TYPE}/borrower"
    lent = {kept_sources.lent_name(borrower, name): True for name in names}
    assert kept_here(settings, now=NOW) == {**plain, **lent}
    assert kept_here(replace(settings, share_checkpoints=False), now=NOW) == plain
    elsewhere = borrower.replace("/rg/", "/another/")
    assert not set(lent) & {kept_sources.lent_name(elsewhere, name) for name in names}, "nobody of another group"
    assert "borrower" not in str(lent), "the name tells nothing of who"


def test_a_run_goes_where_checkpoints_are_that_it_may_borrow(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")
    with opened(settings.database) as store:
        for name, cpus in (("east", 8), ("west", 16)):
            a_host(store, name, cpus=cpus)
        store.kept.record("west-incarnation", {"debian:debian-12:12": True})
        lent = kept_sources.lent_name(f"{GROUP}/providers/{TYPE}/lender", "debian:debian-12:12")
        store.kept.record("east-incarnation", {lent: True})
        assert a_run(settings, store, 0, PLATFORM).startswith(
            "of 2 hosts with room east alone keeps checkpoints that its template may borrow"
        )


def test_a_run_goes_where_checkpoints_of_its_template_are(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")
    with opened(settings.database) as store:
        for name, cpus in (("east", 8), ("west", 16), ("north", 8)):
            a_host(store, name, cpus=cpus)
        store.kept.record("north-incarnation", {"debian:debian-12:12": True})
        template = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/{TYPE}/t000000"
        other = kept_sources.checkpoints_name("/subscriptions/s/another")
        store.kept.record("west-incarnation", {other: True})
        store.kept.record("east-incarnation", {kept_sources.checkpoints_name(template): True})
        assert a_run(settings, store, 0, PLATFORM).startswith(
            "of 3 hosts with room east alone keeps checkpoints of its template"
        )
        assert a_run(settings, store, 1, PLATFORM).startswith("of 3 hosts with room north alone keeps a booted VM")


def test_the_run_show_of_a_run_tells_that_its_host_keeps_the_source(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home")
    with opened(settings.database) as store:
        for name, cpus in (("east", 8), ("west", 16), ("north", 8)):
            a_host(store, name, cpus=cpus)
        folder = settings.image_store / "golden-1"
        store.images.add(
            ImageRow(
                GOLDEN,
                "ManagedImage",
                folder / "image.qcow2",
                "qcow2",
                "0" * 64,
                1,
                2,
                1,
                "Linux",
                "",
                "r",
                {},
                {},
                NOW,
            )
        )
        assert a_run(settings, store, 0, PLATFORM).startswith("west is the emptiest of 3 hosts")
        store.kept.record("east-incarnation", {"debian:debian-12:12": True, "golden-1": False})
        store.kept.record("north-incarnation", {"golden-1": False})
        assert a_run(settings, store, 1, PLATFORM).startswith(
            "of 3 hosts with room east alone keeps a booted VM of its source image"
        )
        golden = {"type": "ManagedImage", "imageId": GOLDEN}
        assert a_run(settings, store, 2, golden).startswith(
            "of 3 hosts with room north is the emptiest of 2 that keep its source image"
        )
        store.kept.record("north-incarnation", {})
        assert a_run(settings, store, 3, golden).startswith("of 3 hosts with room east alone keeps its source image")
        assert "golden" not in str(store.runs.list()[0].facts["placement"]), "nor is an image of anybody's named"


async def test_what_a_host_keeps_is_written_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path / "home")
    kept: dict[str, bool] = {"a": False}
    monkeypatch.setattr(kept_sources, "kept_here", lambda _settings: dict(kept))
    with opened(settings.database) as store:
        for name in ("east", "west"):
            a_host(store, name, cpus=4)
        store.kept.record("west-incarnation", {"a": True})
        here = KeptHere(settings, store, "east-incarnation")
        await here.look()
        assert store.kept.hosts_of("a")["a"] == {"east-incarnation": False, "west-incarnation": True}
        monkeypatch.setattr(store.kept, "record", lambda *_: pytest.fail("it has not changed"))
        await here.look()
        monkeypatch.undo()
        store.hosts.leave("west-incarnation")
        monkeypatch.setattr(kept_sources, "kept_here", lambda _settings: {"b": False})
        await here.look()
        assert store.kept.hosts_of("b")["b"] == {"east-incarnation": False}
        assert store.kept.hosts_of("a")["a"] == {}, "neither its own nor what a host told that has left"
