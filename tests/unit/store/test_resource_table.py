"""Threads that wait for a resource are woken by its change, and by no other."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vmkiln.store.database import Store, opened
from vmkiln.store.resource_table import parent_of
from vmkiln.store.rows import ResourceRow

GROUP = "/subscriptions/s/resourceGroups/g"


def row(name: str) -> ResourceRow:
    return ResourceRow(f"{GROUP}/providers/M.X/things/{name}", "M.X/things", name, "s", "g", location="l")


@pytest.mark.parametrize(
    ("below", "parent"),
    [
        ("", ""),
        ("/providers/M.X/things/a", ""),
        ("/providers/M.X/things/a/parts/b", "/providers/m.x/things/a"),
        ("/providers/M.X/things/a/parts/providers", "/providers/m.x/things/a"),
        ("/providers/M.X/things/providers/parts/b", "/providers/m.x/things/providers"),
        ("/providers/M.X/things/a/providers/M.Y/locks/l", ""),
        ("/providers/M.F/providers/M.X/features/f", ""),
    ],
)
def test_a_nested_resource_is_found_below_its_parent_whatever_their_names(below: str, parent: str) -> None:
    for group in (GROUP, "/subscriptions/s/resourceGroups/providers"):
        assert parent_of(f"{group}{below}") == (f"{group}{parent}".lower() if parent else "")


def test_a_change_a_new_one_and_a_deletion_wake_who_watches(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store, store.resources.changes.watched([row("A").id]) as watch:
        for change in (
            lambda: store.resources.put(row("a")),
            lambda: store.resources.change(row("A").id, lambda old: replace(old, tags={"a": "b"})),
            lambda: store.resources.delete(row("a").id),
            lambda: store.resources.insert(row("a")),
        ):
            assert not watch.wait(0)
            change()
            assert watch.wait(0)


def test_the_change_is_there_when_the_waiter_wakes(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        store.resources.put(row("a"))
        seen: list[str] = []

        def wait() -> None:
            with store.resources.changes.watched([row("a").id]) as watch:
                ready.set()
                assert watch.wait(20)
                found = store.resources.get(row("a").id)
                seen.append(found.tags["state"] if found else "")

        ready = threading.Event()
        thread = threading.Thread(target=wait)
        thread.start()
        assert ready.wait(20)
        began = time.monotonic()
        store.resources.change(row("a").id, lambda old: replace(old, tags={"state": "done"}))
        thread.join(20)
        assert seen == ["done"]
        assert time.monotonic() - began < 5


def test_other_resources_wake_nobody_and_nothing_is_kept_of_who_watched(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        with store.resources.changes.watched([row("a").id]) as watch, store.resources.changes.watched([row("a").id]):
            store.resources.put(row("b"))
            assert not watch.wait(0)
        assert not store.resources.changes._watches


def test_a_change_that_fails_wakes_nobody(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        store.resources.put(row("a"))
        with store.resources.changes.watched([row("a").id]) as watch:
            with pytest.raises(ZeroDivisionError):
                store.resources.change(row("a").id, lambda _old: 1 / 0)  # type: ignore[arg-type,return-value]
            assert not watch.wait(0)


def test_what_a_host_writes_for_a_run_is_told_too(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        fenced: Store = store.fenced("run", incarnation="incarnation")
        assert fenced.resources.changes is store.resources.changes
